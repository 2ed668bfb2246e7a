//! Single NumPy arrays: inputs, logits and labels for comparisons with other programs.
//!
//! Reads little- and big-endian floats of 4 and 8 bytes as `f32`, integers of 4 and 8 bytes
//! as `i64`, in C order or Fortran order (converted to C order).
//! Other types, such as half precision, strings and pickled objects, are an error that names them.
//!
//! A file is a magic number, a version, the length of the header, the header, and the values.
//! The header is a Python dictionary of three known keys, and nothing else is accepted.

use std::io::BufRead;

#[cfg(not(target_arch = "wasm32"))]
use super::safetensors::write_values;
use super::safetensors::{collect, narrow};
use super::{CheckpointError, StoredTensor, Values, formats};
use crate::memory;

/// Longer headers are refused: NumPy's are about 100 bytes.
const MAX_HEADER: usize = 1 << 16;

/// NumPy's own limit.
const MAX_AXES: usize = 64;

/// Reads a `.npy` file.
///
/// # Errors
/// If the bytes are not such a file, hold another type, or do not match the header's shape.
///
/// ```
/// use pyr_wgpu::checkpoint::read_npy;
///
/// let bytes = std::fs::read("tests/golden/additive_basic.logits.npy").unwrap();
/// assert_eq!(read_npy(&bytes).unwrap().shape(), [4, 10]);
/// ```
pub fn read_npy(bytes: &[u8]) -> Result<StoredTensor, CheckpointError> {
    read(&mut &*bytes, bytes.len() as u64)
}

/// Writes a `.npy` file, version 1.0: little-endian, in C order.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn write(writer: &mut dyn std::io::Write, tensor: &StoredTensor) -> std::io::Result<()> {
    let descr = match tensor.values() {
        Values::F32(_) => "<f4",
        Values::I64(_) => "<i8",
    };
    let extents: Vec<String> = tensor.shape().iter().map(|e| format!("{e},")).collect();
    let mut header = format!(
        "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}",
        extents.join(" ")
    );
    // Magic number, version and length take ten bytes; values begin at a multiple of 64.
    let len = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header = format!("{header:<width$}\n", width = len - 1);
    writer.write_all(b"\x93NUMPY\x01\0")?;
    writer.write_all(&(len as u16).to_le_bytes())?;
    writer.write_all(header.as_bytes())?;
    match tensor.values() {
        Values::F32(values) => write_values(writer, values, |value| value.to_le_bytes()),
        Values::I64(values) => write_values(writer, values, |value| value.to_le_bytes()),
    }
}

/// Reads a `.npy` file of `len` bytes.
pub(super) fn read(reader: &mut impl BufRead, len: u64) -> Result<StoredTensor, CheckpointError> {
    let (header, start) = read_header(reader)?;
    let Header { descr, shape, .. } = &header;
    let (big_endian, kind) = match descr.split_at_checked(1) {
        Some((order @ ("<" | ">"), kind)) => (order == ">", kind),
        _ => (false, descr.as_str()),
    };
    let size: u64 = match kind {
        "f4" | "i4" => 4,
        "f8" | "i8" => 8,
        _ => return Err(wrong_type(descr)),
    };
    let factors = shape.iter().map(|extent| *extent as u64).chain([size]);
    let needed = factors.into_iter().try_fold(1, u64::checked_mul);
    let follow = len.saturating_sub(start);
    // Checked before anything is allocated: a damaged header may describe any size.
    if needed != Some(follow) {
        return Err(error(format!(
            "its header describes {descr} elements {shape:?} of {size} bytes, but {follow} bytes \
             follow; copy the file again"
        )));
    }
    memory::check(2 * follow)?;
    let mut data = memory::zeros(follow as usize)?;
    let read = reader.read_exact(&mut data);
    read.map_err(|source| CheckpointError::Read { source })?;
    if big_endian {
        data.chunks_exact_mut(size as usize)
            .for_each(<[u8]>::reverse);
    }
    let values = match kind {
        "f4" => Values::F32(header.in_c_order(collect(&data, f32::from_le_bytes))),
        "f8" => {
            let wide = header.in_c_order(collect(&data, f64::from_le_bytes));
            Values::F32(narrow("the array", &wide)?)
        }
        "i4" => Values::I64(header.in_c_order(collect(&data, |b| i32::from_le_bytes(b).into()))),
        _ => Values::I64(header.in_c_order(collect(&data, i64::from_le_bytes))),
    };
    Ok(StoredTensor::new(header.shape, values))
}

/// What a header says.
#[derive(Debug)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// The values in C order: the last index varies fastest.
    fn in_c_order<T: Copy>(&self, values: Vec<T>) -> Vec<T> {
        if !self.fortran_order {
            return values;
        }
        let mut ordered = Vec::with_capacity(values.len());
        let mut index = vec![0; self.shape.len()];
        for _ in &values {
            let axes = self.shape.iter().zip(&index).rev();
            ordered.push(values[axes.fold(0, |at, (extent, i)| at * extent + i)]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < self.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        ordered
    }
}

/// The header, and the number of bytes up to its end.
fn read_header(reader: &mut impl BufRead) -> Result<(Header, u64), CheckpointError> {
    let start = reader.fill_buf();
    let start = start.map_err(|source| CheckpointError::Read { source })?;
    let start = &start[..start.len().min(formats::START)];
    if !start.starts_with(b"\x93NUMPY") {
        let found = match (formats::recognise(start), start) {
            (_, []) => "the file is empty",
            _ if formats::is_safetensors(start) => "this is a safetensors file",
            (Some((found, _)), _) => found,
            (None, _) => "it does not begin as one",
        };
        return Err(error(format!("{found}; write it with numpy.save")));
    }
    let cut = |_| error("it is cut short; write it with numpy.save".to_owned());
    let mut magic = [0; 8];
    reader.read_exact(&mut magic).map_err(cut)?;
    let mut len = [0; 4];
    let field = match magic[6] {
        1 => 2,
        2 | 3 => 4,
        version => {
            return Err(error(format!(
                "its version {version} is unknown; write it with numpy.save"
            )));
        }
    };
    reader.read_exact(&mut len[..field]).map_err(cut)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > MAX_HEADER {
        return Err(error(format!(
            "its header has {len} bytes, more than {MAX_HEADER}; write it with numpy.save"
        )));
    }
    let mut text = vec![0; len];
    reader.read_exact(&mut text).map_err(cut)?;
    let text = String::from_utf8_lossy(&text);
    let start = 8 + field as u64 + len as u64;
    Ok((parse(&mut Rest(text.trim()))?, start))
}

/// The part of a header that has not been read yet.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// Skips white space and takes `word`, if it comes next.
    fn take(&mut self, word: &str) -> bool {
        self.0 = self.0.trim_start();
        let after = self.0.strip_prefix(word);
        self.0 = after.unwrap_or(self.0);
        after.is_some()
    }

    /// A string in single or double quotes.
    fn string(&mut self) -> Option<&'a str> {
        let quote = ['\'', '"']
            .into_iter()
            .find(|quote| self.take(&quote.to_string()))?;
        let (string, after) = self.0.split_once(quote)?;
        self.0 = after;
        Some(string)
    }

    fn number(&mut self) -> Option<usize> {
        self.take("");
        let end = self.0.find(|c: char| !c.is_ascii_digit());
        let (digits, after) = self.0.split_at(end.unwrap_or(self.0.len()));
        // Python 2 writes 3L.
        self.0 = after.strip_prefix('L').unwrap_or(after);
        digits.parse().ok()
    }

    /// A tuple of numbers.
    fn numbers(&mut self) -> Option<Vec<usize>> {
        let mut numbers = Vec::new();
        let mut more = self.take("(");
        while more && !self.take(")") {
            numbers.push(self.number()?);
            more = self.take(",");
            if !more {
                return self.take(")").then_some(numbers);
            }
        }
        more.then_some(numbers)
    }
}

fn parse(rest: &mut Rest<'_>) -> Result<Header, CheckpointError> {
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    let mut more = rest.take("{");
    while more && !rest.take("}") {
        let key = rest.string();
        more = rest.take(":");
        match key {
            Some("descr") if rest.take("[") => {
                return Err(wrong_type("records of several fields"));
            }
            Some("descr") => descr = rest.string().map(str::to_owned),
            Some("fortran_order") if rest.take("True") => fortran_order = Some(true),
            Some("fortran_order") => fortran_order = rest.take("False").then_some(false),
            Some("shape") => shape = rest.numbers(),
            _ => more = false,
        }
        more &= rest.take(",") || rest.0.starts_with('}');
    }
    let complete = more && rest.0.is_empty();
    match (descr, fortran_order, shape) {
        (Some(descr), Some(fortran_order), Some(shape)) if complete && shape.len() <= MAX_AXES => {
            Ok(Header {
                descr,
                fortran_order,
                shape,
            })
        }
        _ => Err(error(
            "its header is damaged, or describes more than numbers in at most 64 axes; write it \
             with numpy.save"
                .to_owned(),
        )),
    }
}

fn error(reason: String) -> CheckpointError {
    CheckpointError::Npy { reason }
}

fn wrong_type(descr: &str) -> CheckpointError {
    let kind = match descr.trim_start_matches(['<', '>', '|', '=']) {
        kind if kind.starts_with('O') => "Python objects, such as lists of different lengths",
        kind if kind.starts_with(['U', 'S', 'a']) => "text",
        _ => "of another type",
    };
    error(format!(
        "its elements are {} ({kind}); convert images and logits with .astype('float32'), labels \
         with .astype('int64')",
        descr.escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as NumPy 1 and 2 write it: magic, version 1.0, header length, header, data.
    fn file(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
        let fortran = if fortran { "True" } else { "False" };
        let mut header =
            format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn flat<T: Copy, const BYTES: usize>(values: &[T], to: fn(T) -> [u8; BYTES]) -> Vec<u8> {
        values.iter().flat_map(|value| to(*value)).collect()
    }

    #[test]
    fn the_four_types_are_read() {
        let floats = [0.5f32, -2.0, f32::NAN, 1e-40];
        let read = read_npy(&file(
            "<f4",
            false,
            "(2, 2)",
            &flat(&floats, f32::to_le_bytes),
        ));
        let (shape, values) = read.unwrap().into_parts();
        let Values::F32(values) = values else {
            panic!("{values:?}")
        };
        assert_eq!(shape, [2, 2]);
        assert_eq!(values.map_bits(), floats.to_vec().map_bits());

        let wide = flat(&[0.1f64, f64::INFINITY], f64::to_le_bytes);
        let read = read_npy(&file("<f8", false, "(2,)", &wide)).unwrap();
        assert_eq!(read, StoredTensor::f32(vec![2], vec![0.1, f32::INFINITY]));
        let wide = flat(&[0.1f64, 1e300], f64::to_le_bytes);
        let error = read_npy(&file("<f8", false, "(2,)", &wide)).unwrap_err();
        assert!(error.to_string().contains("1e300 at index 1"), "{error}");
        let big_endian = flat(&[0.25f32], f32::to_be_bytes);
        let read = read_npy(&file(">f4", false, "()", &big_endian)).unwrap();
        assert_eq!(read, StoredTensor::f32(vec![], vec![0.25]));
        let labels = flat(&[3i64, -1], i64::to_le_bytes);
        let read = read_npy(&file("<i8", false, "(2,)", &labels)).unwrap();
        assert_eq!(read, StoredTensor::i64(vec![2], vec![3, -1]));
        let labels = flat(&[9i32, -9], i32::to_le_bytes);
        let read = read_npy(&file("<i4", false, "(1, 2)", &labels)).unwrap();
        assert_eq!(read, StoredTensor::i64(vec![1, 2], vec![9, -9]));
        let read = read_npy(&file("<f4", false, "(0, 3)", &[])).unwrap();
        assert_eq!(read, StoredTensor::f32(vec![0, 3], vec![]));
    }

    trait MapBits {
        fn map_bits(&self) -> Vec<u32>;
    }

    impl MapBits for Vec<f32> {
        fn map_bits(&self) -> Vec<u32> {
            self.iter().map(|value| value.to_bits()).collect()
        }
    }

    #[test]
    fn fortran_order_is_brought_to_c_order() {
        // The array [[0, 1, 2], [3, 4, 5]], columns first.
        let columns = flat(&[0f32, 3.0, 1.0, 4.0, 2.0, 5.0], f32::to_le_bytes);
        let read = read_npy(&file("<f4", true, "(2, 3)", &columns)).unwrap();
        assert_eq!(
            read,
            StoredTensor::f32(vec![2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
        );
        // [2, 2, 2] of 0..8: the first index varies fastest in the file.
        let cube = flat(&[0i64, 4, 2, 6, 1, 5, 3, 7], i64::to_le_bytes);
        let read = read_npy(&file("<i8", true, "(2, 2, 2)", &cube)).unwrap();
        assert_eq!(read, StoredTensor::i64(vec![2, 2, 2], (0..8).collect()));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let message = |bytes: &[u8]| read_npy(bytes).unwrap_err().to_string();
        let good = file("<f4", false, "(2,)", &[0; 8]);
        for length in 0..good.len() {
            read_npy(&good[..length]).unwrap_err();
        }
        assert!(message(&good[..good.len() - 1]).contains("7 bytes follow"));
        let mut longer = good.clone();
        longer.push(0);
        assert!(message(&longer).contains("9 bytes follow"));
        let text = message(&file("|u1", false, "(2,)", &[0; 2]));
        assert!(text.contains("|u1") && text.contains("astype"), "{text}");
        assert!(message(&file("<f2", false, "(1,)", &[0; 2])).contains("<f2"));
        assert!(message(&file("<U4", false, "(1,)", &[0; 16])).contains("U4"));
        assert!(message(&file("|O", false, "(1,)", &[0; 8])).contains("O"));
        assert!(message(&file("<f4", false, "(1099511627776,)", &[0; 8])).contains("copy"));
        assert!(message(b"hello").contains("numpy.save"));
        assert!(message(&[]).contains("the file is empty; write it with numpy.save"));
    }

    /// A file of another version, with this header.
    fn raw(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let length = header.len() as u32;
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend([version, 0]);
        match version {
            1 => bytes.extend((length as u16).to_le_bytes()),
            _ => bytes.extend(length.to_le_bytes()),
        }
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn headers_of_other_writers_are_read() {
        for header in [
            "{\"shape\": (2L, 1L), \"descr\":\"<f4\",\"fortran_order\" : False}",
            " {'descr': '<f4', 'fortran_order': False, 'shape': ( 2 ,1, ) , }\n",
        ] {
            for version in 1..=3 {
                let read = read_npy(&raw(version, header, &[0; 8])).unwrap();
                assert_eq!(read, StoredTensor::f32(vec![2, 1], vec![0.0; 2]));
            }
        }
        let scalar = "{'descr': '<i8', 'fortran_order': True, 'shape': ()}";
        let read = read_npy(&raw(1, scalar, &7i64.to_le_bytes())).unwrap();
        assert_eq!(read, StoredTensor::i64(vec![], vec![7]));
    }

    #[test]
    fn other_headers_are_refused_at_once() {
        let message = |bytes: &[u8]| read_npy(bytes).unwrap_err().to_string();
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        let header = |descr: &str, shape: &str| {
            format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}")
        };
        for text in [
            header("'<f4'", &nested(30_000)),
            header("'<f4'", &"(".repeat(30_000)),
            header("'<f4'", &format!("({})", "1,".repeat(65))),
            header("'<f4'", "(2"),
            header("'<f4'", "(-2,)"),
            header("'<f4'", "(2,,)"),
            header("'<f4'", "(99999999999999999999,)"),
            header("'<f4", "(2,)"),
            header("'<f4'", "(2,)").replace("False", "Maybe"),
            header("'<f4'", "(2,)").replace("'shape'", "'other'"),
            header("'<f4'", "(2,)") + "{}",
            header("'<f4'", "(2,)").replace(", }", ""),
            String::new(),
        ] {
            let error = message(&raw(2, &text, &[0; 8]));
            assert!(error.contains("numpy.save"), "{text:.80}: {error}");
        }
        let fields = header(&nested(30_000), "(2,)");
        assert!(message(&raw(2, &fields, &[0; 8])).contains("several fields"));
        let objects = message(&raw(1, &header("'|O'", "(2,)"), &[0; 16]));
        assert!(
            objects.contains("|O") && objects.contains("Python objects"),
            "{objects}"
        );
        let shape = format!("({0}, {0}, 4)", u64::MAX);
        assert!(message(&raw(1, &header("'<f4'", &shape), &[0; 8])).contains("bytes follow"));
        let long = " ".repeat(MAX_HEADER + 1);
        assert!(message(&raw(2, &long, &[])).contains("more than 65536"));
        assert!(message(&raw(4, "", &[])).contains("version 4"));
    }
}
