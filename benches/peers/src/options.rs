//! The command line of `bench-peers`: the workloads and peers to measure.

use anyhow::{Result, bail};
use clap::builder::PossibleValue;
use clap::{Parser, ValueEnum, value_parser};

/// The default adapter.
pub(crate) const DEVICE: &str = "llvmpipe";

/// Measures pyr-wgpu and its peers in alternation and prints the ratios of their speeds.
///
/// burn runs on the same Vulkan adapter as our shaders, PyTorch and ONNX Runtime on the CPU like
/// our `--device cpu`. The first build of burn takes many minutes.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo bench-peers", version)]
pub(crate) struct Options {
    /// Workloads, here as flags of `pyr-wgpu bench`; all by default
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', hide_default_value = true,
          default_values_t = ROWS)]
    pub(crate) rows: Vec<Row>,
    /// Peers, each of which skips the workloads that it does not have; all by default
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

impl Options {
    /// The platforms that the chosen peers need for the chosen workloads.
    ///
    /// # Errors
    /// If no chosen peer has a chosen workload.
    pub(crate) fn platforms(&self) -> Result<Vec<Platform>> {
        let has_work = |peer: &&Peer| self.rows.iter().any(|row| peer.arguments(row).is_some());
        let mut platforms = Vec::new();
        for Peer { platform, .. } in self.peers.iter().filter(has_work) {
            if !platforms.contains(platform) {
                platforms.push(*platform);
            }
        }
        if platforms.is_empty() {
            bail!(
                "none of the peers has any of the workloads, so there is nothing to compare; \
                 `--help` says what each peer has"
            );
        }
        Ok(platforms)
    }
}

/// A workload: a network for images in ten classes, a batch size, and training or inference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    network: Network,
    batch: u32,
    mode: Mode,
}

/// A network, in the words of our own flags.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Network {
    depth: u32,
    alpha: f64,
    growth: &'static str,
    block: &'static str,
    image_size: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Train,
    Infer,
}

impl Row {
    /// The workload as flags of `pyr-wgpu bench`, which the Python peers take as well.
    pub(crate) fn flags(&self) -> Vec<String> {
        let Network {
            depth,
            alpha,
            growth,
            block,
            image_size,
        } = self.network;
        let flags = [
            ("--depth", depth.to_string()),
            ("--alpha", alpha.to_string()),
            ("--growth", growth.to_owned()),
            ("--block", block.to_owned()),
            ("--image-size", image_size.to_string()),
            ("--batch-size", self.batch.to_string()),
            ("--mode", self.mode.word().to_owned()),
        ];
        let words = flags.into_iter();
        words
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect()
    }

    /// The workload as arguments of burn's peer: depth, alpha, batch size, mode. None for networks
    /// that it does not have: only additive networks of basic units for 32x32 images.
    fn burn_arguments(&self) -> Option<Vec<String>> {
        let Network { depth, alpha, .. } = self.network;
        (self.network == additive(depth, alpha)).then(|| {
            vec![
                depth.to_string(),
                alpha.to_string(),
                self.batch.to_string(),
                self.mode.word().to_owned(),
            ]
        })
    }
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Mode::Train => "train",
            Mode::Infer => "infer",
        }
    }
}

/// An additive network of basic units for 32x32 images.
const fn additive(depth: u32, alpha: f64) -> Network {
    Network {
        depth,
        alpha,
        growth: "add",
        block: "basic",
        image_size: 32,
    }
}

const W1: Network = additive(20, 24.0);
const W2: Network = additive(110, 48.0);
const WIDE56: Network = additive(56, 100.0);
const WIDE110: Network = additive(110, 270.0);
const BOTTLENECK: Network = Network {
    block: "bottleneck",
    ..additive(164, 48.0)
};
const MULTIPLICATIVE: Network = Network {
    growth: "mul",
    ..additive(110, 4.75)
};
const LARGE_IMAGES: Network = Network {
    image_size: 64,
    ..additive(20, 48.0)
};

const fn train(name: &'static str, network: Network, batch: u32) -> Row {
    Row {
        name,
        network,
        batch,
        mode: Mode::Train,
    }
}

const fn infer(name: &'static str, network: Network, batch: u32) -> Row {
    Row {
        mode: Mode::Infer,
        ..train(name, network, batch)
    }
}

const ROWS: [Row; 15] = [
    train("w1-train-b32", W1, 32),
    infer("w1-infer-b32", W1, 32),
    infer("w1-infer-b1", W1, 1),
    infer("w2-infer-b1", W2, 1),
    infer("w2-infer-b16", W2, 16),
    train("w2-train-b16", W2, 16),
    train("wide56-train-b24", WIDE56, 24),
    train("wide110-train-b4", WIDE110, 4),
    infer("wide110-infer-b4", WIDE110, 4),
    train("bottleneck-train-b16", BOTTLENECK, 16),
    infer("bottleneck-infer-b16", BOTTLENECK, 16),
    train("mul-train-b16", MULTIPLICATIVE, 16),
    infer("mul-infer-b16", MULTIPLICATIVE, 16),
    train("64x64-train-b8", LARGE_IMAGES, 8),
    infer("64x64-infer-b8", LARGE_IMAGES, 8),
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
        Some(PossibleValue::new(self.name).help(self.flags().join(" ")))
    }
}

/// The software that runs a peer, which determines our device in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Platform {
    /// burn, on the adapter of our shaders.
    Burn,
    /// PyTorch and ONNX Runtime, on the CPU.
    Python,
}

/// A program that ours is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) platform: Platform,
    /// Arguments before those of the workload.
    options: &'static [&'static str],
    trains: bool,
    help: &'static str,
}

impl Peer {
    /// The peer's arguments for a workload; none if it does not have the workload.
    pub(crate) fn arguments(&self, row: &Row) -> Option<Vec<String>> {
        if row.mode == Mode::Train && !self.trains {
            return None;
        }
        let workload = match self.platform {
            Platform::Burn => row.burn_arguments()?,
            Platform::Python => row.flags(),
        };
        let options = self.options.iter().map(|&option| option.to_owned());
        Some(options.chain(workload).collect())
    }
}

const PEERS: [Peer; 4] = [
    Peer {
        name: "burn",
        platform: Platform::Burn,
        options: &[],
        trains: true,
        help: "burn on `--device`; only additive networks of basic units at 32x32",
    },
    Peer {
        name: "torch",
        platform: Platform::Python,
        options: &[],
        trains: true,
        help: "PyTorch on the CPU",
    },
    Peer {
        name: "torch-compile",
        platform: Platform::Python,
        options: &["--compile"],
        trains: true,
        help: "PyTorch's compiler on the CPU; needs a C++ compiler and Python's header files",
    },
    Peer {
        name: "onnxruntime",
        platform: Platform::Python,
        options: &["--onnxruntime"],
        trains: false,
        help: "ONNX Runtime on the CPU; only inference",
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
        Some(PossibleValue::new(self.name).help(self.help))
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
            (
                ["--peers", "burn,jax"],
                "burn, torch, torch-compile, onnxruntime",
            ),
            (["--rounds", "0"], "1.."),
            (["--seconds", "inf"], "not a number above zero"),
        ] {
            let error = parse(&words).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn help_gives_the_flags_of_each_row() {
        let help = <Options as clap::CommandFactory>::command().render_long_help();
        let help = help.to_string();
        for part in [
            "w2-infer-b16",
            "--depth 110 --alpha 48 --growth add --block basic --image-size 32 --batch-size 16",
            "onnxruntime",
        ] {
            assert!(help.contains(part), "{help}");
        }
    }

    #[test]
    fn names_describe_their_rows() {
        for row in &ROWS {
            let end = format!("-{}-b{}", row.mode.word(), row.batch);
            assert!(row.name.ends_with(&end), "{}", row.name);
        }
    }

    /// The row and the peer with these names.
    fn cell(row: &str, peer: &str) -> (Row, Peer) {
        let options = parse(&["--rows", row, "--peers", peer]).unwrap();
        (options.rows[0], options.peers[0])
    }

    #[test]
    fn peers_get_the_workload_in_their_own_arguments() {
        for (row, peer, expected) in [
            ("w2-train-b16", "burn", "110 48 16 train"),
            ("wide56-train-b24", "burn", "56 100 24 train"),
            (
                "mul-train-b16",
                "torch",
                "--depth 110 --alpha 4.75 --growth mul --block basic --image-size 32 \
                 --batch-size 16 --mode train",
            ),
            (
                "bottleneck-train-b16",
                "torch-compile",
                "--compile --depth 164 --alpha 48 --growth add --block bottleneck \
                 --image-size 32 --batch-size 16 --mode train",
            ),
            (
                "64x64-infer-b8",
                "onnxruntime",
                "--onnxruntime --depth 20 --alpha 48 --growth add --block basic \
                 --image-size 64 --batch-size 8 --mode infer",
            ),
        ] {
            let (row, peer) = cell(row, peer);
            assert_eq!(peer.arguments(&row).unwrap().join(" "), expected);
        }
    }

    #[test]
    fn peers_skip_the_workloads_that_they_do_not_have() {
        for (row, peer) in [
            ("bottleneck-train-b16", "burn"),
            ("mul-infer-b16", "burn"),
            ("64x64-train-b8", "burn"),
            ("w1-train-b32", "onnxruntime"),
        ] {
            let (row, peer) = cell(row, peer);
            assert_eq!(peer.arguments(&row), None, "{row} {peer}");
        }
    }

    #[test]
    fn only_platforms_with_work_are_needed() {
        let platforms = |rows, peers| parse(&["--rows", rows, "--peers", peers])?.platforms();
        let python = platforms("mul-infer-b16", "burn,torch,onnxruntime").unwrap();
        assert_eq!(python, [Platform::Python]);
        let both = platforms("w1-infer-b1,mul-infer-b16", "burn,onnxruntime").unwrap();
        assert_eq!(both, [Platform::Burn, Platform::Python]);
        let error = platforms("w1-train-b32", "onnxruntime").unwrap_err();
        assert!(error.to_string().contains("nothing to compare"), "{error}");
    }
}
