//! The files that `verify` compares with: weights, batch, and what another program recorded.

use std::path::{Path, PathBuf};

use super::super::error::CliError;
use super::super::files;
use super::Args;
use crate::checkpoint::{Checkpoint, StoredTensor, Values, first_not_finite, read_npy_file};
use crate::engine::Tensors;
use crate::model::{Network, NetworkSpec, Parameter, ParameterRole};
use crate::text::printable_path;
use crate::trained_model::TrainedModel;
use crate::verify::RecordedBatch;

/// The arrays to compare with.
pub(super) struct Recorded {
    pub(super) logits: Option<Vec<f32>>,
    pub(super) grads: Option<Tensors>,
    pub(super) state: Option<Tensors>,
    pub(super) losses: Option<Vec<f32>>,
}

impl Recorded {
    /// Reads the files that were given.
    pub(super) fn read(args: &Args, network: &Network, size: usize) -> Result<Recorded, CliError> {
        let array = |path: &Option<PathBuf>, shape: &[usize]| {
            let path = path.as_ref();
            path.map(|path| array(path, shape)).transpose()
        };
        let tensors = |path: &Option<PathBuf>, covers: fn(ParameterRole) -> bool| {
            let path = path.as_ref();
            path.map(|path| tensors(path, network, covers)).transpose()
        };
        let classes = network.spec().classes as usize;
        Ok(Recorded {
            logits: array(&args.logits, &[size, classes])?,
            grads: tensors(&args.grads, ParameterRole::is_trainable)?,
            state: tensors(&args.state, |_| true)?,
            losses: array(&args.losses, &[args.steps.unwrap_or(0)])?,
        })
    }
}

/// The weights; where neither flags nor metadata give the image size, it is the batch's.
pub(super) fn load(args: &Args, input: &StoredTensor) -> Result<TrainedModel, CliError> {
    let loaded = files::load(&args.weights, &args.network, false)?;
    let extent = match input.shape() {
        [count, 3, height, width] if *count > 0 && height == width => u32::try_from(*height).ok(),
        _ => None,
    };
    let extent = extent.ok_or_else(|| {
        CliError::Data(format!(
            "{}: the batch is {:?}; it must be [N, 3, H, H], at least one normalised image",
            printable_path(&args.input),
            input.shape()
        ))
    })?;
    let own = loaded.description.network.image_size;
    if own == extent {
        return Ok(loaded);
    }
    if args.network.image_size.is_some() || loaded.described {
        return Err(CliError::Data(format!(
            "{}: the images are {extent}x{extent}, the network takes {own}x{own}",
            printable_path(&args.input)
        )));
    }
    let spec = NetworkSpec {
        image_size: extent,
        ..loaded.description.network
    };
    files::load_as(&args.weights, spec)
}

/// The batch, with the labels if there are any.
pub(super) fn batch(
    args: &Args,
    loaded: &TrainedModel,
    input: &StoredTensor,
) -> Result<RecordedBatch, CliError> {
    let size = input.shape()[0];
    let classes = loaded.network.spec().classes;
    let Values::F32(images) = input.values() else {
        return Err(CliError::Data(format!(
            "{}: the batch must be float32",
            printable_path(&args.input)
        )));
    };
    check_finite(images).map_err(|what| {
        CliError::Data(format!("{}: the batch {what}", printable_path(&args.input)))
    })?;
    let labels = match &args.labels {
        None => Vec::new(),
        Some(path) => {
            let wrong = |what: String| CliError::Data(format!("{}: {what}", printable_path(path)));
            let tensor = read_array(path)?;
            let Values::I64(labels) = tensor.values() else {
                return Err(wrong("labels must be int64".to_owned()));
            };
            if labels.len() != size {
                return Err(wrong(format!("{} labels for {size} images", labels.len())));
            }
            let known = |(at, label): (usize, &i64)| {
                let known = u32::try_from(*label).ok().filter(|label| *label < classes);
                known.ok_or_else(|| {
                    wrong(format!(
                        "label {label} at index {at} is not a class, 0 to {}",
                        classes - 1
                    ))
                })
            };
            labels
                .iter()
                .enumerate()
                .map(known)
                .collect::<Result<Vec<u32>, CliError>>()?
        }
    };
    let spec = loaded.network.spec();
    for (is_random, name, off) in [
        (spec.dropout > 0.0, "dropout", "--dropout 0"),
        (spec.shakedrop < 1.0, "ShakeDrop", "--shakedrop 1"),
        (
            spec.stochastic_depth < 1.0,
            "stochastic depth",
            "--stochastic-depth 1",
        ),
    ] {
        if is_random && !labels.is_empty() {
            return Err(CliError::Usage(format!(
                "{name} draws different random numbers in every program; verify with {off}"
            )));
        }
    }
    Ok(RecordedBatch {
        input: images.clone(),
        size,
        labels,
    })
}

/// The first number that is not finite, in words.
pub(super) fn check_finite(values: &[f32]) -> Result<(), String> {
    match first_not_finite(values) {
        None => Ok(()),
        Some((at, value)) => Err(format!("holds {value} at element {at}")),
    }
}

/// Reads a `.npy` file; whatever is wrong with it is an error of the data.
pub(super) fn read_array(path: &Path) -> Result<StoredTensor, CliError> {
    read_npy_file(path).map_err(|error| CliError::Data(error.to_string()))
}

/// A recorded float32 array of the given shape.
fn array(path: &Path, shape: &[usize]) -> Result<Vec<f32>, CliError> {
    let wrong =
        |what: String| CliError::Data(format!("{}: the array {what}", printable_path(path)));
    let tensor = read_array(path)?;
    match (tensor.shape() == shape, tensor.into_parts()) {
        (true, (_, Values::F32(values))) => match check_finite(&values) {
            Ok(()) => Ok(values),
            Err(what) => Err(wrong(format!("{what}; {RECORD_AGAIN}"))),
        },
        (_, (found, values)) => {
            let kind = match values {
                Values::F32(_) => "float32",
                Values::I64(_) => "int64",
            };
            Err(wrong(format!(
                "is {kind} {found:?}, it must be float32 {shape:?}"
            )))
        }
    }
}

/// The recorded tensors of those roles that `covers` names; counters of batches are not compared.
fn tensors(
    path: &Path,
    network: &Network,
    covers: fn(ParameterRole) -> bool,
) -> Result<Tensors, CliError> {
    let wrong = |what: String| CliError::Checkpoint(format!("{}: {what}", printable_path(path)));
    let mut stored = Checkpoint::load(path)?.tensors;
    let mut recorded = Tensors::new();
    for Parameter { name, shape, role } in network.parameters() {
        if !covers(role) {
            continue;
        }
        let tensor = stored.remove(&name);
        if role == ParameterRole::BatchesTracked {
            continue;
        }
        let found = tensor.as_ref().map(|tensor| tensor.shape().to_vec());
        let Some(tensor) = tensor.filter(|_| found.as_ref() == Some(&shape)) else {
            let found = found.map_or("is missing".to_owned(), |found| {
                format!("has shape {found:?}")
            });
            return Err(wrong(format!(
                "tensor `{name}` {found}, ours has {shape:?}; was it recorded from another network?"
            )));
        };
        let values = tensor.into_f32(&name);
        let values = values.map_err(|error| error.in_file(path))?;
        check_finite(&values)
            .map_err(|what| wrong(format!("tensor `{name}` {what}; {RECORD_AGAIN}")))?;
        recorded.insert(name, values);
    }
    match stored.first_key_value() {
        None => Ok(recorded),
        Some((name, tensor)) => Err(wrong(format!(
            "{} tensors are not among those to compare, the first is `{name}` {:?}; was it \
             recorded from another network, or saved with more than that?",
            stored.len(),
            tensor.shape()
        ))),
    }
}

/// What to do about a recorded number that is not finite.
const RECORD_AGAIN: &str = "record it again from a finite run";
