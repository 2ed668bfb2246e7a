//! `cargo xtask bench-web`: the page's program beside ONNX Runtime Web and TensorFlow.js in the
//! same browser. The comparison itself is `benches/peers/web`.

use std::process::Command;

use crate::command::{Failure, root, succeed};
use crate::plan::Goal;
use crate::values::{named, pairs, positive};
use crate::{page, setup, web};

/// How to call it.
pub(crate) const HELP: &str = "\
Options of bench-web:
  --networks NAME,...  Of w1 and w2, as above; both unless given
  --rounds N           Measurements of each, by turns with ours [3]
  --seconds X          Length of a measurement [5]
";

/// The networks: depth and alpha.
static NETWORKS: [(&str, u32, u32); 2] = [("w1", 20, 24), ("w2", 110, 48)];

/// What the script is told, word by word: rounds, seconds, and name, depth and alpha of networks.
fn words(arguments: &[&str]) -> Result<Vec<String>, String> {
    let mut networks: Vec<_> = NETWORKS.iter().collect();
    let (mut rounds, mut seconds) = (3_u32, 5.0_f64);
    let known = ["--networks", "--rounds", "--seconds"];
    for (flag, value) in pairs("bench-web", HELP, &known, arguments)? {
        match flag {
            "--networks" => networks = named(flag, value, &NETWORKS, |network| network.0)?,
            "--rounds" => rounds = positive(flag, value)?,
            _ => seconds = positive(flag, value)?,
        }
    }
    let named = networks
        .iter()
        .map(|(name, depth, alpha)| format!("{name},{depth},{alpha}"));
    let numbers = [rounds.to_string(), seconds.to_string()];
    Ok(numbers.into_iter().chain(named).collect())
}

/// Runs the comparison.
///
/// # Errors
/// If the arguments mean nothing, something cannot be brought, or a cell of the table failed.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    let words = words(arguments).map_err(|message| Failure { message, code: 2 })?;
    setup::run(Goal::Tests)?;
    web::make()?;
    // The comparison opens its browser as the page's tests do.
    page::install(&root().join("web").join("tests"))?;
    let folder = root().join("benches").join("peers").join("web");
    page::install(&folder)?;
    let mut node = Command::new("node");
    node.arg("bench.mjs").args(words).current_dir(&folder);
    succeed(&mut node, "the comparison")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_told_numbers_and_networks() {
        assert_eq!(words(&[]).unwrap(), ["3", "5", "w1,20,24", "w2,110,48"]);
        let chosen = words(&["--networks", "w2", "--rounds", "7", "--seconds", "0.5"]);
        assert_eq!(chosen.unwrap(), ["7", "0.5", "w2,110,48"]);
        for (arguments, part) in [
            (&["w1"][..], "no option `w1`"),
            (&["--networks", "w3"], "there are w1, w2"),
            (&["--rounds", "1.5"], "--rounds 1.5"),
        ] {
            let message = words(arguments).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
