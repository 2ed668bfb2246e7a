//! The binary as users run it: output, exit codes, and the text of errors, which must name the
//! cause and the next step. No test needs an adapter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{Rgb, RgbImage, imageops};
use pyr_wgpu::checkpoint::{Checkpoint, StoredTensor};

/// The model that the page ships: CIFAR-10, images of 32x32.
const MODEL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/web/models/cifar10.safetensors"
);

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyr-wgpu"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs a command that must fail; checks its exit code and words of its error.
fn fails(arguments: &[&str], code: i32, words: &[&str]) {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    for word in words {
        assert!(
            stderr.contains(word),
            "{arguments:?} lacks `{word}`: {stderr}"
        );
    }
}

fn json(arguments: &[&str]) -> serde_json::Value {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn golden(name: &str) -> String {
    format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn path(directory: &Path, name: &str) -> String {
    directory.join(name).display().to_string()
}

#[test]
fn summary_counts_as_the_paper_does() {
    let summary = json(&["summary", "--preset", "pyramidnet110-a48", "--json"]);
    assert_eq!(summary["parameters"], 1_772_706);
    assert_eq!(summary["macs"], 403_813_504);
    assert_eq!(summary["convs"], 109);
    assert_eq!(summary["feature_dim"], 64);
    assert_eq!(summary["widths"].as_array().unwrap().len(), 54);
    assert!(summary["memory"]["total"].as_u64().unwrap() > 100_000_000);
}

#[test]
fn flags_override_a_preset() {
    let arguments = [
        "summary",
        "--preset",
        "pyramidnet110-a84",
        "--classes",
        "100",
        "--json",
    ];
    assert_eq!(json(&arguments)["parameters"], 3_913_536);
    let text = run(&["summary", "--depth", "20", "--alpha", "24"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains("parameters") && text.contains("layer3.2"),
        "{text}"
    );
}

#[test]
fn wrong_arguments_are_named() {
    fails(
        &["summary", "--depth", "21", "--alpha", "24"],
        2,
        &["21", "20"],
    );
    fails(
        &["summary", "--depth", "20", "--alpha", "-3"],
        2,
        &["alpha"],
    );
    fails(&["summary", "--depth", "20", "--alpha", "0"], 2, &["alpha"]);
    fails(
        &["summary", "--depth", "20", "--alpha", "NaN"],
        2,
        &["alpha"],
    );
    fails(
        &["summary", "--depth", "20", "--alpha", "1e30"],
        2,
        &["alpha"],
    );
    fails(&["summary", "--depth", "20"], 2, &["--alpha"]);
    fails(
        &["summary", "--preset", "pyramidnet110-a47"],
        2,
        &["pyramidnet110-a48"],
    );
    fails(&["summary", "--batch-size", "0"], 2, &["batch"]);
    fails(&["train", "--batch-size", "0"], 2, &["batch"]);
    fails(&["train", "--epochs", "0"], 2, &["--epochs"]);
    fails(&["train", "--lr", "-1"], 2, &["--lr"]);
    fails(
        &["train", "--micro-batch", "64", "--batch-size", "32"],
        2,
        &["--micro-batch"],
    );
    fails(&["train", "--checkpoint-every", "soon"], 2, &["10m"]);
    fails(&["train", "--dataset", "mnist"], 2, &["cifar10"]);
    fails(
        &["eval", "x.safetensors", "--dataset", "shapes", "--ten-crop"],
        2,
        &["--ten-crop"],
    );
    fails(&["convert", "a", "b"], 2, &["convert"]);
    fails(
        &["verify", "w.safetensors", "--input", "x.npy"],
        2,
        &["--logits"],
    );
    // What would be compared with nothing.
    let verify = "verify w.safetensors --input x.npy --logits y.npy --labels l.npy";
    let verify: Vec<&str> = verify.split(' ').collect();
    fails(&verify, 2, &["--labels", "--grads"]);
    fails(
        &[&verify[..], &["--steps", "5"]].concat(),
        2,
        &["--steps", "--state"],
    );
}

/// Help and errors name every dataset, with the defaults of its manifest.
#[test]
fn datasets_are_listed_from_their_table() {
    let output = run(&["train", "--help"]);
    let help = String::from_utf8_lossy(&output.stdout);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "shapes, cifar10, cifar100 or folder [default: shapes]",
        "[default: shapes 5, others 300]",
        "[default: shapes 32, others 128]",
        "[default: shapes 0.05, cifar100 0.5, others 0.1]",
        "[default: shapes 4,5, others 150,225]",
    ] {
        assert!(help.contains(words), "{words} is not in {help}");
    }
    let known = "there are shapes, cifar10, cifar100 and folder";
    fails(&["train", "--dataset", "mnist"], 2, &["`mnist`", known]);
}

#[test]
fn missing_data_says_where_to_get_it() {
    let directory = tempfile::tempdir().unwrap();
    let missing = path(directory.path(), "nowhere");
    fails(
        &["train", "--dataset", "cifar10", "--data", &missing],
        4,
        &[
            "nowhere",
            "cs.toronto.edu",
            "c32a1d4ab5d03f1284b67883e8d87530",
        ],
    );
    let empty = directory.path().display().to_string();
    fails(
        &["train", "--dataset", "cifar10", "--data", &empty],
        4,
        &["data_batch_1.bin"],
    );
    fails(&["train", "--dataset", "cifar10"], 4, &["--data"]);
    fails(
        &["train", "--dataset", "folder", "--data", &empty],
        4,
        &["train"],
    );
}

#[test]
fn damaged_records_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("cifar-10-batches-bin");
    fs::create_dir(&data).unwrap();
    for name in [
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
    ] {
        fs::write(data.join(format!("{name}.bin")), vec![0; 100]).unwrap();
    }
    fs::write(data.join("test_batch.bin"), vec![0; 100]).unwrap();
    let data = directory.path().display().to_string();
    fails(
        &["train", "--dataset", "cifar10", "--data", &data],
        4,
        &["truncated", "30730000"],
    );
}

/// A folder as a file manager leaves it, with a class whose name would control the terminal: what
/// is not used is noted and is no damage, and the name is escaped.
#[cfg(unix)]
#[test]
fn a_folder_with_other_files_and_an_odd_class_name_trains() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let odd = "b\n\u{1b}[31m";
    for (part, class) in [
        ("Train", "a"),
        ("Train", odd),
        ("valid", "a"),
        ("valid", odd),
    ] {
        let folder = data.join(part).join(class);
        fs::create_dir_all(&folder).unwrap();
        RgbImage::new(8, 8).save(folder.join("0.png")).unwrap();
        fs::write(folder.join("Thumbs.db"), b"\xd0\xcf\x11\xe0").unwrap();
    }
    std::os::unix::fs::symlink("gone", data.join("Train/c")).unwrap();
    let (data, run_dir) = (data.display().to_string(), path(directory.path(), "run"));
    let dataset = ["--dataset", "folder", "--data", &data, "--device", "cpu"];
    let train = [
        "train",
        "--depth",
        "8",
        "--alpha",
        "3",
        "--image-size",
        "8",
        "--epochs",
        "1",
        "--run-dir",
        &run_dir,
    ];
    let output = run(&[&train[..], &dataset].concat());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    for note in [
        r"Train/a/Thumbs.db, Train/b\n\u{1b}[31m/Thumbs.db, valid/a/Thumbs.db and 1 more (not an",
        "Train/c (a link that cannot be followed: ",
    ] {
        assert!(stderr.contains(note), "{note} is not in {stderr}");
    }
    let classes = fs::read_to_string(Path::new(&run_dir).join("classes.txt")).unwrap();
    assert_eq!(classes, "a\nb\\n\\u{1b}[31m\n");
    let eval = run(&[&["eval", &run_dir], &dataset[..]].concat());
    let image = format!("{data}/valid/a/0.png");
    let predict = run(&["predict", &run_dir, &image, "--device", "cpu"]);
    for output in [eval, predict] {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(r"b\n\u{1b}[31m"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
    let json = json(&[&["eval", &run_dir, "--json"], &dataset[..]].concat());
    assert_eq!(json["classes"][1]["class"], odd);
}

/// Names of files, classes and tensors, and strings in files and arguments, put no escape sequence
/// and no line break on the terminal.
#[cfg(target_os = "linux")]
#[test]
fn names_from_elsewhere_are_escaped() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    const ODD: &str = "\u{1b}[31m\n";
    let directory = tempfile::tempdir().unwrap();
    let odd = |name: &str| OsString::from_vec([ODD.as_bytes(), b"\xff", name.as_bytes()].concat());
    let root = directory.path().join(odd("root"));
    let place = |name: &str| root.join(odd(name));
    let data = directory.path().join("data");
    for (part, class) in [("train", "a"), ("train", "b"), ("test", "a"), ("test", "b")] {
        let folder = data.join(part).join(odd(class));
        fs::create_dir_all(&folder).unwrap();
        RgbImage::new(8, 8).save(folder.join("0.png")).unwrap();
        fs::write(folder.join(odd(".csv")), b"a,b").unwrap();
    }
    fs::create_dir_all(&root).unwrap();
    fs::copy(golden("additive_basic.safetensors"), place("weights")).unwrap();
    fs::copy(example("star.png"), place("star")).unwrap();
    fs::write(place("letter"), b"Dear network, this is a letter").unwrap();
    let hostile = |name: &str, change: &dyn Fn(&mut Checkpoint)| {
        let file = changed(directory.path(), change);
        fs::rename(file, place(name)).unwrap();
    };
    let describe = |text: serde_json::Value| {
        move |checkpoint: &mut Checkpoint| {
            checkpoint
                .metadata
                .insert("pyr_wgpu".into(), text.to_string());
        }
    };
    hostile("version", &describe(serde_json::json!({"version": ODD})));
    hostile(
        "network",
        &describe(serde_json::json!({"version": "1.0", "network": {"family": ODD}})),
    );
    for (file, name) in [("escape", ODD), ("order", "x\u{202e}")] {
        hostile(file, &|checkpoint| {
            let tensor = StoredTensor::f32(vec![1], vec![0.0]);
            checkpoint.tensors.insert(name.to_owned(), tensor);
        });
    }
    let header = serde_json::json!({"x": {"dtype": ODD, "shape": [1], "data_offsets": [0, 4]}});
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    let bytes = [&length[..], header.as_bytes(), &[0; 4]].concat();
    fs::write(place("dtype"), bytes).unwrap();

    let mut escaped = 0;
    // `@name` is a file with an odd name, `%name` an odd word; both in that of a flag as well.
    let mut check = |code: i32, words: &str| {
        let mut command = command(&[]);
        for word in words.split_whitespace() {
            let argument = match (word.split_once('@'), word.split_once('%')) {
                (Some(("", name)), _) => place(name).into_os_string(),
                (Some((flag, name)), _) => OsString::from_iter([flag.into(), odd(name)]),
                (_, Some((flag, name))) => format!("{flag}{ODD}{name}").into(),
                _ => word.into(),
            };
            command.arg(argument);
        }
        let output = command.current_dir(directory.path()).output().unwrap();
        for stream in [&output.stdout, &output.stderr] {
            let text =
                std::str::from_utf8(stream).unwrap_or_else(|error| panic!("{words}: {error}"));
            let raw = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
            assert!(
                !text.contains(raw) && !text.contains("[31m\n"),
                "{words}: {text:?}"
            );
            escaped +=
                usize::from(text.contains(r"\u{1b}[31m\n") || text.contains(r"\u001b[31m\n"));
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words}: {stderr}");
    };
    let train = "train --depth 8 --alpha 3 --image-size 8 --epochs 1 --device cpu --dataset folder";
    for (code, words) in [
        (4, "predict @weights @star @letter @missing --device cpu"),
        (0, "predict @weights @star --device cpu --json"),
        (5, "predict @missing @star"),
        (5, "predict @letter @star"),
        (5, "predict @root @star"),
        (5, "predict @version @star"),
        (5, "predict @network @star"),
        (5, "predict @escape @star"),
        (5, "predict @order @star"),
        (5, "predict @dtype @star"),
        (4, "eval @weights --dataset folder --data @missing"),
        (4, "eval @weights --dataset folder --data @letter"),
        (5, "eval @weights --dataset folder --data data"),
        (2, "eval @weights --dataset shapes --data @missing"),
        (2, "eval @weights --dataset %word"),
        (4, "verify @weights --input @missing --logits @missing"),
        (4, "verify @weights --input @letter --logits @letter"),
        (2, "summary --preset %word"),
        (2, "summary --block %word"),
        (2, "summary --%word"),
        (2, "summary --@word"),
        (2, "%word"),
        (3, "bench --device %word"),
        (1, "bench --profile @missing/trace"),
        (2, "train --data @missing"),
        (5, "train --resume @missing"),
        (5, "train --resume @letter"),
    ] {
        check(code, words);
    }
    check(2, &format!("{train} --data @missing"));
    let on_adapter = train.replace(" --device cpu", "");
    check(5, &format!("{on_adapter} --data data --choices @missing"));
    check(1, &format!("{train} --data data --run-dir @letter"));
    check(0, &format!("{train} --data data --run-dir @run"));
    check(2, &format!("{train} --data data --run-dir @run"));
    check(2, "train --resume @run");
    check(2, "train --resume @run --allow %word");
    check(0, "eval @run --dataset folder --data data --device cpu");
    check(0, "predict @run @star --device cpu");
    let config = place("run").join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let (growth, odd) = ("growth = \"add\"", r#"growth = "\u001b[31m\nadd""#);
    assert!(text.contains(growth), "{text}");
    fs::write(&config, text.replace(growth, odd)).unwrap();
    check(5, "train --resume @run");
    assert!(escaped > 30, "only {escaped} outputs have the name");
}

/// A result that cannot be written is an error, also that of `--help`; a closed pipe is none.
#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_written_are_an_error() {
    let weights = golden("additive_basic.safetensors");
    let [input, logits] =
        ["input", "logits"].map(|part| golden(&format!("additive_basic.{part}.npy")));
    let star = example("star.png");
    let commands: [&[&str]; 8] = [
        &["--help"],
        &["--version"],
        &["help", "train"],
        &["bench", "-h"],
        &["summary"],
        &["summary", "--json"],
        &["predict", &weights, &star, "--device", "cpu"],
        &[
            "verify", &weights, "--input", &input, "--logits", &logits, "--device", "cpu",
        ],
    ];
    for arguments in commands {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let output = command(arguments)
            .stdout(full.unwrap())
            .stderr(std::process::Stdio::piped())
            .output();
        let output = output.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains("stdout cannot be written"), "{stderr}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(arguments).stdout(writer).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("error:"), "{stderr}");
    }
    // A closed pipe does not hide what went wrong.
    let compared = ["verify", &weights, "--input", &input, "--logits", &logits];
    let different = [&compared[..], &["--tolerance", "0", "--device", "cpu"]].concat();
    let missing = ["predict", &weights, "missing.png", &star, "--device", "cpu"];
    for (arguments, code) in [(&different[..], 1), (&missing, 4)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(arguments).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn bad_checkpoints_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let image = path(directory.path(), "image.png");
    fs::write(&image, b"not an image").unwrap();
    let missing = path(directory.path(), "none.safetensors");
    fails(&["predict", &missing, &image], 5, &["none.safetensors"]);
    let weights = fs::read(golden("additive_basic.safetensors")).unwrap();
    // What is no checkpoint is named, with the next step.
    let other = path(directory.path(), "other");
    let empty = path(directory.path(), "run");
    fs::create_dir(&empty).unwrap();
    fails(
        &["predict", &empty, &image],
        5,
        &["no config.toml", "runs/demo-shapes-1"],
    );
    fs::write(Path::new(&empty).join("config.toml"), "").unwrap();
    fails(
        &["predict", &empty, &image],
        5,
        &["no best.safetensors", "last.safetensors"],
    );
    fails(
        &["train", "--resume", &image],
        5,
        &["it is a file", "runs/demo-shapes-1"],
    );
    for (bytes, words) in [
        (&b""[..], ["the file is empty", "download it again"]),
        (b"PK\x03\x04", ["a zip archive", "save_file"]),
        (b"\x80\x04\x95", ["a Python pickle", "save_file"]),
        (b"\x89HDF\r\n\x1a\n", ["an HDF5 file", "save_file"]),
        (
            b"404: Not Found",
            ["this is text", "the server may have sent"],
        ),
    ] {
        fs::write(&other, bytes).unwrap();
        fails(&["predict", &other, &image], 5, &words);
    }
    let cut = path(directory.path(), "cut.safetensors");
    fs::write(&cut, &weights[..weights.len() / 2]).unwrap();
    fails(&["predict", &cut, &image], 5, &["cut.safetensors"]);
    let text = path(directory.path(), "text.safetensors");
    fs::write(&text, b"hello, I am no checkpoint at all").unwrap();
    fails(&["predict", &text, &image], 5, &["text.safetensors"]);
    fails(
        &[
            "predict",
            &golden("additive_basic.safetensors"),
            &image,
            "--depth",
            "8",
            "--alpha",
            "20",
        ],
        5,
        &["layer1.0.conv1.weight", "[23, 16, 3, 3]", "[19, 16, 3, 3]"],
    );
    // Replace the last value of the data by NaN.
    let mut poisoned = weights;
    let end = poisoned.len();
    poisoned[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let nan = path(directory.path(), "nan.safetensors");
    fs::write(&nan, poisoned).unwrap();
    let output = run(&["predict", &nan, &image]);
    assert_eq!(output.status.code(), Some(5));
}

/// A golden checkpoint with a change, in a directory.
fn changed(directory: &Path, change: impl FnOnce(&mut Checkpoint)) -> String {
    let weights = golden("additive_basic.safetensors");
    let mut checkpoint = Checkpoint::load(Path::new(&weights)).unwrap();
    change(&mut checkpoint);
    let name = path(directory, "changed.safetensors");
    checkpoint.save(Path::new(&name)).unwrap();
    name
}

fn example(name: &str) -> String {
    format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn tensors_that_cannot_be_computed_with_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let star = example("star.png");
    let with = |name: &str, tensor: StoredTensor| {
        changed(directory.path(), |checkpoint| {
            checkpoint.tensors.insert(name.to_owned(), tensor);
        })
    };
    let integers = StoredTensor::i64(vec![10], vec![1; 10]);
    let mut variances = vec![1.0; 16];
    variances[2] = -0.5;
    let variances = StoredTensor::f32(vec![16], variances);
    for (name, tensor, words) in [
        ("fc.bias", integers, ["`fc.bias`", "I64"]),
        (
            "bn1.running_var",
            variances,
            ["`bn1.running_var`", "-0.5 at index 2"],
        ),
    ] {
        let weights = with(name, tensor);
        fails(&["predict", &weights, &star, "--device", "cpu"], 5, &words);
        let eval = ["eval", &weights, "--dataset", "shapes", "--device", "cpu"];
        fails(&eval, 5, &words);
        let [input, logits] =
            ["input", "logits"].map(|part| golden(&format!("additive_basic.{part}.npy")));
        let verify = ["verify", &weights, "--input", &input, "--logits", &logits];
        fails(&verify, 5, &words);
    }
}

/// Weights that are finite, but give NaN.
#[test]
fn scores_that_are_not_finite_are_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    let weights = changed(directory.path(), |checkpoint| {
        let name = "layer3.0.conv2.weight";
        let tensor = checkpoint.tensors.remove(name).unwrap();
        let (shape, values) = tensor.into_parts();
        let tensor = StoredTensor::f32(shape, vec![3e38; values.len()]);
        checkpoint.tensors.insert(name.to_owned(), tensor);
    });
    let star = example("star.png");
    for (flags, answer) in [(&[][..], ""), (&["--json"], "[]\n")] {
        let predict = ["predict", &weights, &star, "--device", "cpu"];
        let predict = [&predict[..], flags].concat();
        fails(&predict, 6, &["star.png", "the score of class"]);
        assert_eq!(String::from_utf8(run(&predict).stdout).unwrap(), answer);
    }
    let [input, logits] =
        ["input", "logits"].map(|part| golden(&format!("additive_basic.{part}.npy")));
    let verify = ["verify", &weights, "--input", &input, "--logits", &logits];
    fails(
        &[&verify[..], &["--device", "cpu"]].concat(),
        6,
        &["the logits"],
    );
}

/// Elsewhere the available memory is unknown.
#[cfg(target_os = "linux")]
#[test]
fn what_does_not_fit_in_memory_is_refused_with_what_does() {
    let network = ["--depth", "8", "--alpha", "8", "--image-size", "4096"];
    for device in ["cpu", "reference"] {
        let bench = ["bench", "--batch-size", "200", "--device", device];
        let words = ["memory are needed", "are available"];
        fails(&[&bench[..], &network].concat(), 3, &words);
    }
    let network = ["--depth", "8", "--alpha", "8", "--image-size", "512"];
    let directory = tempfile::tempdir().unwrap();
    let run_dir = path(directory.path(), "run");
    let train = [
        "train",
        "--batch-size",
        "4000",
        "--device",
        "cpu",
        "--run-dir",
        &run_dir,
    ];
    fails(
        &[&train[..], &network].concat(),
        3,
        &["memory are needed", "--micro-batch"],
    );
    assert!(!Path::new(&run_dir).exists());
    let limited = |arguments: &[&str], words: &[&str]| {
        let mut shell = Command::new("sh");
        let output = shell
            .args(["-c", "ulimit -v 1500000; exec \"$0\" \"$@\""])
            .arg(env!("CARGO_BIN_EXE_pyr-wgpu"))
            .args(arguments)
            .args(["--device", "cpu"])
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "lacks `{word}`: {stderr}");
        }
    };
    let star = example("star.png");
    let predict = ["predict", MODEL, &star, "--image-size", "4096"];
    limited(
        &predict,
        &["memory are needed", "--image-size", "would fit"],
    );
    let images = vec![0; 4096 * 3 * 32 * 32 * 4];
    let input = npy(
        directory.path(),
        "many.npy",
        "<f4",
        &[4096, 3, 32, 32],
        &images,
    );
    let labels = npy(
        directory.path(),
        "labels.npy",
        "<i8",
        &[4096],
        &[0; 4096 * 8],
    );
    let (weights, grads) = (
        golden("additive_basic.safetensors"),
        golden("additive_basic.grads.safetensors"),
    );
    let verify = [
        "verify", &weights, "--input", &input, "--labels", &labels, "--grads", &grads,
    ];
    limited(
        &verify,
        &["memory are needed", "--input with a batch of", "would fit"],
    );
}

#[test]
fn the_memory_of_any_batch_size_is_computed_or_refused() {
    let batch = u64::MAX.to_string();
    fails(&["summary", "--batch-size", &batch], 2, &["at most"]);
    let summary = json(&["summary", "--batch-size", "4000000", "--json"]);
    assert!(summary["memory"]["total"].as_u64().unwrap() > 1 << 41);
}

/// Flags that describe a part of a network change that part of the checkpoint's own.
#[test]
fn flags_change_the_network_of_a_checkpoint() {
    let star = example("star.png");
    let answers = |flags: &[&str]| {
        let predict = ["predict", MODEL, &star, "--device", "cpu", "--json"];
        json(&[&predict[..], flags].concat())
    };
    let own = answers(&[]);
    assert_eq!(answers(&["--image-size", "32"]), own);
    assert_ne!(answers(&["--image-size", "16"]), own);
    let deeper = ["predict", MODEL, &star, "--depth", "14", "--device", "cpu"];
    fails(&deeper, 5, &["cifar10.safetensors"]);
}

#[test]
fn good_images_are_classified_beside_bad_ones() {
    let directory = tempfile::tempdir().unwrap();
    let [star, heart] = ["star.png", "heart.png"].map(example);
    let missing = path(directory.path(), "missing.png");
    let text = path(directory.path(), "letter.txt");
    fs::write(&text, b"Dear network, ...").unwrap();
    let weights = golden("additive_basic.safetensors");
    let files = [&*missing, &star, &text, &heart];
    let predict = [
        &["predict", &weights][..],
        &files,
        &["--device", "cpu", "--json"],
    ]
    .concat();
    fails(&predict, 4, &["missing.png", "letter.txt", "2 of 4 images"]);
    let document: serde_json::Value = serde_json::from_slice(&run(&predict).stdout).unwrap();
    let names: Vec<&str> = document
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| answer["image"].as_str().unwrap())
        .collect();
    assert_eq!(names, [&*star, &*heart]);
    // Without a good one, no device is needed.
    let nothing = ["predict", &weights, &missing, "--device", "no such adapter"];
    fails(&nothing, 4, &["missing.png"]);
}

#[test]
fn a_text_file_is_no_image() {
    let directory = tempfile::tempdir().unwrap();
    let text = path(directory.path(), "letter.txt");
    fs::write(&text, b"Dear network, ...").unwrap();
    let weights = golden("additive_basic.safetensors");
    fails(
        &["predict", &weights, &text, "--device", "cpu"],
        4,
        &["letter.txt"],
    );
}

#[test]
fn predict_gives_probabilities() {
    let weights = golden("additive_basic.safetensors");
    let image = format!("{}/examples/star.png", env!("CARGO_MANIFEST_DIR"));
    let document = json(&[
        "predict", &weights, &image, "--device", "cpu", "--top", "10", "--json",
    ]);
    let predictions = document[0]["predictions"].as_array().unwrap();
    let sum: f64 = predictions
        .iter()
        .map(|p| p["probability"].as_f64().unwrap())
        .sum();
    assert_eq!(predictions.len(), 10);
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    // Measuring kernels would take longer than the prediction.
    for (command, default) in [("predict", "cached"), ("eval", "on"), ("train", "on")] {
        let help = run(&[command, "--help"]);
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let tune = help.split("--tune").nth(1).unwrap();
        assert!(tune.contains(&format!("[default: {default}]")), "{tune}");
    }
}

/// The shipped model, written to a directory with another shorter side before the crop.
fn with_shorter_side(directory: &Path, side: u32) -> String {
    let mut bytes = fs::read(MODEL).unwrap();
    // The description is JSON inside a JSON string.
    let [old, new] = [32, side].map(|side| format!("shorter_side\\\":{side}"));
    let start = bytes.windows(old.len()).position(|w| w == old.as_bytes());
    let start = start.expect("the model describes itself");
    bytes[start..start + old.len()].copy_from_slice(new.as_bytes());
    let name = path(directory, "model.safetensors");
    fs::write(&name, bytes).unwrap();
    name
}

/// Two datasets of one image a class: images of 40x40, and their centres of 32x32.
fn wide_and_centre(directory: &Path) -> [String; 2] {
    let classes = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ];
    for (number, class) in (0u32..).zip(classes) {
        let wide = RgbImage::from_fn(40, 40, |x, y| {
            Rgb([x * 6, y * (6 - number % 5), (x + 2) * (y + number)].map(|byte| byte as u8))
        });
        let centre = imageops::crop_imm(&wide, 4, 4, 32, 32).to_image();
        for (part, image) in [("wide", wide), ("centre", centre)] {
            let folder = directory.join(part).join("test").join(class);
            fs::create_dir_all(&folder).unwrap();
            image.save(folder.join("image.png")).unwrap();
        }
    }
    ["wide", "centre"].map(|part| path(directory, part))
}

/// A checkpoint's preprocessing decides how images are resized, not the network's stem.
#[test]
fn eval_and_predict_obey_the_checkpoint_s_preprocessing() {
    let directory = tempfile::tempdir().unwrap();
    let [wide, centre] = wide_and_centre(directory.path());
    let obeying = with_shorter_side(directory.path(), 40);

    let eval = |model: &str, data: &str| {
        let dataset = ["--dataset", "folder", "--data", data, "--device", "cpu"];
        json(&[&["eval", model, "--json", "--quiet"], &dataset[..]].concat())
    };
    let expected = eval(MODEL, &centre);
    assert_eq!(eval(&obeying, &wide), expected);
    assert_eq!(
        eval(&obeying, &centre),
        expected,
        "images of the network's size are not resized"
    );
    assert_ne!(eval(MODEL, &wide)["loss"], expected["loss"]);

    let predict = |model: &str, data: &str| {
        let image = format!("{data}/test/ship/image.png");
        let document = json(&["predict", model, &image, "--device", "cpu", "--json"]);
        document[0]["predictions"].clone()
    };
    let expected = predict(MODEL, &centre);
    assert_eq!(predict(&obeying, &wide), expected);
    assert_ne!(predict(MODEL, &wide), expected);
}

#[test]
fn verify_agrees_with_pytorch_and_notices_a_difference() {
    let name = golden("additive_basic");
    let file = |suffix: &str| format!("{name}{suffix}");
    let (weights, input) = (file(".safetensors"), file(".input.npy"));
    let (logits, labels) = (file(".logits.npy"), file(".labels.npy"));
    let (grads, state) = (file(".grads.safetensors"), file(".state1.safetensors"));
    let arguments = [
        "verify", &weights, "--input", &input, "--logits", &logits, "--labels", &labels, "--grads",
        &grads, "--steps", "1", "--lr", "0.1", "--state", &state, "--device", "cpu", "--json",
    ];
    let document = json(&arguments);
    for part in ["logits", "grads", "state"] {
        assert!(
            document[part]["rel_l2"].as_f64().unwrap() < 5e-5,
            "{document}"
        );
    }
    assert!(document["state"]["update_rel_l2"].as_f64().unwrap() < 5e-5);
    let strict = run(&[&arguments[..arguments.len() - 1], &["--tolerance", "1e-12"]].concat());
    assert_eq!(strict.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&strict.stdout).contains("DIFFERENT"));
}

/// A `.npy` file of little-endian values.
fn npy(directory: &Path, name: &str, descr: &str, shape: &[usize], data: &[u8]) -> String {
    let extents: String = shape.iter().map(|extent| format!("{extent},")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents})}}");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    let name = path(directory, name);
    fs::write(&name, bytes).unwrap();
    name
}

#[test]
fn a_comparison_of_nothing_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let name = golden("additive_basic");
    let file = |suffix: &str| format!("{name}{suffix}");
    let (weights, input) = (file(".safetensors"), file(".input.npy"));
    let (logits, labels) = (file(".logits.npy"), file(".labels.npy"));
    let verify = |input: &str, flags: &[&str], code: i32, words: &[&str]| {
        let verify = ["verify", &weights, "--input", input, "--device", "cpu"];
        fails(&[&verify[..], flags].concat(), code, words);
    };
    let compare = ["--logits", &*logits];
    for tolerance in ["inf", "nan", "-1"] {
        let tolerance = format!("--tolerance={tolerance}");
        verify(
            &input,
            &[&compare[..], &[&tolerance]].concat(),
            2,
            &["--tolerance"],
        );
    }
    for steps in ["0", "99999999999"] {
        let flags = ["--labels", &labels, "--losses", &logits, "--steps", steps];
        verify(&input, &flags, 2, &["1..=1000000"]);
    }
    let empty = npy(directory.path(), "empty.npy", "<f4", &[0, 3, 32, 32], &[]);
    verify(&empty, &compare, 4, &["empty.npy", "at least one"]);
    let wide = 32 + (1 << 32);
    let wide = npy(
        directory.path(),
        "wide.npy",
        "<f4",
        &[0, 3, wide, wide],
        &[],
    );
    verify(&wide, &compare, 4, &["wide.npy"]);
    let foreign = [0i64, 10, 1, 2].map(i64::to_le_bytes).concat();
    let foreign = npy(directory.path(), "foreign.npy", "<i8", &[4], &foreign);
    let grads = file(".grads.safetensors");
    let flags = ["--labels", &foreign, "--grads", &grads];
    verify(
        &input,
        &flags,
        4,
        &["foreign.npy", "label 10 at index 1", "0 to 9"],
    );
    let poisoned = [f32::NAN; 3 * 32 * 32].map(f32::to_le_bytes).concat();
    let poisoned = npy(
        directory.path(),
        "nan.npy",
        "<f4",
        &[1, 3, 32, 32],
        &poisoned,
    );
    verify(&poisoned, &compare, 4, &["nan.npy", "NaN at element 0"]);
}

/// Arrays are data (exit code 4), weights and recorded tensors checkpoints (5), and both are read
/// before a device is opened.
#[test]
fn verify_names_the_file_that_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let name = golden("additive_basic");
    let file = |suffix: &str| format!("{name}{suffix}");
    let (weights, input) = (file(".safetensors"), file(".input.npy"));
    let (logits, labels) = (file(".logits.npy"), file(".labels.npy"));
    let (grads, losses) = (file(".grads.safetensors"), file(".losses1.npy"));
    let missing = path(directory.path(), "missing");
    let folder = directory.path().display().to_string();
    let extended = |source: &str| {
        let mut checkpoint = Checkpoint::load(Path::new(source)).unwrap();
        let tensor = StoredTensor::f32(vec![2], vec![0.0; 2]);
        checkpoint.tensors.insert("ema.fc.bias".to_owned(), tensor);
        let name = path(directory.path(), "extended.safetensors");
        checkpoint.save(Path::new(&name)).unwrap();
        name
    };
    let check = |weights: &str, flags: &[&str], code: i32, words: &[&str]| {
        let device = ["verify", weights, "--device", "no such adapter"];
        fails(&[&device[..], flags].concat(), code, words);
    };
    let given = ["--input", &*input, "--labels", &labels];
    for (flags, code, words) in [
        (["--logits", &missing], 4, ["missing", "check the path"]),
        (["--logits", &folder], 4, ["is a directory", "name a file"]),
        (
            ["--logits", &grads],
            4,
            ["a safetensors file", "numpy.save"],
        ),
        (["--logits", &losses], 4, ["losses1.npy", "float32 [4, 10]"]),
        (
            ["--logits", &labels],
            4,
            ["is int64 [4]", "float32 [4, 10]"],
        ),
        (["--grads", &missing], 5, ["missing", "check the path"]),
        (
            ["--grads", &weights],
            5,
            ["not among those to compare", "bn1.num_batches_tracked"],
        ),
        (["--grads", &logits], 5, ["a NumPy array", ".safetensors"]),
        (
            ["--state", &grads],
            5,
            ["running_mean` is missing", "another network"],
        ),
    ] {
        let steps = if flags[0] == "--state" {
            "--steps=1"
        } else {
            "--tolerance=1"
        };
        let grads = ["--grads", &*grads];
        let grads = if flags[0] == "--logits" {
            &grads[..]
        } else {
            &[]
        };
        check(
            &weights,
            &[&given[..], &flags, &[steps], grads].concat(),
            code,
            &words,
        );
    }
    let compare = ["--input", &*input, "--logits", &logits];
    let extra = extended(&grads);
    let flags = [&given[..], &["--grads", &extra]].concat();
    check(&weights, &flags, 5, &["`ema.fc.bias` [2]"]);
    let extra = extended(&weights);
    for flags in [&[][..], &["--image-size", "32"]] {
        check(
            &extra,
            &[&compare[..], flags].concat(),
            5,
            &["`ema.fc.bias` [2]"],
        );
    }
    check(&missing, &compare, 5, &["missing"]);
    check(
        &weights,
        &["--input", &missing, "--logits", &logits],
        4,
        &["missing"],
    );
    check(
        &weights,
        &["--input", &labels, "--logits", &logits],
        4,
        &["labels.npy", "[N, 3, H, H]"],
    );
}

#[test]
fn half_precision_needs_an_adapter() {
    let temporary = tempfile::tempdir().unwrap();
    let run = path(temporary.path(), "run");
    let words = ["in single precision only", "--device"];
    let flags = ["train", "--precision", "f16", "--device", "cpu"];
    fails(&[&flags[..], &["--run-dir", &run]].concat(), 3, &words);
    assert!(
        !Path::new(&run).exists(),
        "a run that failed to start left a directory"
    );
    fails(
        &["bench", "--precision", "f16", "--device", "cpu"],
        3,
        &words,
    );
    fails(&["bench", "--precision", "bf16"], 2, &["f32 or f16"]);
    let bytes = |precision: &str| {
        let document = json(&["summary", "--precision", precision, "--json"]);
        document["memory"]["temporary"].as_f64().unwrap()
    };
    let share = bytes("f16") / bytes("f32");
    assert!((0.45..0.55).contains(&share), "{share}");
}

/// A flag has its effect or is an error.
#[test]
fn no_flag_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().display().to_string();
    fails(&["train", "--data", &data], 2, &["--dataset folder"]);
    for command in [&["train"][..], &["eval", MODEL]] {
        let flags = ["--dataset", "shapes", "--data", &data];
        fails(
            &[command, &flags].concat(),
            2,
            &["shapes", "leave out --data"],
        );
    }
    let classes = ["train", "--classes", "5", "--epochs", "1"];
    fails(&classes, 2, &["--classes is 5", "10 classes"]);
    for device in ["cpu", "CPU", "reference"] {
        let bench = ["bench", "--device", device];
        fails(
            &[&bench[..], &["--backend", "gl"]].concat(),
            2,
            &["--backend gl"],
        );
        fails(&[&bench[..], &["--checked"]].concat(), 2, &["--checked"]);
    }
    fails(&["bench", "--device", ""], 2, &["--device", "cpu"]);
    fails(&["train", "--allow", "lr"], 2, &["--resume"]);
    let star = example("star.png");
    let eval = ["eval", MODEL, "--dataset", "shapes"];
    let predict = ["predict", MODEL, &star];
    let infer = ["bench", "--mode", "infer"];
    // The processor has no choice of kernels, and is never lost.
    for (command, flag) in [
        (&eval[..], ["--tune", "off"]),
        (&predict, ["--tune", "on"]),
        (&["bench"], ["--tune", "cached"]),
        (&["train"], ["--tune", "on"]),
        (&["train"], ["--choices", "runs/x"]),
        (&["train"], ["--retry", "3"]),
    ] {
        let arguments = [command, &["--device", "cpu"], &flag].concat();
        fails(&arguments, 2, &["--device cpu", "leave out", flag[0]]);
    }
    fails(
        &["train", "--resume", "runs/x", "--tune", "off"],
        2,
        &["--tune"],
    );
    // Inference drops nothing and has no backward pass.
    for command in [&eval[..], &predict, &infer] {
        fails(
            &[command, &["--dropout", "0.5"]].concat(),
            2,
            &["--dropout 0.5"],
        );
    }
    fails(
        &[&infer[..], &["--recompute"]].concat(),
        2,
        &["--recompute"],
    );
    // A flag that says what the checkpoint says changes nothing.
    let same = run(&[&predict[..], &["--dropout", "0", "--device", "cpu"]].concat());
    assert_eq!(same.status.code(), Some(0));
    for command in [&eval[..], &predict] {
        let rounding = [command, &["--rounding", "half-even"]].concat();
        fails(&rounding, 2, &["--rounding", "the same network"]);
    }
    let verify = "verify w.safetensors --input x.npy --logits y.npy";
    let verify: Vec<&str> = verify.split(' ').collect();
    for flag in ["--lr", "--momentum", "--weight-decay"] {
        fails(&[&verify[..], &[flag, "0.5"]].concat(), 2, &["--steps"]);
    }
    fails(
        &[&verify[..], &["--dropout", "0"]].concat(),
        2,
        &["--dropout 0"],
    );
    let run = path(directory.path(), "run");
    fs::create_dir(&run).unwrap();
    for (name, known) in [("foo", "lr, momentum"), ("dataset", "cannot change")] {
        let flags = ["train", "--resume", &run, "--allow", name];
        fails(&flags, 2, &["--allow", name, known]);
    }
    let both = ["train", "--resume", &run, "--choices", &run];
    fails(&both, 2, &["--choices"]);
}

/// A batch of one image has no variance on maps of one pixel.
#[test]
fn the_last_batch_is_named() {
    let flags = "train --depth 8 --alpha 3 --image-size 4 --device cpu --batch-size 421";
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let words = [
        "layer3",
        "8000 training images",
        "batch of 1",
        "--batch-size",
    ];
    fails(&flags, 2, &words);
}

/// A run on a tiny folder of two classes, which finishes and is extended by an epoch.
#[test]
fn a_run_trains_saves_and_continues() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for part in ["train", "test"] {
        for (class, image) in [("heart", "heart.png"), ("star", "star.png")] {
            let folder = data.join(part).join(class);
            fs::create_dir_all(&folder).unwrap();
            let source = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("examples")
                .join(image);
            for copy in 0..3 {
                fs::copy(&source, folder.join(format!("{copy}.png"))).unwrap();
            }
        }
    }
    let (data, run_dir) = (data.display().to_string(), path(directory.path(), "run"));
    let network = [
        "--depth",
        "8",
        "--alpha",
        "3",
        "--image-size",
        "8",
        "--device",
        "cpu",
    ];
    let recipe = [
        "--dataset",
        "folder",
        "--data",
        &data,
        "--epochs",
        "2",
        "--batch-size",
        "4",
    ];
    let train = [
        &["train"],
        &network[..],
        &recipe[..],
        &["--run-dir", &run_dir],
    ]
    .concat();
    let output = run(&train);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for file in [
        "config.toml",
        "environment.json",
        "choices.json",
        "classes.txt",
        "metrics.csv",
        "events.jsonl",
        "last.safetensors",
        "best.safetensors",
        "state.safetensors",
    ] {
        assert!(Path::new(&run_dir).join(file).is_file(), "{file}");
    }
    let metrics = fs::read_to_string(Path::new(&run_dir).join("metrics.csv")).unwrap();
    assert_eq!(metrics.lines().count(), 3, "{metrics}");
    fails(&train, 2, &["not empty", "--resume"]);
    fails(
        &[
            "train", "--resume", &run_dir, "--epochs", "3", "--retry", "2",
        ],
        2,
        &["--device cpu", "leave out --retry"],
    );
    fails(
        &["train", "--resume", &run_dir, "--device", "cpu"],
        2,
        &["--epochs"],
    );
    fails(
        &[
            "train", "--resume", &run_dir, "--epochs", "3", "--lr", "0.3", "--device", "cpu",
        ],
        2,
        &["--lr", "--allow"],
    );
    let output = run(&[
        "train", "--resume", &run_dir, "--epochs", "3", "--device", "cpu",
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metrics = fs::read_to_string(Path::new(&run_dir).join("metrics.csv")).unwrap();
    assert_eq!(metrics.lines().count(), 4, "{metrics}");
    let eval = json(&[
        "eval",
        &run_dir,
        "--dataset",
        "folder",
        "--data",
        &data,
        "--device",
        "cpu",
        "--json",
    ]);
    assert_eq!(eval["images"], 6);
    assert!(eval["top5_error"].is_null() && eval["top1_error"].is_number());
    let other = path(directory.path(), "other");
    fs::create_dir(&other).unwrap();
    fails(&["train", "--resume", &other], 5, &["config.toml"]);
}

#[test]
fn an_unknown_adapter_lists_the_others() {
    let adapters = json(&["devices", "--json"]);
    let describe = |adapter: &serde_json::Value| {
        format!(
            "{}: {}",
            adapter["index"],
            adapter["name"].as_str().unwrap()
        )
    };
    let listed: Vec<String> = adapters.as_array().unwrap().iter().map(describe).collect();
    let mut words = match listed.as_slice() {
        [] => vec!["no GPU adapter was found"],
        _ => vec!["no adapter fits `no such adapter`"],
    };
    words.extend(listed.iter().map(String::as_str));
    fails(&["bench", "--device", "no such adapter"], 3, &words);
}

/// Without any driver, the error names what to install.
#[test]
fn no_adapter_says_what_to_install() {
    let output = command(&["train", "--backend", "vulkan"])
        .env("VK_DRIVER_FILES", "/nonexistent.json")
        .env("VK_ICD_FILENAMES", "/nonexistent.json")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("mesa-vulkan-drivers"), "{stderr}");
}

#[test]
fn a_profile_is_a_trace_of_every_dispatch() {
    let directory = tempfile::tempdir().unwrap();
    let trace = path(directory.path(), "step.json");
    let network = ["--depth", "8", "--alpha", "4", "--image-size", "8"];
    let bench = ["bench", "--batch-size", "2", "--seconds", "0.1", "--json"];
    let on = |device| [&bench[..], &network, &["--device", device, "--profile"]].concat();
    let report = json(&[&on("cpu")[..], &[&trace]].concat());
    let text = fs::read_to_string(&trace).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let events = value["traceEvents"].as_array().unwrap();
    let mut end = 0.0;
    let mut count = 0;
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let (start, duration) = (event["ts"].as_f64(), event["dur"].as_f64());
        let (start, duration) = (start.unwrap(), duration.unwrap());
        assert!(start >= end - 1e-3 && duration >= 0.0, "{event}");
        end = start + duration;
        count += 1;
    }
    assert_eq!(report["dispatches"], count);
    // A device without timestamps is an error, and the path is checked before measuring.
    fails(&[&on("reference")[..], &[&trace]].concat(), 3, &["trace"]);
    let nowhere = path(directory.path(), "no/step.json");
    fails(
        &[&on("cpu")[..], &[&nowhere]].concat(),
        1,
        &["no/step.json"],
    );
}

/// Flags that have an effect on an adapter only are an error where `auto` finds none.
#[test]
fn flags_for_adapters_need_one() {
    let run = |arguments: &[&str], flag: &[&str]| {
        let output = command(&[arguments, flag].concat())
            .env("VK_DRIVER_FILES", "/nonexistent.json")
            .env("VK_ICD_FILENAMES", "/nonexistent.json")
            .env("DISPLAY", "")
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let star = example("star.png");
    let predict = ["predict", MODEL, &star];
    if !run(&predict, &[]).1.contains("no graphics card was found") {
        println!("there is a graphics card here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let run_dir = path(directory.path(), "run");
    let train = ["train", "--quiet", "--run-dir", &run_dir];
    for (command, flag) in [
        (&predict[..], ["--tune", "off"]),
        (&train, ["--tune", "on"]),
        (&train, ["--retry", "2"]),
    ] {
        let (code, stderr) = run(command, &flag);
        assert_eq!(code, Some(3), "{stderr}");
        for word in ["no graphics card", "leave out", flag[0]] {
            assert!(stderr.contains(word), "{stderr} lacks {word}");
        }
    }
    assert!(!Path::new(&run_dir).exists());
}

/// Flags have an effect on a checkpoint without a description, too.
#[test]
fn no_flag_is_ignored_without_a_description() {
    let directory = tempfile::tempdir().unwrap();
    let bare = changed(directory.path(), |checkpoint| checkpoint.metadata.clear());
    let star = example("star.png");
    let predict = ["predict", &bare, &star, "--device", "cpu"];
    for (flags, words) in [
        (
            ["--rounding", "half-even"],
            ["--rounding", "the same network"],
        ),
        (["--dropout", "0.5"], ["--dropout 0.5", "training only"]),
    ] {
        fails(&[&predict[..], &flags].concat(), 2, &words);
    }
    let size = run(&[&predict[..], &["--image-size", "16"]].concat());
    assert_eq!(size.status.code(), Some(0));
}
