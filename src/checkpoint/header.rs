//! The header of a safetensors file: read, checked, and compared with the length of the file.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, BufRead};

use ::safetensors::tensor::Metadata;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::{CheckpointError, formats};
use crate::memory;
use crate::text::{is_unprintable, printable};

/// Reads the header, with what the crate checks: values without gap or overlap, as many as the
/// extents say. Also checks that the file is as long as the header says, before any value is read.
pub(super) fn read_header(
    reader: &mut impl BufRead,
    len: u64,
) -> Result<Metadata, CheckpointError> {
    let start = reader.fill_buf().map_err(unreadable)?;
    let start = start[..start.len().min(formats::START)].to_vec();
    let explain = |reason: String| explain(&start, reason);
    let mut header_len = [0; 8];
    if reader.read_exact(&mut header_len).is_err() {
        return Err(explain(match len {
            0 => "the file is empty".to_owned(),
            _ => format!("{len} bytes are too few for a file of tensors"),
        }));
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
    for name in &names {
        check_name(name).map_err(explain)?;
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

/// Checks that a name can be shown.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    match name.len() > MAX_NAME || name.chars().any(is_unprintable) {
        false => Ok(()),
        true => Err(format!(
            "the name of a tensor has {} bytes, or characters that cannot be shown",
            name.len()
        )),
    }
}

/// Longer headers are refused, as by the crate.
const MAX_HEADER: u64 = 100_000_000;

/// Longer names of tensors are refused, in bytes.
const MAX_NAME: usize = 1000;

/// The error of a file with these first bytes: names its format, or the damage.
fn explain(start: &[u8], reason: String) -> CheckpointError {
    // The reason may quote the header.
    let reason = printable(&reason);
    if formats::is_safetensors(start) {
        return CheckpointError::Damaged { reason };
    }
    let other = formats::recognise(start).or((start.len() >= 16).then_some((
        "it does not begin with a header",
        "name a checkpoint that ends in .safetensors",
    )));
    match other {
        Some((found, advice)) => CheckpointError::OtherFormat { found, advice },
        None => CheckpointError::Damaged { reason },
    }
}
