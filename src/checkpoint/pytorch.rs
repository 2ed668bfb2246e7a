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

/// The most bytes of tensors for a byte of the file: modules that have several names share storages,
/// and archives may be compressed, though weights hardly shrink.
const LARGEST_EXPANSION: u64 = 4;

/// The tensors of a network in an opened file of `len` bytes.
///
/// # Errors
/// If a tensor cannot be read or used.
pub(super) fn read(
    opened: Result<PytorchReader, PytorchError>,
    len: u64,
) -> Result<Checkpoint, CheckpointError> {
    let reader = opened.map_err(unusable)?;
    let stored = reader.metadata().total_data_size.unwrap_or(0);
    let tensors = reader.into_tensors();
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
    let bytes = check_storages(&network, stored, len)?;
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

/// The bytes of tensors in a file of `len` bytes whose storages have `stored` bytes in all.
///
/// A tensor may repeat elements of its storage, and tensors may share one, so that a small file could
/// fill the memory.
///
/// # Errors
/// If a tensor has more bytes than all storages, or all tensors many more than the file.
fn check_storages(
    network: &[(&str, &Tensor)],
    stored: usize,
    len: u64,
) -> Result<u64, CheckpointError> {
    let size = |(_, tensor): &(&str, &Tensor)| tensor.byte_len() as u64;
    let bytes = network.iter().map(size).sum();
    let largest = network.iter().max_by_key(|tensor| size(tensor));
    let Some((name, tensor)) = largest else {
        return Ok(bytes);
    };
    let repeats = if tensor.byte_len() > stored {
        format!("more than the {stored} bytes of all its storages")
    } else if bytes > len.saturating_mul(LARGEST_EXPANSION) {
        format!("and all its tensors {bytes} bytes in a file of {len} bytes")
    } else {
        return Ok(bytes);
    };
    Err(CheckpointError::PyTorch {
        reason: format!(
            "its tensor `{}` {:?} takes {} bytes, {repeats}: it repeats elements, which no \
             parameter does",
            printable(name),
            tensor.shape(),
            tensor.byte_len()
        ),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of PyTorch 1.5, by hand: tensors with one extent and stride over the same storage.
    fn file(tensors: &[(&str, i32, u8)], stored: u32) -> Vec<u8> {
        let pickle = |body: &[u8]| [b"\x80\x02", body, b"."].concat();
        let text = |text: &str| {
            [
                b"X",
                &(text.len() as u32).to_le_bytes()[..],
                text.as_bytes(),
            ]
            .concat()
        };
        let int = |value: i32| [b"J", &value.to_le_bytes()[..]].concat();
        let magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
        let system = [b"}", &text("little_endian")[..], b"\x88s"].concat();
        let storage = [
            &b"("[..],
            &text("storage"),
            b"ctorch\nFloatStorage\n",
            &text("0"),
            &text("cpu"),
            &int(stored as i32),
            b"NtQ",
        ];
        let entries = tensors.iter().map(|(name, extent, stride)| {
            let rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(".to_vec();
            let view = [
                &int(0)[..],
                &int(*extent),
                b"\x85K",
                &[*stride],
                b"\x85\x89}tRs",
            ];
            [text(name), rebuild, storage.concat(), view.concat()].concat()
        });
        let entries: Vec<Vec<u8>> = entries.collect();
        let keys = [b"]", &text("0")[..], b"a"].concat();
        let dictionary = [&b"}"[..], &entries.concat()].concat();
        let pickles = [magic, &b"M\xe9\x03"[..], &system, &dictionary, &keys].map(pickle);
        let count = u64::from(stored).to_le_bytes();
        [&pickles.concat(), &count[..], &vec![0; 4 * stored as usize]].concat()
    }

    #[test]
    fn tensors_that_repeat_elements_are_refused() {
        let error = |tensors, stored| {
            let read = Checkpoint::from_bytes(&file(tensors, stored));
            read.unwrap_err().to_string()
        };
        let text = error(&[("bias", 1, 1), ("x", 1 << 10, 0)], 1);
        assert!(
            text.contains("tensor `x` [1024] takes 4096 bytes"),
            "{text}"
        );
        assert!(text.contains("12 bytes of all its storages"), "{text}");
        let text = error(&[("x", 1 << 29, 0)], 1);
        assert!(
            text.contains("`x`") && text.contains("torch.save"),
            "{text}"
        );
        let many = ["a", "b", "c", "d", "e"].map(|name| (name, 10_000, 1));
        let text = error(&many, 10_000);
        assert!(text.contains("all its tensors 200000 bytes"), "{text}");
    }

    #[test]
    fn tensors_may_share_a_storage() {
        let bytes = file(&[("a", 10_000, 1), ("b", 10_000, 1), ("c", 1, 1)], 10_000);
        let read = Checkpoint::from_bytes(&bytes).unwrap();
        assert_eq!(read.shapes()["b"], [10_000]);
        assert_eq!(read.tensors.len(), 3);
    }
}
