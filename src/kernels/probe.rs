//! Programs of no graph: those that measure an adapter's limits, and one that compares results.
//! Host half of `shaders/probe_arithmetic.wgsl`, `shaders/probe_copy.wgsl` and
//! `shaders/probe_difference.wgsl`.
//!
//! Three numbers bound the speed of a network: multiply-adds per second, bytes per second, and
//! the cost of a launch.
//! One program here exercises each of the three; the caller measures its time. No single
//! configuration is the fastest on all adapters, so callers try a few.

use super::grid;
use super::shader::{ActivationStorage, F32Storage, Shader, StorageForms, parameters, shader};
use crate::program::Access::{Read, Write};
use crate::program::{Access, Binding, BufferId, Dispatch, Lifetime, Program};
use crate::shape::{DType, LANES, Shape};

pub(super) const ARITHMETIC: Shader = shader!("probe_arithmetic", [Write], ArithmeticParams);

pub(super) const COPY: Shader = shader!("probe_copy", [Read, Write], CopyParams);

pub(super) const DIFFERENCE: Shader =
    shader!("probe_difference", [Read, Read, Write], DifferenceParams);

parameters! {
    struct ArithmeticParams {
        rounds,
        /// Float: near one.
        factor,
        /// Float: one minus the factor, so that all sequences converge to one.
        term,
    }
}

parameters! {
    struct CopyParams {
        /// Workgroups that copy; the grid may have more.
        groups,
    }
}

parameters! {
    struct DifferenceParams {
        /// Vectors of four.
        count,
        /// Pairs before the first.
        first,
    }
}

/// Multiply-adds of each sequence per iteration of the loop.
const REPEATS: u32 = 8;

/// Invocations in a workgroup of the copy kernel.
const COPY_WORKGROUP: u64 = 64;

/// Configuration of the arithmetic kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arithmetic {
    /// Invocations in a workgroup.
    pub workgroup: u32,
    /// Independent sequences of `vec4` multiply-adds in one invocation.
    pub accumulators: u32,
}

/// A program of one dispatch that only multiplies and adds; its [`Program::flops`] counts a
/// multiply-add as two operations.
pub fn arithmetic(shape: Arithmetic, workgroups: u32, rounds: u32) -> Program {
    let Arithmetic {
        workgroup,
        accumulators,
    } = shape;
    let mut program = Program::new();
    let bytes = 16 * u64::from(workgroup);
    let result = program.buffer("probe result", bytes, Lifetime::Kept);
    let kernel = program.kernel(ARITHMETIC.variant(&[
        ("WORKGROUP", workgroup),
        ("ACCUMULATORS", accumulators),
        ("REPEATS", REPEATS),
    ]));
    let params = ArithmeticParams {
        rounds,
        factor: 0.999f32.to_bits(),
        term: 0.001f32.to_bits(),
    };
    let invocations = u64::from(workgroups) * u64::from(workgroup);
    let steps = u64::from(rounds) * u64::from(REPEATS) * u64::from(accumulators);
    program.dispatches.push(Dispatch {
        kernel,
        label: "multiply-adds".to_owned(),
        uniforms: params.words(),
        bindings: vec![whole(result, bytes, Write)],
        grid: grid(workgroups as usize),
        flops: 8 * invocations * steps,
        serial_steps: 1,
    });
    program
}

/// A program of `dispatches` copies between two buffers, back and forth, so that each depends
/// on the previous one.
///
/// `bytes` is the size of one buffer, rounded up to whole workgroups; a dispatch moves twice
/// that, which is also the working set. One invocation copies `vectors` vectors of four.
pub fn copy(bytes: u64, vectors: u32, dispatches: usize) -> Program {
    let run = 16 * COPY_WORKGROUP * u64::from(vectors);
    let groups = bytes.div_ceil(run);
    let bytes = groups * run;
    let mut program = Program::new();
    let here = program.buffer("probe here", bytes, Lifetime::Kept);
    let there = program.buffer("probe there", bytes, Lifetime::Kept);
    let kernel = program.kernel(COPY.variant(&[("VECTORS", vectors)]));
    for index in 0..dispatches {
        let (from, to) = match index % 2 {
            0 => (here, there),
            _ => (there, here),
        };
        program.dispatches.push(Dispatch {
            kernel,
            label: "copy".to_owned(),
            uniforms: CopyParams {
                groups: groups as u32,
            }
            .words(),
            bindings: vec![whole(from, bytes, Read), whole(to, bytes, Write)],
            grid: grid(groups as usize),
            flops: 0,
            serial_steps: 1,
        });
    }
    program
}

/// A program of dependent dispatches with negligible work: one workgroup copies 1 KiB.
pub fn launches(dispatches: usize) -> Program {
    copy(1, 1, dispatches)
}

/// Pairs of sums that [`difference`] computes for a pair of results: one for each workgroup.
pub const DIFFERENCE_SUMS: usize = 64;

/// A program that compares kept buffers, two at a time: for each pair, [`DIFFERENCE_SUMS`] times
/// the sum of |x - y|² and the sum of |x|² over a part of their elements, in the kept buffer `sums`.
pub fn difference(pairs: &[(&str, &str, &Shape)], sums: &str) -> Program {
    let mut program = Program::new();
    let pair_bytes = 8 * DIFFERENCE_SUMS as u64;
    let sums_bytes = pair_bytes * pairs.len() as u64;
    let sums = program.buffer(sums, sums_bytes, Lifetime::Kept);
    for (number, (x, y, shape)) in pairs.iter().enumerate() {
        let storage = StorageForms {
            activation: match shape.dtype {
                DType::F16 => ActivationStorage::F16,
                DType::F32 | DType::U32 => ActivationStorage::F32,
            },
            f32: F32Storage::Vec4,
        };
        let kernel = program.kernel(DIFFERENCE.with_storage(storage, &[]));
        let bytes = shape.bytes();
        let [x, y] = [x, y].map(|name| program.buffer(name, bytes, Lifetime::Kept));
        let params = DifferenceParams {
            count: (shape.stored_len() / LANES) as u32,
            first: (number * DIFFERENCE_SUMS) as u32,
        };
        program.dispatches.push(Dispatch {
            kernel,
            label: "difference".to_owned(),
            uniforms: params.words(),
            bindings: vec![
                whole(x, bytes, Read),
                whole(y, bytes, Read),
                whole(sums, sums_bytes, Write),
            ],
            grid: [DIFFERENCE_SUMS as u32, 1, 1],
            flops: 0,
            serial_steps: 1,
        });
    }
    program
}

fn whole(buffer: BufferId, bytes: u64, access: Access) -> Binding {
    Binding {
        buffer,
        offset: 0,
        bytes,
        access,
    }
}
