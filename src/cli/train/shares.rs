//! `--shares auto`: shares of a batch in proportion to the speeds of the devices.

use super::super::error::CliError;
use super::super::tuning::{Tune, complete};
use super::args::Args;
use super::plan::Plan;
use super::ranks;
use crate::bench::{Task, Workload, measure as measure_steps};
use crate::engine::Device;
use crate::graph::Graph;
use crate::kernels::Choices;
use crate::ranks::Ranks;
use crate::train::Trainer;

/// Seconds for which the steps of a device are measured.
const SECONDS: f64 = 2.0;

/// The sum of shares that were measured.
const SUM: f64 = 1000.0;

/// Checks that `auto` has devices to compare.
///
/// # Errors
/// If it has not.
pub(super) fn check(args: &Args, devices: usize) -> Result<(), CliError> {
    match args.automatic().contains(&"shares") && devices < 2 {
        true => Err(CliError::Usage(
            "--shares auto compares devices, and the run has one; leave it out, or name several \
             with --devices"
                .to_owned(),
        )),
        false => Ok(()),
    }
}

/// Measures the devices of a new run if the flags ask for it, each with an equal share of a batch, and
/// says what came out. They are measured one after another on a rank, and at the same time on several.
///
/// # Errors
/// If a device or another rank fails.
pub(super) fn measure(
    args: &Args,
    plan: &mut Plan,
    devices: &[Device],
    ranks: Option<&Ranks>,
) -> Result<(), CliError> {
    if !args.automatic().contains(&"shares") {
        return Ok(());
    }
    let replicas = Trainer::replicas(devices, ranks);
    let mut tuner = args.tune.tuner(Tune::On);
    let mut speeds = Vec::new();
    for device in devices {
        let workload = Workload {
            network: &plan.network,
            batch: plan.config.recipe.batch_size.div_ceil(replicas),
            task: Task::Train,
            passes: plan.config.passes(),
            seconds: SECONDS,
        };
        let choose = |graphs: &[Graph]| {
            complete(
                &mut tuner,
                device,
                graphs,
                &Choices::default(),
                &args.device,
            )
        };
        let report = pollster::block_on(measure_steps(device, &workload, choose, &mut |_| ()))?;
        speeds.push(report.images_per_second);
    }
    let speeds = ranks::gather(ranks, speeds)?;
    let sum: f64 = speeds.iter().sum();
    let parts = speeds.iter().map(|speed| (SUM * speed / sum).round());
    plan.config.shares = parts.map(|part| (part as u32).max(1)).collect();
    let listed = |numbers: &mut dyn Iterator<Item = String>| numbers.collect::<Vec<_>>().join(", ");
    args.device.say(&format!(
        "shares: {} of {SUM}, since the devices train {} img/s alone",
        listed(&mut plan.config.shares.iter().map(u32::to_string)),
        listed(&mut speeds.iter().map(|speed| format!("{speed:.0}")))
    ));
    super::devices::check_shares(&plan.config, replicas)
}
