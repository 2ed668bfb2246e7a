//! The tests of matrix units, on a software adapter that has them: Mesa's lavapipe since version
//! 26, which is not in Debian 12 and 13.

use crate::command::{Failure, cargo, run as run_command};
use crate::facts;
use crate::mesa::Mesa;
use crate::test::Outcome;

/// The variable that sets cargo's runner of test programs, on the only supported platform.
const RUNNER: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";

/// Runs the tests, where the adapter can be installed.
///
/// # Errors
/// If cargo cannot be started, or Ctrl-C interrupted the set-up.
pub(crate) fn test() -> Result<Outcome, Failure> {
    let skipped = |reason: &str| Ok(Outcome::Skipped(reason.to_owned()));
    if let Some(reason) = Mesa::unsupported(&facts::gather()) {
        return skipped(reason);
    }
    let Some(mesa) = Mesa::unpack()? else {
        return skipped("there is no lavapipe with matrix units");
    };
    let runner = format!("{} {}", mesa.linker().display(), mesa.libraries().join(" "));
    let mut command = cargo(&["test", "--workspace", "--test", "matrices"]);
    command
        .env(RUNNER, runner)
        .env("VK_DRIVER_FILES", mesa.driver("lvp"))
        .env("PYR_WGPU_TEST_GPU", "required")
        .env("PYR_WGPU_TEST_MATRICES", "required");
    run_command(&mut command).map(Outcome::Ended)
}
