//! `pyr-wgpu data get`: downloads a published dataset and unpacks it.

mod download;
mod unpack;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use super::super::error::CliError;
use super::super::output::{print_line, print_message};
use super::super::progress::Progress;
use crate::checkpoint::writing_advice;
use crate::data::{Archive, DatasetKind, Published};
use crate::text::{printable_path, quoted};
use download::{DownloadError, Patience, Wanted, download};
use unpack::{UnpackError, unpack};

/// Arguments of `data get`.
#[derive(ClapArgs)]
pub(in super::super) struct Args {
    /// cifar10 or cifar100
    #[arg(value_name = "NAME")]
    dataset: DatasetKind,
    /// Where the folder of the dataset's files is created
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// Another address of the archive, tried before the published ones; may be repeated
    #[arg(long, value_name = "URL")]
    mirror: Vec<String>,
    /// Print errors only
    #[arg(long, short)]
    quiet: bool,
}

/// Downloads and unpacks, unless the files are there, and prints the folder of the files.
///
/// # Errors
/// If no address delivers the archive, or a file cannot be written.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    let Args {
        dataset,
        data,
        mirror,
        quiet,
    } = args;
    let Some(published) = dataset.manifest().published else {
        return Err(CliError::Usage(format!(
            "{dataset} is not published as an archive; there are cifar10 and cifar100"
        )));
    };
    let folder = data.join(&published.folder);
    let say = |text: String| {
        if !quiet {
            print_message(&text);
        }
    };
    if is_complete(&folder, &published) {
        say(format!(
            "{} has every file in its full length",
            printable_path(&folder)
        ));
        return print_line(&printable_path(&folder));
    }
    fs::create_dir_all(&data).map_err(|error| unwritten(&data, &error))?;
    let addresses: Vec<String> = mirror
        .into_iter()
        .chain(published.archive.urls.clone())
        .collect();
    // The lock lasts until the end.
    let (archive, _locked) = fetch(&published.archive, &addresses, &data, quiet)?;
    let unpacked = unpack(&archive, &published, &data).map_err(|error| match error {
        UnpackError::Archive(reason) => CliError::Data(format!(
            "{} cannot be unpacked: {reason}; remove it and try again",
            printable_path(&archive)
        )),
        UnpackError::Write(path, error) => unwritten(&path, &error),
    })?;
    fs::remove_file(&archive).map_err(|error| unwritten(&archive, &error))?;
    say(format!(
        "next: pyr-wgpu train --dataset {dataset} --data {}",
        quoted(&unpacked)
    ));
    print_line(&printable_path(&unpacked))
}

/// Whether every file is there in its full length.
fn is_complete(folder: &Path, published: &Published) -> bool {
    let mut files = published.train.iter().chain(&published.test);
    files.all(|file| {
        let found = fs::metadata(folder.join(&file.name));
        found.is_ok_and(|found| found.is_file() && found.len() == file.bytes)
    })
}

/// Downloads the archive; returns its file.
fn fetch(
    archive: &Archive,
    addresses: &[String],
    directory: &Path,
    quiet: bool,
) -> Result<(PathBuf, File), CliError> {
    let part = directory.join(format!("{}.part", archive.name));
    let wanted = Wanted {
        addresses,
        bytes: archive.bytes,
        sha256: &archive.sha256,
    };
    let done = fs::metadata(&part).map_or(0, |part| part.len());
    let mut progress =
        Progress::of_bytes("downloading", done.min(wanted.bytes), wanted.bytes, quiet);
    let downloaded = download(&wanted, &part, Patience::default(), |done| {
        progress.update(done, String::new);
    });
    drop(progress);
    match downloaded {
        Ok(file) => Ok((part, file)),
        Err(DownloadError::File(error)) => Err(unwritten(&part, &error)),
        Err(DownloadError::Busy) => Err(CliError::Failed(format!(
            "another process downloads to {}; wait for it",
            printable_path(&part)
        ))),
        Err(DownloadError::Addresses(failures)) => Err(CliError::Data(format!(
            "{} could not be downloaded:\n  {}\n\
             give the command again later, which continues what is there, or another address with \
             --mirror URL",
            archive.name,
            failures.join("\n  ")
        ))),
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> CliError {
    CliError::Failed(format!(
        "{} cannot be written: {error}; {}",
        printable_path(path),
        writing_advice(error)
    ))
}
