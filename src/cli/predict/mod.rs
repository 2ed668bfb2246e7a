//! `pyr-wgpu predict`: classes of images, with probabilities.

use std::path::{Path, PathBuf};
use std::slice::from_ref;

use clap::{Args as ClapArgs, ValueEnum};
use serde_json::json;

mod images;

use super::device::DeviceArgs;
use super::error::CliError;
use super::files;
use super::fitting::fitting;
use super::network::NetworkArgs;
use super::output::csv_field;
use super::tuning::{self, Tune, TuneArgs, complete};
use super::views::ViewArgs;
use super::{positive, print_json, print_line, print_message};
use crate::data::{self, Resize};
use crate::engine::{Device, EngineError};
use crate::kernels::Choices;
use crate::model::{Network, NetworkSpec};
use crate::predict::{PredictError, Prediction, Predictor};
use crate::text::{name_of, printable};
use crate::trained_model::TrainedModel;

/// Arguments of `predict`.
#[derive(ClapArgs)]
// Measuring kernels would take longer than classifying an image.
#[command(mut_arg("tune", |tune| tune.help(tuning::help("cached"))))]
pub(super) struct Args {
    /// Checkpoint, or run directory (its best weights)
    checkpoint: PathBuf,
    /// Images (JPEG, PNG, WebP, GIF or BMP), folders of them, patterns such as 'photos/*.jpg', or -
    /// for paths on stdin
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    views: ViewArgs,
    /// How many classes to show
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = positive)]
    top: usize,
    /// Print text, one JSON document, or CSV: a row for each class of each image
    #[arg(long, value_name = "WORD", value_enum, default_value_t = Format::Text)]
    format: Format,
    /// As --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    tune: TuneArgs,
}

const CSV_HEADER: &str = "image,rank,class,index,probability";

/// How predictions are printed.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Text,
    Json,
    Csv,
}

/// Classifies one image after the other, so that memory does not grow with their number.
///
/// # Errors
/// After classifying the other images, if one cannot be read or decoded, or has a score that is NaN
/// or infinite, or if a folder or list cannot be read or has none.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    args.device.check()?;
    args.tune.check(&args.device)?;
    let mut loaded = files::load(&args.checkpoint, &args.network, true)?;
    args.views
        .apply(&mut loaded.description.preprocessing.resize)?;
    let inputs = images::expand(&args.images)?;
    let format = match args.json {
        true => Format::Json,
        false => args.format,
    };
    let mut failed = 0;
    let mut classified = Ok(());
    let images = inputs.iter().filter_map(|input| {
        let image = input.as_ref().map_err(String::clone).and_then(|path| {
            let image = decode(path, loaded.description.preprocessing.resize)?;
            Ok((name_of(path.as_os_str()), image))
        });
        let image = image.map_err(|error| {
            failed += 1;
            print_message(&format!("error: {error}"));
        });
        image.ok()
    });
    let mut images = images.peekable();
    if images.peek().is_none() {
        // Without an image there is no need of a device.
        match format {
            Format::Json => print_json(&json!([]))?,
            Format::Csv => print_line(CSV_HEADER)?,
            Format::Text => {}
        }
    } else {
        let device = args.device.open()?;
        args.tune.check(&args.device.opened(&device))?;
        let mut tuner = args.tune.tuner(Tune::Cached);
        let log = &args.device;
        let predictor = Predictor::new(&device, &loaded, |graphs| {
            complete(&mut tuner, &device, graphs, &Choices::default(), log)
        });
        let mut predictor = predictor.map_err(|error| too_large(error, &device, &loaded))?;
        classified = classify(&mut predictor, images, &args, format);
    }
    // A closed pipe ends the command early, but does not hide an error.
    match (failed, classified) {
        (1.., Ok(()) | Err(CliError::ClosedPipe)) => {
            let count = inputs.len();
            let noun = match inputs.iter().all(Result::is_ok) {
                true => "images",
                false => "inputs",
            };
            Err(CliError::Data(format!(
                "{failed} of {count} {noun} could not be classified"
            )))
        }
        (_, classified) => classified,
    }
}

/// Adds the largest image size that fits to an error about too little memory.
fn too_large(error: EngineError, device: &Device, loaded: &TrainedModel) -> CliError {
    let spec = loaded.network.spec();
    let sizes = spec.stem.least_image_size() as usize..spec.image_size as usize;
    let names = ("--image-size", "a smaller network or another device");
    fitting(error, (from_ref(device), 1), names, sizes, |size| {
        let smaller = NetworkSpec {
            image_size: size as u32,
            ..spec.clone()
        };
        let network = Network::new(&smaller).ok()?;
        let graph = Predictor::graph(&network, loaded.description.preprocessing, 1);
        Some(vec![graph.ok()?])
    })
}

/// Reads the views of an image file: u8 [V, N, N, 3].
fn decode(path: &Path, resize: Resize) -> Result<Vec<u8>, String> {
    let image = data::decode_image_file(path, resize);
    image.map_err(|error| error.in_file(path).to_string())
}

/// Classifies images, by name, and prints their classes.
fn classify(
    predictor: &mut Predictor,
    images: impl Iterator<Item = (String, Vec<u8>)>,
    args: &Args,
    format: Format,
) -> Result<(), CliError> {
    let mut document = Vec::new();
    let (mut count, mut not_finite) = (0, 0);
    let mut printed = match format {
        Format::Csv => print_line(CSV_HEADER),
        Format::Text | Format::Json => Ok(()),
    };
    for (name, image) in images {
        count += 1;
        match pollster::block_on(predictor.classify(&image)) {
            Ok(mut predictions) => {
                predictions.truncate(args.top);
                match format {
                    Format::Json => document.push(as_json(&name, &predictions)),
                    Format::Text => printed = as_text(&name, &predictions),
                    Format::Csv => printed = as_csv(&name, &predictions),
                }
                if printed.is_err() {
                    break;
                }
            }
            Err(error @ PredictError::NotFinite { .. }) => {
                not_finite += 1;
                print_message(&format!("error: {}: {error}", printable(&name)));
            }
            Err(PredictError::Engine(error)) => return Err(error.into()),
        }
    }
    if format == Format::Json {
        printed = print_json(&serde_json::Value::Array(document));
    }
    match (not_finite, printed) {
        (1.., Ok(()) | Err(CliError::ClosedPipe)) => Err(CliError::Diverged(format!(
            "{not_finite} of {count} images have scores that are NaN or infinite"
        ))),
        (_, printed) => printed,
    }
}

fn as_json(image: &str, predictions: &[Prediction]) -> serde_json::Value {
    let rows: Vec<serde_json::Value> = predictions
        .iter()
        .map(|p| json!({"class": p.class, "index": p.index, "probability": p.probability}))
        .collect();
    json!({"image": image, "predictions": rows})
}

fn as_csv(image: &str, predictions: &[Prediction]) -> Result<(), CliError> {
    let image = csv_field(&printable(image));
    for (rank, p) in (1..).zip(predictions) {
        let class = csv_field(&printable(&p.class));
        let (index, probability) = (p.index, p.probability);
        print_line(&format!("{image},{rank},{class},{index},{probability}"))?;
    }
    Ok(())
}

fn as_text(image: &str, predictions: &[Prediction]) -> Result<(), CliError> {
    print_line(&printable(image))?;
    for p in predictions {
        let class = printable(&p.class);
        print_line(&format!("  {:>6.2} %  {class}", 100.0 * p.probability))?;
    }
    Ok(())
}
