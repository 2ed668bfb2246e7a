//! `pyr-wgpu predict`: classes of images, with probabilities.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::json;

use super::device::DeviceArgs;
use super::error::CliError;
use super::files;
use super::network::NetworkArgs;
use super::tuning::{TuneArgs, complete};
use super::{positive, print_json, print_line};
use crate::data::{DataError, printable};
use crate::kernels::Choices;
use crate::predict::{Prediction, Predictor};

/// Arguments of `predict`.
#[derive(ClapArgs)]
// Measuring kernels would take longer than classifying an image.
#[command(mut_arg("tune", |tune| tune.default_value("cached")))]
pub(super) struct Args {
    /// A .safetensors file, or a run directory (its best weights)
    checkpoint: PathBuf,
    /// Images: JPEG, PNG, WebP, GIF or BMP
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// How many classes to show
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = positive)]
    top: usize,
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

/// Classifies.
///
/// # Errors
/// If a file cannot be read, before classifying any; if an image cannot be decoded, after
/// classifying the others.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    args.device.check()?;
    let loaded = files::load(&args.checkpoint, &args.network)?;
    let mut files = Vec::new();
    for path in &args.images {
        let bytes = std::fs::read(path)
            .map_err(|e| CliError::Data(format!("cannot read {}: {e}", path.display())))?;
        files.push((path, bytes));
    }
    let device = args.device.open()?;
    let mut tuner = args.tune.tuner();
    let mut predictor = Predictor::new(&device, &loaded, |graphs| {
        complete(
            &mut tuner,
            &device,
            graphs,
            &Choices::default(),
            &args.device,
        )
    })?;
    let mut document = Vec::new();
    let mut failed: Vec<DataError> = Vec::new();
    for (path, bytes) in files {
        let image = match predictor.decode(&bytes) {
            Ok(image) => image,
            Err(error) => {
                failed.push(error.in_file(path));
                continue;
            }
        };
        let mut predictions = pollster::block_on(predictor.classify(&image))?;
        predictions.truncate(args.top);
        match args.json {
            true => document.push(as_json(&path.display().to_string(), &predictions)),
            false => as_text(&path.display().to_string(), &predictions)?,
        }
    }
    if args.json {
        print_json(&serde_json::Value::Array(document))?;
    }
    let mut rest = failed.into_iter();
    match rest.next() {
        None => Ok(()),
        Some(first) => {
            let others: Vec<String> = rest.map(|e| format!("\nerror: {e}")).collect();
            Err(CliError::Data(format!("{first}{}", others.concat())))
        }
    }
}

fn as_json(image: &str, predictions: &[Prediction]) -> serde_json::Value {
    let rows: Vec<serde_json::Value> = predictions
        .iter()
        .map(|p| json!({"class": p.class, "index": p.index, "probability": p.probability}))
        .collect();
    json!({"image": image, "predictions": rows})
}

fn as_text(image: &str, predictions: &[Prediction]) -> Result<(), CliError> {
    print_line(image)?;
    for p in predictions {
        let class = printable(&p.class);
        print_line(&format!("  {:>6.2} %  {class}", 100.0 * p.probability))?;
    }
    Ok(())
}
