//! Files of results: predictions, metrics of classes, the confusion matrix, and model cards.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use image::{Rgb, RgbImage};
use pyr_wgpu::checkpoint::read_npy;

use crate::{MODEL, command, example, fails, golden, json, path, run};

/// A folder of the ten classes of the shipped model, with two images each.
fn data(directory: &Path) -> String {
    let bytes = fs::read(MODEL).unwrap();
    let model = pyr_wgpu::checkpoint::Checkpoint::from_bytes(&bytes).unwrap();
    let model = pyr_wgpu::trained_model::TrainedModel::read(model, None).unwrap();
    for (class, name) in model.description.classes.iter().enumerate() {
        let folder = directory.join("data/test").join(name);
        fs::create_dir_all(&folder).unwrap();
        for number in 0..2u8 {
            let colour = Rgb([class as u8 * 20, number * 100, 90]);
            let image = RgbImage::from_fn(32, 32, |x, y| match (x / 8 + y / 8) % 2 {
                0 => colour,
                _ => Rgb([200, 20, 10]),
            });
            image.save(folder.join(format!("{number}.png"))).unwrap();
        }
    }
    path(directory, "data")
}

#[test]
fn evaluations_write_files() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| path(directory.path(), name);
    let data = data(directory.path());
    let eval = ["eval", MODEL, "--dataset", "folder", "--data", &data];
    let eval = [&eval[..], &["--device", "cpu", "--json"]].concat();
    let [csv, npz, classes, matrix] = ["p.csv", "p.npz", "c.csv", "m.csv"].map(place);
    let files = ["--per-class", &classes, "--confusion", &matrix];
    let report = json(&[&eval[..], &files, &["--predictions", &csv]].concat());
    let text = fs::read_to_string(&csv).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .skip(1)
        .map(|l| l.split(',').collect())
        .collect();
    assert_eq!(rows.len(), 20);
    let right = rows.iter().filter(|row| row[2] == row[3]).count() as f64;
    let error = report["top1_error"].as_f64().unwrap();
    assert!(
        (error - 100.0 * (1.0 - right / 20.0)).abs() < 1e-9,
        "{error}"
    );
    assert!(rows[0][1].ends_with("airplane/0.png"), "{:?}", rows[0]);
    // The confusion matrix and the classes agree with the rows.
    let matrix = fs::read_to_string(&matrix).unwrap();
    let cells = matrix
        .lines()
        .skip(1)
        .flat_map(|line| line.split(',').skip(1));
    let sum: u64 = cells.map(|cell| cell.parse::<u64>().unwrap()).sum();
    assert_eq!(sum, 20);
    let classes = fs::read_to_string(&classes).unwrap();
    assert_eq!(classes.lines().count(), 11);
    let bins = report["calibration"]["bins"].as_array().unwrap();
    let images: u64 = bins.iter().map(|bin| bin["images"].as_u64().unwrap()).sum();
    assert_eq!((bins.len(), images), (15, 20));
    // The arrays hold the same.
    json(&[&eval[..], &["--predictions", &npz]].concat());
    let mut archive = zip::ZipArchive::new(fs::File::open(&npz).unwrap()).unwrap();
    let mut array = |name: &str| {
        let mut bytes = Vec::new();
        std::io::copy(&mut archive.by_name(name).unwrap(), &mut bytes).unwrap();
        read_npy(&bytes).unwrap()
    };
    assert_eq!(array("logits.npy").shape(), [20, 10]);
    assert_eq!(array("labels.npy").shape(), [20]);
    let probabilities = array("probabilities.npy")
        .into_f32("probabilities")
        .unwrap();
    let first: f32 = probabilities[..10].iter().sum();
    assert!((first - 1.0).abs() < 1e-5);
    fails(
        &[
            "eval",
            MODEL,
            "--dataset",
            "shapes",
            "--predictions",
            "a.txt",
        ],
        2,
        &[".csv or .npz"],
    );
    let output = run(&[&eval[..], &["--workers", "2"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("--workers has no effect"), "{stderr}");
    let output = run(&eval);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("--workers"), "{stderr}");
}

/// A file is compared however its path is spelled, and through links.
#[test]
fn two_results_are_two_files() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| path(directory.path(), name);
    fs::create_dir(place("a")).unwrap();
    fs::write(place("there.csv"), "").unwrap();
    let mut pairs = vec![
        ["new.csv", "a/../new.csv"],
        ["there.csv", "a/../there.csv"],
        ["a/new.csv", "a/new.csv"],
    ];
    #[cfg(unix)]
    for (link, target) in [("1.csv", "there.csv"), ("2.csv", "a/new.csv"), ("b", "a")] {
        std::os::unix::fs::symlink(target, place(link)).unwrap();
        pairs.push(match link {
            "b" => ["a/new.csv", "b/new.csv"],
            link => [link, target],
        });
    }
    for pair in pairs {
        let [a, b] = pair.map(place);
        let eval = ["eval", MODEL, "--dataset", "shapes", "--device", "cpu"];
        for [first, second] in [[&a, &b], [&b, &a]] {
            let files = ["--per-class", first, "--confusion", second];
            let words = ["given for two results", "name another"];
            fails(&[&eval[..], &files].concat(), 2, &words);
            let files = ["--per-class", first, "--predictions", second];
            fails(&[&eval[..], &files].concat(), 2, &words);
        }
    }
}

/// Classes without names are compared by number, also after a conversion.
#[test]
fn converted_weights_without_names_are_evaluated() {
    let directory = tempfile::tempdir().unwrap();
    let data = data(directory.path());
    let converted = path(directory.path(), "a.safetensors");
    let output = run(&["convert", &golden("additive_basic.safetensors"), &converted]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("no names; --class-names"), "{stderr}");
    let eval = ["eval", &converted, "--dataset", "folder", "--data", &data];
    let report = json(&[&eval[..], &["--device", "cpu", "--json"]].concat());
    assert_eq!(report["images"], 20);
}

#[test]
fn folders_and_lists_are_classified() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("images");
    fs::create_dir(&folder).unwrap();
    for name in ["b, c.png", "a.png"] {
        fs::copy(example("star.png"), folder.join(name)).unwrap();
    }
    fs::write(folder.join("notes.txt"), "no image").unwrap();
    let folder = folder.display().to_string();
    let csv = ["--format", "csv", "--top", "2", "--device", "cpu"];
    let output = run(&[&["predict", MODEL, &folder], &csv[..]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "image,rank,class,index,probability");
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[1].contains("a.png,1,"), "{text}");
    assert!(
        lines[3].starts_with('"') && lines[3].contains("b, c.png\",1,"),
        "{text}"
    );
    // The same by their paths on stdin.
    let mut child = command(&[&["predict", MODEL, "-"], &csv[..]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    write!(stdin, "{folder}/a.png\n{folder}/b, c.png\n").unwrap();
    drop(stdin);
    assert_eq!(child.wait_with_output().unwrap().stdout, text.as_bytes());
    let empty = path(directory.path(), "empty");
    fs::create_dir(&empty).unwrap();
    fails(&["predict", MODEL, &empty], 4, &["empty", "has no image"]);
}

#[test]
fn cards_describe_checkpoints_and_runs() {
    let directory = tempfile::tempdir().unwrap();
    let card = run(&["card", MODEL]);
    let text = String::from_utf8(card.stdout).unwrap();
    for words in [
        "---\nlibrary_name: pyr-wgpu\npipeline_tag: image-classification\n",
        "# cifar10",
        "310845 parameters",
        "airplane, automobile",
        "predict cifar10.safetensors",
    ] {
        assert!(text.contains(words), "{text} lacks {words}");
    }
    let run_dir = path(directory.path(), "run");
    let file = path(directory.path(), "README.md");
    let network = ["train", "--depth", "8", "--alpha", "3", "--image-size", "8"];
    let rest = ["--epochs", "1", "--device", "cpu", "--run-dir", &run_dir];
    assert!(run(&[&network[..], &rest].concat()).status.success());
    assert!(run(&["card", &run_dir, "--output", &file]).status.success());
    let text = fs::read_to_string(&file).unwrap();
    for words in [
        "datasets:\n- \"shapes\"\n",
        "    - type: accuracy\n",
        "## Results",
        "after epoch 1 of 1",
        "Nesterov momentum 0.9",
        "predict best.safetensors",
    ] {
        assert!(text.contains(words), "{text} lacks {words}");
    }
    fails(&["card", "gone.safetensors"], 5, &["gone.safetensors"]);

    // The same run in the paper's figure.
    let figure = path(directory.path(), "figure.svg");
    let report = ["report", "--figure3", &run_dir, "--output"];
    assert!(run(&[&report[..], &[&figure]].concat()).status.success());
    let text = fs::read_to_string(&figure).unwrap();
    for words in [
        ">Shapes<",
        ">run<",
        "pyramidnet272-a200: 26210842 parameters, 3.31 %",
    ] {
        assert!(text.contains(words), "{text} lacks {words}");
    }
    fails(
        &[&report[..], &["figure.png"]].concat(),
        2,
        &["figure.png", ".svg"],
    );
    fails(&["report"], 2, &["--figure3"]);
    fails(&["report", "--figure3", "gone"], 5, &["gone"]);
}
