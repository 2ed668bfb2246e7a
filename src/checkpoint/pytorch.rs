//! Checkpoints of PyTorch (`.pth`, `.pth.tar`, `.pt`): the zip files of today, the streams of
//! pickles of before 1.6, and the archives of before 0.1.10. Pickles are parsed, not executed.
//!
//! The names of the tensors of a file are their paths through its dictionaries, such as
//! `state_dict.module.conv1.weight`. Of a trainer's dictionary, the network's tensors are those
//! beside the first convolution.

use std::collections::BTreeSet;
use std::io;

use ::safetensors::Dtype;
use pytorch_reader::{DType, PytorchError, PytorchReader, Tensor};

use super::header::check_name;
use super::{Checkpoint, CheckpointError, Format, StoredTensor, names, safetensors};
use crate::memory;
use crate::text::{first_few, printable};

/// The name by which a network is found: that of the first convolution.
const FIRST: &str = "conv1.weight";

/// The tensors of a network in an opened file.
///
/// # Errors
/// If a tensor cannot be read or used.
pub(super) fn read(
    opened: Result<PytorchReader, PytorchError>,
) -> Result<Checkpoint, CheckpointError> {
    let tensors = opened.map_err(unusable)?.into_tensors();
    let all: BTreeSet<&String> = tensors.keys().collect();
    let (root, others) = root(all.iter().map(|name| name.as_str()))?;
    let is_other = |name: &str| {
        let mut longer = others.iter().filter(|other| other.starts_with(root));
        longer.any(|other| name.starts_with(other))
    };
    let mut network: Vec<(&str, &Tensor)> = tensors
        .iter()
        .filter(|(name, _)| !is_other(name))
        .filter_map(|(name, tensor)| Some((name.strip_prefix(root)?, tensor)))
        .collect();
    network.sort_by_key(|(name, _)| *name);
    let bytes: u64 = network
        .iter()
        .map(|(_, tensor)| tensor.byte_len() as u64)
        .sum();
    // The largest tensor is held twice while it is converted.
    memory::check(bytes)?;
    let stored: Vec<&str> = network.iter().map(|(name, _)| *name).collect();
    let prefix = names::shared_prefix(&stored);
    let mut checkpoint = Checkpoint {
        format: Format::PyTorch,
        ..Checkpoint::default()
    };
    for (stored, tensor) in network {
        let name = stored.strip_prefix(prefix).unwrap_or(stored);
        check_name(name).map_err(|reason| CheckpointError::Damaged { reason })?;
        let data = tensor
            .read()
            .map_err(|error| match is_damage(error.kind()) {
                true => damaged(&error),
                false => CheckpointError::Read { source: error },
            })?;
        let values = safetensors::values(name, dtype(tensor.dtype()), &data)?;
        checkpoint.insert(
            name,
            prefix,
            StoredTensor::new(tensor.shape().to_vec(), values),
        )?;
    }
    if !others.is_empty() {
        let named: Vec<String> = others.iter().take(3).map(|o| quoted(o)).collect();
        checkpoint.notes.push(format!(
            "the file has other weights under {}; those under {} are used",
            first_few(&named, others.len()),
            quoted(root)
        ));
    }
    Ok(checkpoint)
}

/// Keys of dictionaries that hold the network that was trained, the most specific first.
const NETWORK_KEYS: [&str; 8] = [
    "",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
];

/// Words in keys of other weights than those that were trained: averages, earlier ones, and what an
/// optimiser keeps.
const OTHER_WORDS: [&str; 12] = [
    "ema",
    "swa",
    "avg",
    "average",
    "averaged",
    "teacher",
    "best",
    "init",
    "initial",
    "opt",
    "optim",
    "optimizer",
];

/// The path, with its last dot, under which the network lies, and those of other weights; empty if
/// there is no network.
///
/// # Errors
/// If the names do not tell which of several it is.
fn root<'a>(
    names: impl Iterator<Item = &'a str>,
) -> Result<(&'a str, Vec<&'a str>), CheckpointError> {
    let rank = |root: &str| {
        let mut words = root.split(['.', '_']);
        let first = root.split('.').next().unwrap_or_default();
        let key = NETWORK_KEYS.iter().position(|key| *key == first);
        match words.any(|word| OTHER_WORDS.contains(&word.to_lowercase().as_str())) {
            true => (2, 0),
            false => key.map_or((1, 0), |position| (0, position)),
        }
    };
    let mut roots: Vec<&str> = names
        .filter_map(|name| name.strip_suffix(FIRST))
        // A unit's first convolution has the same name.
        .filter(|root| !is_unit(root) && (root.is_empty() || root.ends_with('.')))
        .collect();
    roots.sort_by_key(|root| (rank(root), root.len()));
    match roots[..] {
        [first, second, ..] if rank(first) == rank(second) => {
            let named: Vec<String> = roots.iter().take(3).map(|root| quoted(root)).collect();
            Err(CheckpointError::SeveralNetworks {
                keys: first_few(&named, roots.len()),
            })
        }
        [first, ref others @ ..] => Ok((first, others.to_vec())),
        [] => Ok(("", Vec::new())),
    }
}

/// A path for messages.
fn quoted(root: &str) -> String {
    match root {
        "" => "no key".to_owned(),
        root => format!("`{}`", printable(root)),
    }
}

/// Whether a path ends with the index of a unit, as in `layer1.0.`.
fn is_unit(path: &str) -> bool {
    let last = path.trim_end_matches('.').rsplit('.').next();
    last.is_some_and(|last| !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()))
}

fn dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}

fn unusable(error: PytorchError) -> CheckpointError {
    match error {
        PytorchError::Io(source) if !is_damage(source.kind()) => CheckpointError::Read { source },
        other => damaged(&other),
    }
}

/// Whether an error of reading is about the contents of the file.
fn is_damage(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    [InvalidData, InvalidInput, Other, UnexpectedEof].contains(&kind)
}

fn damaged(error: &dyn std::error::Error) -> CheckpointError {
    CheckpointError::PyTorch {
        reason: printable(&error.to_string()),
    }
}
