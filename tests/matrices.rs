//! Matrix units, on adapters that have them; Mesa's software adapter does since version 26.
//!
//! The units that an adapter offers are tested with all kernels in `tests/kernels.rs`. The
//! software adapter can compute more kinds of matrices than it offers, so here it emulates cards
//! that offer those: each kind is compared with the operators' references.
//!
//! Other adapters are skipped, unless `PYR_WGPU_TEST_MATRICES` is `required`.

mod common;

use std::sync::Arc;

use common::runs::{Run, bits, finish};
use pyr_wgpu::engine::{Device, try_matrices};
use pyr_wgpu::gpu::{Checks, Gpu, Selection, adapter};
use pyr_wgpu::graph::{Op, Precision};
use pyr_wgpu::kernels::{Choices, MATRIX_NAMES};
use pyr_wgpu::program::MatrixUnit;
use pyr_wgpu::selftest::{Pair, check, stands};
use pyr_wgpu::shape::DType;
use pyr_wgpu::train::{EpochMetrics, Snapshot};

/// The adapter after the self-check of the given matrix units, as if it offered them.
fn gpu_with(units: &[MatrixUnit]) -> Option<Gpu> {
    // This decides whether an adapter is required, and which.
    let known = common::gpu()?.description()?;
    let selection = Selection {
        device: Some(known.index.to_string()),
        ..Selection::default()
    };
    let opened = pollster::block_on(async {
        let adapter = adapter::select(&selection).await?;
        let mut gpu = Gpu::open(&adapter, Checks::Off).await?;
        if gpu.description.matrices.is_empty() || !gpu.description.software() {
            return Ok(None);
        }
        gpu.description.matrices = units.to_vec();
        try_matrices(&mut gpu).await;
        Ok::<Option<Gpu>, pyr_wgpu::gpu::GpuError>(Some(gpu))
    });
    let opened = opened.unwrap_or_else(|e| panic!("{e}"));
    if opened.is_none() {
        let required = std::env::var("PYR_WGPU_TEST_MATRICES").is_ok_and(|v| v == "required");
        assert!(!required, "{} has no matrix units in software", known.name);
        eprintln!("skipped: {} has no matrix units in software", known.name);
    }
    opened
}

const fn unit(size: u32, operands: DType, subgroup: [u32; 2]) -> MatrixUnit {
    MatrixUnit {
        size,
        operands,
        subgroup,
    }
}

/// Matrices of sixteen rows, as on NVIDIA and AMD; in single precision, as on Apple; and
/// subgroups of a variable size.
#[test]
fn every_kind_of_matrices_agrees_with_the_reference() {
    for unit in [
        unit(16, DType::F16, [8, 8]),
        unit(8, DType::F32, [8, 8]),
        unit(8, DType::F16, [8, 16]),
    ] {
        let Some(gpu) = gpu_with(&[unit]) else { return };
        assert_eq!(gpu.matrices, [unit]);
        let device = Device::Gpu(Arc::new(gpu));
        // Kernels by operator, and pairs with a reduction.
        let mut checked = [0; 3];
        let mut pairs = 0;
        for sample in Op::samples() {
            let operator = match sample.op {
                Op::Conv2d(_) => 0,
                Op::Conv2dGradInput(_) => 1,
                Op::Conv2dGradWeight(_) => 2,
                _ => continue,
            };
            let matrix = |choices: &Choices| {
                let name = choices.get("");
                stands(choices) && name.is_some_and(|name| MATRIX_NAMES.contains(&name))
            };
            let done = pollster::block_on(check(&device, &sample, matrix));
            checked[operator] += done.unwrap_or_else(|e| panic!("{unit}: {e}"));
            let pair = Pair::new(&sample, unit.operands == DType::F16);
            let choices = Choices::everywhere(MATRIX_NAMES[2]);
            if let Some(pair) = pair {
                let compared = pair.check(&device, &sample, &choices, None);
                let compared = pollster::block_on(compared);
                let compared = compared.unwrap_or_else(|e| panic!("{unit}: {e}"));
                pairs += usize::from(compared.is_some());
            }
        }
        assert!(checked.iter().all(|count| *count >= 10), "{checked:?}");
        assert!(pairs > 5, "only {pairs} pairs");
    }
}

/// A unit with a wrong subgroup size skips half of the rows, and fails the self-check.
#[test]
fn a_unit_that_computes_wrong_numbers_is_refused() {
    let wrong = unit(8, DType::F16, [4, 4]);
    let Some(gpu) = gpu_with(&[wrong]) else {
        return;
    };
    assert_eq!(gpu.matrices, []);
    assert!(gpu.refused[0].1.contains("wrong"), "{:?}", gpu.refused);
    assert_eq!(gpu.check(), Ok(()));
}

/// An adapter without matrix units rejects the kernels, and remains usable.
#[test]
fn a_unit_that_is_not_there_is_refused() {
    let Some(device) = common::gpu() else { return };
    let known = device.description().expect("it is an adapter");
    if !known.matrices.is_empty() {
        return;
    }
    let selection = Selection {
        device: Some(known.index.to_string()),
        ..Selection::default()
    };
    pollster::block_on(async {
        let adapter = adapter::select(&selection).await.unwrap();
        let mut gpu = Gpu::open(&adapter, Checks::Off).await.unwrap();
        gpu.description.matrices = vec![unit(16, DType::F16, [8, 8])];
        try_matrices(&mut gpu).await;
        assert_eq!(gpu.matrices, []);
        assert_eq!(gpu.refused.len(), 1);
        assert_eq!(gpu.check(), Ok(()));
    });
}

/// A run with convolutions on matrix units learns, repeats to the bit, and stays close to a run
/// without them.
#[test]
fn a_run_by_matrix_units_learns() {
    let unit = unit(8, DType::F16, [8, 8]);
    let Some(gpu) = gpu_with(&[unit]) else { return };
    let device = Device::Gpu(Arc::new(gpu));
    let mut run = Run::new(8, 64, 8);
    run.options.passes.precision = Precision::F16;
    let [others, first, second] = [false, true, true].map(|matrices| {
        run.matrices = matrices;
        let trainer = run.trainer(&device, &run.start());
        let by_matrices = |name: &str| MATRIX_NAMES.contains(&name);
        let choices = trainer.engine().choices().iter();
        let count = choices.filter(|(_, name)| by_matrices(name)).count();
        assert_eq!(count > 10, matrices, "{count} on matrix units");
        pollster::block_on(finish(trainer))
    });
    for (a, b) in first.iter().zip(&second) {
        assert_eq!(bits(&a.1), bits(&b.1));
    }
    let losses = |epochs: &[(EpochMetrics, Snapshot)]| [0, 2].map(|at| epochs[at].0.train_loss);
    let ([early, late], [other, _]) = (losses(&first), losses(&others));
    assert!(late < 0.8 * early, "{early} {late}");
    // Weights are rounded by up to 1/2048 of their value, in eight steps.
    assert!((early - other).abs() < 0.01 * other, "{early} {other}");
}
