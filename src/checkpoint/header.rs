//! The header of a safetensors file: read, checked, and compared with the length of the file.
//! What is not such a file is recognised by its first bytes.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, BufRead};

use ::safetensors::tensor::Metadata;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::CheckpointError;
use crate::memory;
use crate::text::{is_unprintable, printable};

/// Reads the header, with what the crate checks: values without gap or overlap, as many as the
/// extents say. Also checks that the file is as long as the header says, before any value is read.
pub(super) fn read_header(
    reader: &mut impl BufRead,
    len: u64,
) -> Result<Metadata, CheckpointError> {
    let start = reader.fill_buf().map_err(unreadable)?;
    let start = start[..start.len().min(LONGEST_START)].to_vec();
    let explain = |reason: String| explain(&start, reason);
    let mut header_len = [0; 8];
    if reader.read_exact(&mut header_len).is_err() {
        return Err(explain(format!(
            "{len} bytes are too few for a file of tensors"
        )));
    }
    let header_len = u64::from_le_bytes(header_len);
    if header_len > len.saturating_sub(8) {
        return Err(explain(format!(
            "its header is longer than its {len} bytes"
        )));
    }
    if header_len > MAX_HEADER {
        return Err(explain(format!(
            "its header has {header_len} bytes, more than {MAX_HEADER}"
        )));
    }
    let mut text = vec![0; header_len as usize];
    reader.read_exact(&mut text).map_err(unreadable)?;
    let header: Metadata =
        serde_json::from_slice(&text).map_err(|cause| explain(cause.to_string()))?;
    let Names(names) = serde_json::from_slice(&text).map_err(|cause| explain(cause.to_string()))?;
    let odd = |name: &&String| name.len() > MAX_NAME || name.chars().any(is_unprintable);
    if let Some(name) = names.iter().find(odd) {
        return Err(explain(format!(
            "the name of a tensor has {} bytes, or characters that cannot be shown",
            name.len()
        )));
    }
    if 8 + header_len + header.data_len() as u64 != len {
        return Err(explain(format!(
            "its {len} bytes are not as many as its header says"
        )));
    }
    // At most: double precision becomes single.
    memory::check(len)?;
    Ok(header)
}

pub(super) fn unreadable(source: io::Error) -> CheckpointError {
    CheckpointError::Read { source }
}

/// The keys of a header. The crate would take the last of two equal ones.
struct Names(BTreeSet<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = BTreeSet::new();
                while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
                    if names.contains(&name) {
                        return Err(A::Error::custom(format!("`{name}` occurs twice")));
                    }
                    names.insert(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// Enough of a file to recognise its format.
const LONGEST_START: usize = 32;

/// Longer headers are refused, as by the crate.
const MAX_HEADER: u64 = 100_000_000;

/// Longer names of tensors are refused, in bytes.
const MAX_NAME: usize = 1000;

/// Other formats: their first bytes, what they are, and the next step.
const OTHER_FORMATS: [(&[u8], &str, &str); 7] = [
    (
        b"PK\x03\x04",
        "this is a zip archive, perhaps a PyTorch checkpoint",
        "save its state_dict with safetensors.torch.save_file",
    ),
    (
        b"\x80\x02",
        "this is a Python pickle, perhaps an old PyTorch checkpoint",
        "save its state_dict with safetensors.torch.save_file",
    ),
    (
        b"\x93NUMPY",
        "this is a NumPy array",
        "name a checkpoint that ends in .safetensors",
    ),
    (
        b"version https://git-lfs",
        "this is a Git LFS pointer",
        "run `git lfs pull` to get the file itself",
    ),
    (
        b"<",
        "this is a web page",
        "check the address that it was downloaded from",
    ),
    (
        b"\x89PNG",
        "this is a PNG image",
        "name a checkpoint instead",
    ),
    (
        b"\xff\xd8\xff",
        "this is a JPEG image",
        "name a checkpoint instead",
    ),
];

/// The error of a file with these first bytes: names its format, or the damage.
fn explain(start: &[u8], reason: String) -> CheckpointError {
    // A header length below 2^40 followed by JSON: the file was a checkpoint.
    let was_one = start.get(8) == Some(&b'{') && start.get(5..8) == Some(&[0, 0, 0]);
    let other = OTHER_FORMATS
        .iter()
        .find(|(magic, ..)| start.starts_with(magic));
    if let (false, Some((_, found, advice))) = (was_one, other) {
        return CheckpointError::OtherFormat { found, advice };
    }
    if !was_one && start.len() >= 16 {
        return CheckpointError::OtherFormat {
            found: "it does not begin with a header",
            advice: "name a checkpoint that ends in .safetensors",
        };
    }
    // The reason may quote the header.
    CheckpointError::Damaged {
        reason: printable(&reason),
    }
}
