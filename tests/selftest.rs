//! The self-test on the available adapter: a table of all kernels, and faults by name.

mod common;

use pyr_wgpu::engine::Device;
use pyr_wgpu::graph::{Op, Precision};
use pyr_wgpu::kernels::MATRIX_NAMES;
use pyr_wgpu::program::Kernel;
use pyr_wgpu::selftest::{Check, Coverage, Outcome, Row, run_checks, test_device};

/// Checks that a table has a row for every operator with samples, in each variant, that all passed,
/// and that what is missing has a reason.
fn is_complete(device: &Device, rows: &[Row]) {
    for sample in Op::samples() {
        let name = sample.op.name();
        let mut own = rows.iter().filter(|row| row.kernel == name);
        assert!(own.any(|row| row.cases > 0), "{name} is not in the table");
    }
    let variants = |precision: Precision| {
        let own = rows.iter().filter(move |row| row.precision == precision);
        let own = own.filter(|row| row.kernel == "conv2d");
        own.filter_map(|row| row.variant.as_deref())
    };
    for precision in [Precision::F32, Precision::F16] {
        let has = |name: &str| variants(precision).any(|variant| variant == name);
        for name in ["direct", "subgroup", "tiled 128x64"] {
            assert!(has(name), "{} lacks {name} {precision}", device.name());
        }
        // Winograd's convolution is for single precision.
        assert_eq!(has("winograd 2x2"), precision == Precision::F32);
        assert!(MATRIX_NAMES.iter().any(|name| has(name)), "{precision}");
    }
    for row in rows {
        match &row.outcome {
            Outcome::Ok => {
                let largest = row.largest.expect("a case passed");
                assert!(row.cases > 0 && (0.0..=1.0).contains(&largest), "{row:?}");
            }
            Outcome::NotApplicable(reason) => assert!(row.cases == 0 && !reason.is_empty()),
            Outcome::Failed(_) | Outcome::Rejected(_) => panic!("{row:?}"),
        }
    }
}

#[test]
fn every_kernel_of_the_adapter_passes() {
    let Some(device) = common::gpu() else { return };
    let mut seen = (0, 0);
    let rows = test_device(device, Coverage::Brief, |done, total| seen = (done, total));
    let rows = pollster::block_on(rows).unwrap_or_else(|e| panic!("{e}"));
    assert!(seen.0 == seen.1 && seen.0 > 200, "{seen:?}");
    is_complete(device, &rows);
}

/// Wrong kernels and rejected ones are rows of the table; the others pass.
#[test]
fn wrong_and_rejected_kernels_are_named() {
    let samples: Vec<_> = Op::samples()
        .into_iter()
        .filter(|sample| ["relu", "add"].contains(&sample.op.name()))
        .collect();
    for (wrong, is_rejected) in [("let i = 1u + ", false), ("let i = nothing + ", true)] {
        let is_relu = |kernel: &Kernel| kernel.name.split(' ').next() == Some("relu");
        let Some(device) = common::faulty_gpu(is_relu, ["let i = ", wrong]) else {
            return;
        };
        let checks = Check::all(&samples, &device);
        let rows = run_checks(&device, &checks, |_, _| ());
        let rows = pollster::block_on(rows).unwrap_or_else(|e| panic!("{e}"));
        for row in rows {
            let is_expected = match (row.kernel.as_str(), &row.outcome) {
                ("relu", Outcome::Failed(text)) => !is_rejected && text.contains("reference"),
                ("relu", Outcome::Rejected(text)) => is_rejected && text.contains("nothing"),
                (name, outcome) => name != "relu" && *outcome == Outcome::Ok,
            };
            assert!(is_expected, "{row:?}");
        }
    }
}
