//! Single NumPy arrays: inputs, logits and labels for comparisons with other programs.
//!
//! Reads little- and big-endian floats of 4 and 8 bytes as `f32`, integers of 4 and 8 bytes
//! as `i64`, in C order or Fortran order (converted to C order).
//! Other types, such as half precision, strings and pickled objects, are an error that names them.

use std::io;

use npyz::{DType, NpyFile, NpyHeader, Order, TypeChar};

use super::{CheckpointError, StoredTensor, Values};

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
    let mut rest = bytes;
    let header = NpyHeader::from_reader(&mut rest)
        .map_err(|cause| error(format!("{cause}; write it with numpy.save")))?;
    let (kind, size) = match header.dtype() {
        DType::Plain(plain) => (plain.type_char(), plain.size_field() as usize),
        other => return Err(wrong_type(&other)),
    };
    let shape: Option<Vec<usize>> = header
        .shape()
        .iter()
        .map(|extent| usize::try_from(*extent).ok())
        .collect();
    let count = |shape: &Vec<usize>| {
        let factors = shape.iter().chain([&size]);
        factors.copied().try_fold(1usize, usize::checked_mul)
    };
    // Checked before anything is allocated: a damaged header may describe any size.
    let shape = match shape {
        Some(shape) if count(&shape) == Some(rest.len()) => shape,
        _ => {
            return Err(error(format!(
                "its header describes {} elements {:?} of {size} bytes, but {} bytes follow; \
                 copy the file again",
                header.dtype().descr(),
                header.shape(),
                rest.len()
            )));
        }
    };
    let strides = match header.order() {
        Order::C => None,
        Order::Fortran => Some(header.strides().to_vec()),
    };
    let dtype = header.dtype();
    let file = NpyFile::with_header(header, rest);
    let values = match (kind, size) {
        (TypeChar::Float, 4) => Values::F32(file.into_vec::<f32>().map_err(unreadable)?),
        (TypeChar::Float, 8) => {
            let wide = file.into_vec::<f64>().map_err(unreadable)?;
            Values::F32(wide.into_iter().map(|value| value as f32).collect())
        }
        (TypeChar::Int, 8) => Values::I64(file.into_vec::<i64>().map_err(unreadable)?),
        (TypeChar::Int, 4) => {
            let narrow = file.into_vec::<i32>().map_err(unreadable)?;
            Values::I64(narrow.into_iter().map(i64::from).collect())
        }
        _ => return Err(wrong_type(&dtype)),
    };
    let values = match (strides, values) {
        (None, values) => values,
        (Some(strides), Values::F32(values)) => Values::F32(to_c_order(&shape, &strides, &values)),
        (Some(strides), Values::I64(values)) => Values::I64(to_c_order(&shape, &strides, &values)),
    };
    Ok(StoredTensor::new(shape, values))
}

/// Reorders values whose element [i, j, ..] is at i * strides[0] + j * strides[1] + ...
fn to_c_order<T: Copy>(shape: &[usize], strides: &[u64], values: &[T]) -> Vec<T> {
    let mut ordered = Vec::with_capacity(values.len());
    let mut index = vec![0; shape.len()];
    for _ in values {
        let terms = index
            .iter()
            .zip(strides)
            .map(|(at, stride)| at * *stride as usize);
        ordered.push(values[terms.sum::<usize>()]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    ordered
}

fn error(reason: String) -> CheckpointError {
    CheckpointError::Npy { reason }
}

fn unreadable(cause: io::Error) -> CheckpointError {
    error(format!("{cause}; write it again with numpy.save"))
}

fn wrong_type(dtype: &DType) -> CheckpointError {
    error(format!(
        "its elements are {}; convert images and logits with .astype('float32'), labels with \
         .astype('int64')",
        dtype.descr()
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

        let wide = flat(&[0.1f64, 1e300], f64::to_le_bytes);
        let read = read_npy(&file("<f8", false, "(2,)", &wide)).unwrap();
        assert_eq!(read, StoredTensor::f32(vec![2], vec![0.1, f32::INFINITY]));
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
        assert!(message(&[]).contains("numpy.save"));
    }
}
