//! Host half of `shaders/sum_slices.wgsl` and `shaders/sum_many_slices.wgsl`: the second half
//! of every sum that is split.

use super::grid;
use super::lower::{Launch, Lowering, reading};
use super::shader::{Shader, parameters};
use crate::graph::ValueId;
use crate::program::Access::{Read, Write};
use crate::program::Binding;

const SHADER: Shader = Shader {
    name: "sum_slices",
    text: include_str!("../../shaders/sum_slices.wgsl"),
    bindings: &[Read, Write],
    subgroups: false,
};

const MANY: Shader = Shader {
    name: "sum_many_slices",
    text: include_str!("../../shaders/sum_many_slices.wgsl"),
    bindings: &[Read, Write],
    subgroups: false,
};

/// Slices from which on a workgroup adds them together.
const MANY_SLICES: u32 = 128;

parameters! {
    struct Params {
        /// Groups of four in one slice.
        vecs,
        slices,
    }
}

/// Sums the slices of `partial` into `y`, which fills one slice.
pub(super) fn launch(lowering: &mut Lowering<'_>, partial: &Binding, y: ValueId) {
    let destination = lowering.write(y);
    let params = Params {
        vecs: (destination.bytes / 16) as u32,
        slices: (partial.bytes / destination.bytes) as u32,
    };
    let (shader, workgroups) = match params.slices < MANY_SLICES {
        true => (&SHADER, (params.vecs as usize).div_ceil(64)),
        false => (&MANY, params.vecs as usize),
    };
    let launch = Launch {
        kernel: shader.kernel(),
        uniforms: params.words(),
        grid: grid(workgroups),
        bindings: vec![reading(partial), destination],
        flops: 0,
    };
    lowering.launch(y, launch);
}

#[cfg(test)]
mod tests {
    use super::super::shader::check_twin;
    use super::*;

    #[test]
    fn shader_agrees_with_its_host_half() {
        check_twin(&SHADER, Params::NAMES);
        check_twin(&MANY, Params::NAMES);
    }
}
