//! `pyr-wgpu summary`: layers, size and memory of a network, and its estimated speed on a card; it
//! needs no device.

mod estimate;

use clap::Args as ClapArgs;
use serde_json::json;

use super::error::CliError;
use super::figures::{CardArgs, program};
use super::network::NetworkArgs;
use super::step::StepArgs;
use super::{positive, print_json, print_line};
use crate::bench::Task;
use crate::engine::MemoryPlan;
use crate::memory::bytes;
use crate::model::{Network, published_for};
use estimate::CardEstimate;

/// Arguments of `summary`.
#[derive(ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// Images per step, for the memory plan
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive)]
    batch_size: usize,
    #[command(flatten)]
    step: StepArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    card: CardArgs,
}

/// Prints the summary.
///
/// # Errors
/// If the flags describe no network.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    let figures = args.card.figures()?;
    let network = Network::new(&args.network.resolve(None)?)?;
    let (batch, passes) = (args.batch_size, args.step.passes());
    let lowered = |task: Task| program(&task.graph(&network, batch, passes)?);
    let train = lowered(Task::Train)?;
    let plan = MemoryPlan::new(&[&train]);
    let estimate = match figures {
        Some(figures) => {
            let infer = lowered(Task::Infer)?;
            Some(CardEstimate::new(figures, batch, [&train, &infer]))
        }
        None => None,
    };
    if args.json {
        let mut document = as_json(&network, &plan, batch);
        if let Some(estimate) = estimate {
            document["card"] = json!(estimate);
        }
        return print_json(&document);
    }
    as_text(&network, &plan, batch)?;
    match estimate {
        Some(estimate) => {
            print_line("")?;
            estimate.print(batch)
        }
        None => Ok(()),
    }
}

fn as_json(network: &Network, plan: &MemoryPlan, batch: usize) -> serde_json::Value {
    let counts = network.counts();
    let kept: serde_json::Map<String, serde_json::Value> = plan
        .kept
        .iter()
        .map(|(name, bytes)| (name.clone(), json!(bytes)))
        .collect();
    let layers: Vec<serde_json::Value> = network
        .rows()
        .iter()
        .map(|row| {
            json!({
                "name": row.name,
                "output": row.output,
                "parameters": row.parameters,
                "macs": row.macs,
            })
        })
        .collect();
    json!({
        "network": network.spec(),
        "parameters": counts.parameters,
        "macs": counts.macs,
        "convs": counts.convolutions,
        "feature_dim": network.feature_dim(),
        "widths": network.widths(),
        "published": published_for(network.spec()),
        "memory": {
            "batch_size": batch,
            "total": plan.total(),
            "temporary": plan.temporary,
            "kept": kept,
            "largest_binding": plan.largest_binding,
        },
        "layers": layers,
    })
}

fn as_text(network: &Network, plan: &MemoryPlan, batch: usize) -> Result<(), CliError> {
    print_line(&network.spec().to_string())?;
    print_line("")?;
    print_line(&format!(
        "{:<24} {:>16} {:>12} {:>16}",
        "layer", "output", "parameters", "MACs"
    ))?;
    for row in network.rows() {
        let output: Vec<String> = row.output.iter().map(usize::to_string).collect();
        print_line(&format!(
            "{:<24} {:>16} {:>12} {:>16}",
            row.name,
            output.join("x"),
            row.parameters,
            row.macs
        ))?;
    }
    let counts = network.counts();
    print_line("")?;
    print_line(&format!("parameters         {:>16}", counts.parameters))?;
    print_line(&format!("MACs per image    {:>16}", counts.macs))?;
    print_line(&format!("convolutions       {:>16}", counts.convolutions))?;
    print_line(&format!("feature dimension  {:>16}", network.feature_dim()))?;
    if let Some(published) = published_for(network.spec()) {
        let errors = published.words().join(", ");
        print_line(&format!(
            "published errors   {errors} ({})",
            published.source
        ))?;
    }
    print_line("")?;
    print_line(&format!("memory of a training step with {batch} images:"))?;
    for (name, size) in &plan.kept {
        print_line(&format!("  {name:<20} {:>12}", bytes(*size)))?;
    }
    print_line(&format!(
        "  {:<20} {:>12}",
        "temporary",
        bytes(plan.temporary)
    ))?;
    print_line(&format!("  {:<20} {:>12}", "total", bytes(plan.total())))?;
    print_line(&format!(
        "  largest binding      {:>12}",
        bytes(plan.largest_binding)
    ))
}
