//! Devices that are missing or lack what a flag needs.

use std::path::Path;

use image::RgbImage;

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
    fails_without_drivers(&["train", "--backend", "vulkan"], "mesa-vulkan-drivers");
}

/// Runs a command that must fail for want of an adapter, with a word of its error.
fn fails_without_drivers(arguments: &[&str], word: &str) {
    let output = command(arguments)
        .env("VK_DRIVER_FILES", "/nonexistent.json")
        .env("VK_ICD_FILENAMES", "/nonexistent.json")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains(word), "{stderr}");
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

/// A folder of 13 training and 4 test images of 8x8 in two classes; returns its path.
fn small_folder(directory: &Path) -> String {
    let data = directory.join("data");
    for (part, class, count) in [
        ("train", 'a', 7),
        ("train", 'b', 6),
        ("test", 'a', 2),
        ("test", 'b', 2),
    ] {
        let folder = data.join(part).join(class.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        for number in 0..count {
            let shade = |x: u32, y: u32| (x * 20 + y * number * 9) as u8 ^ class as u8;
            let image = RgbImage::from_fn(8, 8, |x, y| image::Rgb([shade(x, y); 3]));
            image.save(folder.join(format!("{number}.png"))).unwrap();
        }
    }
    data.display().to_string()
}

/// A run on several devices: its directory records them, and it resumes on them, or says that
/// others give other results.
#[test]
fn a_run_on_several_devices_is_recorded_and_resumed() {
    let temporary = tempfile::tempdir().unwrap();
    let data = small_folder(temporary.path());
    let train = |name: &str, more: &str| {
        let run_dir = path(temporary.path(), name);
        let flags =
            "train --depth 8 --alpha 3 --image-size 8 --batch-size 5 --dataset folder --data";
        let flags = flags.split(' ').chain([&*data, "--run-dir"]);
        let flags = flags.chain([&*run_dir]).chain(more.split(' '));
        let output = command(&flags.collect::<Vec<_>>()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        (run_dir, stderr)
    };
    let resume = |run_dir: &str, more: &str| {
        let flags = ["train", "--resume", run_dir, "--epochs", "2"].into_iter();
        let flags = flags.chain(more.split_whitespace());
        let output = command(&flags.collect::<Vec<_>>()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        stderr
    };
    let (whole, stderr) = train("whole", "--epochs 2 --devices cpu,CPU");
    assert!(
        stderr.contains("devices: 2, with 3, 2 images of a batch"),
        "{stderr}"
    );
    let (halves, _) = train("halves", "--epochs 1 --devices cpu,cpu");
    let environment = std::fs::read_to_string(Path::new(&halves).join("environment.json"));
    let environment: serde_json::Value = serde_json::from_str(&environment.unwrap()).unwrap();
    assert_eq!(environment["others"][0]["device"], "cpu");
    let copy = path(temporary.path(), "copy");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(&halves).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), Path::new(&copy).join(entry.file_name())).unwrap();
    }
    let stderr = resume(&halves, "");
    assert!(
        stderr.contains("devices: 2, with 3, 2 images of a batch"),
        "{stderr}"
    );
    let last = |run: &str| std::fs::read(Path::new(run).join("last.safetensors")).unwrap();
    assert!(
        last(&halves) == last(&whole),
        "the resumed run has other bits"
    );
    let stderr = resume(&copy, "--devices cpu");
    assert!(
        stderr.contains("was started on cpu and cpu and continues on cpu"),
        "{stderr}"
    );
    assert!(last(&copy) != last(&whole));
}

/// Shares are recorded, and kept by a resumed run; those that are measured sum up to all.
#[test]
fn shares_of_devices_are_given_or_measured() {
    let temporary = tempfile::tempdir().unwrap();
    let small =
        "train --depth 8 --alpha 3 --image-size 16 --dataset shapes --batch-size 40 --no-augment";
    let start = |name: &str, more: &str| -> Vec<String> {
        let run = path(temporary.path(), name);
        let words = small.split(' ').chain(more.split(' ')).map(str::to_owned);
        words.chain(["--run-dir".to_owned(), run]).collect()
    };
    let stderr = |arguments: &[String]| {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = command(&words).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        stderr
    };
    let config = |name: &str| {
        std::fs::read_to_string(temporary.path().join(name).join("config.toml")).unwrap()
    };
    let given = stderr(&start("given", "--epochs 1 --devices cpu,cpu --shares 3,1"));
    assert!(
        given.contains("devices: 2, with 30, 10 images of a batch"),
        "{given}"
    );
    assert!(config("given").contains("shares = [3, 1]"));
    let run = path(temporary.path(), "given");
    let resumed = ["train", "--resume", &run, "--epochs", "2"].map(str::to_owned);
    let resumed = stderr(&resumed);
    assert!(resumed.contains("with 30, 10 images"), "{resumed}");
    let other = [
        "train", "--resume", &run, "--epochs", "3", "--shares", "1,1",
    ];
    fails(&other, 2, &["--shares", "--allow"]);
    let fewer = [
        "train", "--resume", &run, "--epochs", "3", "--device", "cpu",
    ];
    fails(
        &fewer,
        2,
        &["--shares 3,1 are for 2 devices, and the run has 1"],
    );
    let measured = stderr(&start(
        "measured",
        "--epochs 1 --devices cpu,cpu --shares auto",
    ));
    assert!(
        measured.contains("of 1000, since the devices train"),
        "{measured}"
    );
    let shares = config("measured");
    let shares = shares
        .lines()
        .find_map(|line| line.strip_prefix("shares = ["));
    let shares: Vec<u32> = shares
        .unwrap()
        .trim_end_matches(']')
        .split(',')
        .map(|share| share.trim().parse().unwrap())
        .collect();
    assert_eq!(shares.len(), 2);
    assert!(
        (999..=1001).contains(&shares.iter().sum::<u32>()),
        "{shares:?}"
    );
    let wrong = |more: &str, code, words: &[&str]| {
        let arguments = start("wrong", more);
        let words_of: Vec<&str> = arguments.iter().map(String::as_str).collect();
        fails(&words_of, code, words);
        assert!(!temporary.path().join("wrong").exists());
    };
    wrong(
        "--devices cpu,cpu --shares 1,2,3",
        2,
        &["are for 3 devices, and the run has 2"],
    );
    wrong(
        "--device cpu --shares 2,1",
        2,
        &["are for 2 devices, and the run has 1"],
    );
    wrong(
        "--device cpu --shares auto",
        2,
        &["the run has one", "--devices"],
    );
    wrong("--devices cpu,cpu --shares 0,1", 2, &["above 0"]);
    wrong(
        "--devices cpu,cpu --shares 1000,1",
        2,
        &["no image of a batch of 40"],
    );
    wrong(
        "--devices cpu,cpu --shares auto --print-config",
        2,
        &["--shares auto"],
    );
    fails(
        &["train", "--resume", &run, "--shares", "auto"],
        2,
        &["keeps the shares"],
    );
}

/// Statistics over all devices are recorded, kept by a resumed run, and change its results; they need
/// several devices.
#[test]
fn statistics_over_all_devices_are_recorded() {
    let temporary = tempfile::tempdir().unwrap();
    let data = small_folder(temporary.path());
    let small = format!(
        "train --depth 8 --alpha 3 --image-size 8 --batch-size 6 --dataset folder --data {data}"
    );
    let run = |name: &str| path(temporary.path(), name);
    let train = |arguments: &str, directory: &str| {
        let words = arguments.split(' ').chain(["--run-dir", directory]);
        let output = command(&words.collect::<Vec<_>>()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        stderr
    };
    let weights = |name: &str| std::fs::read(temporary.path().join(name).join("last.safetensors"));
    let apart = format!("{small} --epochs 1 --devices cpu,cpu");
    train(&apart, &run("apart"));
    let together = train(&format!("{apart} --sync-batch-norm"), &run("together"));
    let shares = "with 3, 3 images of a batch, and batch norm over all of them";
    assert!(together.contains(shares), "{together}");
    let config = std::fs::read_to_string(temporary.path().join("together/config.toml")).unwrap();
    assert!(config.contains("sync_batch_norm = true"), "{config}");
    assert!(weights("apart").unwrap() != weights("together").unwrap());

    let resume = |more: &[&str]| {
        let run = run("together");
        let words = ["train", "--resume", &run, "--epochs", "2"];
        command(&[&words[..], more].concat()).output().unwrap()
    };
    let resumed = resume(&[]);
    let stderr = String::from_utf8_lossy(&resumed.stderr);
    assert!(
        resumed.status.success() && stderr.contains(shares),
        "{stderr}"
    );
    let config = run("together") + "/config.toml";
    let again = format!("train --config {config} --epochs 2 --devices cpu,cpu");
    train(&again, &run("again"));
    assert_eq!(weights("again").unwrap(), weights("together").unwrap());

    let change = [
        "train",
        "--resume",
        &run("apart"),
        "--epochs",
        "2",
        "--sync-batch-norm",
    ];
    fails(&change, 2, &["--sync-batch-norm differs", "--allow"]);
    let alone = format!(
        "{small} --device cpu --sync-batch-norm --run-dir {}",
        run("alone")
    );
    let alone: Vec<&str> = alone.split(' ').collect();
    fails(&alone, 2, &["the run has one", "--devices"]);
    for devices in ["--device cpu", "--devices cpu,cpu"] {
        let halves = format!(
            "{small} {devices} --gradients f16 --run-dir {}",
            run("alone")
        );
        let halves: Vec<&str> = halves.split(' ').collect();
        fails(
            &halves,
            2,
            &["--gradients f16", "the run has one", "mpirun"],
        );
    }
    assert!(!temporary.path().join("alone").exists());
}

#[test]
fn wrong_lists_of_devices_are_refused() {
    let train = |devices: &str, code: i32, words: &[&str]| {
        let flags = [
            "train",
            "--run-dir",
            "/nonexistent/run",
            "--devices",
            devices,
        ];
        fails(&flags, code, words);
    };
    train("", 2, &["--devices has an empty name"]);
    train("auto,cpu", 2, &["names or numbers"]);
    train("all,cpu", 2, &["--devices all", "leave out the others"]);
    train("0,cpu,0", 2, &["has 0 twice", "give its name twice"]);
    train("cpu,no such adapter", 3, &["no such adapter"]);
    let both = ["train", "--device", "cpu", "--devices", "cpu"];
    fails(&both, 2, &["cannot be used with"]);
    let tuned = ["train", "--devices", "cpu,cpu", "--tune", "off"];
    fails(&tuned, 2, &["no choice of kernels", "--tune"]);
    let small = ["train", "--devices", "cpu,cpu,cpu", "--batch-size", "2"];
    fails(
        &small,
        2,
        &["a batch of 2 cannot be divided among 3 devices"],
    );
    let micro = [
        "train",
        "--devices",
        "cpu,cpu",
        "--batch-size",
        "8",
        "--micro-batch",
        "5",
    ];
    fails(&micro, 2, &["--micro-batch 5 exceeds the share"]);
    let mixed = [
        "train",
        "--devices",
        "cpu,cpu",
        "--batch-size",
        "2",
        "--mixup",
        "1",
    ];
    fails(&mixed, 2, &["with 2 devices", "--mixup"]);
    fails_without_drivers(&["train", "--devices", "all"], "found no graphics card");
}

/// Variables of launchers.
const LAUNCHERS: [&str; 4] = [
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "PMIX_RANK",
    "SLURM_STEP_NUM_TASKS",
];

/// Exit code and messages of a process that a launcher has started with these variables.
fn launched(variables: &[(&str, &str)], flags: &[&str]) -> (Option<i32>, String) {
    let train = ["train", "--print-config", "--device", "cpu"];
    let mut command = command(&[&train[..], flags].concat());
    for variable in LAUNCHERS {
        command.env_remove(variable);
    }
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), stderr)
}

#[test]
fn processes_that_slurm_starts_without_mpi_are_told() {
    let tasks = ("SLURM_STEP_NUM_TASKS", "2");
    let words = "srun has started 2 processes without MPI";
    let (code, stderr) = launched(&[tasks], &[]);
    assert!(code == Some(0) && stderr.contains(words), "{stderr}");
    assert!(stderr.contains("--mpi=pmix"), "{stderr}");
    let (code, stderr) = launched(&[tasks], &["--rank-timeout", "5"]);
    assert!(code == Some(2) && stderr.contains(words), "{stderr}");
    for alone in [
        &[("SLURM_STEP_NUM_TASKS", "1")][..],
        &[tasks, ("PMI_SIZE", "1")],
    ] {
        let (code, stderr) = launched(alone, &[]);
        assert!(code == Some(0) && !stderr.contains("srun"), "{stderr}");
    }
}

#[cfg(not(feature = "mpi"))]
#[test]
fn a_program_without_mpi_refuses_a_launcher() {
    for variables in [
        &[("OMPI_COMM_WORLD_SIZE", "2")][..],
        &[("PMI_SIZE", "2")],
        &[("SLURM_STEP_NUM_TASKS", "2"), ("PMIX_RANK", "0")],
    ] {
        let (code, stderr) = launched(variables, &[]);
        assert_eq!(code, Some(2), "{stderr}");
        for words in ["started 2 processes", "without MPI", "--features mpi"] {
            assert!(stderr.contains(words), "{stderr}");
        }
    }
}
