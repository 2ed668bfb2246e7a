//! Fine-tuning: runs that begin with the weights of a checkpoint.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};
use pyr_wgpu::checkpoint::{Checkpoint, StoredTensor};

use crate::{fails, golden, json, path, run};

/// A folder of three classes of images of one colour each.
fn data(directory: &Path, classes: [&str; 3]) -> String {
    let data = directory.join(classes.join("-"));
    for part in ["train", "test"] {
        for (class, name) in classes.iter().enumerate() {
            let folder = data.join(part).join(name);
            fs::create_dir_all(&folder).unwrap();
            for number in 0..6u8 {
                let mut colour = [number * 20; 3];
                colour[class] = 200;
                let image = RgbImage::from_pixel(32, 32, Rgb(colour));
                image.save(folder.join(format!("{number}.png"))).unwrap();
            }
        }
    }
    data.display().to_string()
}

/// Trains; what was printed on stderr.
fn train(data: &str, flags: &[&str]) -> String {
    let dataset = ["--dataset", "folder", "--data", data, "--device", "cpu"];
    let recipe = ["--epochs", "1", "--batch-size", "6", "--lr", "0.01"];
    let output = run(&[&["train"], &dataset[..], &recipe, flags].concat());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    stderr
}

fn tensors(run: &str) -> BTreeMap<String, StoredTensor> {
    let file = Path::new(run).join("last.safetensors");
    Checkpoint::load(&file).unwrap().tensors
}

#[test]
fn a_run_begins_with_the_weights_of_a_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let run_dir = |name: &str| path(directory.path(), name);
    let (first, second, third) = (run_dir("first"), run_dir("second"), run_dir("third"));
    let weights = golden("additive_basic.safetensors");
    let colours = data(directory.path(), ["red", "green", "blue"]);
    let stderr = train(
        &colours,
        &[
            "--from",
            &weights,
            "--freeze-until",
            "3",
            "--run-dir",
            &first,
        ],
    );
    for words in ["starts from random weights", "from bn_final.weight on"] {
        assert!(stderr.contains(words), "{stderr}");
    }
    let own = tensors(&first);
    let origin = Checkpoint::load(Path::new(&weights)).unwrap().tensors;
    for (name, tensor) in &origin {
        let is_trained = name.starts_with("fc.") || name.starts_with("bn_final.");
        let counts = name.ends_with("num_batches_tracked");
        assert!(counts || is_trained != (own[name] == *tensor), "{name}");
    }
    assert_eq!(own["fc.bias"].shape(), [3]);
    // The same classes keep the classifier, others and a flag do not.
    let stderr = train(&colours, &["--from", &first, "--run-dir", &second]);
    assert!(stderr.contains("with its classifier"), "{stderr}");
    let reset = ["--from", &first, "--reset-classifier", "--run-dir", &third];
    let stderr = train(&colours, &reset);
    assert!(stderr.contains("starts from random weights"), "{stderr}");
    let others = data(directory.path(), ["a", "b", "c"]);
    let fourth = run_dir("fourth");
    let stderr = train(&others, &["--from", &first, "--run-dir", &fourth]);
    assert!(stderr.contains("are not the dataset's"), "{stderr}");
    // A run needs the checkpoint that it began with no more.
    fs::rename(&first, run_dir("moved")).unwrap();
    let output = run(&["train", "--resume", &second, "--epochs", "2"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn another_image_size_is_possible() {
    let directory = tempfile::tempdir().unwrap();
    let weights = golden("additive_basic.safetensors");
    let colours = data(directory.path(), ["red", "green", "blue"]);
    let run_dir = path(directory.path(), "run");
    let flags = [
        "--from",
        &weights,
        "--image-size",
        "16",
        "--run-dir",
        &run_dir,
    ];
    let stderr = train(&colours, &flags);
    assert!(stderr.contains("16x16"), "{stderr}");
    // Without a save the run begins again, from the same checkpoint at the same size.
    for name in ["state", "last", "best"] {
        fs::remove_file(Path::new(&run_dir).join(format!("{name}.safetensors"))).unwrap();
    }
    let output = run(&["train", "--resume", &run_dir, "--device", "cpu"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("starts from its beginning"), "{stderr}");
    let size = json(&[
        "predict",
        &run_dir,
        &format!("{colours}/test/red/0.png"),
        "--json",
        "--device",
        "cpu",
    ]);
    assert_eq!(size.as_array().unwrap().len(), 1);
}

/// The flag for classes is compared with the dataset, not with the checkpoint.
#[test]
fn the_dataset_decides_the_classes() {
    let directory = tempfile::tempdir().unwrap();
    let weights = golden("additive_basic.safetensors");
    let colours = data(directory.path(), ["red", "green", "blue"]);
    let run_dir = path(directory.path(), "run");
    let flags = ["--from", &weights, "--classes", "3", "--run-dir", &run_dir];
    train(&colours, &flags);
}

#[test]
fn what_cannot_be_fine_tuned_is_named() {
    let weights = golden("additive_basic.safetensors");
    for (flags, code, words) in [
        (&["--from", "gone.pth"][..], 5, &["gone.pth"][..]),
        (&["--freeze-until", "9"], 2, &["3 stages", "9"]),
        (&["--freeze-until", "all"], 2, &["stem", "stage"]),
        (&["--reset-classifier"], 2, &["--from"]),
        (
            &["--from", &weights, "--alpha", "12"],
            5,
            &["another alpha"],
        ),
        (
            &["--from", &weights, "--growth", "mul"],
            5,
            &["additive_basic.safetensors"],
        ),
        (&["--from", &weights, "--preset", "demo"], 2, &["--preset"]),
        (&["--from", &weights, "--resume", "run"], 2, &["--resume"]),
    ] {
        let arguments = [&["train", "--quiet", "--device", "cpu"], flags].concat();
        fails(&arguments, code, words);
    }
}
