//! `cargo xtask bench-web`: the page's program beside ONNX Runtime Web and TensorFlow.js in the
//! same browser. The comparison itself is `benches/peers/web`.

use std::process::Command;

use crate::command::{Failure, root, succeed};
use crate::plan::Goal;
use crate::{page, setup, web};

/// How to call it.
pub(crate) const HELP: &str = "\
Options of bench-web:
  --networks NAME,...  Of w1 and w2, as above; both unless given
  --rounds N           Measurements of each, by turns with ours [3]
  --seconds X          Length of a measurement [5]
";

/// Runs the comparison; the script reads the arguments.
///
/// # Errors
/// If something cannot be brought, or a cell of the table failed.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    setup::run(Goal::Tests)?;
    web::make()?;
    // The comparison opens its browser as the page's tests do.
    page::install(&root().join("web").join("tests"))?;
    let folder = root().join("benches").join("peers").join("web");
    page::install(&folder)?;
    let mut node = Command::new("node");
    node.arg("bench.mjs").args(arguments).current_dir(&folder);
    succeed(&mut node, "the comparison")
}
