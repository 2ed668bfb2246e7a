//! `pyr-wgpu convert`: a checkpoint of any format that is read, in another format.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use super::error::CliError;
use super::files;
use super::network::NetworkArgs;
use super::print_message;
use crate::checkpoint::write_atomically;
use crate::files::{LARGEST_TEXT, read_text};
use crate::memory::bytes;
use crate::model::check_classes;
use crate::onnx;
use crate::run::RunDirectory;
use crate::text::printable_path;
use crate::trained_model::{TrainedModel, checkpoint};

/// Arguments of `convert`.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// Checkpoint: safetensors, PyTorch (.pth, .pth.tar), Torch 7 (.t7) or Caffe (.caffemodel)
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// File to write; its extension, .safetensors or .onnx, is the format
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Names of the classes, one a line, if the checkpoint has none or others
    #[arg(long, value_name = "FILE")]
    class_names: Option<PathBuf>,
    /// ONNX: multiply the weights of convolutions by the batch norm after them
    #[arg(long)]
    fold: bool,
    /// ONNX: weights and arithmetic in half precision
    #[arg(long)]
    half: bool,
    #[command(flatten)]
    network: NetworkArgs,
}

#[derive(PartialEq)]
enum Format {
    Safetensors,
    Onnx,
}

/// Converts the file.
///
/// # Errors
/// If the formats or files are not as described.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    let format = format_of(&args.output)?;
    let only_onnx = [("--fold", args.fold), ("--half", args.half)];
    if let Some((flag, _)) = only_onnx.iter().find(|(_, given)| *given)
        && format != Format::Onnx
    {
        return Err(CliError::Usage(format!(
            "{flag} changes an .onnx file only; leave it out, or name an output that ends in .onnx"
        )));
    }
    if is_same_file(&args.input, &args.output) {
        return Err(CliError::Usage(format!(
            "{} is the input; name another output",
            printable_path(&args.output)
        )));
    }
    if RunDirectory::has_file(&args.output) {
        return Err(CliError::Usage(format!(
            "{} is a file of a run; name another output",
            printable_path(&args.output)
        )));
    }
    let mut model = files::load(&args.input, &args.network, true)?;
    if let Some(path) = &args.class_names {
        model.description.classes = class_names(path, &model)?;
    } else if !model.description.names_classes() {
        print_message("note: the classes have no names; --class-names FILE gives them some");
    }
    let size = match format {
        Format::Safetensors => write_safetensors(&model, &args.output)?,
        Format::Onnx => write_onnx(&model, &args)?,
    };
    print_message(&format!("network  {}", model.description.network));
    print_message(&format!(
        "wrote    {} ({})",
        printable_path(&args.output),
        bytes(size)
    ));
    Ok(())
}

/// The format of an output by its extension.
fn format_of(path: &Path) -> Result<Format, CliError> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("safetensors") => Ok(Format::Safetensors),
        Some("onnx") => Ok(Format::Onnx),
        _ => Err(CliError::Usage(format!(
            "{} names no format that can be written; end it in .safetensors or .onnx",
            printable_path(path)
        ))),
    }
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

fn write_safetensors(model: &TrainedModel, path: &Path) -> Result<u64, CliError> {
    let file = checkpoint(
        &model.network,
        &model.description,
        &model.tensors,
        model.batches_tracked,
    );
    file.save(path)?;
    length(path)
}

fn write_onnx(model: &TrainedModel, args: &Args) -> Result<u64, CliError> {
    let options = onnx::Options {
        fold_batch_norm: args.fold,
        half: args.half,
    };
    let document = onnx::to_bytes(model, options).map_err(|error| {
        CliError::Checkpoint(format!("{}: {error}", printable_path(&args.input)))
    })?;
    write_atomically(&args.output, |writer| writer.write_all(&document))?;
    length(&args.output)
}

fn length(path: &Path) -> Result<u64, CliError> {
    let metadata = fs::metadata(path);
    let metadata =
        metadata.map_err(|error| CliError::Failed(format!("{}: {error}", printable_path(path))))?;
    Ok(metadata.len())
}

/// The classes that a file names, one a line.
///
/// # Errors
/// If it cannot be read, or names not as many as the network has.
fn class_names(path: &Path, model: &TrainedModel) -> Result<Vec<String>, CliError> {
    let failed = |reason: String| CliError::Data(format!("{}: {reason}", printable_path(path)));
    let text = read_text(path, LARGEST_TEXT).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::InvalidData => "save it as UTF-8",
            _ => "name a text file with the name of a class on each line",
        };
        failed(format!("{error}; {advice}"))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    let classes = model.description.network.classes as usize;
    match names.len() {
        count if count == classes => {
            check_classes(&names).map_err(failed)?;
            Ok(names)
        }
        count => Err(failed(format!(
            "it has {count} lines for a network of {classes} classes; give each class a line"
        ))),
    }
}
