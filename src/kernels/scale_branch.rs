//! Host half of `shaders/scale_branch.wgsl`.

use super::grid;
use super::lowering::{Launch, LowerError, Lowering};
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::ScaleBranch;
use crate::shape::LANES;

pub(super) const SHADER: Shader = shader!("scale_branch", [Read, Read, Read, Write], Params);

parameters! {
    struct Params {
        /// Vectors of four.
        count,
        /// Vectors of one image.
        each,
        /// Number of the unit.
        unit,
        /// Images whose first random word is below it are undisturbed.
        threshold,
        /// Float: factor on undisturbed images.
        undisturbed,
        /// Float: the least factor on the others.
        start,
        /// Float: length of the interval of their factors.
        length,
        /// Index of the random word that determines it.
        word,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &ScaleBranch,
    node: &Node,
) -> Result<(), LowerError> {
    let named = op.inputs(&node.inputs);
    let y = node.outputs[0];
    let shape = lowering.shape(y);
    let count = shape.stored_len() / LANES;
    let (start, length, word) = op.disturbed();
    let params = Params {
        count: count as u32,
        each: (count / shape.dims[0]) as u32,
        unit: op.unit,
        threshold: op.threshold(),
        undisturbed: op.undisturbed().to_bits(),
        start: start.to_bits(),
        length: length.to_bits(),
        word: word as u32,
    };
    // Where nothing is drawn the shader reads neither samples nor step.
    let is_random = u32::from(named.samples.is_some());
    let operand = |id: Option<_>| lowering.read(id.unwrap_or(named.x));
    let bindings = vec![
        lowering.read(named.x),
        operand(named.samples),
        operand(named.step),
        lowering.write(y),
    ];
    let launch = Launch {
        kernel: SHADER.with_storage(lowering.storage(y), &[("RANDOM", is_random)]),
        uniforms: params.words(),
        bindings,
        grid: grid(count.div_ceil(64)),
        flops: 0,
        serial_steps: 1,
    };
    lowering.launch(y, launch);
    Ok(())
}
