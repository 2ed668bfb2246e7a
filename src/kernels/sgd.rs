//! Host half of `shaders/sgd.wgsl`.

use super::arenas;
use super::grid;
use super::lowering::{Launch, LowerError, Lowering};
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::Sgd;
use crate::program::Access::{Read, Write};
use crate::shape::LANES;

pub(super) const SHADER: Shader =
    shader!("sgd", [Write, Read, Write, Write, Read, Read, Read], Params);

parameters! {
    struct Params {
        /// Vectors of four.
        count,
        /// Position of the first one in the arenas.
        first,
    }
}

pub(super) fn lower(lowering: &mut Lowering<'_>, op: &Sgd, node: &Node) -> Result<(), LowerError> {
    let named = op.inputs(&node.inputs);
    let operands = [
        (named.parameters.as_slice(), Write),
        (named.gradients.as_slice(), Read),
        (named.velocities.as_slice(), Write),
    ];
    let [metrics, step] = [lowering.write(named.metrics), lowering.read(named.step)];
    // The shader reads scale and factor only where there are any.
    let [scale, factor] = [named.scale, named.factor].map(|operand| match operand {
        Some(operand) => lowering.read(operand),
        None => step.clone(),
    });
    let kernel = SHADER.variant(&[
        ("SCALED", u32::from(op.scaled)),
        ("CLIPPED", u32::from(op.clipped)),
    ]);
    let vector = 4 * LANES as u64;
    for part in arenas::parts(lowering, &operands) {
        let mut bindings = part.bindings;
        let params = Params {
            count: (bindings[0].bytes / vector) as u32,
            first: (part.start / vector) as u32,
        };
        bindings.extend([&metrics, &step, &scale, &factor].map(Clone::clone));
        let launch = Launch {
            kernel: kernel.clone(),
            uniforms: params.words(),
            bindings,
            grid: grid(params.count.div_ceil(64) as usize),
            flops: 0,
            // The metrics and the loss scale decide whether there is an update.
            serial_steps: 2 + u32::from(op.scaled),
        };
        lowering.launch(named.metrics, launch);
    }
    Ok(())
}
