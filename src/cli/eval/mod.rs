//! `pyr-wgpu eval`: a checkpoint's error on the test images of a dataset.

use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::sync::Arc;

use clap::Args as ClapArgs;

mod predictions;
mod report;

use super::cache;
use super::dataset;
use super::device::DeviceArgs;
use super::error::CliError;
use super::files;
use super::fitting::{SMALLER, fitting};
use super::network::NetworkArgs;
use super::progress::Progress;
use super::tuning::{Tune, TuneArgs, complete};
use super::views::ViewArgs;
use super::{positive, print_json, processors, workers};
use crate::checkpoint::write_atomically;
use crate::data::{self, Augmentation, DatasetKind};
use crate::files::{behind_links, directory};
use crate::kernels::Choices;
use crate::run::RunDirectory;
use crate::text::{printable, printable_path};
use crate::train::{Evaluator, EvaluatorOptions, TrainError};

/// Arguments of `eval`.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// Checkpoint, or run directory (its best weights)
    checkpoint: PathBuf,
    #[arg(long, value_name = "NAME", help = DatasetKind::names("or"))]
    dataset: DatasetKind,
    /// Where the dataset's files are
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Images per batch, or crops: an image has 2 with --flip and 10 with --ten-crop
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive)]
    batch_size: usize,
    /// Threads that decode images, for imagenet and for folders over 1 GiB [default: one for each
    /// processor]
    #[arg(long, value_name = "N", value_parser = workers)]
    workers: Option<usize>,
    #[command(flatten)]
    views: ViewArgs,
    /// Write the class and the scores of every image, as .csv or .npz
    #[arg(long, value_name = "FILE", value_parser = predictions::file)]
    predictions: Option<predictions::File>,
    /// Write images, recall, precision and F1 of every class
    #[arg(long, value_name = "FILE.csv")]
    per_class: Option<PathBuf>,
    /// Write the confusion matrix: a row for each true class, a column for each predicted one
    #[arg(long, value_name = "FILE.csv")]
    confusion: Option<PathBuf>,
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
    check_outputs(&args)?;
    let mut loaded = files::load(&args.checkpoint, &args.network, true)?;
    args.views
        .apply(&mut loaded.description.preprocessing.resize)?;
    let opened = data::open(&data::Request {
        kind: args.dataset,
        dir: args.data.clone(),
        resize: loaded.description.preprocessing.resize,
        need_train: false,
        augmentation: Augmentation::default(),
        cache: cache::listings(),
    })?;
    for note in &opened.notes {
        args.device.say(&format!("note: {note}"));
    }
    if args.workers.is_some() && opened.test.resident().is_some() {
        let note = "note: --workers has no effect: the images fit in memory";
        args.device.say(note);
    }
    let description = &loaded.description;
    dataset::compare_classes(description, description.names_classes(), &opened.classes)?;
    let device = args.device.open()?;
    args.tune.check(&args.device.opened(&device))?;
    let total = opened.test.len();
    let options = EvaluatorOptions {
        batch_size: args.batch_size,
        workers: args.workers.unwrap_or_else(processors),
        preprocessing: loaded.description.preprocessing,
        keep_scores: args.predictions.is_some(),
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
            let views = loaded.description.preprocessing.resize.views.count();
            let now = args.batch_size.min(total.saturating_mul(views));
            let names = ("--batch-size", SMALLER);
            fitting(
                error,
                (from_ref(&device), 1),
                names,
                views..now.max(views),
                |batch_size| {
                    let smaller = EvaluatorOptions {
                        batch_size,
                        ..options
                    };
                    Evaluator::graphs(&device, &loaded.network, &smaller, &opened.test).ok()
                },
            )
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
    let classes = &opened.classes;
    if let Some(file) = &args.predictions {
        predictions::write(file, &opened.test, classes, &evaluation.scores)?;
    }
    if let Some(path) = &args.per_class {
        save(path, &report::per_class_csv(classes, &evaluation))?;
    }
    if let Some(path) = &args.confusion {
        save(path, &report::confusion_csv(classes, &evaluation))?;
    }
    // After the files: a reader that closes the pipe ends the command.
    match args.json {
        true => print_json(&report::as_json(classes, &evaluation)),
        false => {
            let classes: Vec<String> = classes.iter().map(|c| printable(c)).collect();
            report::as_text(&classes, &evaluation)
        }
    }
}

/// Checks that the files of results can be written, as far as that is known before.
///
/// # Errors
/// If two are the same, one has another extension than its format, or a directory is missing.
fn check_outputs(args: &Args) -> Result<(), CliError> {
    let tables = [&args.per_class, &args.confusion];
    let tables = tables.into_iter().flatten().map(PathBuf::as_path);
    for path in tables.clone() {
        let extension = path.extension().unwrap_or_default();
        if !extension.eq_ignore_ascii_case("csv") {
            let path = printable_path(path);
            return Err(CliError::Usage(format!("{path} must end in .csv")));
        }
    }
    let predictions = args.predictions.as_ref().map(predictions::File::path);
    let paths: Vec<&Path> = tables.chain(predictions).collect();
    for (at, path) in paths.iter().enumerate() {
        let file = file_behind(path);
        if paths[..at].iter().any(|other| file_behind(other) == file) {
            return Err(CliError::Usage(format!(
                "{} is given for two results; name another file for one of them",
                printable_path(path)
            )));
        }
        if RunDirectory::has_file(path) {
            return Err(CliError::Usage(format!(
                "{} is a file of a run; name another output",
                printable_path(path)
            )));
        }
        if !directory(&file).is_dir() || path.is_dir() {
            return Err(CliError::Failed(format!(
                "{} cannot be written: it is a directory, or lies in none; create the directory first",
                printable_path(path)
            )));
        }
    }
    Ok(())
}

/// The file that a path leads to, which need not exist: two paths of a file give the same.
fn file_behind(path: &Path) -> PathBuf {
    let path = behind_links(path).unwrap_or(path.to_owned());
    let parent = directory(&path).canonicalize();
    match (parent, path.file_name()) {
        (Ok(parent), Some(name)) => parent.join(name),
        _ => path,
    }
}

/// Writes a text file.
///
/// # Errors
/// If it cannot be written.
fn save(path: &Path, text: &str) -> Result<(), CliError> {
    write_atomically(path, |writer| writer.write_all(text.as_bytes())).map_err(CliError::from)
}
