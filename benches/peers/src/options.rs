//! The command line of `bench-peers`: the workloads and peers to measure.

use clap::builder::PossibleValue;
use clap::{Parser, ValueEnum, value_parser};

/// The default adapter.
pub(crate) const DEVICE: &str = "llvmpipe";

/// Measures pyr-wgpu and its peers in alternation and prints the ratios of their speeds.
///
/// burn runs on the same Vulkan adapter as our shaders, PyTorch on the CPU like our
/// `--device cpu`. The first build of burn takes many minutes.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo bench-peers", version)]
pub(crate) struct Options {
    /// Workloads: w1 is PyramidNet-20 with alpha 24, w2 is PyramidNet-110 with alpha 48, b is the
    /// batch size; all by default
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', hide_default_value = true,
          default_values_t = ROWS)]
    pub(crate) rows: Vec<Row>,
    /// Peers; all by default. torch-compile needs a C++ compiler and Python's header files
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', hide_default_value = true,
          default_values_t = PEERS)]
    pub(crate) peers: Vec<Peer>,
    /// Measurements of each peer, each after one of ours
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Length of a measurement in seconds
    #[arg(long, value_name = "X", default_value_t = 5.0, value_parser = positive)]
    pub(crate) seconds: f64,
    /// Part of the name of the adapter that our shaders and burn use
    #[arg(long, value_name = "NAME", default_value = DEVICE)]
    pub(crate) device: String,
}

/// A workload: a network for 32x32 images in ten classes, a batch size, and training or inference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) depth: u32,
    pub(crate) alpha: u32,
    pub(crate) batch: u32,
    pub(crate) mode: &'static str,
}

impl Row {
    /// The workload as arguments of a peer: depth, alpha, batch size, mode.
    pub(crate) fn arguments(&self) -> [String; 4] {
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

const ROWS: [Row; 6] = [
    w1("w1-train-b32", 32, "train"),
    w1("w1-infer-b32", 32, "infer"),
    w1("w1-infer-b1", 1, "infer"),
    w2("w2-infer-b1", 1, "infer"),
    w2("w2-infer-b16", 16, "infer"),
    w2("w2-train-b16", 16, "train"),
];

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl ValueEnum for Row {
    fn value_variants<'a>() -> &'a [Row] {
        &ROWS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name))
    }
}

/// The software that runs a peer, which determines our device in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Platform {
    /// burn, on the adapter of our shaders.
    Burn,
    /// PyTorch, on the CPU.
    Torch,
}

/// A program that ours is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) platform: Platform,
    /// Arguments before those of the workload.
    pub(crate) arguments: &'static [&'static str],
}

const PEERS: [Peer; 3] = [
    Peer {
        name: "burn",
        platform: Platform::Burn,
        arguments: &[],
    },
    Peer {
        name: "torch",
        platform: Platform::Torch,
        arguments: &[],
    },
    Peer {
        name: "torch-compile",
        platform: Platform::Torch,
        arguments: &["--compile"],
    },
];

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl ValueEnum for Peer {
    fn value_variants<'a>() -> &'a [Peer] {
        &PEERS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name))
    }
}

/// Parses a positive number.
fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    number
        .filter(|number: &f64| *number > 0.0 && number.is_finite())
        .ok_or_else(|| "not a number above zero".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from([&["bench-peers"], words].concat())
    }

    #[test]
    fn everything_is_compared_by_default() {
        let options = parse(&[]).unwrap();
        assert_eq!(options.rows, ROWS);
        assert_eq!(options.peers, PEERS);
        assert_eq!((options.rounds, options.seconds), (3, 5.0));
        assert_eq!(options.device, "llvmpipe");
    }

    #[test]
    fn lists_choose_rows_and_peers() {
        let words = ["--rows", "w2-infer-b1,w1-train-b32", "--peers", "burn"];
        let options = parse(&[&words[..], &["--seconds", "0.5"]].concat()).unwrap();
        assert_eq!(options.rows, [ROWS[3], ROWS[0]]);
        assert_eq!(options.peers, [PEERS[0]]);
        assert_eq!(options.seconds, 0.5);
    }

    #[test]
    fn an_illegal_value_is_answered_with_the_legal_ones() {
        for (words, part) in [
            (["--rows", "w3"], "w1-train-b32, w1-infer-b32"),
            (["--peers", "burn,jax"], "burn, torch, torch-compile"),
            (["--rounds", "0"], "1.."),
            (["--seconds", "inf"], "not a number above zero"),
        ] {
            let error = parse(&words).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn names_describe_their_rows() {
        for row in &ROWS {
            let end = format!("-{}-b{}", row.mode, row.batch);
            assert!(row.name.ends_with(&end), "{}", row.name);
        }
        assert_eq!(ROWS[5].arguments(), ["110", "48", "16", "train"]);
    }
}
