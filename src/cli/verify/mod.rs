//! `pyr-wgpu verify`: compares our results with arrays recorded from another program.

mod recorded;

use std::path::PathBuf;
use std::slice::from_ref;
use std::str::FromStr;

use clap::Args as ClapArgs;
use clap::builder::RangedU64ValueParser;
use serde_json::{Map, Value, json};

use super::device::DeviceArgs;
use super::error::CliError;
use super::fitting::{SMALLER, fitting};
use super::network::NetworkArgs;
use super::{print_json, print_line};
use crate::engine::{Device, Tensors};
use crate::graph::{Graph, GraphError};
use crate::model::Network;
use crate::trained_model::TrainedModel;
use crate::verify::{self, Difference, RecordedBatch, SgdSteps};
use recorded::{Recorded, batch, check_finite, load, read_array};

/// Default tolerance of logits and losses, relative to the larger of 1 and the largest reference.
const LOGITS: f64 = 2e-5;

/// Default tolerance of gradients: relative L2 norm of the difference.
const GRADIENTS: f64 = 5e-5;

/// Default tolerance of the state after the steps: relative L2 norm of the difference of the
/// whole state. Gradients off by their tolerance move the state by less than a tenth of this.
const STATE: f64 = 5e-5;

/// More steps than a comparison can make sense of.
const MAX_STEPS: u64 = 1_000_000;

/// Parses a finite number of at least 0.
fn not_negative<T: FromStr + Into<f64> + Copy>(text: &str) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(number) if (0.0..=f64::MAX).contains(&number.into()) => Ok(number),
        _ => Err("it must be a number of at least 0".to_owned()),
    }
}

/// Arguments of `verify`.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// Checkpoint: the weights
    weights: PathBuf,
    /// The batch: .npy, float32 [N, 3, H, H], already normalised
    #[arg(long, value_name = "X.npy")]
    input: PathBuf,
    /// Recorded logits in evaluation mode, float32 [N, K]
    #[arg(long, value_name = "Y.npy")]
    logits: Option<PathBuf>,
    /// Classes of the batch, int64 `[N]`
    #[arg(long, value_name = "L.npy")]
    labels: Option<PathBuf>,
    /// Recorded gradients of the mean cross-entropy in training mode
    #[arg(long, value_name = "G.safetensors", requires = "labels")]
    grads: Option<PathBuf>,
    /// Steps of SGD on this batch
    #[arg(long, value_name = "N", requires = "labels", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_STEPS))]
    steps: Option<usize>,
    /// Learning rate of the steps
    #[arg(long, value_name = "X", default_value_t = 0.1, requires = "steps", value_parser = not_negative::<f32>)]
    lr: f32,
    /// Nesterov momentum of the steps
    #[arg(long, value_name = "X", default_value_t = 0.9, requires = "steps", value_parser = not_negative::<f32>)]
    momentum: f32,
    /// Weight decay of the steps
    #[arg(long, value_name = "X", default_value_t = 1e-4, requires = "steps", value_parser = not_negative::<f32>)]
    weight_decay: f32,
    /// Recorded state after the steps
    #[arg(long, value_name = "S.safetensors", requires = "steps")]
    state: Option<PathBuf>,
    /// Recorded losses before each step, float32 `[N]`
    #[arg(long, value_name = "L.npy", requires = "steps")]
    losses: Option<PathBuf>,
    /// Tolerance of every comparison, instead of the defaults
    #[arg(long, value_name = "X", value_parser = not_negative::<f64>)]
    tolerance: Option<f64>,
    /// Show every tensor
    #[arg(long)]
    verbose: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// One comparison with its verdict.
struct Outcome {
    name: &'static str,
    difference: Difference,
    /// Relative L2 norm of the difference of the updates.
    update_rel_l2: Option<f64>,
    passed: bool,
    tensors: Vec<(String, Difference)>,
}

/// Compares.
///
/// # Errors
/// [`CliError::Different`] if a comparison exceeds its tolerance; else see [`CliError`].
pub(super) fn run(args: Args) -> Result<(), CliError> {
    args.device.check()?;
    check_flags(&args)?;
    let input = read_array(&args.input)?;
    let loaded = load(&args, &input)?;
    let batch = batch(&args, &loaded, &input)?;
    let recorded = Recorded::read(&args, &loaded.network, batch.size)?;
    let device = args.device.open()?;
    let outcomes = compare(&args, &loaded, &batch, &recorded, &device)?;
    let printed = print(&args, &outcomes);
    // A closed pipe does not hide a difference.
    match (outcomes.iter().all(|o| o.passed), printed) {
        (false, Ok(()) | Err(CliError::ClosedPipe)) => Err(CliError::Different),
        (_, printed) => printed,
    }
}

/// Checks that something is compared, and that every flag has an effect on it.
fn check_flags(args: &Args) -> Result<(), CliError> {
    if args.logits.is_none()
        && args.grads.is_none()
        && args.state.is_none()
        && args.losses.is_none()
    {
        return Err(CliError::Usage(
            "nothing to compare with: give --logits, --grads, or --steps with --state or --losses"
                .to_owned(),
        ));
    }
    let unused = |flag: &str, needed: &str| {
        Err(CliError::Usage(format!(
            "{flag} is compared with nothing: give {needed}, or leave it out"
        )))
    };
    if args.steps.is_some() && args.state.is_none() && args.losses.is_none() {
        return unused("--steps", "--state or --losses");
    }
    if args.labels.is_some() && args.grads.is_none() && args.steps.is_none() {
        return unused("--labels", "--grads or --steps");
    }
    match args.labels {
        Some(_) => Ok(()),
        None => args.network.check_inference(None),
    }
}

/// Computes on the device what was recorded, and compares.
fn compare(
    args: &Args,
    loaded: &TrainedModel,
    batch: &RecordedBatch,
    recorded: &Recorded,
    device: &Device,
) -> Result<Vec<Outcome>, CliError> {
    let (network, weights) = (&loaded.network, &loaded.tensors);
    let too_large = |graph: fn(&Network, usize) -> Result<Graph, GraphError>| {
        move |error| {
            let names = ("--input with a batch of", SMALLER);
            fitting(error, (from_ref(device), 1), names, 1..batch.size, |size| {
                Some(vec![graph(network, size).ok()?])
            })
        }
    };
    let mut outcomes = Vec::new();
    if let Some(reference) = &recorded.logits {
        let ours = pollster::block_on(verify::logits(device, network, weights, batch));
        let ours = ours.map_err(too_large(verify::logits_graph))?;
        check_ours("the logits", &ours)?;
        outcomes.push(Outcome::of_array(args, "logits", &ours, reference));
    }
    if let Some(reference) = &recorded.grads {
        let ours = pollster::block_on(verify::gradients(device, network, weights, batch));
        let ours = ours.map_err(too_large(verify::gradients_graph))?;
        for (name, values) in &ours {
            check_ours(&format!("the gradient of {name}"), values)?;
        }
        let limit = args.tolerance.unwrap_or(GRADIENTS);
        outcomes.push(Outcome::of_tensors("grads", &ours, reference, limit));
    }
    if let Some(steps) = args.steps {
        let sgd = SgdSteps {
            steps,
            learning_rate: args.lr,
            momentum: args.momentum,
            weight_decay: args.weight_decay,
        };
        let ours = pollster::block_on(verify::steps(device, network, weights, batch, sgd));
        let (ours, losses) = ours.map_err(too_large(verify::steps_graph))?;
        check_ours("the losses", &losses)?;
        for (name, values) in &ours {
            check_ours(&format!("{name} after the steps"), values)?;
        }
        if let Some(reference) = &recorded.state {
            let limit = args.tolerance.unwrap_or(STATE);
            let update = Difference::of_tensors(
                &verify::change(&ours, weights),
                &verify::change(reference, weights),
            );
            let mut outcome = Outcome::of_tensors("state", &ours, reference, limit);
            outcome.update_rel_l2 = Some(update.rel_l2);
            outcomes.push(outcome);
        }
        if let Some(reference) = &recorded.losses {
            outcomes.push(Outcome::of_array(args, "losses", &losses, reference));
        }
    }
    Ok(outcomes)
}

/// Refuses results that cannot be compared.
fn check_ours(what: &str, values: &[f32]) -> Result<(), CliError> {
    let checked = check_finite(values);
    checked.map_err(|found| CliError::Diverged(format!("our result, {what}, {found}")))
}

impl Outcome {
    /// Compares arrays by the largest difference.
    fn of_array(args: &Args, name: &'static str, ours: &[f32], reference: &[f32]) -> Outcome {
        let difference = Difference::between([(ours, reference)]);
        let limit = LOGITS * difference.largest.max(1.0);
        Outcome {
            name,
            difference,
            update_rel_l2: None,
            passed: difference.max_abs <= args.tolerance.unwrap_or(limit),
            tensors: Vec::new(),
        }
    }

    /// Compares tensors by the relative L2 norm of all their differences.
    fn of_tensors(name: &'static str, ours: &Tensors, reference: &Tensors, limit: f64) -> Outcome {
        let difference = Difference::of_tensors(ours, reference);
        Outcome {
            name,
            difference,
            update_rel_l2: None,
            passed: difference.rel_l2 <= limit,
            tensors: each(ours, reference),
        }
    }

    fn json(&self, verbose: bool) -> Value {
        let numbers = |d: &Difference| json!({"max_abs": d.max_abs, "rel_l2": d.rel_l2});
        let mut value = numbers(&self.difference);
        value["passed"] = json!(self.passed);
        if let Some(update) = self.update_rel_l2 {
            value["update_rel_l2"] = json!(update);
        }
        if verbose && !self.tensors.is_empty() {
            let tensors = self.tensors.iter();
            let tensors: Map<String, Value> = tensors
                .map(|(name, d)| (name.clone(), numbers(d)))
                .collect();
            value["tensors"] = Value::Object(tensors);
        }
        value
    }
}

fn print(args: &Args, outcomes: &[Outcome]) -> Result<(), CliError> {
    if args.json {
        let pairs = outcomes
            .iter()
            .map(|o| (o.name.to_owned(), o.json(args.verbose)));
        return print_json(&Value::Object(pairs.collect()));
    }
    for outcome in outcomes {
        let d = &outcome.difference;
        let verdict = if outcome.passed { "ok" } else { "DIFFERENT" };
        let update = outcome
            .update_rel_l2
            .map(|u| format!(", update rel_l2 {u:.3e}"));
        print_line(&format!(
            "{:<8} max_abs {:.3e}, rel_l2 {:.3e}{}  {verdict}",
            outcome.name,
            d.max_abs,
            d.rel_l2,
            update.unwrap_or_default()
        ))?;
        for (name, d) in outcome.tensors.iter().filter(|_| args.verbose) {
            print_line(&format!(
                "  {name:<32} max_abs {:.3e}, rel_l2 {:.3e}",
                d.max_abs, d.rel_l2
            ))?;
        }
    }
    Ok(())
}

fn each(ours: &Tensors, reference: &Tensors) -> Vec<(String, Difference)> {
    let single = |(name, a): (&String, &Vec<f32>)| {
        let pair = (a.as_slice(), reference[name].as_slice());
        (name.clone(), Difference::between([pair]))
    };
    ours.iter().map(single).collect()
}
