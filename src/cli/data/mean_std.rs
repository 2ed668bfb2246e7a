//! `pyr-wgpu data mean-std`: mean and standard deviation of a folder's training images.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::json;

use super::super::cache;
use super::super::error::CliError;
use super::super::output::{print_json, print_line, print_message};
use super::ResizeArgs;
use crate::data::{self, Augmentation, DatasetKind, MEASURED, Request};

/// Arguments of `data mean-std`.
#[derive(ClapArgs)]
pub(in super::super) struct Args {
    /// Folder with DIR/train/CLASS/IMAGE and DIR/test/CLASS/IMAGE
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    resize: ResizeArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Print results and errors only
    #[arg(long, short)]
    quiet: bool,
}

/// Opens the folder as training does, which measures it, and prints the result.
///
/// # Errors
/// If the folder cannot be trained on.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    let opened = data::open(&Request {
        kind: DatasetKind::Folder,
        dir: Some(args.data),
        resize: args.resize.resize()?,
        need_train: true,
        augmentation: Augmentation::default(),
        cache: cache::listings(),
    })?;
    if !args.quiet {
        for note in &opened.notes {
            print_message(&format!("note: {note}"));
        }
    }
    let images = opened.train.map_or(0, |train| train.len());
    let measured = images.min(MEASURED);
    let bytes = [opened.mean, opened.std].map(|channels| channels.map(f64::from));
    let shares = bytes.map(|channels| channels.map(|value| value / 255.0));
    if args.json {
        let scale = |[mean, std]: [[f64; 3]; 2]| json!({"mean": mean, "std": std});
        return print_json(&json!({
            "images": images,
            "measured": measured,
            "scale_255": scale(bytes),
            "scale_1": scale(shares),
        }));
    }
    let sample = match measured < images {
        true => format!(", {measured} of them measured"),
        false => String::new(),
    };
    print_line(&format!("training images  {images}{sample}\n"))?;
    print_line("                        red    green     blue")?;
    for (name, row) in ["mean", "std"].iter().zip(0..) {
        let [r, g, b] = bytes[row];
        print_line(&format!(
            "{name:<5}of 0 to 255  {r:>10.3} {g:>8.3} {b:>8.3}"
        ))?;
    }
    for (name, row) in ["mean", "std"].iter().zip(0..) {
        let [r, g, b] = shares[row];
        print_line(&format!(
            "{name:<5}of 0 to 1    {r:>10.5} {g:>8.5} {b:>8.5}"
        ))?;
    }
    Ok(())
}
