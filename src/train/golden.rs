//! The golden network, whose training step checks an adapter's kernels ([`Golden`]), and values for
//! the operands of a network's graphs.

use crate::engine::Golden;
use crate::graph::interp::Store;
use crate::graph::ops::{Draw, LossScale};
use crate::graph::step::Step;
use crate::graph::{Arena, Graph, Passes, Precision, Role, Tensor, Value};
use crate::model::{Input, Network, NetworkSpec, Stem, names};
use crate::shape::{DType, Layout, Shape};

use super::{Mode, step_graph};

/// A step of a small network: one unit a stage, so strides of 1 and 2, zero-padded shortcuts, and
/// four numbers of channels. They are those of the preset `demo`, which shares its kernels.
///
/// The images are small, as the convolutions' kernels do not depend on their size.
pub fn golden(precision: Precision) -> Golden {
    let spec = NetworkSpec {
        image_size: 16,
        ..NetworkSpec::pyramid(Stem::Cifar, 8, 28.0)
    };
    let network = Network::new(&spec).expect("the golden network is legal");
    let passes = Passes {
        precision,
        ..Passes::default()
    };
    let graph = step_graph(&network, 4, &Input::Tensor, Mode::Train, passes);
    let graph = graph.expect("the golden network has a step");
    let mut operands = sample_operands(&graph, 1);
    if let Some(id) = graph.find(names::LOSS_SCALE) {
        // No gradient overflows with it.
        let scale = LossScale {
            scale: 128.0,
            ..LossScale::initial()
        };
        let words = scale.to_words().into();
        let tensor = Tensor::index(graph.shape(id).clone(), words);
        operands.insert(names::LOSS_SCALE.to_owned(), tensor);
    }
    Golden { graph, operands }
}

/// Values for all external and kept values of a network's graph: random images and labels,
/// weights and statistics as after some training, zeros for other kept values.
pub fn sample_operands(graph: &Graph, seed: u64) -> Store {
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
