//! `pyr-wgpu data check`: unreadable, odd, duplicate and leaked images of a folder.
//!
//! Remarks leave the exit code 0: training works with all of them. What training and evaluation
//! refuse is an error, code 4, after the report.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::super::error::CliError;
use super::super::output::{print_json, print_line};
use super::super::positive;
use super::super::progress::Progress;
use super::ResizeArgs;
use crate::data::{
    Example, Finding, FindingKind, InspectedPart, Inspection, Resize, inspect_folder,
};
use crate::text::{first_few, name_of, printable, printable_path};

/// Arguments of `data check`.
#[derive(ClapArgs)]
pub(in super::super) struct Args {
    /// Folder with DIR/train/CLASS/IMAGE and DIR/test/CLASS/IMAGE
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    resize: ResizeArgs,
    /// Pictures that each finding names, and files of each
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = positive)]
    names: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Print results and errors only
    #[arg(long, short)]
    quiet: bool,
}

/// Inspects the folder and prints the findings.
///
/// # Errors
/// If training or evaluation would refuse the folder.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    let resize = args.resize.resize()?;
    let progress: Mutex<Option<Progress>> = Mutex::new(None);
    let inspected = inspect_folder(&args.directory, resize, args.names, |done, total| {
        // While another thread draws, a later state replaces this one.
        if let Ok(mut progress) = progress.try_lock() {
            let begin = || Progress::new("checking", 0, total as u64, args.quiet);
            let progress = progress.get_or_insert_with(begin);
            progress.update(done as u64, String::new);
        }
    });
    drop(progress);
    let inspection = inspected?;
    let printed = match args.json {
        true => print_json(&as_json(&inspection)),
        false => as_text(&inspection, resize),
    };
    let refused = inspection
        .parts
        .iter()
        .filter_map(|part| part.refused.as_ref());
    let refused: Vec<String> = refused.map(ToString::to_string).collect();
    // A closed pipe does not hide that the data cannot be used.
    match (refused.is_empty(), printed) {
        (false, Ok(()) | Err(CliError::ClosedPipe)) => Err(CliError::Data(refused.join("\n"))),
        (_, printed) => printed,
    }
}

fn as_json(inspection: &Inspection) -> Value {
    let findings = |findings: &[Finding]| -> Value {
        let fields = findings.iter().map(|finding| {
            let value = json!({
                "pictures": finding.pictures,
                "files": finding.files,
                "examples": finding.examples.iter().map(example).collect::<Vec<_>>(),
            });
            (finding.kind.name().to_owned(), value)
        });
        Value::Object(fields.collect())
    };
    let part = |part: &InspectedPart| {
        json!({
            "folder": name_of(part.folder.as_os_str()),
            "images": part.images,
            "findings": findings(&part.findings),
            "error": part.refused.as_ref().map(ToString::to_string),
        })
    };
    let [train, test] = &inspection.parts;
    json!({
        "classes": inspection.classes,
        "train": part(train),
        "test": part(test),
        "findings": findings(&inspection.findings),
        "unused": inspection.unused,
    })
}

fn example(example: &Example) -> Value {
    let name = |file: &PathBuf| name_of(file.as_os_str());
    json!({
        "files": example.files.iter().map(name).collect::<Vec<_>>(),
        "more": example.more,
        "detail": example.detail,
    })
}

fn as_text(inspection: &Inspection, resize: Resize) -> Result<(), CliError> {
    for part in &inspection.parts {
        print_line(&balance(part, &inspection.classes))?;
        print_findings(&part.findings, resize)?;
    }
    print_line("both parts")?;
    print_findings(&inspection.findings, resize)?;
    inspection
        .unused
        .iter()
        .try_for_each(|note| print_line(note))
}

/// How many images a part has, and how they are shared among the classes.
fn balance(part: &InspectedPart, classes: &[String]) -> String {
    let images = &part.images;
    let by_images = |class: &usize| images[*class];
    let labels = 0..images.len();
    let [least, most] = [
        labels.clone().min_by_key(by_images),
        labels.rev().max_by_key(by_images),
    ]
    .map(|class| class.expect("there are classes"));
    let class = |class: usize| format!("`{}` with {}", printable(&classes[class]), images[class]);
    let balance = match images[least] == images[most] {
        true => format!("{} in each", images[least]),
        false => format!("smallest {}, largest {}", class(least), class(most)),
    };
    format!(
        "{}: {} readable images in {} classes, {balance}",
        printable_path(&part.folder),
        images.iter().sum::<usize>(),
        images.len()
    )
}

fn print_findings(findings: &[Finding], resize: Resize) -> Result<(), CliError> {
    for finding in findings {
        let (pictures, files) = (finding.pictures, finding.files);
        let count = match pictures {
            0 => "none".to_owned(),
            _ if pictures == files => pictures.to_string(),
            _ => format!("{pictures} ({files} files)"),
        };
        print_line(&format!("  {}: {count}", label(finding.kind, resize)))?;
        for example in &finding.examples {
            print_line(&format!("    {}", line(example)))?;
        }
        match pictures - finding.examples.len() {
            0 => {}
            more => print_line(&format!("    and {more} more"))?,
        }
    }
    Ok(())
}

fn line(example: &Example) -> String {
    let files = example
        .files
        .iter()
        .map(|file| printable_path(Path::new(file)));
    let files: Vec<String> = files.collect();
    let files = first_few(&files, files.len() + example.more);
    match example.detail.is_empty() {
        true => files,
        false => format!("{files}: {}", example.detail),
    }
}

fn label(kind: FindingKind, resize: Resize) -> String {
    match kind {
        FindingKind::Unreadable => "unreadable".to_owned(),
        FindingKind::AspectRatio => "one side over three times the other".to_owned(),
        FindingKind::SingleColour => "a single colour".to_owned(),
        FindingKind::Small => {
            let side = resize.shorter_side.div_ceil(2);
            format!("shorter side below {side} pixels")
        }
        FindingKind::Duplicate => "pictures that occur more than once".to_owned(),
        FindingKind::Leaked => "pictures in both parts".to_owned(),
        FindingKind::SeveralClasses => "pictures in more than one class".to_owned(),
    }
}
