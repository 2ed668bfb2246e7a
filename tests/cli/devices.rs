//! Devices that are missing or lack what a flag needs.

use std::path::Path;

use crate::{MODEL, command, example, fails, json, path};

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
