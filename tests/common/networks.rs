//! Small networks that together have every layer, and operands for their graphs.

use pyr_wgpu::graph::interp::Store;
use pyr_wgpu::graph::ops::Draw;
use pyr_wgpu::graph::step::Step;
use pyr_wgpu::graph::{
    ActivationCheckpointing, Arena, Graph, Passes, Precision, Role, Tensor, Value,
};
use pyr_wgpu::model::{
    BatchAugmentation, Block, Growth, Input, Network, NetworkSpec, Preprocessing, Stem, names,
};
use pyr_wgpu::shape::{DType, Layout, PixelFormat, Shape};
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

/// Values for all external and kept values of a network's graph: random images and labels,
/// weights and statistics as after some training, zeros for other kept values.
pub fn operands(graph: &Graph, seed: u64) -> Store {
    let mut draw = Draw::new(seed);
    let classes = graph
        .find(names::LOGITS)
        .map_or(1, |id| graph.shape(id).last());
    let lasting = graph
        .values
        .iter()
        .filter(|v| matches!(v.role, Role::External | Role::Kept(_)));
    lasting
        .map(|value| (value.name.clone(), operand(value, classes, seed, &mut draw)))
        .collect()
}

fn operand(value: &Value, classes: usize, seed: u64, draw: &mut Draw) -> Tensor {
    let shape = value.shape.clone();
    match (value.role, value.name.as_str()) {
        (Role::Kept(Arena::Parameters), _) => weights(shape, draw),
        (Role::Kept(Arena::Statistics), _) => draw.positive(shape),
        (_, names::STEP) => {
            let step = Step {
                seed,
                epoch: 1,
                learning_rate: 0.05,
                momentum: 0.9,
                weight_decay: 1e-3,
            };
            Tensor::index(shape, step.to_words().into())
        }
        (_, names::SAMPLES) => {
            let samples = (0..shape.len() as u32).map(|i| 10 + i).collect();
            Tensor::index(shape, samples)
        }
        (_, names::LABELS) => draw.below(shape, classes as u32),
        (_, names::LOSS_WEIGHTS) => draw.positive(shape),
        (_, names::INPUT) => draw.real(shape),
        _ => Tensor::zeros(&shape),
    }
}

/// Convolution weights that preserve the variance of the input; scales near 1, so that every
/// unit contributes; shifts and biases near 0.
fn weights(shape: Shape, draw: &mut Draw) -> Tensor {
    assert_eq!(shape.dtype, DType::F32);
    let drawn = draw.real(shape.clone());
    let half = shape.len() / 2;
    let values = drawn
        .values()
        .iter()
        .enumerate()
        .map(|(i, v)| match shape.layout {
            Layout::Weights => {
                let fan_in: usize = shape.dims[..3].iter().product();
                v * (2.0 / fan_in as f64).sqrt()
            }
            _ if shape.dims.len() == 2 && i < half => 1.0 + 0.3 * v,
            _ => 0.3 * v,
        });
    let values = values.map(|v| f64::from(v as f32)).collect();
    Tensor::real(shape, values)
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
