//! `pyr-wgpu report`: runs beside the paper's results.

mod figure3;

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use super::error::CliError;
use super::output::print_message;
use super::training::training;
use crate::checkpoint::write_atomically;
use crate::data::DatasetKind;
use crate::text::{name_of, printable_path};
use figure3::Point;

/// Arguments of `report`.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// Draw the paper's figure 3, the test error against the number of parameters, with the lowest
    /// error of these runs, as SVG
    #[arg(long, value_name = "RUN", num_args = 1.., required = true)]
    figure3: Vec<PathBuf>,
    /// File to write
    #[arg(long, value_name = "FILE.svg", default_value = "figure3.svg")]
    output: PathBuf,
}

/// Writes the figure.
///
/// # Errors
/// If a run cannot be read or has not completed an epoch, or the file cannot be written.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    let extension = args.output.extension();
    if !extension.is_some_and(|extension| extension.eq_ignore_ascii_case("svg")) {
        return Err(CliError::Usage(format!(
            "--output {} would be an SVG file; end its name in .svg",
            printable_path(&args.output)
        )));
    }
    let runs = args.figure3.iter().map(|path| point(path));
    let runs: Vec<(DatasetKind, Point)> = runs.collect::<Result<_, _>>()?;
    let text = figure3::svg(&runs);
    write_atomically(&args.output, |writer| writer.write_all(text.as_bytes()))?;
    print_message(&format!("wrote {}", printable_path(&args.output)));
    Ok(())
}

/// The dataset of a run, and its place in the figure.
fn point(path: &Path) -> Result<(DatasetKind, Point), CliError> {
    let training = training(path)?;
    let Some(best) = training.best() else {
        return Err(CliError::Failed(format!(
            "{} has not completed an epoch, so it has no test error; resume it",
            printable_path(path)
        )));
    };
    let point = Point {
        name: name_of(path.file_name().unwrap_or(path.as_os_str())),
        parameters: training.config.network()?.counts().parameters,
        error: best.test_top1_error,
    };
    Ok((training.config.dataset.parse()?, point))
}
