//! Builds the layers of a spec. Only this file defines the structure of the networks.
//!
//! A [`Cursor`] tracks size and channels from the image to the logits.

use std::collections::BTreeSet;

use super::error::SpecError;
use super::layers::{Layer, LayerKind, Network, Shortcut, Unit};
use super::spec::NetworkSpec;
use super::words::{Block, Family, Stem};
use crate::graph::ops::{Pooling, Window};

/// Multiply-adds for one image beyond which a network is refused: the largest published ones take
/// less than 10¹¹, and counts of operations stay within 64 bits.
const MAX_MACS: f64 = 1e15;

impl Network {
    /// Builds the layers of a network.
    ///
    /// # Errors
    /// If the spec is invalid (see [`NetworkSpec::validate`]), or the network takes more work than
    /// any machine does.
    pub fn new(spec: &NetworkSpec) -> Result<Network, SpecError> {
        spec.validate()?;
        let mut at = Cursor {
            size: spec.image_size as usize,
            channels: 3,
        };
        let stem = stem(spec, &mut at);
        let mut units = Vec::new();
        let mut widths = spec.widths().into_iter();
        for (stage, count) in spec.units_per_stage()?.into_iter().enumerate() {
            for index_in_stage in 0..count as usize {
                let width = widths.next().expect("there is one width per unit");
                let mut unit = unit(spec, stage, index_in_stage, width, &mut at);
                let number = units.len() as u32 + 1;
                if let Some((rule, survival)) = spec.branch_rule(number) {
                    let kind = LayerKind::ScaleBranch {
                        rule,
                        survival,
                        unit: number,
                    };
                    let name = format!("{}.scale", unit.name);
                    unit.branch.push(at.layer(name, kind));
                }
                units.push(unit);
            }
        }
        let network = Network {
            spec: spec.clone(),
            stem,
            units,
            head: head(spec, &mut at),
            frozen: BTreeSet::new(),
        };
        // In floating point: the sum may exceed 64 bits.
        let macs = network.layers().map(|layer| layer.macs() as f64).sum();
        match macs > MAX_MACS {
            true => Err(SpecError::Work {
                network: spec.to_string(),
                macs,
                most: MAX_MACS,
            }),
            false => Ok(network),
        }
    }
}

/// Rows (equal to columns) and channels at a point in the network.
#[derive(Clone, Copy)]
struct Cursor {
    size: usize,
    channels: usize,
}

impl Cursor {
    /// Builds a layer at this point and moves to its output.
    fn layer(&mut self, name: String, kind: LayerKind) -> Layer {
        match kind {
            LayerKind::Convolution {
                output_channels,
                kernel,
                stride,
                padding,
                ..
            } => {
                self.channels = output_channels;
                self.size = (self.size + 2 * padding - kernel) / stride + 1;
            }
            LayerKind::MaxPool {
                kernel,
                stride,
                padding,
                ceil_mode,
            } => {
                let pooling = Pooling {
                    kernel,
                    window: Window { stride, padding },
                    ceil_mode,
                };
                self.size = pooling.outputs(self.size);
            }
            LayerKind::GlobalAveragePool => self.size = 1,
            LayerKind::Linear { outputs, .. } => self.channels = outputs,
            LayerKind::BatchNorm { .. }
            | LayerKind::Relu
            | LayerKind::Dropout { .. }
            | LayerKind::ScaleBranch { .. } => {}
        }
        let flat = matches!(
            kind,
            LayerKind::GlobalAveragePool | LayerKind::Dropout { .. } | LayerKind::Linear { .. }
        );
        Layer {
            name,
            kind,
            output: match flat {
                true => vec![self.channels],
                false => self.extents(),
            },
        }
    }

    /// A convolution that keeps the size at stride 1.
    fn convolution(
        &mut self,
        name: String,
        channels: usize,
        kernel: usize,
        stride: usize,
    ) -> Layer {
        let kind = LayerKind::Convolution {
            input_channels: self.channels,
            output_channels: channels,
            kernel,
            stride,
            padding: kernel / 2,
        };
        self.layer(name, kind)
    }

    fn batch_norm(&mut self, name: String) -> Layer {
        let channels = self.channels;
        self.layer(name, LayerKind::BatchNorm { channels })
    }

    fn extents(&self) -> Vec<usize> {
        vec![self.size, self.size, self.channels]
    }
}

fn stem(spec: &NetworkSpec, at: &mut Cursor) -> Vec<Layer> {
    let (kernel, stride) = match spec.stem {
        Stem::Cifar => (3, 1),
        Stem::ImageNet => (7, 2),
    };
    let mut layers = vec![
        at.convolution("conv1".into(), spec.stem.channels(), kernel, stride),
        at.batch_norm("bn1".into()),
    ];
    if spec.stem == Stem::ImageNet {
        layers.push(at.layer("relu".into(), LayerKind::Relu));
        let pool = LayerKind::MaxPool {
            kernel: 3,
            stride: 2,
            padding: 1,
            ceil_mode: spec.ceil_mode,
        };
        layers.push(at.layer("maxpool".into(), pool));
    }
    layers
}

fn unit(
    spec: &NetworkSpec,
    stage: usize,
    index_in_stage: usize,
    width: usize,
    at: &mut Cursor,
) -> Unit {
    let name = format!("layer{}.{index_in_stage}", stage + 1);
    let input_channels = at.channels;
    let output_channels = width * spec.block.expansion();
    let stride = if stage > 0 && index_in_stage == 0 {
        2
    } else {
        1
    };

    let mut branch = Vec::new();
    // Convolutions of the branch: output channels, kernel, stride.
    let convolutions = match spec.block {
        Block::Basic => vec![(width, 3, stride), (width, 3, 1)],
        Block::Bottleneck => vec![(width, 1, 1), (width, 3, stride), (output_channels, 1, 1)],
    };
    let pyramid = spec.family == Family::PyramidNet;
    let first_preresnet_unit = !pyramid && stage == 0 && index_in_stage == 0;
    let mut after_lead = *at;
    let mut lead_layers = 0;
    for (number, (channels, kernel, stride)) in (1..).zip(convolutions) {
        if !(number == 1 && first_preresnet_unit) {
            branch.push(at.batch_norm(format!("{name}.bn{number}")));
            if !(number == 1 && pyramid) {
                branch.push(at.layer(format!("{name}.relu{number}"), LayerKind::Relu));
            }
        }
        if number == 1 {
            after_lead = *at;
            lead_layers = branch.len();
        }
        branch.push(at.convolution(format!("{name}.conv{number}"), channels, kernel, stride));
    }
    if pyramid {
        let number = branch.iter().filter(|layer| is_convolution(layer)).count() + 1;
        branch.push(at.batch_norm(format!("{name}.bn{number}")));
    }

    let same = input_channels == output_channels && stride == 1;
    let shortcut = match spec.family {
        _ if same => Shortcut::Identity,
        Family::PyramidNet => Shortcut::PoolAndPad {
            stride,
            input_channels,
            output_channels,
        },
        Family::PreResNet => {
            let name = format!("{name}.downsample.0");
            Shortcut::Projection(after_lead.convolution(name, output_channels, 1, stride))
        }
    };
    let lead = match shortcut {
        Shortcut::Projection(_) => branch.drain(..lead_layers).collect(),
        Shortcut::Identity | Shortcut::PoolAndPad { .. } => Vec::new(),
    };
    Unit {
        name,
        stage,
        index_in_stage,
        input_channels,
        width,
        output_channels,
        stride,
        lead,
        branch,
        shortcut,
        output: at.extents(),
    }
}

fn is_convolution(layer: &Layer) -> bool {
    matches!(layer.kind, LayerKind::Convolution { .. })
}

fn head(spec: &NetworkSpec, at: &mut Cursor) -> Vec<Layer> {
    // The authors' two programs name the last batch norm differently.
    let batch_norm = match spec.family {
        Family::PyramidNet => "bn_final",
        Family::PreResNet => "bn2",
    };
    let mut layers = vec![
        at.batch_norm(batch_norm.into()),
        at.layer("relu_final".into(), LayerKind::Relu),
        at.layer("avgpool".into(), LayerKind::GlobalAveragePool),
    ];
    if spec.dropout > 0.0 {
        let probability = spec.dropout;
        layers.push(at.layer("dropout".into(), LayerKind::Dropout { probability }));
    }
    let classifier = LayerKind::Linear {
        inputs: at.channels,
        outputs: spec.classes as usize,
    };
    layers.push(at.layer("fc".into(), classifier));
    layers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preset;

    fn names(layers: &[Layer]) -> Vec<&str> {
        layers.iter().map(|layer| layer.name.as_str()).collect()
    }

    #[test]
    fn pyramid_units_by_hand() {
        let mut spec = NetworkSpec::pyramid(Stem::Cifar, 8, 28.0);
        let network = Network::new(&spec).unwrap();
        assert_eq!(names(&network.stem), ["conv1", "bn1"]);
        let unit = &network.units[1];
        assert_eq!(
            names(&unit.branch),
            ["bn1", "conv1", "bn2", "relu2", "conv2", "bn3"].map(|name| format!("layer2.0.{name}"))
        );
        assert!(unit.lead.is_empty());
        assert_eq!(
            (unit.input_channels, unit.width, unit.output_channels),
            (25, 35, 35)
        );
        let shortcut = Shortcut::PoolAndPad {
            stride: 2,
            input_channels: 25,
            output_channels: 35,
        };
        assert_eq!(unit.shortcut, shortcut);
        assert_eq!(unit.output, [16, 16, 35]);
        assert_eq!(
            names(&network.head),
            ["bn_final", "relu_final", "avgpool", "fc"]
        );

        spec.depth = 11;
        spec.block = Block::Bottleneck;
        spec.dropout = 0.5;
        let network = Network::new(&spec).unwrap();
        let unit = &network.units[1];
        let expected = [
            "bn1", "conv1", "bn2", "relu2", "conv2", "bn3", "relu3", "conv3", "bn4",
        ];
        assert_eq!(
            names(&unit.branch),
            expected.map(|name| format!("layer2.0.{name}"))
        );
        assert_eq!((unit.input_channels, unit.output_channels), (100, 140));
        // The 3x3 convolution has the stride.
        assert_eq!(unit.branch[1].output, [32, 32, 35]);
        assert_eq!(unit.branch[4].output, [16, 16, 35]);
        assert!(names(&network.head).contains(&"dropout"));
    }

    #[test]
    fn preresnet_units_by_hand() {
        let network = Network::new(&preset("preresnet200-imagenet").unwrap()).unwrap();
        assert_eq!(names(&network.stem), ["conv1", "bn1", "relu", "maxpool"]);
        assert_eq!(network.stem[3].output, [56, 56, 64]);
        let plain = [
            "bn1", "relu1", "conv1", "bn2", "relu2", "conv2", "bn3", "relu3", "conv3",
        ];

        let first = &network.units[0];
        assert!(first.lead.is_empty());
        assert_eq!(names(&first.branch)[0], "layer1.0.conv1");
        let Shortcut::Projection(projection) = &first.shortcut else {
            panic!("{:?}", first.shortcut);
        };
        assert_eq!(projection.name, "layer1.0.downsample.0");
        assert_eq!(projection.output, [56, 56, 256]);

        let second = &network.units[1];
        assert_eq!(second.shortcut, Shortcut::Identity);
        assert_eq!(
            names(&second.branch),
            plain.map(|name| format!("layer1.1.{name}"))
        );

        let widening = &network.units[3];
        assert_eq!(names(&widening.lead), ["layer2.0.bn1", "layer2.0.relu1"]);
        assert_eq!(
            names(&widening.branch),
            plain[2..]
                .iter()
                .map(|name| format!("layer2.0.{name}"))
                .collect::<Vec<_>>()
        );
        let Shortcut::Projection(projection) = &widening.shortcut else {
            panic!("{:?}", widening.shortcut);
        };
        let expected = LayerKind::Convolution {
            input_channels: 256,
            output_channels: 512,
            kernel: 1,
            stride: 2,
            padding: 0,
        };
        assert_eq!(projection.kind, expected);
        assert_eq!(widening.output, [28, 28, 512]);
    }

    #[test]
    fn both_paths_of_every_unit_end_in_the_same_extents() {
        for size in [32, 33, 35, 4, 47] {
            let mut spec = NetworkSpec::pyramid(Stem::Cifar, 20, 24.0);
            spec.image_size = size;
            check_paths(&spec);
        }
        for size in [32, 33, 63, 224] {
            for mut spec in [
                NetworkSpec::preresnet(18),
                NetworkSpec::preresnet(50),
                NetworkSpec::pyramid(Stem::ImageNet, 18, 100.0),
            ] {
                spec.image_size = size;
                check_paths(&spec);
            }
        }
    }

    fn check_paths(spec: &NetworkSpec) {
        let network = Network::new(spec).unwrap();
        let mut input = network.stem.last().unwrap().output.clone();
        for unit in &network.units {
            assert_eq!(unit.input_channels, input[2], "{}", unit.name);
            let branch = &unit.branch.last().unwrap().output;
            let shortcut = match &unit.shortcut {
                Shortcut::Identity => input.clone(),
                Shortcut::PoolAndPad {
                    stride,
                    output_channels,
                    ..
                } => {
                    let size = input[0].div_ceil(*stride);
                    vec![size, size, *output_channels]
                }
                Shortcut::Projection(layer) => layer.output.clone(),
            };
            assert_eq!(*branch, shortcut, "{}", unit.name);
            assert_eq!(unit.output, shortcut, "{}", unit.name);
            input = shortcut;
        }
    }

    #[test]
    fn names_are_unique() {
        for name in crate::model::preset_names() {
            let network = Network::new(&preset(name).unwrap()).unwrap();
            let mut names: Vec<_> = network.layers().map(|layer| &layer.name).collect();
            let count = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count, "{name}");
        }
    }
}
