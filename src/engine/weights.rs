//! Transfer of a network's tensors between checkpoints and an engine's memory.

use std::collections::BTreeMap;

use super::{Engine, EngineError, ValueHandle};
pub use crate::model::TensorKind;
use crate::model::{Network, PackedValue};

/// Tensors by their name in a checkpoint, without batch norm's batch counters.
pub type Tensors = BTreeMap<String, Vec<f32>>;

/// The values of a kind, each with its name in the graph.
fn values(kind: TensorKind, network: &Network) -> Vec<(String, PackedValue)> {
    let all = network.packed_values().into_iter();
    all.filter(|value| kind.covers(value))
        .map(|value| (kind.value_name(&value.name), value))
        .collect()
}

impl Engine {
    /// Writes all tensors of a kind.
    ///
    /// # Panics
    /// If one is missing or has the wrong size; callers check against the network first.
    pub fn write_tensors(&mut self, network: &Network, kind: TensorKind, tensors: &Tensors) {
        for (name, value) in values(kind, network) {
            let parts: Vec<&[f32]> = value
                .tensors
                .iter()
                .map(|t| tensors[&t.name].as_slice())
                .collect();
            let handle = self.value(&name);
            self.write_values(handle, &value.join(&parts));
        }
    }

    /// Reads all tensors of a kind.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn read_tensors(
        &self,
        network: &Network,
        kind: TensorKind,
    ) -> Result<Tensors, EngineError> {
        let values = values(kind, network);
        let handles: Vec<ValueHandle> = values.iter().map(|(name, _)| self.value(name)).collect();
        let read = self.read_all(&handles).await?;
        let mut tensors = Tensors::new();
        for ((_, value), words) in values.iter().zip(read) {
            let elements = value.shape.unpack(bytemuck::cast_slice::<u32, f32>(&words));
            let parts = value.tensors.iter().map(|t| t.name.clone());
            tensors.extend(parts.zip(value.split(&elements)));
        }
        Ok(tensors)
    }
}
