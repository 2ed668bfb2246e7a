//! Options of training as users give them: flags from files, averages, patience, random factors on
//! branches.

use std::fs;
use std::path::Path;

use pyr_wgpu::checkpoint::Checkpoint;
use serde_json::Value;

use crate::{command, fails, json, path, run};

/// A network and a recipe that take seconds.
const SMALL: &str = "train --depth 8 --alpha 3 --image-size 8 --batch-size 512 --device cpu";

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn stdout(arguments: &[&str]) -> String {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn stderr(arguments: &[&str]) -> String {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    stderr
}

fn toml(text: &str) -> Value {
    toml::from_str(text).unwrap()
}

#[test]
fn flags_come_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let print = |file: &str, flags: &[&str]| {
        let name = path(directory.path(), "flags.toml");
        fs::write(&name, file).unwrap();
        let flags = [&["train", "--config", &name, "--print-config"], flags].concat();
        let output = command(&flags)
            .current_dir(directory.path())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stderr.is_empty(), "{stderr}");
        // Nothing else was written.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        toml(&String::from_utf8(output.stdout).unwrap())
    };
    let file = "preset = \"pyramidnet110-a48\"\ndropout = 0.25\nbatch-size = 64\nweight_decay = 1e-3\n\
                milestones = [3, 5]\nno-augment = true\nrecompute = false\nema = 0.99\nworkers = 4\n\
                dataset = \"cifar100\"\ndata = \"images\"\n";
    let config = print(file, &[]);
    assert_eq!(config["network"]["depth"], 110);
    assert_eq!(config["network"]["classes"], 100);
    assert_eq!(config["network"]["dropout"], 0.25);
    assert_eq!(config["recipe"]["batch_size"], 64);
    assert_eq!(config["recipe"]["milestones"], Value::from(vec![3, 5]));
    // Of the dataset that the file names.
    assert_eq!(config["recipe"]["learning_rate"], 0.5);
    assert_eq!(config["recipe"]["augment"], false);
    assert_eq!(config["recompute"], false);
    let other = print(file, &words("--dropout 0.5 --lr 0.25 --milestones 7"));
    assert_eq!(other["network"]["dropout"], 0.5);
    assert_eq!(other["recipe"]["learning_rate"], 0.25);
    assert_eq!(other["recipe"]["milestones"], Value::from(vec![7]));
    assert_eq!(other["recipe"]["batch_size"], 64);
    // Another network is not changed by what the file says of its own.
    let other = print(file, &["--preset", "demo"]);
    assert_eq!(other["network"]["depth"], 8);
    assert_eq!(other["network"]["dropout"], 0.0);

    let name = path(directory.path(), "flags.toml");
    let arguments = ["train", "--config", &name];
    for (text, word) in [
        ("epoch = 3", "`epoch` (did you mean `epochs`?)"),
        ("resume = \"run\"", "unknown key `resume`"),
        ("epochs = \"many\"", "invalid value 'many' for '--epochs"),
        ("no-augment = 1", "`no-augment` must be true or false"),
        ("lr = true", "`lr` needs a value"),
        (
            "batch-size = 1\nbatch_size = 2",
            "`batch-size` is given twice",
        ),
        ("lr = 1\nepochs 3", "flags.toml: line 2: "),
        ("reset-classifier = true", "--from <CHECKPOINT>"),
        ("epochs = 0", "--epochs 0"),
        ("[recipe]\nepochs = 3", "missing field"),
    ] {
        fs::write(&name, text).unwrap();
        fails(&arguments, 2, &[word]);
    }
    let missing = path(directory.path(), "missing.toml");
    fails(&["train", "--config", &missing], 2, &["missing.toml"]);
}

/// A flag also replaces those of another name that it cannot be given with, whether a file of flags
/// or a run has them, and 0 or a word switches an option off.
#[test]
fn flags_win_over_those_they_conflict_with() {
    let directory = tempfile::tempdir().unwrap();
    let print = |file: &str, flags: &str| {
        let name = path(directory.path(), "flags.toml");
        fs::write(&name, file).unwrap();
        let flags = [
            words("train --print-config --config"),
            vec![&name],
            words(flags),
        ];
        stdout(&flags.concat())
    };
    let milestones = "milestones = [2, 4]\nepochs = 9\n";
    let polynomial = "schedule = \"polynomial\"\npower = 2.0\nepochs = 9\n";
    for (flat, flags, expected) in [
        (milestones, "--schedule cosine", "schedule = \"cosine\""),
        (milestones, "--schedule step", "milestones = [2, 4]"),
        (polynomial, "--milestones 5", "milestones = [5]"),
        (polynomial, "--schedule cosine", "schedule = \"cosine\""),
        (polynomial, "--schedule polynomial", "power = 2"),
        ("no-augment = true", "--augmentation crop", "augment = true"),
        ("augmentation = \"crop\"", "--no-augment", "augment = false"),
    ] {
        let run = print(flat, "");
        for file in [flat, &run] {
            let config = print(file, flags);
            assert!(config.contains(expected), "{file}{flags}: {config}");
            let known = toml(&config);
            let recipe = &known["recipe"];
            let is = |word| {
                recipe
                    .get("schedule")
                    .is_some_and(|s| s.as_str() == Some(word))
            };
            assert_eq!(recipe.get("power").is_some(), is("polynomial"), "{config}");
        }
    }
    let file = "dataset = \"folder\"\ndata = \"images\"\nfrom = \"x\"\nreset-classifier = true\n\
                freeze-until = 2\nretry = 2\ntune = \"on\"\nmemory = \"1GiB\"\nmicro-batch = \"auto\"\n";
    let config = toml(&print(
        file,
        "--dataset shapes --preset demo --device cpu --micro-batch 8",
    ));
    for key in ["data", "from", "reset_classifier", "freeze_until"] {
        assert_eq!(config.get(key), None, "{key}");
    }
    assert_eq!(config["micro_batch"].as_u64(), Some(8));
    let kept = print(
        "dataset = \"folder\"\ndata = \"images\"\n",
        "--dataset folder",
    );
    for file in [&kept, "dataset = \"folder\"\ndata = \"images\"\n"] {
        let config = toml(&print(file, "--dataset folder"));
        assert!(config["data"].as_str().unwrap().ends_with("images"));
    }
    let options = "--auto-augment rand --erase 0.5 --cutout 8 --mixup 1 --cutmix 1 --ema 0.5 \
                   --clip-grad-norm 1 --patience 2 --label-smoothing 0.1";
    let off = "--auto-augment none --erase 0 --cutout 0 --mixup 0 --cutmix 0 --ema 0 \
               --clip-grad-norm 0 --patience 0 --label-smoothing 0";
    let plain = print("", "");
    let zeros =
        "ema = 0.0\nclip_grad_norm = 0.0\npatience = 0\nmixup = 0.0\ncutmix = 0.0\ncutout = 0\n";
    assert_eq!(print(&format!("{plain}{zeros}"), ""), plain);
    let all = print("", options);
    assert_ne!(all, plain);
    assert_eq!(print(&all, off), plain);
}

/// The configuration of a run, as printed and as recorded, describes the same run.
#[test]
fn configurations_are_files_of_flags() {
    let directory = tempfile::tempdir().unwrap();
    let [run_dir, again, name] =
        ["run", "again", "printed.toml"].map(|n| path(directory.path(), n));
    let recipe = "--epochs 1 --schedule cosine --shakedrop 0.5 --clip-grad-norm 1 --ema 0.9";
    let flags = [words(SMALL), words(recipe)].concat();
    let printed = stdout(&[&flags[..], &["--print-config"]].concat());
    fs::write(&name, &printed).unwrap();
    stderr(&[&flags[..], &["--quiet", "--run-dir", &run_dir]].concat());
    let recorded = fs::read_to_string(Path::new(&run_dir).join("config.toml")).unwrap();
    let (same, id) = recorded.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(same, printed.trim_end());
    assert!(id.starts_with("# Run id: "), "{id}");
    let config = path(Path::new(&run_dir), "config.toml");
    let same = [
        "train",
        "--device",
        "cpu",
        "--quiet",
        "--run-dir",
        &again,
        "--config",
    ];
    assert_eq!(
        stdout(&[&same[..], &[&config, "--print-config"]].concat()),
        printed
    );
    stderr(&[&same[..], &[&name]].concat());
    for file in ["last.safetensors", "best.safetensors", "config.toml"] {
        let read = |run: &str| fs::read(Path::new(run).join(file)).unwrap();
        assert!(read(&run_dir) == read(&again), "{file} differs");
    }
    // Flags win over it, and a network replaces its network.
    let changed = ["train", "--print-config", "--config", &name];
    let other = toml(&stdout(
        &[&changed[..], &words("--lr 0.01 --alpha 6")].concat(),
    ));
    assert_eq!(other["network"]["alpha"], 6.0);
    assert_eq!(other["network"]["shakedrop"], 0.5);
    assert_eq!(other["recipe"]["schedule"], "cosine");
    let other = toml(&stdout(
        &[&changed[..], &["--preset", "pyramidnet110-a48"]].concat(),
    ));
    assert_eq!(other["network"].get("shakedrop"), None);
    assert_eq!(other["recipe"]["ema"].as_f64().unwrap() as f32, 0.9);
    let card = stdout(&["card", &run_dir]);
    let update = "gradients clipped to norm 1, averages of the weights with decay 0.9.";
    for word in [update, "ShakeDrop 0.5", "branch of unit l of L"] {
        assert!(card.contains(word), "{word} is not in {card}");
    }
    let resume = ["train", "--resume", &run_dir, "--config", &name];
    fails(&resume, 2, &["--resume", "--config"]);
}

/// The weights that a run leaves are the averages, whose error it reports; it resumes from the raw
/// ones to the same bits.
#[test]
fn averages_are_saved_and_resumed() {
    let directory = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| path(directory.path(), name));
    let recipe = "--ema 0.9 --stochastic-depth 0.8 --clip-grad-norm 0.5 --quiet --epochs";
    let flags = [words(SMALL), words(recipe)].concat();
    stderr(&[&flags[..], &["2", "--run-dir", &whole]].concat());
    stderr(&[&flags[..], &["1", "--run-dir", &parts]].concat());
    let resume = ["train", "--resume", &parts, "--quiet"];
    stderr(&[&resume[..], &["--epochs", "2"]].concat());
    let load = |run: &str, file: &str| Checkpoint::load(&Path::new(run).join(file)).unwrap();
    for file in ["state.safetensors", "last.safetensors", "best.safetensors"] {
        assert!(load(&whole, file) == load(&parts, file), "{file} differs");
    }
    let (state, last) = (
        load(&whole, "state.safetensors"),
        load(&whole, "last.safetensors"),
    );
    let mut averaged = 0;
    for (name, tensor) in &last.tensors {
        let Some(average) = state.tensors.get(&format!("average.{name}")) else {
            assert!(name.ends_with("num_batches_tracked"), "{name}");
            continue;
        };
        assert!(tensor == average, "{name} is no average");
        averaged += usize::from(state.tensors[name] != *average);
    }
    assert!(averaged > 20, "{averaged}");
    let rows = fs::read_to_string(Path::new(&whole).join("metrics.csv")).unwrap();
    let header: Vec<&str> = rows.lines().next().unwrap().split(',').collect();
    let column = header
        .iter()
        .position(|name| *name == "test_top1_error")
        .unwrap();
    let recorded: f64 = rows
        .lines()
        .last()
        .unwrap()
        .split(',')
        .nth(column)
        .unwrap()
        .parse()
        .unwrap();
    let checkpoint = path(Path::new(&whole), "last.safetensors");
    let eval = json(&[
        "eval",
        &checkpoint,
        "--dataset",
        "shapes",
        "--json",
        "--device",
        "cpu",
    ]);
    let error = eval["top1_error"].as_f64().unwrap();
    assert!((error - recorded).abs() < 1e-3, "{error} {recorded}");
    // Another decay needs permission, and begins with the averages there are.
    let longer = [&resume[..], &words("--epochs 3")].concat();
    fails(
        &[&longer[..], &["--ema", "0.5"]].concat(),
        2,
        &["--ema differs"],
    );
    // A state that has lost an average is damaged.
    let file = Path::new(&whole).join("state.safetensors");
    let mut damaged = state.clone();
    damaged.tensors.remove("average.bn1.running_mean");
    damaged.save(&file).unwrap();
    let words = ["it lacks average of bn1.running_mean"];
    fails(&["train", "--resume", &whole, "--epochs", "3"], 5, &words);
}

#[test]
fn patience_ends_a_run_that_can_continue() {
    let directory = tempfile::tempdir().unwrap();
    let run_dir = path(directory.path(), "run");
    // At so low a rate the network keeps guessing, sometimes better and sometimes worse.
    let recipe = "--epochs 9 --lr 1e-30 --patience 1 --run-dir";
    let text = stderr(&[&words(SMALL)[..], &words(recipe), &[&run_dir]].concat());
    let early = "early: the last epoch has not lowered the test error";
    for word in ["patience 1", early] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    let events = || fs::read_to_string(Path::new(&run_dir).join("events.jsonl")).unwrap();
    let epochs = || events().matches("\"event\":\"epoch\"").count();
    let last = events().lines().last().unwrap().to_owned();
    assert!(
        last.contains("\"finished\"") && last.contains("\"patience\":1"),
        "{last}"
    );
    let before = epochs();
    assert!(before < 9, "{text}");
    let resume = ["train", "--resume", &run_dir, "--quiet"];
    fails(
        &resume,
        2,
        &[
            "ended after 1 epochs without a lower test error",
            "raise --patience",
        ],
    );
    stderr(&[&resume[..], &["--patience", "2"]].concat());
    assert!(epochs() > before);
    let shorter = [&resume[..], &words("--patience 99 --epochs 5")].concat();
    fails(&shorter, 2, &["--epochs", "may only grow"]);
}

/// What a resumed run is allowed to change has its effect or is refused.
#[test]
fn changes_of_a_resumed_run_have_an_effect() {
    let directory = tempfile::tempdir().unwrap();
    let run_dir = path(directory.path(), "run");
    let recipe = "--epochs 1 --schedule cosine --no-augment --quiet --run-dir";
    stderr(&[&words(SMALL)[..], &words(recipe), &[&run_dir]].concat());
    let resume = ["train", "--device", "cpu", "--quiet", "--resume", &run_dir];
    for (flags, word) in [
        (
            "--milestones 2 --allow milestones,epochs --epochs 2",
            "--milestones has no effect",
        ),
        (
            "--augmentation crop --allow augmentation,epochs --epochs 2",
            "--augmentation has no effect",
        ),
    ] {
        fails(
            &[&resume[..], &words(flags)].concat(),
            2,
            &[word, "leave it out"],
        );
    }
    let to_step = "--schedule step --milestones 2 --allow schedule,milestones,epochs --epochs 2";
    stderr(&[&resume[..], &words(to_step)].concat());
    let metrics = fs::read_to_string(Path::new(&run_dir).join("metrics.csv")).unwrap();
    let rates = metrics
        .lines()
        .skip(1)
        .map(|row| row.split(',').nth(1).unwrap());
    assert_eq!(rates.last(), Some("0.005"), "{metrics}");
}

#[test]
fn impossible_options_are_refused() {
    for (flags, word) in [
        ("--preset demo --reset-classifier", "--reset-classifier"),
        ("--ema 1", "--ema must be"),
        ("--ema -0.5", "such as 0.999"),
        (
            "--clip-grad-norm -1",
            "--clip-grad-norm must be a positive number",
        ),
        ("--clip-grad-norm inf", "such as 1"),
        ("--shakedrop 0", "the papers use 0.5"),
        ("--stochastic-depth 1.5", "at most 1"),
        (
            "--shakedrop 0.5 --stochastic-depth 0.5",
            "--stochastic-depth 1",
        ),
    ] {
        fails(
            &[&["train", "--quiet"], &words(flags)[..]].concat(),
            2,
            &[word],
        );
    }
    let predict = ["predict", crate::MODEL, "x.png"];
    let given = [&predict[..], &words("--stochastic-depth 0.5")].concat();
    fails(
        &given,
        2,
        &["--stochastic-depth 0.5 has an effect in training only"],
    );
}

/// The two networks of the paper on ShakeDrop have the size of those without it.
#[test]
fn presets_with_shakedrop_have_the_size_of_their_networks() {
    for (name, parameters) in [
        ("pyramidnet110-a270-shakedrop", 28_485_477),
        ("pyramidnet272-a200-shakedrop", 26_210_842),
    ] {
        let summary = json(&["summary", "--preset", name, "--json"]);
        assert_eq!(summary["parameters"], parameters, "{name}");
    }
    let text = stdout(&["summary", "--preset", "pyramidnet272-a200-shakedrop"]);
    assert!(
        text.contains("ShakeDrop 0.5") && text.contains("layer3.29.scale"),
        "{text}"
    );
}
