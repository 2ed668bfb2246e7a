//! Names of files, classes and tensors that would control the terminal.

#![cfg(target_os = "linux")]

use std::fs;

use image::RgbImage;
use pyr_wgpu::checkpoint::{Checkpoint, StoredTensor};

use crate::{changed, command, example, golden};

/// Names of files, classes and tensors, and strings in files and arguments, put no escape sequence
/// and no line break on the terminal.
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
        (2, "summary --card %word"),
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
