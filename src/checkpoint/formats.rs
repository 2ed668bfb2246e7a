//! Formats by their first bytes: the reader that a checkpoint needs; and those that are mistaken for
//! checkpoints or arrays, so that an error can name them and the next step.

use super::caffe;

/// Enough of a file to recognise its format.
pub(super) const START: usize = 128;

const CONVERT: &str = "load it in the framework that wrote it and save the weights under \
                       PyTorch's names with safetensors.torch.save_file";
const SAVE: &str = "load it with torch.load and save its state_dict with \
                    safetensors.torch.save_file";
const UNPACK: &str = "unpack it, and name the .safetensors file";
const SWAPPED: &str = "name a checkpoint instead; images come after it";

/// The first bytes of formats, at an offset: what they are, and the next step for a checkpoint.
const FORMATS: &[(usize, &[u8], &str, &str)] = &[
    (
        0,
        b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1",
        "this is a Torch 7 file",
        CONVERT,
    ),
    (
        0,
        b"\x93NUMPY",
        "this is a NumPy array",
        "name a checkpoint that ends in .safetensors",
    ),
    (
        0,
        b"\x89HDF\r\n\x1a\n",
        "this is an HDF5 file, perhaps of Keras",
        CONVERT,
    ),
    (0, b"GGUF", "this is a GGUF file", CONVERT),
    (4, b"TFL3", "this is a TensorFlow Lite model", CONVERT),
    (
        0,
        b"\x08\x01\x12",
        "this is a TensorFlow SavedModel",
        CONVERT,
    ),
    (
        0,
        b"\0\0\x06\x08",
        "this is the index of a TensorFlow checkpoint",
        CONVERT,
    ),
    (
        0,
        b"version https://git-lfs",
        "this is a Git LFS pointer",
        "run `git lfs pull` to get the file itself",
    ),
    (0, b"\x1f\x8b", "this is a gzip archive", UNPACK),
    (0, b"BZh", "this is a bzip2 archive", UNPACK),
    (0, b"\xfd7zXZ\0", "this is an xz archive", UNPACK),
    (
        0,
        b"\x28\xb5\x2f\xfd",
        "this is a Zstandard archive",
        UNPACK,
    ),
    (0, b"7z\xbc\xaf\x27\x1c", "this is a 7-Zip archive", UNPACK),
    (0, b"Rar!", "this is a RAR archive", UNPACK),
    (0, b"\x89PNG", "this is a PNG image", SWAPPED),
    (0, b"\xff\xd8\xff", "this is a JPEG image", SWAPPED),
    (0, b"GIF8", "this is a GIF image", SWAPPED),
    (8, b"WEBP", "this is a WebP image", SWAPPED),
    (
        0,
        b"%PDF",
        "this is a PDF",
        "name a checkpoint that ends in .safetensors",
    ),
];

/// First bytes of the fields of an ONNX model, as protocol buffers write them.
const ONNX_FIELDS: &[u8] = &[0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42];

/// The readers of checkpoints.
#[derive(Debug, PartialEq)]
pub(super) enum Reader {
    /// Files of PyTorch.
    PyTorch,
    /// Files of Torch 7.
    Torch7,
    /// Files of Caffe.
    Caffe,
    /// Safetensors, and all that is none of the above, for its errors.
    Safetensors,
}

/// The reader of a file that begins with these bytes.
pub(super) fn reader(start: &[u8]) -> Reader {
    let is_npz = || start.windows(4).any(|window| window == b".npy");
    match start {
        _ if is_safetensors(start) => Reader::Safetensors,
        [b'P', b'K', 3, 4, ..] if !is_npz() => Reader::PyTorch,
        [0x80, 2..=5, ..] => Reader::PyTorch,
        // A table, or an object that begins with its version or class.
        [3, 0, 0, 0, _, _, _, _, _, _, 0, 0, 0..=5, 0, 0, 0, ..]
        | [4, 0, 0, 0, _, 0, 0, 0, _, 0, 0, 0, b'V' | b'n' | b'c', ..] => Reader::Torch7,
        _ if caffe::may_begin(start) => Reader::Caffe,
        _ => Reader::Safetensors,
    }
}

/// Whether a file begins as a safetensors file does: the length of a header below 2^40, and JSON.
pub(super) fn is_safetensors(start: &[u8]) -> bool {
    start.get(8) == Some(&b'{') && start.get(5..8) == Some(&[0, 0, 0])
}

/// What a file with these first bytes is, and the next step if it was meant as a checkpoint; `None`
/// if they are of no known format.
pub(super) fn recognise(start: &[u8]) -> Option<(&'static str, &'static str)> {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    match start {
        [b'P', b'K', 3, 4, ..] => return Some(zip(start)),
        [0x80, 2..=5, ..] => {
            let found = "this is a Python pickle, perhaps a PyTorch checkpoint";
            return Some((found, SAVE));
        }
        // The reserved bytes of a BMP are zero.
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => return Some(("this is a BMP image", SWAPPED)),
        _ => {}
    }
    let row = FORMATS.iter().find(|(at, magic, ..)| {
        let rest = start.get(*at..);
        rest.is_some_and(|rest| rest.starts_with(magic))
    });
    let is_text = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
    match (row, characters(start), start) {
        (Some((_, _, found, advice)), ..) => Some((found, advice)),
        (None, [b'<', ..], _) => Some((
            "this is a web page or XML",
            "a server may have sent it instead of the file: download the file again",
        )),
        (None, [b'{', ..], _) => Some((
            "this is JSON",
            "name a checkpoint that ends in .safetensors",
        )),
        (None, text @ [_, ..], _) if text.iter().all(is_text) => Some((
            "this is text",
            "name a checkpoint that ends in .safetensors; if this was downloaded, the server may \
             have sent a message instead of the file",
        )),
        // The version of the format, then another field of a model.
        (_, _, [0x08, 2..=32, field, ..]) if ONNX_FIELDS.contains(field) => {
            Some(("this is perhaps an ONNX model", CONVERT))
        }
        // The first node, which begins with its name.
        (_, _, [0x0a, _, 0x0a, ..] | [0x0a, 0x80..=0xff, _, 0x0a, ..]) => {
            Some(("this is perhaps a TensorFlow graph", CONVERT))
        }
        _ => None,
    }
}

/// The first bytes from the first character on, if no length of a header begins so.
fn characters(start: &[u8]) -> &[u8] {
    match start.first_chunk::<8>() {
        Some(length) if !length.contains(&0) => start.trim_ascii_start(),
        _ => &[],
    }
}

/// A zip archive, by the name of its first file.
fn zip(start: &[u8]) -> (&'static str, &'static str) {
    let has = |name: &[u8]| start.windows(name.len()).any(|window| window == name);
    if has(b".npy") {
        return (
            "this is an archive of NumPy arrays (.npz)",
            "take the arrays out with numpy.load, and save them by name with \
             safetensors.numpy.save_file",
        );
    }
    match has(b"data.pkl") {
        true => ("this is a PyTorch checkpoint", SAVE),
        false => ("this is a zip archive, perhaps a PyTorch checkpoint", SAVE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_recognised_by_their_first_bytes() {
        let zip = |name: &[u8]| [b"PK\x03\x04", &[0; 26][..], name, b"\x80\x02"].concat();
        for (start, word) in [
            (zip(b"archive/data.pkl"), "PyTorch"),
            (zip(b"conv1.weight.npy"), ".npz"),
            (zip(b"photo.png"), "zip archive"),
            (b"\x80\x02\x8a\x0al\xfc".to_vec(), "pickle"),
            (b"\x80\x05\x95".to_vec(), "pickle"),
            (b"\x89HDF\r\n\x1a\n\0".to_vec(), "HDF5"),
            (b"GGUF\x03\0\0\0".to_vec(), "GGUF"),
            (b"\x08\x07\x12\x07pytorch".to_vec(), "ONNX"),
            (b"\x08\x01\x12\xc8\x2c\x0a".to_vec(), "SavedModel"),
            (b"\x1c\0\0\0TFL3\0".to_vec(), "TensorFlow Lite"),
            (b"\x0a\x1f\x0a\x05input\x12".to_vec(), "TensorFlow graph"),
            (
                b"\0\0\x06\x08\x01\x1a\x02".to_vec(),
                "TensorFlow checkpoint",
            ),
            (
                b"version https://git-lfs.github.com/spec/v1".to_vec(),
                "git lfs pull",
            ),
            (b"\n<!DOCTYPE html><html>".to_vec(), "web page"),
            (b"\xef\xbb\xbf<!DOCTYPE html>".to_vec(), "web page"),
            (b"404: Not Found".to_vec(), "text"),
            (b"{\"error\": 1}".to_vec(), "JSON"),
        ] {
            let (found, advice) = recognise(&start).unwrap();
            let text = format!("{found}; {advice}");
            assert!(text.contains(word), "{text} instead of {word}");
        }
        for start in [
            &b""[..],
            b"\n",
            b"{",
            b"<\0\0\0\0\0\0\0",
            b"\x90\x01\0\0\0\0\0\0",
        ] {
            assert_eq!(recognise(start), None);
        }
        assert!(is_safetensors(b"\x90\x01\0\0\0\0\0\0{\"a\":"));
    }
}
