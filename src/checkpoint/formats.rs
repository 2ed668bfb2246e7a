//! Formats by their first bytes: the reader that a checkpoint needs; and those that are mistaken for
//! checkpoints or arrays, so that an error can name them and the next step.

/// Enough of a file to recognise its format: the first block of a tar archive.
pub(super) const START: usize = 512;

const CONVERT: &str = "load it in the framework that wrote it and save the weights under \
                       PyTorch's names with safetensors.torch.save_file";
const SAVE: &str = "load it with torch.load and save its state_dict with \
                    safetensors.torch.save_file";
const UNPACK: &str = "unpack it, and name the .safetensors file";
const SWAPPED: &str = "name a checkpoint instead; images come after it";
const OTHER: &str = "name a checkpoint (.safetensors, .pth, .t7 or .caffemodel)";

/// The first bytes of formats, at an offset: what they are, and the next step for a checkpoint.
const FORMATS: &[(usize, &[u8], &str, &str)] = &[
    (
        0,
        b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1",
        "this is a Torch 7 file",
        CONVERT,
    ),
    (0, b"\x93NUMPY", "this is a NumPy array", OTHER),
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
    (257, b"ustar", "this is a tar archive", UNPACK),
    (0, b"\x89PNG", "this is a PNG image", SWAPPED),
    (0, b"\xff\xd8\xff", "this is a JPEG image", SWAPPED),
    (0, b"GIF8", "this is a GIF image", SWAPPED),
    (8, b"WEBP", "this is a WebP image", SWAPPED),
    (0, b"%PDF", "this is a PDF", OTHER),
];

const PYTORCH: &str = "this is a PyTorch checkpoint";
const UNKNOWN_ZIP: &str = "this is a zip archive of a kind that is not recognised";

/// First bytes of the fields of an ONNX model, as protocol buffers write them.
const ONNX_FIELDS: &[u8] = &[0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42];

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
    let pytorch = [PYTORCH, UNKNOWN_ZIP];
    match start {
        _ if is_safetensors(start) => Reader::Safetensors,
        [b'P', b'K', 3, 4, ..] if pytorch.contains(&zip(start).0) => Reader::PyTorch,
        _ if is_pickle(start) || is_early_pytorch(start) => Reader::PyTorch,
        // A table, or an object that begins with its version or class.
        [3, 0, 0, 0, _, _, _, _, _, _, 0, 0, 0..=5, 0, 0, 0, ..]
        | [4, 0, 0, 0, _, 0, 0, 0, _, 0, 0, 0, b'V' | b'n' | b'c', ..] => Reader::Torch7,
        _ if may_be_caffe(start) => Reader::Caffe,
        _ => Reader::Safetensors,
    }
}

/// Whether a file that begins with these bytes may be a `NetParameter` of Caffe with layers.
fn may_be_caffe(start: &[u8]) -> bool {
    let after_name = match start {
        [0x0a, len @ 0..=0x7f, rest @ ..] => rest.get(usize::from(*len)..),
        _ => Some(start),
    };
    // The fields `layer` and `layers`, and `input`, which may come before them. No text has them.
    matches!(after_name, Some([0xa2, 0x06, ..] | [0x12, ..] | [0x1a, ..]))
}

/// What a zip archive is whose first file is of no known kind: it may be a checkpoint of PyTorch.
pub(super) fn unrecognised_archive(start: &[u8]) -> Option<(&'static str, &'static str)> {
    let is_zip = start.starts_with(b"PK\x03\x04");
    is_zip
        .then(|| zip(start))
        .filter(|(found, _)| *found == UNKNOWN_ZIP)
}

/// Whether a file is a tar archive that begins with one of the files of PyTorch before 0.1.10.
fn is_early_pytorch(start: &[u8]) -> bool {
    let name = start.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let names: [&[u8]; 4] = [b"sys_info", b"pickle", b"tensors", b"storages"];
    start.get(257..262) == Some(b"ustar") && names.contains(&name)
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
        _ if is_pickle(start) => {
            let found = "this is a Python pickle, perhaps a PyTorch checkpoint";
            return Some((found, SAVE));
        }
        _ if is_message_pack(start) => return Some(("this is MessagePack, as of Flax", CONVERT)),
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
        (None, [b'{', ..], _) => Some(("this is JSON", OTHER)),
        (None, text @ [_, ..], _) if text.iter().all(is_text) => Some((
            "this is text",
            "name a checkpoint that ends in .safetensors; if this was downloaded, the server may \
             have sent a message instead of the file",
        )),
        _ => Some((protocol_buffer(start)?, CONVERT)),
    }
}

/// Whether a file begins as pickles do: since protocol 2 with its number; before, with a global
/// object, or with a dictionary or a list, which is then memorised.
fn is_pickle(start: &[u8]) -> bool {
    let memorised = |rest: &[u8]| match rest {
        [b'p', digits @ ..] => {
            let count = digits.iter().take_while(|c| c.is_ascii_digit()).count();
            count > 0 && digits.get(count) == Some(&b'\n')
        }
        // The first number is 0, or 1 from Python 2.
        [b'q', 0 | 1, ..] => true,
        _ => false,
    };
    match start {
        [0x80, 2..=5, ..] => true,
        [b'(', b'd' | b'l', rest @ ..] | [b'}' | b']', rest @ ..] => memorised(rest),
        [b'c', rest @ ..] => {
            // The lines of its module and its name.
            let mut lines = rest.splitn(3, |byte| *byte == b'\n');
            let is_name = |line: &[u8]| {
                let in_name = |c: &u8| c.is_ascii_alphanumeric() || b"_.".contains(c);
                !line.is_empty() && line.iter().all(in_name)
            };
            let names = lines.by_ref().take(2).all(is_name);
            names && lines.next().is_some_and(memorised)
        }
        _ => false,
    }
}

/// Whether a file begins as a map of MessagePack whose first key is a word.
fn is_message_pack(start: &[u8]) -> bool {
    let ([0x81..=0x8f, key @ ..] | [0xde, _, _, key @ ..]) = start else {
        return false;
    };
    let key = match key {
        [length @ 0xa1..=0xbf, text @ ..] => text.get(..usize::from(length - 0xa0)),
        [0xd9, length, text @ ..] => text.get(..usize::from(*length)),
        _ => None,
    };
    key.is_some_and(|key| key.iter().all(u8::is_ascii_graphic))
}

/// What a protocol buffer is, by its first fields.
fn protocol_buffer(start: &[u8]) -> Option<&'static str> {
    match (start, field(start)?) {
        // A version, then a description or a graph with fields of its own, or the program's name.
        ([_, version @ 1..=32, ..], (0x08, rest)) => match field(rest)? {
            (0x12, inner) => match (field(inner)?, inner) {
                ((0x0a, part), _) if field(part)?.0 == 0x0a => Some("this is a Core ML model"),
                ((0x0a, part), _) if *version == 1 => matches!(field(part)?.0, 0x12 | 0x22 | 0x2a)
                    .then_some("this is a TensorFlow SavedModel"),
                (_, [b' '..=b'~', ..]) => Some("this is perhaps an ONNX model"),
                _ => None,
            },
            (key, _) => (*version > 1 && ONNX_FIELDS.contains(&key))
                .then_some("this is perhaps an ONNX model"),
        },
        // The first node, which begins with its name.
        (_, (0x0a, node)) if field(node)?.0 == 0x0a => Some("this is perhaps a TensorFlow graph"),
        _ => None,
    }
}

/// The key of the first field of a protocol buffer, and what follows its value or its length.
fn field(message: &[u8]) -> Option<(u8, &[u8])> {
    let (key, rest) = message.split_first()?;
    let length = rest.iter().take(10).position(|byte| *byte < 0x80)?;
    Some((*key, &rest[length + 1..]))
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
    let length = match start.get(26..28) {
        Some(&[low, high]) => usize::from(u16::from_le_bytes([low, high])),
        _ => 0,
    };
    let (name, content) = start
        .get(30..)
        .and_then(|rest| rest.split_at_checked(length))
        .unwrap_or_default();
    match name {
        b"data.pkl" => (PYTORCH, SAVE),
        _ if name.ends_with(b"/data.pkl") => (PYTORCH, SAVE),
        _ if name.ends_with(b".npy") => (
            "this is an archive of NumPy arrays (.npz)",
            "take the arrays out with numpy.load, and save them by name with \
             safetensors.numpy.save_file",
        ),
        b"metadata.json" | b"config.json" if content.windows(5).any(|word| word == b"keras") => {
            ("this is a Keras model", CONVERT)
        }
        b"[Content_Types].xml" => ("this is an Office document", OTHER),
        b"mimetype" => ("this is an OpenDocument file or an e-book", OTHER),
        b"META-INF/" | b"META-INF/MANIFEST.MF" => ("this is a Java archive", OTHER),
        _ => (UNKNOWN_ZIP, UNPACK),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_recognised_by_their_first_bytes() {
        let stored = |name: &str, content: &[u8]| {
            let length = (name.len() as u16).to_le_bytes();
            let header = [&b"PK\x03\x04"[..], &[0; 22], &length, &[0; 2]].concat();
            [&header, name.as_bytes(), content].concat()
        };
        let zip = |name: &str| stored(name, b"\x80\x02");
        let tar = [&b"model.safetensors"[..], &[0; 240], b"ustar\0"].concat();
        for (start, word) in [
            (zip("archive/data.pkl"), "PyTorch"),
            (zip("data.pkl"), "PyTorch"),
            (zip("conv1.weight.npy"), ".npz"),
            (zip("photo.png"), "not recognised; unpack"),
            (zip("data.pkl.txt"), "not recognised"),
            (zip("config.json"), "not recognised"),
            (
                stored("metadata.json", b"{\"keras_version\": \"3.3.3\""),
                "Keras",
            ),
            (zip("[Content_Types].xml"), "Office"),
            (b"PK\x03\x04".to_vec(), "not recognised"),
            (tar, "tar archive"),
            (b"\x81\xa6params\x82\xa4bn_1".to_vec(), "MessagePack"),
            (b"(dp0\nVconv1\np1\n".to_vec(), "pickle"),
            (b"(lp12\n".to_vec(), "pickle"),
            (b"}q\0(X\x05\0\0\0conv1".to_vec(), "pickle"),
            (b"ccollections\nOrderedDict\nq\0)R".to_vec(), "pickle"),
            (b"ccollections\nOrderedDict\np0\n(tR".to_vec(), "pickle"),
            (b"cat\nor dog\n".to_vec(), "text"),
            (b"cat\ndog\nquail\n".to_vec(), "text"),
            (b"(draft of a letter)".to_vec(), "text"),
            (b"\x80\x02\x8a\x0al\xfc".to_vec(), "pickle"),
            (b"\x80\x05\x95".to_vec(), "pickle"),
            (b"\x89HDF\r\n\x1a\n\0".to_vec(), "HDF5"),
            (b"GGUF\x03\0\0\0".to_vec(), "GGUF"),
            (b"\x08\x07\x12\x07pytorch".to_vec(), "ONNX"),
            (b"\x08\x08\x3a\x80\x01\x0a".to_vec(), "ONNX"),
            (
                b"\x08\x01\x12\xc8\x2c\x0a\x80\x10\x12\x30\x0a".to_vec(),
                "SavedModel",
            ),
            (
                b"\x08\x01\x12\x80\x01\x0a\x10\x0a\x05image\x1a\x07".to_vec(),
                "Core ML",
            ),
            (
                b"\x08\x07\x12\x40\x0a\x10\x0a\x05image\x1a\x07".to_vec(),
                "Core ML",
            ),
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
            b"\x08\x01\x12\x05\0\0\0\0",
            b"\x81\xa3\0\0\0",
        ] {
            assert_eq!(recognise(start), None);
        }
        for start in [&b"(dp\n"[..], b"(dp12 or more\n", b"(d", b"}q\x02"] {
            assert!(!is_pickle(start), "{start:?}");
        }
        assert!(is_safetensors(b"\x90\x01\0\0\0\0\0\0{\"a\":"));
    }
}
