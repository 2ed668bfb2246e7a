//! What `bench-peers` can compare, and the arguments that choose from it.

use crate::command::Failure;
use crate::values::{named, pairs, positive};

/// How to call it.
pub(crate) const HELP: &str = "\
Options of bench-peers:
  --rows NAME,...   Of w1-train-b32, w1-infer-b32, w1-infer-b1, w2-infer-b1, w2-infer-b16 and
                    w2-train-b16: w1 is PyramidNet-20 with alpha 24, w2 is PyramidNet-110 with
                    alpha 48, b the batch; all unless given
  --peers NAME,...  Of burn, torch and torch-compile; all unless given
  --rounds N        Measurements of each, by turns with ours [3]
  --seconds X       Length of a measurement [5]
  --device NAME     Part of the name of the adapter for our shaders and burn [llvmpipe]
";

/// The adapter that is compared on unless another is asked for.
pub(super) const DEVICE: &str = "llvmpipe";

/// A workload: a network for pictures of 32x32 in ten classes, and what is done with it.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) depth: u32,
    pub(super) alpha: u32,
    pub(super) batch: u32,
    pub(super) mode: &'static str,
}

impl Row {
    /// The row in the words of a peer's command line: depth, alpha, batch, mode.
    pub(super) fn words(&self) -> [String; 4] {
        [
            self.depth.to_string(),
            self.alpha.to_string(),
            self.batch.to_string(),
            self.mode.to_owned(),
        ]
    }
}

const fn w1(name: &'static str, batch: u32, mode: &'static str) -> Row {
    Row {
        name,
        depth: 20,
        alpha: 24,
        batch,
        mode,
    }
}

const fn w2(name: &'static str, batch: u32, mode: &'static str) -> Row {
    Row {
        depth: 110,
        alpha: 48,
        ..w1(name, batch, mode)
    }
}

static ROWS: [Row; 6] = [
    w1("w1-train-b32", 32, "train"),
    w1("w1-infer-b32", 32, "infer"),
    w1("w1-infer-b1", 1, "infer"),
    w2("w2-infer-b1", 1, "infer"),
    w2("w2-infer-b16", 16, "infer"),
    w2("w2-train-b16", 16, "train"),
];

/// What a peer runs on, and therefore which device of ours it is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    /// burn, on the adapter of our shaders.
    Burn,
    /// PyTorch, on the processor.
    Torch,
}

/// A program to compare with.
#[derive(Debug, PartialEq)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) runtime: Runtime,
    /// Arguments before those of the row.
    pub(super) arguments: &'static [&'static str],
}

pub(super) static PEERS: [Peer; 3] = [
    Peer {
        name: "burn",
        runtime: Runtime::Burn,
        arguments: &[],
    },
    Peer {
        name: "torch",
        runtime: Runtime::Torch,
        arguments: &[],
    },
    Peer {
        name: "torch-compile",
        runtime: Runtime::Torch,
        arguments: &["--compile"],
    },
];

/// The arguments, understood.
#[derive(Debug, PartialEq)]
pub(super) struct Options {
    pub(super) rows: Vec<&'static Row>,
    pub(super) peers: Vec<&'static Peer>,
    pub(super) rounds: u32,
    pub(super) seconds: f64,
    pub(super) device: String,
}

impl Options {
    /// Reads the arguments.
    ///
    /// # Errors
    /// With exit code 2, naming what would have been legal.
    pub(super) fn parse(arguments: &[&str]) -> Result<Options, Failure> {
        read(arguments).map_err(|message| Failure { message, code: 2 })
    }
}

fn read(arguments: &[&str]) -> Result<Options, String> {
    let mut options = Options {
        rows: ROWS.iter().collect(),
        peers: PEERS.iter().collect(),
        rounds: 3,
        seconds: 5.0,
        device: DEVICE.to_owned(),
    };
    let known = ["--rows", "--peers", "--rounds", "--seconds", "--device"];
    for (flag, value) in pairs("bench-peers", HELP, &known, arguments)? {
        match flag {
            "--rows" => options.rows = named(flag, value, &ROWS, |row| row.name)?,
            "--peers" => options.peers = named(flag, value, &PEERS, |peer| peer.name)?,
            "--rounds" => options.rounds = positive(flag, value)?,
            "--seconds" => options.seconds = positive(flag, value)?,
            _ => options.device = value.to_owned(),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(options: &Options) -> (Vec<&str>, Vec<&str>) {
        let rows = options.rows.iter().map(|row| row.name).collect();
        (rows, options.peers.iter().map(|peer| peer.name).collect())
    }

    #[test]
    fn without_arguments_all_is_compared() {
        let options = read(&[]).unwrap();
        let (rows, peers) = names(&options);
        assert_eq!(rows.len(), 6);
        assert_eq!(peers, ["burn", "torch", "torch-compile"]);
        assert_eq!((options.rounds, options.seconds), (3, 5.0));
        assert_eq!(options.device, "llvmpipe");
    }

    #[test]
    fn lists_are_in_the_order_of_the_table() {
        let words = ["--rows", "w2-infer-b1,w1-train-b32", "--peers", "burn"];
        let more = ["--rounds", "2", "--seconds", "0.5", "--device", "Radeon"];
        let options = read(&[&words[..], &more].concat()).unwrap();
        let (rows, peers) = names(&options);
        assert_eq!(rows, ["w1-train-b32", "w2-infer-b1"]);
        assert_eq!(peers, ["burn"]);
        assert_eq!((options.rounds, options.seconds), (2, 0.5));
        assert_eq!(options.device, "Radeon");
    }

    #[test]
    fn what_is_unknown_is_answered_with_what_is_known() {
        for (words, part) in [
            (&["--rows", "w3"][..], "there are w1-train-b32, w1-infer"),
            (&["--rows", ""], "there are w1"),
            (
                &["--peers", "burn,jax"],
                "`jax`; there are burn, torch, torch-compile",
            ),
            (&["--rounds", "0"], "--rounds 0"),
            (&["--seconds", "inf"], "--seconds inf"),
            (&["--rounds"], "lacks its value"),
            (&["--fast"], "no option `--fast`"),
        ] {
            let failure = Options::parse(words).unwrap_err();
            assert_eq!(failure.code, 2);
            assert!(failure.message.contains(part), "{}", failure.message);
        }
    }

    #[test]
    fn names_say_what_rows_are() {
        for row in &ROWS {
            let end = format!("-{}-b{}", row.mode, row.batch);
            assert!(row.name.ends_with(&end), "{}", row.name);
            assert!(HELP.contains(row.name), "{}", row.name);
        }
        assert_eq!(ROWS[5].words(), ["110", "48", "16", "train"]);
        for peer in &PEERS {
            assert!(HELP.contains(peer.name), "{}", peer.name);
        }
    }
}
