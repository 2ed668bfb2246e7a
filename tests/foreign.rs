//! Files of other programs: each gives the logits that PyTorch recorded for its weights, and
//! damaged ones are refused. `tests/foreign/make.py` wrote them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pyr_wgpu::checkpoint::{Checkpoint, Format, Values};
use pyr_wgpu::graph::ops::ChannelOrder;
use pyr_wgpu::trained_model::TrainedModel;

fn file(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    tests.join("foreign").join(name)
}

fn golden(name: &str) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    tests.join("golden").join(name).to_str().unwrap().to_owned()
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyr-wgpu"));
    command.args(arguments).output().unwrap()
}

/// The files, and the recording of their weights.
const FILES: [(&str, &str); 7] = [
    ("additive_bottleneck.pth", "additive_bottleneck"),
    ("additive_bottleneck.t7", "additive_bottleneck"),
    ("additive_bottleneck.caffemodel", "additive_bottleneck"),
    ("odd_image.pth.tar", "odd_image"),
    ("odd_image.model.pth", "odd_image"),
    ("odd_image.t7", "odd_image"),
    ("odd_image.caffemodel", "odd_image"),
];

#[test]
fn every_file_gives_the_logits_of_pytorch() {
    for (name, recording) in FILES {
        let path = file(name);
        let [input, logits] =
            ["input", "logits"].map(|part| golden(&format!("{recording}.{part}.npy")));
        let path = path.to_str().unwrap();
        let output = run(&[
            "verify", path, "--input", &input, "--logits", &logits, "--device", "cpu",
        ]);
        assert!(output.status.success(), "{name}: {output:?}");
    }
}

#[test]
fn converted_files_hold_the_same_tensors() {
    let directory = tempfile::tempdir().unwrap();
    for (name, recording) in FILES {
        let out = directory.path().join(format!("{name}.safetensors"));
        let out = out.to_str().unwrap();
        let output = run(&["convert", file(name).to_str().unwrap(), out]);
        assert!(output.status.success(), "{name}: {output:?}");
        let converted = Checkpoint::load(Path::new(out)).unwrap();
        let expected = Checkpoint::load(Path::new(&golden(&format!("{recording}.safetensors"))));
        let expected = expected.unwrap();
        assert_eq!(converted.shapes(), expected.shapes(), "{name}");
        for (tensor, expected) in &expected.tensors {
            let (Values::F32(found), Values::F32(expected)) =
                (converted.tensors[tensor].values(), expected.values())
            else {
                continue;
            };
            // Caffe divides sums, and old Torch stores an inverse root: two roundings.
            for (found, expected) in found.iter().zip(expected) {
                let distance = (found - expected).abs();
                let most = match name.ends_with(".caffemodel") || name == "odd_image.t7" {
                    true => 2.0 * f32::EPSILON * expected.abs(),
                    false => 0.0,
                };
                assert!(distance <= most, "{name} {tensor}: {found} {expected}");
            }
        }
    }
}

#[test]
fn preprocessing_is_that_of_the_program() {
    let read = |name: &str| {
        let checkpoint = Checkpoint::load(&file(name)).unwrap();
        TrainedModel::read(checkpoint, None).unwrap().description
    };
    let caffe = read("additive_bottleneck.caffemodel").preprocessing;
    assert_eq!(caffe.order, ChannelOrder::Bgr);
    assert_eq!(caffe.mean, [123.0, 117.0, 104.0]);
    assert_eq!(caffe.std, [1.0 / 0.017352; 3]);
    let torch = read("additive_bottleneck.t7").preprocessing;
    assert_eq!(torch.order, ChannelOrder::Rgb);
    assert_eq!(torch.mean, [125.3, 123.0, 113.9]);
    let format = |name: &str| Checkpoint::load(&file(name)).unwrap().format;
    let caffe = Format::Caffe { ceil_mode: true };
    assert_eq!(format("odd_image.caffemodel"), caffe);
    assert_eq!(format("odd_image.t7"), Format::Torch7 { ceil_mode: false });
    assert_eq!(format("odd_image.pth.tar"), Format::PyTorch);
}

/// Every reader reads a whole file, so that one which is cut short is refused wherever it ends.
#[test]
fn files_cut_short_are_refused() {
    for (name, _) in FILES {
        let bytes = fs::read(file(name)).unwrap();
        for part in 0..50 {
            let start = &bytes[..bytes.len() * part / 50];
            let model = Checkpoint::from_bytes(start)
                .map_err(|error| error.to_string())
                .and_then(|checkpoint| {
                    TrainedModel::read(checkpoint, None).map_err(|error| error.to_string())
                });
            assert!(model.is_err(), "{name}: {part} of 50 parts");
        }
    }
}

/// Numbers that say how many of something follow, each made huge, do not make a reader panic.
#[test]
fn false_lengths_are_refused_or_harmless() {
    for (name, _) in FILES {
        let bytes = fs::read(file(name)).unwrap();
        for at in (0..bytes.len().min(4000)).step_by(3) {
            let mut bytes = bytes.clone();
            for byte in bytes.iter_mut().skip(at).take(4) {
                *byte = 0xfe;
            }
            if let Ok(checkpoint) = Checkpoint::from_bytes(&bytes) {
                drop(TrainedModel::read(checkpoint, None));
            }
        }
    }
}

#[test]
fn outputs_are_named_by_their_extension() {
    let input = file("odd_image.t7");
    let input = input.to_str().unwrap();
    for (arguments, code, word) in [
        (&["convert", input, "a.pth"][..], 2, ".safetensors or .onnx"),
        (&["convert", input, "a"], 2, ".safetensors or .onnx"),
        (&["convert", input, "a.safetensors", "--half"], 2, "--half"),
        (
            &["convert", input, "nowhere/a.onnx"],
            1,
            "create the directory",
        ),
        (&["convert", "missing.t7", "a.onnx"], 5, "missing.t7"),
        (&["convert", input, input], 2, ".safetensors or .onnx"),
    ] {
        let output = run(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
}

#[test]
fn classes_can_be_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let input = file("odd_image.t7");
    let input = input.to_str().unwrap();
    let convert = |names: &str| {
        fs::write(path("names.txt"), names).unwrap();
        let (out, names) = (path("a.safetensors"), path("names.txt"));
        run(&["convert", input, &out, "--class-names", &names])
    };
    assert!(convert("a\nb\nc d\ne\nf\n").status.success());
    let model = Checkpoint::load(Path::new(&path("a.safetensors"))).unwrap();
    let model = TrainedModel::read(model, None).unwrap();
    assert_eq!(model.description.classes, ["a", "b", "c d", "e", "f"]);
    for (names, word) in [
        ("a\nb\n", "2 lines"),
        ("a\na\nb\nc\nd\n", "does not identify a class"),
        (
            "a\ncaf\u{e9}\nb\ncafe\u{301}\nc\n",
            "look alike; change one",
        ),
    ] {
        let output = convert(names);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{text}");
        assert!(text.contains(word), "{text}");
    }
    fs::write(path("latin.txt"), b"caf\xe9\n").unwrap();
    for (names, word) in [
        (path("latin.txt"), "save it as UTF-8"),
        (path("missing.txt"), "name a text file"),
        (path(""), "name a text file"),
    ] {
        let output = run(&["convert", input, &path("a.onnx"), "--class-names", &names]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{text}");
        assert!(text.contains(word), "{text}");
    }
}

/// A value of Torch 7, by hand: an object with a table of fields.
fn module(index: &mut i32, class: &str, fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let int = |value: usize| (value as i32).to_le_bytes();
    let text = |text: &str| [&int(text.len())[..], text.as_bytes()].concat();
    *index += 2;
    let mut bytes = [&int(4)[..], &int(*index as usize - 1)].concat();
    bytes.extend([text("V 1"), text(class)].concat());
    bytes.extend([int(3), int(*index as usize), int(fields.len())].concat());
    for (name, value) in fields {
        bytes.extend([&int(2)[..], &text(name), value].concat());
    }
    bytes
}

fn table(index: &mut i32, entries: &[Vec<u8>]) -> Vec<u8> {
    *index += 1;
    let mut bytes = [3, *index, entries.len() as i32]
        .map(i32::to_le_bytes)
        .concat();
    for (number, entry) in (1..).zip(entries) {
        bytes.extend(1i32.to_le_bytes());
        bytes.extend(f64::from(number).to_le_bytes());
        bytes.extend(entry);
    }
    bytes
}

/// Containers that hold the same container twice, thirty deep: a small file, a walk without end.
#[test]
fn modules_that_repeat_are_refused() {
    let mut index = 0;
    let mut inner = module(&mut index, "nn.Identity", &[]);
    let mut number = index - 1;
    for _ in 0..30 {
        let again = [4, number].map(i32::to_le_bytes).concat();
        let modules = table(&mut index, &[inner, again]);
        inner = module(&mut index, "nn.Sequential", &[("modules", modules)]);
        number = index - 1;
    }
    let error = Checkpoint::from_bytes(&inner).unwrap_err().to_string();
    assert!(error.contains("nested too deeply, or too many"), "{error}");
}

/// Dictionaries with more than one network: the trained one by its key, otherwise an error.
#[test]
fn the_network_of_a_dictionary_is_told_by_its_key() {
    let several = fs::read(file("several.pth")).unwrap();
    let checkpoint = Checkpoint::from_bytes(&several).unwrap();
    let names: Vec<&String> = checkpoint.tensors.keys().collect();
    assert_eq!(names, ["conv1.weight", "fc.weight"]);
    let Values::F32(values) = checkpoint.tensors["conv1.weight"].values() else {
        panic!("weights are real numbers");
    };
    assert_eq!(values[..], [1.0]);
    let [note] = &checkpoint.notes[..] else {
        panic!("{:?}", checkpoint.notes);
    };
    assert!(
        note.contains("`swa.`") && note.contains("`state_dict.`"),
        "{note}"
    );
    let equal = fs::read(file("equal.pth")).unwrap();
    let error = Checkpoint::from_bytes(&equal).unwrap_err().to_string();
    assert!(
        error.contains("`a.`, `b.`") && error.contains("which one to use"),
        "{error}"
    );
}
