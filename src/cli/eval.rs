//! `pyr-wgpu eval`: a checkpoint's error on the test images of a dataset.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args as ClapArgs;
use serde_json::json;

use super::dataset;
use super::device::DeviceArgs;
use super::error::CliError;
use super::files;
use super::fitting::{SMALLER, fitting};
use super::network::NetworkArgs;
use super::progress::Progress;
use super::tuning::{Tune, TuneArgs, complete};
use super::{positive, print_json, print_line, workers};
use crate::data::{self, DatasetKind};
use crate::kernels::Choices;
use crate::text::printable;
use crate::train::{Evaluation, Evaluator, EvaluatorOptions, TrainError};

/// Number of classes up to which the confusion matrix is printed.
const MAX_MATRIX: usize = 20;

/// Arguments of `eval`.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// A .safetensors file, or a run directory (its best weights)
    checkpoint: PathBuf,
    #[arg(long, value_name = "NAME", help = DatasetKind::names("or"))]
    dataset: DatasetKind,
    /// Where the dataset's files are
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Images per batch
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive)]
    batch_size: usize,
    /// Threads that decode images, for datasets over 1 GiB
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = workers)]
    workers: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    tune: TuneArgs,
}

/// Evaluates.
///
/// # Errors
/// See [`CliError`].
pub(super) fn run(args: Args) -> Result<(), CliError> {
    args.device.check()?;
    args.tune.check(&args.device)?;
    dataset::check(Some(args.dataset), args.data.as_deref())?;
    let loaded = files::load(&args.checkpoint, &args.network, true)?;
    let opened = data::open(&data::Request {
        kind: args.dataset,
        dir: args.data.clone(),
        resize: loaded.description.preprocessing.resize,
        need_train: false,
    })?;
    for note in &opened.notes {
        args.device.say(&format!("note: {note}"));
    }
    dataset::compare_classes(&loaded.description, loaded.described, &opened.classes)?;
    let device = args.device.open()?;
    args.tune.check(&args.device.opened(&device))?;
    let total = opened.test.len();
    let options = EvaluatorOptions {
        batch_size: args.batch_size,
        workers: args.workers,
        preprocessing: loaded.description.preprocessing,
    };
    let mut tuner = args.tune.tuner(Tune::On);
    let mut evaluator = Evaluator::new(
        &device,
        &loaded.network,
        &loaded.tensors,
        options,
        Arc::clone(&opened.test),
        |graphs| {
            complete(
                &mut tuner,
                &device,
                graphs,
                &Choices::default(),
                &args.device,
            )
        },
    )
    .map_err(|error| match error {
        TrainError::Engine(error) => {
            let now = args.batch_size.min(total);
            let names = ("--batch-size", SMALLER);
            fitting(error, &device, names, 1..now, |batch_size| {
                let smaller = EvaluatorOptions {
                    batch_size,
                    ..options
                };
                Evaluator::graphs(&device, &loaded.network, &smaller, &opened.test).ok()
            })
        }
        error => error.into(),
    })?;
    let mut progress = Progress::new("evaluating", 0, total as u64, args.device.quiet);
    let evaluation =
        pollster::block_on(evaluator.run(|done| progress.update(done as u64, String::new)))?;
    drop(progress);
    for note in opened.test.notes() {
        args.device.say(&format!("note: {note}"));
    }
    match args.json {
        true => print_json(&as_json(&opened.classes, &evaluation)),
        false => {
            let classes: Vec<String> = opened.classes.iter().map(|c| printable(c)).collect();
            as_text(&classes, &evaluation)
        }
    }
}

/// Images of a class, and how many of them were classified correctly.
fn class_counts(evaluation: &Evaluation, class: usize) -> (u64, u64) {
    let row = &evaluation.confusion[class];
    (row.iter().sum(), row[class])
}

/// Images that were classified as a class.
fn predicted(evaluation: &Evaluation, class: usize) -> u64 {
    evaluation.confusion.iter().map(|row| row[class]).sum()
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn as_json(classes: &[String], evaluation: &Evaluation) -> serde_json::Value {
    let per_class: Vec<serde_json::Value> = classes
        .iter()
        .enumerate()
        .map(|(class, name)| {
            let (images, correct) = class_counts(evaluation, class);
            json!({
                "class": name,
                "images": images,
                "recall": ratio(correct, images),
                "precision": ratio(correct, predicted(evaluation, class)),
            })
        })
        .collect();
    let totals = &evaluation.totals;
    json!({
        "top1_error": totals.top1_error(),
        "top5_error": totals.top5_error(classes.len()),
        "loss": totals.mean_loss(),
        "images": totals.images,
        "classes": per_class,
        "confusion": evaluation.confusion,
    })
}

fn as_text(classes: &[String], evaluation: &Evaluation) -> Result<(), CliError> {
    let totals = &evaluation.totals;
    print_line(&format!("images      {}", totals.images))?;
    print_line(&format!("top-1 error {:.2} %", totals.top1_error()))?;
    if let Some(error) = totals.top5_error(classes.len()) {
        print_line(&format!("top-5 error {error:.2} %"))?;
    }
    print_line(&format!("loss        {:.4}", totals.mean_loss()))?;
    print_line("")?;
    let width = classes
        .iter()
        .map(|c| c.chars().count())
        .max()
        .unwrap_or(0)
        .max(5);
    print_line(&format!(
        "{:<width$} {:>7} {:>8} {:>10}",
        "class", "images", "recall", "precision"
    ))?;
    let percent =
        |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{:.1} %", 100.0 * v));
    for (class, name) in classes.iter().enumerate() {
        let (images, correct) = class_counts(evaluation, class);
        print_line(&format!(
            "{name:<width$} {images:>7} {:>8} {:>10}",
            percent(ratio(correct, images)),
            percent(ratio(correct, predicted(evaluation, class)))
        ))?;
    }
    if classes.len() > MAX_MATRIX {
        return print_line("\nthe confusion matrix is too large to print; --json has it");
    }
    print_line("\nconfusion (rows: true class, columns: predicted class)")?;
    let columns: Vec<String> = (0..classes.len()).map(|c| format!("{c:>5}")).collect();
    print_line(&format!("{:<width$}    {}", "", columns.join("")))?;
    for (class, name) in classes.iter().enumerate() {
        let row = evaluation.confusion[class].iter();
        let cells: Vec<String> = row.map(|count| format!("{count:>5}")).collect();
        print_line(&format!("{name:<width$} {class:>2} {}", cells.join("")))?;
    }
    Ok(())
}
