//! Fine-tuning: a new run from the weights of a checkpoint.

use std::path::Path;

use super::super::error::CliError;
use super::super::files;
use super::super::network::NetworkArgs;
use crate::data::Dataset;
use crate::model::{Network, NetworkSpec};
use crate::run::Config;
use crate::text::printable_path;
use crate::train::Snapshot;
use crate::trained_model::TrainedModel;

/// Parses the part of a network up to which it is frozen: `stem`, or the number of a stage.
pub(super) fn stage(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("layer").unwrap_or(text);
    match (text, number.parse()) {
        ("stem", _) => Ok(0),
        (_, Ok(stage @ 1..)) => Ok(stage),
        _ => Err("give stem, or the number of a stage, such as 2".to_owned()),
    }
}

/// The network of the checkpoint that a run begins with; flags change what leaves its tensors.
///
/// # Errors
/// If it cannot be used.
pub(super) fn network(path: &Path, flags: &NetworkArgs) -> Result<NetworkSpec, CliError> {
    // The dataset decides the number of classes, and the flag is compared with that.
    let flags = NetworkArgs {
        classes: None,
        ..flags.clone()
    };
    Ok(files::load(path, &flags, false)?.description.network)
}

/// The weights and the preprocessing that a run begins with, at the run's image size.
///
/// # Errors
/// If the checkpoint cannot be used, or its network is not the run's any more.
pub(super) fn origin(path: &Path, config: &Config) -> Result<TrainedModel, CliError> {
    let mut model = files::load_again(path)?;
    let resize = &mut model.description.preprocessing.resize;
    *resize = resize.scaled_to(config.network.image_size);
    let lengths = |network: &Network| -> Vec<(String, usize)> {
        let parameters = network.parameters().into_iter();
        let kept = parameters.filter(|parameter| !is_classifier(&parameter.name));
        kept.map(|parameter| (parameter.name.clone(), parameter.len()))
            .collect()
    };
    match lengths(&model.network) == lengths(&config.network()?) {
        true => Ok(model),
        false => Err(CliError::Checkpoint(format!(
            "{} is no longer the network that the run began with; restore it",
            printable_path(path)
        ))),
    }
}

/// Whether a tensor is the classifier's.
fn is_classifier(name: &str) -> bool {
    name.starts_with("fc.")
}

/// The state before the first step: the checkpoint's weights, without its classifier if that is
/// reset, and notes on what was done.
pub(super) fn start(
    config: &Config,
    model: &TrainedModel,
    network: &Network,
    dataset: &Dataset,
) -> (Snapshot, Vec<String>) {
    let path = config.from.as_deref().map(printable_path);
    let path = path.unwrap_or_default();
    let known = &model.description.classes;
    let named = model.description.names_classes();
    let differ = match named {
        true => *known != dataset.classes,
        false => known.len() != dataset.classes.len(),
    };
    let reset = config.reset_classifier || differ;
    let mut snapshot = Snapshot::initial(network, config.seed);
    let kept = model.tensors.iter();
    let kept = kept.filter(|(name, _)| !(reset && is_classifier(name)));
    snapshot
        .weights
        .extend(kept.map(|(name, values)| (name.clone(), values.clone())));
    snapshot.position.batches_tracked = model.batches_tracked;
    let classifier = match (reset, named) {
        (true, _) if differ => {
            "; its classes are not the dataset's, so the classifier starts from random weights"
        }
        (true, _) => "; the classifier starts from random weights",
        (false, true) => ", with its classifier",
        (false, false) => {
            ", with its classifier, whose classes have no names: if they are not the dataset's, \
             give --reset-classifier"
        }
    };
    (
        snapshot,
        vec![format!("note: the weights are those of {path}{classifier}")],
    )
}
