//! A network recorded from PyTorch on lavapipe with vectors of other widths: its subgroups then
//! have four or sixteen invocations, where those of most processors have eight.

use crate::command::{Failure, cargo, run};
use crate::facts;
use crate::test::Outcome;

/// Width in bits of lavapipe's vectors, and invocations of a subgroup.
const WIDTHS: [[&str; 2]; 2] = [["128", "4"], ["512", "16"]];

/// The test of `tests/parity.rs` that runs on an adapter.
const TEST: [&str; 7] = [
    "test",
    "--workspace",
    "--test",
    "parity",
    "--",
    "--exact",
    "subgroups_of_other_sizes_agree_with_pytorch",
];

/// Runs the test, where the set-up has installed lavapipe.
///
/// # Errors
/// If cargo cannot be started.
pub(crate) fn test() -> Result<Outcome, Failure> {
    let facts = facts::gather();
    if facts.linux.is_none() || facts.graphics_hardware {
        let reason = "lavapipe is installed on Linux only, on machines without a card";
        return Ok(Outcome::Skipped(reason.to_owned()));
    }
    for [width, subgroup] in WIDTHS {
        println!("$ LP_NATIVE_VECTOR_WIDTH={width} cargo {}", TEST.join(" "));
        let mut command = cargo(&TEST);
        command
            .env("LP_NATIVE_VECTOR_WIDTH", width)
            // Nearly all of the time is spent in compiling, which LLVM's optimisations prolong.
            .env("GALLIVM_PERF", "nopt")
            .env("PYR_WGPU_TEST_GPU", "required")
            .env("PYR_WGPU_TEST_DEVICE", "llvmpipe")
            .env("PYR_WGPU_TEST_SUBGROUP", subgroup);
        let code = run(&mut command)?;
        if code != 0 {
            return Ok(Outcome::Ended(code));
        }
    }
    Ok(Outcome::Ended(0))
}
