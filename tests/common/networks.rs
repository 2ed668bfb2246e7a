//! Small networks that together have every layer.

use pyr_wgpu::graph::{ActivationCheckpointing, Graph, Passes, Precision};
use pyr_wgpu::model::{
    BatchAugmentation, Block, Growth, Input, Network, NetworkSpec, Preprocessing, Stem, names,
};
use pyr_wgpu::shape::PixelFormat;
use pyr_wgpu::train::{Mode, step_graph};

/// A network with its batch size.
pub struct Small {
    pub name: &'static str,
    pub network: Network,
    pub batch: usize,
}

/// Networks of one unit per stage (preresnet: two): every kind of unit, stem and head, and an odd
/// image size.
pub fn small_networks() -> Vec<Small> {
    let basic = NetworkSpec {
        classes: 5,
        image_size: 8,
        ..NetworkSpec::pyramid(Stem::Cifar, 8, 6.0)
    };
    let bottleneck = NetworkSpec {
        depth: 11,
        block: Block::Bottleneck,
        ..basic.clone()
    };
    let multiplicative = NetworkSpec {
        growth: Growth::Multiplicative,
        alpha: 1.7,
        ..basic.clone()
    };
    let dropout = NetworkSpec {
        dropout: 0.5,
        stochastic_depth: 0.6,
        ..basic.clone()
    };
    let odd = NetworkSpec {
        image_size: 9,
        ..basic.clone()
    };
    let imagenet = NetworkSpec {
        classes: 7,
        image_size: 32,
        block: Block::Basic,
        ..NetworkSpec::pyramid(Stem::ImageNet, 10, 9.0)
    };
    let preresnet = NetworkSpec {
        classes: 7,
        image_size: 32,
        block: Block::Basic,
        ..NetworkSpec::preresnet(18)
    };
    [
        ("additive basic", basic, 3),
        ("additive bottleneck", bottleneck, 3),
        ("multiplicative", multiplicative, 3),
        ("dropout", dropout, 4),
        ("odd image", odd, 2),
        ("imagenet stem", imagenet, 3),
        ("preresnet", preresnet, 3),
    ]
    .map(|(name, spec, batch)| Small {
        name,
        network: Network::new(&spec).unwrap_or_else(|e| panic!("{name}: {e}")),
        batch,
    })
    .into()
}

/// One unit a stage, five classes, images of 8x8.
pub fn tiny() -> Network {
    let spec = NetworkSpec {
        classes: 5,
        image_size: 8,
        ..NetworkSpec::pyramid(Stem::Cifar, 8, 3.0)
    };
    Network::new(&spec).unwrap()
}

/// Images on the device, augmented when batches are assembled.
pub fn images(network: &Network, count: usize) -> Input {
    Input::Images {
        name: names::TRAIN_IMAGES,
        count,
        pixels: PixelFormat::U8,
        preprocessing: Preprocessing::new(network.spec(), [127.0; 3], [64.0; 3]),
        augmentation: BatchAugmentation {
            flip_and_crop: true,
            ..BatchAugmentation::default()
        },
    }
}

/// Without a mode, the graph of a prediction.
pub fn graph(
    network: &Network,
    batch: usize,
    input: &Input,
    mode: impl Into<Option<Mode>>,
    fuse: bool,
) -> Graph {
    let passes = Passes {
        fuse,
        checkpointing: ActivationCheckpointing::Off,
        precision: Precision::F32,
    };
    let graph = match mode.into() {
        Some(mode) => step_graph(network, batch, input, mode, passes),
        None => network.prediction_graph(batch, input, passes),
    };
    graph.unwrap_or_else(|e| panic!("{}: {e}", network.spec()))
}
