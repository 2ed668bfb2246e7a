//! The format of checkpoints: a JSON header with names, types, extents and offsets, then
//! the values, little-endian.
//!
//! Reading goes through the `safetensors` crate, which checks that header and values match
//! without gap or overlap. Writing is done here, because that crate orders metadata by a hash
//! that differs from run to run, and equal checkpoints should be equal files.

use std::io::{self, BufRead, Write};

use ::safetensors::Dtype;
use half::{bf16, f16};
use serde_json::{Map, Value, json};

use super::error::{FLOATS, INTEGERS};
use super::header::{read_header, unreadable};
use super::names::shared_prefix;
use super::{Checkpoint, CheckpointError, StoredTensor, Values};
use crate::memory;

/// The header is padded with spaces to a multiple of this, so that values are aligned.
const ALIGNMENT: usize = 8;

/// Reads a file of `len` bytes, tensor by tensor.
///
/// # Errors
/// If it is in another format, damaged, or holds a type that cannot be read.
pub(super) fn read(reader: &mut impl BufRead, len: u64) -> Result<Checkpoint, CheckpointError> {
    let header = read_header(reader, len)?;
    let mut checkpoint = Checkpoint::default();
    if let Some(metadata) = header.metadata() {
        let pairs = metadata
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()));
        checkpoint.metadata.extend(pairs);
    }
    // In the order of the file, so that the same file always gives the same error.
    let stored_names = header.offset_keys();
    let stored: Vec<&str> = stored_names.iter().map(String::as_str).collect();
    let prefix = shared_prefix(&stored);
    for stored_name in stored {
        let info = header
            .info(stored_name)
            .expect("the key is the header's own");
        let name = stored_name.strip_prefix(prefix).unwrap_or(stored_name);
        let mut data = memory::zeros(info.data_offsets.1 - info.data_offsets.0)?;
        reader.read_exact(&mut data).map_err(unreadable)?;
        let tensor = StoredTensor::new(info.shape.clone(), values(name, info.dtype, &data)?);
        checkpoint.insert(name, prefix, tensor)?;
    }
    Ok(checkpoint)
}

impl Checkpoint {
    /// The checkpoint as a safetensors file; equal checkpoints give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)
            .expect("writing to a vector cannot fail");
        bytes
    }

    /// Writes the checkpoint as a safetensors file.
    ///
    /// # Errors
    /// Errors of the writer.
    pub fn write(&self, writer: &mut dyn Write) -> io::Result<()> {
        // Wider elements first, so that each value is aligned to its size.
        let (wide, narrow): (Vec<_>, Vec<_>) = self
            .tensors
            .iter()
            .partition(|(_, tensor)| matches!(tensor.values, Values::I64(_)));
        let mut header = Map::new();
        if !self.metadata.is_empty() {
            header.insert("__metadata__".to_string(), json!(self.metadata));
        }
        let mut offset = 0;
        for (name, tensor) in wide.iter().chain(&narrow) {
            let (dtype, bytes) = match &tensor.values {
                Values::F32(values) => ("F32", 4 * values.len()),
                Values::I64(values) => ("I64", 8 * values.len()),
            };
            let entry = json!({
                "dtype": dtype,
                "shape": tensor.shape,
                "data_offsets": [offset, offset + bytes],
            });
            header.insert((*name).clone(), entry);
            offset += bytes;
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');

        writer.write_all(&(header.len() as u64).to_le_bytes())?;
        writer.write_all(&header)?;
        for (_, tensor) in wide.iter().chain(&narrow) {
            match &tensor.values {
                Values::F32(values) => write_values(writer, values, |value| value.to_le_bytes())?,
                Values::I64(values) => write_values(writer, values, |value| value.to_le_bytes())?,
            }
        }
        Ok(())
    }
}

/// Writes values in chunks that fit the caches.
pub(super) fn write_values<T: Copy, const BYTES: usize>(
    writer: &mut dyn Write,
    values: &[T],
    to_bytes: impl Fn(T) -> [u8; BYTES],
) -> io::Result<()> {
    let mut chunk = Vec::new();
    for values in values.chunks(1 << 16) {
        chunk.clear();
        chunk.extend(values.iter().flat_map(|value| to_bytes(*value)));
        writer.write_all(&chunk)?;
    }
    Ok(())
}

/// The values of a tensor from its bytes, little-endian; `name` is for errors and tells counters.
///
/// # Errors
/// If the type cannot be read.
pub(super) fn values(name: &str, dtype: Dtype, data: &[u8]) -> Result<Values, CheckpointError> {
    // PyTorch's counters of batches, which nothing is computed with, may have any integer type.
    let counts = name.ends_with("num_batches_tracked");
    let floats = match dtype {
        Dtype::F32 => collect(data, f32::from_le_bytes),
        Dtype::F64 => narrow(name, &collect(data, f64::from_le_bytes))?,
        Dtype::I8 if counts => return integers(data, |b| i8::from_le_bytes(b).into()),
        Dtype::U8 if counts => return integers(data, |b| u8::from_le_bytes(b).into()),
        Dtype::I16 if counts => return integers(data, |b| i16::from_le_bytes(b).into()),
        Dtype::U16 if counts => return integers(data, |b| u16::from_le_bytes(b).into()),
        Dtype::I32 if counts => return integers(data, |b| i32::from_le_bytes(b).into()),
        Dtype::U32 if counts => return integers(data, |b| u32::from_le_bytes(b).into()),
        Dtype::U64 if counts => {
            return integers(data, |b| {
                u64::from_le_bytes(b).try_into().unwrap_or(i64::MAX)
            });
        }
        Dtype::F16 => collect(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => collect(data, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        Dtype::I64 => return Ok(Values::I64(collect(data, i64::from_le_bytes))),
        other => {
            return Err(CheckpointError::TensorType {
                name: name.to_string(),
                found: other.to_string(),
                expected: if counts { INTEGERS } else { FLOATS },
            });
        }
    };
    Ok(Values::F32(floats))
}

/// Double precision as single precision.
///
/// # Errors
/// The first finite number that single precision cannot hold.
pub(super) fn narrow(name: &str, wide: &[f64]) -> Result<Vec<f32>, CheckpointError> {
    let too_large = |value: &f64| value.is_finite() && !(*value as f32).is_finite();
    match wide.iter().position(too_large) {
        Some(index) => Err(CheckpointError::Impossible {
            name: name.to_string(),
            value: wide[index],
            index,
            rule: "numbers are read in single precision, which ends at 3.4e38; scale them first",
        }),
        None => Ok(wide.iter().map(|value| *value as f32).collect()),
    }
}

fn integers<const BYTES: usize>(
    data: &[u8],
    convert: impl Fn([u8; BYTES]) -> i64,
) -> Result<Values, CheckpointError> {
    Ok(Values::I64(collect(data, convert)))
}

/// Values from their bytes.
pub(super) fn collect<T, const BYTES: usize>(
    data: &[u8],
    convert: impl Fn([u8; BYTES]) -> T,
) -> Vec<T> {
    // The crate has checked that the data are whole elements.
    data.as_chunks::<BYTES>()
        .0
        .iter()
        .map(|bytes| convert(*bytes))
        .collect()
}

#[cfg(test)]
mod tests {
    use ::safetensors::SafeTensors;

    use super::*;

    /// A file by hand: header text, then data.
    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn sample() -> Checkpoint {
        let mut sample = Checkpoint::default();
        let mut add = |name: &str, tensor| sample.tensors.insert(name.to_string(), tensor);
        let values = vec![
            1.5,
            -0.0,
            f32::MIN_POSITIVE / 2.0,
            f32::NAN,
            f32::INFINITY,
            3.0,
        ];
        add("conv1.weight", StoredTensor::f32(vec![3, 2], values));
        add(
            "bn1.num_batches_tracked",
            StoredTensor::i64(vec![], vec![i64::MIN]),
        );
        add("empty", StoredTensor::f32(vec![0, 4], vec![]));
        for key in ["one", "two", "three \"quoted\" ümlaut\n", "four"] {
            sample
                .metadata
                .insert(key.into(), format!("value of {key}"));
        }
        sample
    }

    fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
        checkpoint.tensors[name].clone().into_f32(name).unwrap()
    }

    fn bits(checkpoint: &Checkpoint, name: &str) -> Vec<u32> {
        let values = values(checkpoint, name).into_iter();
        values.map(f32::to_bits).collect()
    }

    #[test]
    fn what_is_written_is_read_bit_for_bit() {
        let sample = sample();
        let bytes = sample.to_bytes();
        assert_eq!(bytes, sample.clone().to_bytes());
        let back = Checkpoint::from_bytes(&bytes).unwrap();
        assert_eq!(back.metadata, sample.metadata);
        assert_eq!(back.shapes(), sample.shapes());
        assert_eq!(bits(&back, "conv1.weight"), bits(&sample, "conv1.weight"));
        let counter = "bn1.num_batches_tracked";
        assert_eq!(back.tensors[counter], sample.tensors[counter]);
    }

    #[test]
    fn the_crate_reads_what_is_written_here() {
        let bytes = sample().to_bytes();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let view = file.tensor("conv1.weight").unwrap();
        assert_eq!((view.dtype(), view.shape()), (Dtype::F32, &[3, 2][..]));
        assert_eq!(view.data()[..4], 1.5f32.to_le_bytes());
        // Values are aligned to their size within the file.
        let start = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert_eq!(start % 4, 0);
        let empty = Checkpoint::default().to_bytes();
        assert_eq!(
            Checkpoint::from_bytes(&empty).unwrap(),
            Checkpoint::default()
        );
    }

    #[test]
    fn other_precisions_become_single() {
        let header = r#"{"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},
            "b":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]},
            "c":{"dtype":"F64","shape":[1],"data_offsets":[16,24]},
            "d":{"dtype":"I64","shape":[],"data_offsets":[24,32]}}"#;
        let mut data = Vec::new();
        for half in [
            0x3c00u16, 0xc000, 0x0001, 0x7c00, 0x3555, 0x83ff, 0x3f80, 0xc2f7,
        ] {
            data.extend(half.to_le_bytes());
        }
        data.extend(0.1f64.to_le_bytes());
        data.extend((-5i64).to_le_bytes());
        let read = Checkpoint::from_bytes(&file(header, &data)).unwrap();
        let expected = [
            1.0,
            -2.0,
            2f32.powi(-24),
            f32::INFINITY,
            0.333_251_95,
            -1023.0 * 2f32.powi(-24),
        ];
        assert_eq!(values(&read, "a"), expected);
        assert_eq!(values(&read, "b"), [1.0, -123.5]);
        assert_eq!(values(&read, "c"), [0.1]);
        assert_eq!(read.tensors["d"], StoredTensor::i64(vec![], vec![-5]));
    }

    /// A file with tensors of one zero each.
    fn named(names: &[&str]) -> Result<Checkpoint, CheckpointError> {
        let entry = |(at, name): (usize, &&str)| {
            let offsets = [4 * at, 4 * at + 4];
            format!("{name:?}:{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":{offsets:?}}}")
        };
        let entries: Vec<String> = names.iter().enumerate().map(entry).collect();
        let header = format!("{{{}}}", entries.join(","));
        Checkpoint::from_bytes(&file(&header, &vec![0; 4 * names.len()]))
    }

    #[test]
    fn the_prefix_of_most_tensors_is_dropped() {
        for prefix in [
            "module.",
            "_orig_mod.",
            "model.",
            "state_dict.",
            "module._orig_mod.",
            "state_dict.model.module.",
        ] {
            let [weight, bias] = ["fc.weight", "fc.bias"].map(|name| [prefix, name].concat());
            let read = named(&[&weight, &bias, "ema.fc.bias"]).unwrap();
            let names: Vec<&String> = read.tensors.keys().collect();
            assert_eq!(names, ["ema.fc.bias", "fc.bias", "fc.weight"], "{prefix}");
        }
        let read = named(&["fc.weight", "fc.bias", "module.fc.bias"]).unwrap();
        assert!(read.tensors.contains_key("module.fc.bias"));
        for names in [&["module.a", "a"][..], &["module.a", "module.b", "a"]] {
            let error = named(names).unwrap_err().to_string();
            assert!(error.contains("`a` occurs twice"), "{error}");
        }
    }

    #[test]
    fn equal_and_odd_names_are_refused() {
        for names in [["a", "a"], ["a\u{1b}[2J", "b"], [&"a".repeat(1001), "b"]] {
            let error = named(&names).unwrap_err();
            assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");
        }
        // The crate accepts two descriptions of the same bytes.
        let entry = r#""a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
        let error = Checkpoint::from_bytes(&file(&format!("{{{entry},{entry}}}"), &[0; 4]));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("`a` occurs twice"), "{error}");
    }

    #[test]
    fn counters_have_any_integer_type_and_doubles_must_fit() {
        let one = |name: &str, dtype: &str, data: &[u8]| {
            let end = data.len();
            let header = format!(
                r#"{{"{name}":{{"dtype":"{dtype}","shape":[],"data_offsets":[0,{end}]}}}}"#
            );
            Checkpoint::from_bytes(&file(&header, data))
        };
        let counter = "bn1.num_batches_tracked";
        for (dtype, data, expected) in [
            ("U8", &[200][..], 200),
            ("I8", &[255], -1),
            ("U16", &[1, 2], 513),
            ("I16", &[255, 255], -1),
            ("U32", &[1, 0, 0, 1], 0x0100_0001),
            ("I32", &[7, 0, 0, 0], 7),
            ("U64", &[255; 8], i64::MAX),
            ("I64", &[255; 8], -1),
        ] {
            let read = one(counter, dtype, data).unwrap();
            let expected = StoredTensor::i64(vec![], vec![expected]);
            assert_eq!(read.tensors[counter], expected, "{dtype}");
            if dtype != "I64" {
                let error = one("fc.bias", dtype, data).unwrap_err().to_string();
                assert!(
                    error.contains("`fc.bias`") && error.contains(dtype),
                    "{error}"
                );
            }
        }
        let error = one("fc.bias", "F64", &1e39f64.to_le_bytes()).unwrap_err();
        assert!(error.to_string().contains("1e39 at index 0"), "{error}");
    }

    #[test]
    fn types_that_cannot_be_read_are_named() {
        let header = r#"{"mask":{"dtype":"BOOL","shape":[4],"data_offsets":[0,4]}}"#;
        let error = Checkpoint::from_bytes(&file(header, &[0; 4]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`mask`") && error.contains("BOOL"),
            "{error}"
        );
    }

    #[test]
    fn every_cut_is_noticed() {
        let bytes = sample().to_bytes();
        for length in 0..bytes.len() {
            let error = Checkpoint::from_bytes(&bytes[..length]).unwrap_err();
            assert!(
                matches!(error, CheckpointError::Damaged { .. }),
                "{length}: {error}"
            );
        }
        let mut longer = bytes.clone();
        longer.push(0);
        let error = Checkpoint::from_bytes(&longer).unwrap_err().to_string();
        assert!(error.contains("not as many"), "{error}");
    }

    #[test]
    fn headers_that_lie_are_noticed() {
        for (header, data) in [
            (
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
                4,
            ),
            (
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
                8,
            ),
            (
                r#"{"a":{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,4]}}"#,
                4,
            ),
            (
                r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
                4,
            ),
            (
                r#"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#,
                4,
            ),
            (r#"{"a":"#, 4),
        ] {
            let error = Checkpoint::from_bytes(&file(header, &vec![0; data])).unwrap_err();
            assert!(
                matches!(error, CheckpointError::Damaged { .. }),
                "{header}: {error}"
            );
        }
    }

    #[test]
    fn files_of_other_formats_are_recognised() {
        let message = |start: &[u8]| {
            let mut bytes = start.to_vec();
            bytes.extend([7; 100]);
            Checkpoint::from_bytes(&bytes).unwrap_err().to_string()
        };
        assert!(message(b"PK\x03\x04").contains("zip archive"));
        assert!(message(b"\x80\x02\x8a\x0a").contains("usable PyTorch"));
        assert!(message(b"<!DOCTYPE html>").contains("web page"));
        assert!(message(b"version https://git-lfs.github.com/spec/v1\n").contains("Git LFS"));
        assert!(message(b"Dear diary, today I trained").contains("begin with a header"));
        assert!(message(&[]).contains("begin with a header"));
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let good = sample().to_bytes();
        let mut state = 1u32;
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..4 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let place = (state >> 8) as usize % bytes.len();
                bytes[place] = state as u8;
            }
            // Damage in values or names cannot be detected; any other is an error.
            drop(Checkpoint::from_bytes(&bytes));
        }
    }
}
