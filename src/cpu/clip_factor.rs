//! The factor that clips gradients by their norm.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use super::columns::TASK;
use crate::graph::ops::{ClipFactor, LossScale};

/// Sums that grow independently, so that additions overlap.
const SUMS: usize = 16;

pub(super) fn run(cpu: &Cpu, op: &ClipFactor, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let divisor = match named.scale {
        Some(scale) => LossScale::from_words(call.words(scale)).scale,
        None => 1.0,
    };
    let gradients = named.gradients.iter().map(|g| call.numbers(*g));
    let parts: Vec<&[f32]> = gradients.flat_map(|numbers| numbers.chunks(TASK)).collect();
    let squares: Vec<f64> = parts
        .into_par_iter()
        .map(|part| {
            let mut sums = [0.0; SUMS];
            cpu.instructions.vectorise(
                #[inline(always)]
                || {
                    for numbers in part.chunks(SUMS) {
                        for (sum, number) in sums.iter_mut().zip(numbers) {
                            let number = f64::from(number / divisor);
                            *sum += number * number;
                        }
                    }
                },
            );
            sums.iter().sum()
        })
        .collect();
    call.result(0)[0] = op.factor(squares.iter().sum()) as f32;
}
