//! Shared by softmax cross-entropy and its gradient: one invocation for each row of logits.

use super::lowering::{Launch, Lowering};
use super::shader::{Shader, parameters};
use crate::graph::{Node, ValueId};
use crate::shape::{LANES, Shape};

parameters! {
    pub(super) struct Params {
        /// Images.
        rows,
        classes,
        /// Floats of a row in memory.
        stride,
        /// 1 if each image has two labels.
        mixed,
        /// Float: share of the target that all classes have.
        smoothing,
    }
}

impl Params {
    fn new(logits: &Shape, labels: &Shape, smoothing: f32) -> Params {
        Params {
            rows: logits.rows() as u32,
            classes: logits.last() as u32,
            stride: logits.last().next_multiple_of(LANES) as u32,
            mixed: u32::from(labels.len() > logits.rows()),
            smoothing: smoothing.to_bits(),
        }
    }
}

/// Emits the dispatch of a node, which passes over the classes of a row `passes` times.
pub(super) fn launch(
    lowering: &mut Lowering<'_>,
    node: &Node,
    [logits, labels]: [ValueId; 2],
    smoothing: f32,
    (shader, passes): (&Shader, u32),
) {
    let [logits, labels] = [logits, labels].map(|id| lowering.shape(id));
    let params = Params::new(logits, labels, smoothing);
    // The label comes first.
    let serial_steps = 1 + passes * params.classes;
    let reads = node.inputs.iter().map(|id| lowering.read(*id));
    let writes = node.outputs.iter().map(|id| lowering.write(*id));
    let launch = Launch {
        kernel: shader.kernel(),
        uniforms: params.words(),
        bindings: reads.chain(writes).collect(),
        grid: [params.rows.div_ceil(64), 1, 1],
        flops: 0,
        serial_steps,
    };
    lowering.launch(node.outputs[0], launch);
}
