//! `cargo xtask demo`: the program's main commands, as a user would run them.
//!
//! Every step is a command line of `pyr-wgpu` that is printed before it runs, so that the demo
//! shows how to use the program: training on the embedded dataset, evaluation, classifying images.
//! The demo runs the shaders, so on a machine without a GPU it selects the software adapter
//! instead of leaving the choice to the program.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::command::{
    Failure, INTERRUPTED, cannot_start, cargo, exit_code, interrupted, root, run as run_command,
    shell_line,
};
use crate::plan::Goal;
use crate::setup;

/// The images that the demo classifies, named after their classes. They are not part of the
/// training set.
const IMAGES: [&str; 3] = [
    "examples/star.png",
    "examples/crescent.png",
    "examples/heart.png",
];

/// The exit code of `pyr-wgpu` on a machine without a suitable adapter.
const NO_ADAPTER: u8 = 3;

/// Runs the demo.
///
/// # Errors
/// If a step fails, with its exit code.
pub(crate) fn run() -> Result<(), Failure> {
    setup::run(Goal::Demo)?;
    heading("Building");
    let arguments = ["build", "--release", "--bin", "pyr-wgpu"];
    finished("the build", run_command(&mut cargo(&arguments))?)?;

    let device = match choose_device(&adapters()?) {
        Some(choice) => choice,
        None => {
            setup::install_software_adapter()?;
            choose_device(&adapters()?).ok_or_else(|| Failure {
                message: "there is still no adapter to run shaders on; `cargo run --release -- \
                          devices` lists what is found"
                    .to_owned(),
                code: NO_ADAPTER,
            })?
        }
    };
    let run_dir = free_run_dir(&root());
    let best = format!("{run_dir}/best.safetensors");

    heading("Training a PyramidNet on ten classes of drawn shapes");
    let train = [
        "train",
        "--preset",
        "demo",
        "--dataset",
        "shapes",
        "--run-dir",
        &run_dir,
    ];
    let code = program(&train, &device)?;
    if code == INTERRUPTED {
        return Err(stopped(&run_dir));
    }
    finished("training", code)?;

    heading("Evaluating the best weights on the 2,000 test images");
    let evaluate = ["eval", &best, "--dataset", "shapes"];
    finished("the evaluation", program(&evaluate, &device)?)?;

    heading("Classifying images");
    let predict = [&["predict", &best][..], &IMAGES, &["--top", "3"]].concat();
    finished("the classification", program(&predict, &device)?)?;

    heading("Done");
    println!(
        "The weights are in {best}, the log and the learning curve (metrics.csv) in {run_dir}."
    );
    println!("Classify your own image of a shape:");
    println!("  cargo run --release -- predict {best} IMAGE");
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}");
}

/// Runs `pyr-wgpu` in the user's terminal and returns its exit code.
fn program(arguments: &[&str], device: &[String]) -> Result<u8, Failure> {
    let device = device.iter().map(String::as_str);
    let words: Vec<&str> = arguments.iter().copied().chain(device).collect();
    println!("$ pyr-wgpu {}", shell_line(&words));
    run_command(cargo(&["run", "--release", "--quiet", "--bin", "pyr-wgpu", "--"]).args(&words))
}

/// What `pyr-wgpu devices --json` prints; nothing if it found no adapter.
fn adapters() -> Result<String, Failure> {
    let arguments = [
        "run",
        "--release",
        "--quiet",
        "--bin",
        "pyr-wgpu",
        "--",
        "devices",
        "--json",
    ];
    let mut command = cargo(&arguments);
    let child = command.stderr(Stdio::inherit()).output();
    let output = child.map_err(|error| cannot_start(&command, &error))?;
    match exit_code(output.status) {
        0 | NO_ADAPTER => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        code => Err(ended("listing the adapters", code)),
    }
}

/// The arguments that select the device: none if there is a GPU, which the program prefers anyway;
/// else the software adapter by name; `None` without adapters.
fn choose_device(adapters: &str) -> Option<Vec<String>> {
    let adapters: Vec<Value> = serde_json::from_str(adapters).ok()?;
    if adapters.iter().any(|adapter| adapter["type"] != "cpu") {
        return Some(Vec::new());
    }
    let name = adapters.first()?["name"].as_str()?;
    // Part of the name suffices; the rest of lavapipe's depends on the CPU.
    let part = match name.contains("llvmpipe") {
        true => "llvmpipe",
        false => name,
    };
    Some(vec!["--device".to_owned(), part.to_owned()])
}

/// The first of `runs/demo-1`, `runs/demo-2`, … that does not exist.
fn free_run_dir(root: &Path) -> String {
    (1_u32..)
        .map(|number| format!("runs/demo-{number}"))
        .find(|name| !root.join(name).exists())
        .unwrap_or_else(|| "runs/demo".to_owned())
}

fn stopped(run_dir: &str) -> Failure {
    let message = match root().join(run_dir).join("last.safetensors").exists() {
        true => format!(
            "stopped; the state is saved, and `cargo run --release -- train --resume {run_dir}` \
             continues"
        ),
        false => "stopped before there was anything to save".to_owned(),
    };
    Failure {
        message,
        code: INTERRUPTED,
    }
}

/// Turns the exit code of a step into success or the failure of the demo.
fn finished(step: &str, code: u8) -> Result<(), Failure> {
    if interrupted() || code == INTERRUPTED {
        return Err(Failure::interrupted());
    }
    match code {
        0 => Ok(()),
        code => Err(ended(step, code)),
    }
}

fn ended(step: &str, code: u8) -> Failure {
    Failure {
        message: format!("{step} ended with exit code {code}; the error is printed above"),
        code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_left_to_the_program() {
        let json = r#"[{"index":0,"name":"Radeon","type":"discrete-gpu"},
                       {"index":1,"name":"llvmpipe (LLVM 15, 256 bits)","type":"cpu"}]"#;
        assert_eq!(choose_device(json), Some(vec![]));
    }

    #[test]
    fn the_software_adapter_is_named() {
        let lavapipe = r#"[{"index":0,"name":"llvmpipe (LLVM 15, 256 bits)","type":"cpu"}]"#;
        let arguments = ["--device", "llvmpipe"].map(str::to_owned).to_vec();
        assert_eq!(choose_device(lavapipe), Some(arguments));
        let other = r#"[{"index":0,"name":"SwiftShader Device","type":"cpu"}]"#;
        let arguments = ["--device", "SwiftShader Device"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(choose_device(other), Some(arguments));
    }

    #[test]
    fn no_adapter_is_no_choice() {
        assert_eq!(choose_device("[]"), None);
        assert_eq!(choose_device(""), None);
    }

    #[test]
    fn a_run_never_overwrites_another() {
        let root = std::env::temp_dir().join(format!("xtask-demo-{}", std::process::id()));
        assert_eq!(free_run_dir(&root), "runs/demo-1");
        std::fs::create_dir_all(root.join("runs/demo-1")).unwrap();
        std::fs::create_dir_all(root.join("runs/demo-3")).unwrap();
        assert_eq!(free_run_dir(&root), "runs/demo-2");
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_images_exist() {
        for image in IMAGES {
            assert!(root().join(image).is_file(), "{image}");
        }
    }

    #[test]
    fn exit_codes_pass_through() {
        assert_eq!(finished("x", 0), Ok(()));
        assert_eq!(finished("x", 6).unwrap_err().code, 6);
        assert_eq!(finished("x", 130), Err(Failure::interrupted()));
    }
}
