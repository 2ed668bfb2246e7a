//! Host half of `shaders/sgd.wgsl`, `shaders/accumulate.wgsl` and
//! `shaders/find_overflow.wgsl`: one dispatch over whole arenas, or a few where an arena is larger than a binding may be.

use super::grid;
use super::lower::{Launch, Lowering};
use super::shader::{Shader, parameters};
use crate::graph::ops::Sgd;
use crate::graph::{Node, ValueId};
use crate::program::Access::{Read, Write};
use crate::program::{Access, Binding, Kernel, OFFSET_ALIGNMENT};

const SGD: Shader = Shader {
    name: "sgd",
    text: include_str!("../../shaders/sgd.wgsl"),
    bindings: &[Write, Read, Write, Write, Read, Read],
    subgroups: false,
};

const ACCUMULATE: Shader = Shader {
    name: "accumulate",
    text: include_str!("../../shaders/accumulate.wgsl"),
    bindings: &[Write, Read],
    subgroups: false,
};

const FIND_OVERFLOW: Shader = Shader {
    name: "find_overflow",
    text: include_str!("../../shaders/find_overflow.wgsl"),
    bindings: &[Read, Write],
    subgroups: false,
};

parameters! {
    struct Params {
        /// Groups of four.
        count,
    }
}

pub(super) fn sgd(lowering: &mut Lowering<'_>, op: &Sgd, node: &Node) {
    let n = op.count(node.inputs.len());
    let operands = [
        (&node.inputs[..n], Write),
        (&node.inputs[n..2 * n], Read),
        (&node.inputs[2 * n..3 * n], Write),
    ];
    let [metrics, step] = [
        lowering.write(node.inputs[3 * n]),
        lowering.read(node.inputs[3 * n + 1]),
    ];
    // Where the loss is not scaled the shader does not read its scale.
    let scale = match op.scaled {
        true => lowering.read(node.inputs[3 * n + 2]),
        false => step.clone(),
    };
    let kernel = SGD.variant(&[("SCALED", u32::from(op.scaled))]);
    for mut bindings in parts(lowering, &operands) {
        bindings.extend([metrics.clone(), step.clone(), scale.clone()]);
        launch(lowering, &kernel, node.outputs[2 * n], bindings);
    }
}

pub(super) fn accumulate(lowering: &mut Lowering<'_>, node: &Node) {
    let (sums, gradients) = node.inputs.split_at(node.inputs.len() / 2);
    for bindings in parts(lowering, &[(sums, Write), (gradients, Read)]) {
        launch(lowering, &ACCUMULATE.kernel(), sums[0], bindings);
    }
}

/// Looks for gradients that are NaN or infinite.
pub(super) fn find_overflow(lowering: &mut Lowering<'_>, node: &Node) {
    let (scale, gradients) = node.inputs.split_last().expect("the scale is an operand");
    let found = lowering.write(*scale);
    for mut bindings in parts(lowering, &[(gradients, Read)]) {
        bindings.push(found.clone());
        launch(lowering, &FIND_OVERFLOW.kernel(), *scale, bindings);
    }
}

/// The first binding says how much there is to do.
fn launch(lowering: &mut Lowering<'_>, kernel: &Kernel, of: ValueId, bindings: Vec<Binding>) {
    let count = bindings[0].bytes / 16;
    let launch = Launch {
        kernel: kernel.clone(),
        uniforms: Params {
            count: count as u32,
        }
        .words(),
        bindings,
        grid: grid((count as usize).div_ceil(64)),
        flops: 0,
    };
    lowering.launch(of, launch);
}

/// Bindings that cover runs of values which lie one after another in memory, the same runs
/// for every operand, each at most as large as a binding may be.
fn parts(lowering: &Lowering<'_>, operands: &[(&[ValueId], Access)]) -> Vec<Vec<Binding>> {
    let limit = lowering.target.max_binding / OFFSET_ALIGNMENT * OFFSET_ALIGNMENT;
    let bind = |(ids, access): &(&[ValueId], Access), index: usize| match access {
        Read => lowering.read(ids[index]),
        Write => lowering.write(ids[index]),
    };
    let mut runs: Vec<Vec<Binding>> = Vec::new();
    for index in 0..operands[0].0.len() {
        let next: Vec<Binding> = operands
            .iter()
            .map(|operand| bind(operand, index))
            .collect();
        match runs.last_mut().filter(|run| follows(run, &next)) {
            Some(run) => {
                for (run, next) in run.iter_mut().zip(&next) {
                    run.bytes = next.offset + next.bytes - run.offset;
                }
            }
            None => runs.push(next),
        }
    }
    runs.iter().flat_map(|run| split(run, limit)).collect()
}

/// Whether each value of `next` lies right behind its run, up to alignment.
fn follows(run: &[Binding], next: &[Binding]) -> bool {
    let pairs = run.iter().zip(next);
    pairs.into_iter().all(|(run, next)| {
        let end = (run.offset + run.bytes).next_multiple_of(OFFSET_ALIGNMENT);
        run.buffer == next.buffer && next.offset == end
    })
}

/// Cuts a run where bindings would become too large.
fn split(run: &[Binding], limit: u64) -> Vec<Vec<Binding>> {
    let bytes = run[0].bytes;
    let part = |start: u64| {
        let cut = |binding: &Binding| Binding {
            offset: binding.offset + start,
            bytes: limit.min(bytes - start),
            ..binding.clone()
        };
        run.iter().map(cut).collect()
    };
    (0..bytes).step_by(limit as usize).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::super::shader::check_twin;
    use super::*;

    #[test]
    fn shaders_agree_with_their_host_half() {
        check_twin(&SGD, Params::NAMES);
        check_twin(&ACCUMULATE, Params::NAMES);
        check_twin(&FIND_OVERFLOW, Params::NAMES);
    }
}
