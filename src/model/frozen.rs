//! Frozen layers, which fine-tuning keeps as they are: their parameters are not trained, their
//! batch norms use the running statistics and do not update them, and no gradient passes through
//! them.

use super::error::SpecError;
use super::layers::{Layer, Network, Unit};
use super::parameters::Parameter;

impl Network {
    /// Freezes the stem and the first `stages` stages; 0 freezes the stem alone.
    ///
    /// # Errors
    /// If the network has fewer stages.
    pub fn freeze_until(&mut self, stages: u32) -> Result<(), SpecError> {
        let most = self.spec.stem.stages();
        if stages > most {
            return Err(SpecError::Stage { stages, most });
        }
        let units = self.units.iter();
        let units = units.filter(|unit| unit.stage < stages as usize);
        let layers = self.stem.iter().chain(units.flat_map(Unit::layers));
        self.frozen = layers.map(|layer| layer.name.clone()).collect();
        Ok(())
    }

    /// Whether a layer is frozen.
    pub fn is_frozen(&self, layer: &Layer) -> bool {
        self.frozen.contains(&layer.name)
    }

    /// The parameters that training changes, in file order.
    pub fn trained_parameters(&self) -> Vec<Parameter> {
        let layers = self.layers().filter(|layer| !self.is_frozen(layer));
        let parameters = layers.flat_map(Layer::parameters);
        parameters
            .filter(|parameter| parameter.role.is_trainable())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preset;

    #[test]
    fn stem_and_stages_are_frozen() {
        let mut network = Network::new(&preset("demo").unwrap()).unwrap();
        let first = |network: &Network| network.trained_parameters()[0].name.clone();
        assert_eq!(first(&network), "conv1.weight");
        for (stages, expected) in [
            (0, "layer1.0.bn1.weight"),
            (1, "layer2.0.bn1.weight"),
            (3, "bn_final.weight"),
        ] {
            network.freeze_until(stages).unwrap();
            assert_eq!(first(&network), expected);
        }
        assert!(
            network
                .freeze_until(4)
                .unwrap_err()
                .to_string()
                .contains('3')
        );
    }
}
