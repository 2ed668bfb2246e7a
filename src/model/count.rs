//! The size of a network and its work per image.
//!
//! Parameters are all trained values, including batch norm's (which the paper's tables
//! exclude). MACs are the multiply-adds of convolutions and classifier for one image, one
//! forward pass; padding zeros count as multiplied, as is usual.

use super::layers::{Layer, LayerKind, Network, Shortcut};

/// Sums over a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Number of trained values.
    pub parameters: u64,
    /// Multiply-adds of convolutions and classifier, one image, forward.
    pub macs: u64,
    /// Convolutions, projections included.
    pub convolutions: u64,
    /// Input features of the classifier.
    pub feature_dim: usize,
}

/// A row of a network's table of layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Name of the layer.
    pub name: String,
    /// What it computes, in words.
    pub kind: String,
    /// Extents of its output for one image: rows, columns, channels, or channels alone.
    pub output: Vec<usize>,
    /// Number of trained values.
    pub parameters: u64,
    /// Multiply-adds, one image, forward.
    pub macs: u64,
}

impl Layer {
    /// Number of trained values.
    pub fn trained_values(&self) -> u64 {
        let parameters = self.parameters();
        let trained = parameters
            .iter()
            .filter(|parameter| parameter.role.is_trainable());
        trained.map(|parameter| parameter.len() as u64).sum()
    }

    /// Multiply-adds for one image, forward.
    pub fn macs(&self) -> u64 {
        match self.kind {
            LayerKind::Convolution {
                input_channels,
                kernel,
                ..
            } => {
                let taps = [kernel, kernel, input_channels];
                let factors = self.output.iter().chain(&taps);
                factors.map(|factor| *factor as u64).product()
            }
            LayerKind::Linear { inputs, outputs } => inputs as u64 * outputs as u64,
            LayerKind::BatchNorm { .. }
            | LayerKind::Relu
            | LayerKind::MaxPool { .. }
            | LayerKind::GlobalAveragePool
            | LayerKind::Dropout { .. }
            | LayerKind::ScaleBranch { .. } => 0,
        }
    }

    fn row(&self) -> Row {
        let kind = match self.kind {
            LayerKind::Convolution { kernel, stride, .. } if stride > 1 => {
                format!("convolution {kernel}x{kernel}, stride {stride}")
            }
            LayerKind::Convolution { kernel, .. } => format!("convolution {kernel}x{kernel}"),
            LayerKind::BatchNorm { .. } => "batch norm".to_string(),
            LayerKind::Relu => "ReLU".to_string(),
            LayerKind::MaxPool { kernel, stride, .. } => {
                format!("max-pool {kernel}x{kernel}, stride {stride}")
            }
            LayerKind::GlobalAveragePool => "global average pool".to_string(),
            LayerKind::Dropout { probability } => format!("dropout {probability}"),
            LayerKind::ScaleBranch { rule, survival, .. } => format!("{rule} {survival:.3}"),
            LayerKind::Linear { .. } => "linear".to_string(),
        };
        Row {
            name: self.name.clone(),
            kind,
            output: self.output.clone(),
            parameters: self.trained_values(),
            macs: self.macs(),
        }
    }
}

impl Network {
    /// The sums over all layers.
    pub fn counts(&self) -> Counts {
        let convolutions = self
            .layers()
            .filter(|layer| matches!(layer.kind, LayerKind::Convolution { .. }));
        Counts {
            parameters: self.layers().map(Layer::trained_values).sum(),
            macs: self.layers().map(Layer::macs).sum(),
            convolutions: convolutions.count() as u64,
            feature_dim: self.feature_dim(),
        }
    }

    /// The network as a table: a row for every layer, and one for the sum at the end of each unit.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.stem.iter().map(Layer::row).collect();
        for unit in &self.units {
            rows.extend(unit.lead.iter().chain(&unit.branch).map(Layer::row));
            let kind = match &unit.shortcut {
                Shortcut::Identity => "add input".to_string(),
                Shortcut::PoolAndPad {
                    stride,
                    input_channels,
                    output_channels,
                } => {
                    let pool = match stride {
                        1 => String::new(),
                        _ => format!(", average-pool {stride}x{stride}"),
                    };
                    let zeros = output_channels - input_channels;
                    format!("add input{pool}, {zeros} zero channels")
                }
                Shortcut::Projection(layer) => {
                    rows.push(layer.row());
                    "add projection".to_string()
                }
            };
            rows.push(Row {
                name: format!("{}.add", unit.name),
                kind,
                output: unit.output.clone(),
                parameters: 0,
                macs: 0,
            });
        }
        rows.extend(self.head.iter().map(Layer::row));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SpecError;
    use crate::model::{Block, Growth, NetworkSpec, ParameterRole, Stem, preset};

    fn sum(network: &Network, roles: &[ParameterRole]) -> u64 {
        let parameters = network.parameters();
        let chosen = parameters.iter().filter(|p| roles.contains(&p.role));
        chosen.map(|p| p.len() as u64).sum()
    }

    /// Parameters, convolution weights, those and the classifier, feature dimension, MACs,
    /// convolutions: counted from the authors' PyTorch modules.
    type Expected = (u64, u64, u64, usize, u64, u64);

    /// Preset and classes.
    #[rustfmt::skip]
    const TABLE: [(&str, u32, Expected); 27] = [
        ("pyramidnet110-mul-a4.75", 10, (1762206, 1748718, 1749488, 76, 333659128, 109)),
        ("pyramidnet110-mul-a4.75", 100, (1769136, 1748718, 1756418, 76, 333665968, 109)),
        ("pyramidnet110-a48", 10, (1772706, 1758888, 1759538, 64, 403813504, 109)),
        ("pyramidnet110-a48", 100, (1778556, 1758888, 1765388, 64, 403819264, 109)),
        ("pyramidnet110-mul-a8", 10, (3876547, 3857373, 3858663, 128, 564216896, 109)),
        ("pyramidnet110-mul-a8", 100, (3888157, 3857373, 3870273, 128, 564228416, 109)),
        ("pyramidnet110-a84", 10, (3904446, 3884328, 3885338, 100, 772168168, 109)),
        ("pyramidnet110-a84", 100, (3913536, 3884328, 3894428, 100, 772177168, 109)),
        ("pyramidnet110-mul-a27", 10, (28361693, 28315161, 28319491, 432, 2646677664, 109)),
        ("pyramidnet110-mul-a27", 100, (28400663, 28315161, 28358461, 432, 2646716544, 109)),
        ("pyramidnet110-a270", 10, (28485477, 28432809, 28435679, 286, 4717983724, 109)),
        ("pyramidnet110-a270", 100, (28511307, 28432809, 28461509, 286, 4718009464, 109)),
        ("pyramidnet164-a48", 10, (1715442, 1669128, 1671698, 256, 388433920, 163)),
        ("pyramidnet164-a48", 100, (1738572, 1669128, 1694828, 256, 388456960, 163)),
        ("pyramidnet164-a84", 10, (3757494, 3689940, 3693950, 400, 745302688, 163)),
        ("pyramidnet164-a84", 100, (3793584, 3689940, 3730040, 400, 745338688, 163)),
        ("pyramidnet164-a270", 10, (27216021, 27038727, 27050177, 1144, 4569837040, 163)),
        ("pyramidnet164-a270", 100, (27319071, 27038727, 27153227, 1144, 4569940000, 163)),
        ("pyramidnet200-a240", 10, (26752702, 26560468, 26570718, 1024, 4519606016, 199)),
        ("pyramidnet200-a240", 100, (26844952, 26560468, 26662968, 1024, 4519698176, 199)),
        ("pyramidnet236-a220", 10, (26969046, 26760772, 26770222, 944, 4582673952, 235)),
        ("pyramidnet236-a220", 100, (27054096, 26760772, 26855272, 944, 4582758912, 235)),
        ("pyramidnet272-a200", 10, (26210842, 25991328, 25999978, 864, 4488778176, 271)),
        ("pyramidnet272-a200", 100, (26288692, 25991328, 26077828, 864, 4488855936, 271)),
        ("pyramidnet200-a300-imagenet", 1000, (62368168, 60625432, 62082432, 1456, 16550501282, 199)),
        ("pyramidnet200-a450-imagenet", 1000, (116775213, 114331977, 116388977, 2056, 29196815629, 199)),
        ("preresnet200-imagenet", 1000, (64666152, 62448832, 64497832, 2048, 15007481856, 203)),
    ];

    /// Depth and alpha of networks that have no preset, ImageNet stem.
    #[rustfmt::skip]
    const OTHERS: [(u32, f64, Expected); 3] = [
        (101, 250.0, (24956608, 23572112, 24829112, 1256, 5528073457, 100)),
        (152, 200.0, (27341608, 26118352, 27175352, 1056, 6291546640, 151)),
        (101, 360.0, (42455070, 40593174, 42290174, 1696, 8696707045, 100)),
    ];

    fn check(spec: &NetworkSpec, expected: Expected) {
        let (parameters, conv, conv_and_linear, feature_dim, macs, convolutions) = expected;
        let network = Network::new(spec).unwrap();
        let counts = Counts {
            parameters,
            macs,
            convolutions,
            feature_dim,
        };
        assert_eq!(network.counts(), counts, "{spec}");
        use ParameterRole::{ConvWeight, LinearBias, LinearWeight};
        assert_eq!(sum(&network, &[ConvWeight]), conv, "{spec}");
        let both = sum(&network, &[ConvWeight, LinearWeight, LinearBias]);
        assert_eq!(both, conv_and_linear, "{spec}");

        let rows = network.rows();
        assert_eq!(
            rows.iter().map(|row| row.parameters).sum::<u64>(),
            parameters
        );
        assert_eq!(rows.iter().map(|row| row.macs).sum::<u64>(), macs);
    }

    #[test]
    fn the_papers_networks_count_exactly() {
        for (name, classes, expected) in TABLE {
            let preset = preset(name).unwrap();
            check(&NetworkSpec { classes, ..preset }, expected);
        }
        for (depth, alpha, expected) in OTHERS {
            check(
                &NetworkSpec::pyramid(Stem::ImageNet, depth, alpha),
                expected,
            );
        }
    }

    #[test]
    fn a_tiny_network_counts_as_by_hand() {
        // Widths 32, 64, 128 at sizes 4, 2, 1; the stem makes 16 channels.
        let spec = NetworkSpec {
            growth: Growth::Multiplicative,
            block: Block::Basic,
            image_size: 4,
            ..NetworkSpec::pyramid(Stem::Cifar, 8, 8.0)
        };
        let counts = Network::new(&spec).unwrap().counts();
        let conv = 9 * (3 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128);
        let norm = 2 * (16 + (16 + 32 + 32) + (32 + 64 + 64) + (64 + 128 + 128) + 128);
        assert_eq!(counts.parameters, conv + norm + 1290);
        let macs = 9 * (16 * (3 * 16 + 16 * 32 + 32 * 32) + 4 * (32 * 64 + 64 * 64));
        assert_eq!(counts.macs, macs + 9 * (64 * 128 + 128 * 128) + 1280);
        assert_eq!((counts.convolutions, counts.feature_dim), (7, 128));
    }

    #[test]
    fn rows_say_what_a_unit_adds() {
        let network = Network::new(&preset("demo").unwrap()).unwrap();
        let rows = network.rows();
        let row = rows.iter().find(|row| row.name == "layer2.0.add").unwrap();
        assert!(row.kind.contains("average-pool 2x2"), "{row:?}");
        assert_eq!((row.output.len(), row.parameters, row.macs), (3, 0, 0));
    }

    #[test]
    fn more_work_than_can_be_done_is_refused() {
        let mut spec = NetworkSpec::pyramid(Stem::Cifar, 110, 270.0);
        spec.image_size = 4096;
        assert!(Network::new(&spec).is_ok());
        spec.alpha = 8000.0;
        let error = Network::new(&spec).unwrap_err();
        assert!(matches!(error, SpecError::Work { .. }), "{error}");
    }
}
