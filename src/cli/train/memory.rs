//! `--micro-batch auto` and `--recompute auto`: the least change to a step that fits the memory.
//!
//! The micro-batch is the largest divisor of the batch that fits, since batch norm uses its
//! statistics, and activations are recomputed only if it does not fit otherwise, which changes no
//! result. What fits is known from the plans of the graphs with the built-in kernels, before
//! anything is built; a value larger than the largest binding does not fit either. With several
//! devices, a share takes the place of the batch, and each card, and the processor's memory for the
//! devices that use it, must have room for its replicas.

use std::collections::BTreeMap;

use super::super::device::DeviceArgs;
use super::super::error::CliError;
use super::args::Args;
use super::devices::largest_share;
use super::plan::Plan;
use super::{options, ranks, sources};
use crate::engine::{Device, Engine, EngineError};
use crate::kernels::LowerError;
use crate::memory::{available_per_process, budget, bytes};
use crate::ranks::Ranks;
use crate::run::Config;
use crate::train::{TrainError, Trainer};

/// Whether the flags leave a choice.
fn is_auto(args: &Args) -> [bool; 2] {
    let automatic = args.automatic();
    ["micro-batch", "recompute"].map(|name| automatic.contains(&name))
}

/// Checks that no flag was given that has no effect.
///
/// # Errors
/// The flag.
pub(super) fn check(args: &Args) -> Result<(), CliError> {
    let is_auto = is_auto(args).contains(&true);
    match args.files.memory.is_some() && !is_auto {
        true => Err(CliError::Usage(
            "--memory limits what --micro-batch auto and --recompute auto choose; give one of them"
                .to_owned(),
        )),
        false if is_auto && args.files.print_config => Err(CliError::Usage(
            "--print-config does not open the device, on which auto depends; leave out auto"
                .to_owned(),
        )),
        false if is_auto && args.files.resume.is_some() => Err(CliError::Usage(
            "a resumed run keeps what was chosen for it; leave out auto".to_owned(),
        )),
        false => Ok(()),
    }
}

/// Chooses what the flags leave open for a new run, and says what and why; `local_size` is the number
/// of processes of the run on this machine, among which its memory is divided. Returns the memory to
/// which the run is limited, if anything was left open.
///
/// # Errors
/// If the memory is not known, or nothing fits it.
pub(super) fn choose(
    args: &Args,
    plan: &mut Plan,
    devices: &[Device],
    ranks: Option<&Ranks>,
    local_size: usize,
) -> Result<Option<u64>, CliError> {
    let [micro_batch, recompute] = is_auto(args);
    if !micro_batch && !recompute {
        return Ok(None);
    }
    let memory = match args.files.memory {
        Some(memory) if devices.iter().all(Device::uses_host_memory) => memory / local_size as u64,
        Some(memory) => memory,
        None => default_memory(devices, local_size, &args.device)?,
    };
    let each = per_process(devices.iter(), local_size);
    let [train, _] = sources(plan)?;
    let batch = plan.config.recipe.batch_size.min(train.len());
    let replicas = Trainer::replicas(devices, ranks);
    let batch = largest_share(&plan.config, batch, replicas);
    let sizes: Vec<Option<usize>> = match micro_batch {
        true => (1..batch)
            .rev()
            .filter(|size| batch.is_multiple_of(*size))
            .map(Some)
            .collect(),
        false => Vec::new(),
    };
    let whole = match micro_batch {
        true => None,
        false => plan.config.micro_batch,
    };
    let recomputations: &[bool] = match recompute {
        true => &[false, true],
        false => &[plan.config.recompute],
    };
    let mut least: Option<u64> = None;
    for micro_batch in std::iter::once(whole).chain(sizes) {
        for recompute in recomputations {
            let config = Config {
                micro_batch,
                recompute: *recompute,
                ..plan.config.clone()
            };
            // Such as mixing within a micro-batch of one image.
            if config.check().is_err() {
                continue;
            }
            let Some(needed) = needed(args, plan, &config, devices, ranks)? else {
                continue;
            };
            if needed > memory {
                least = Some(least.map_or(needed, |least| least.min(needed)));
                continue;
            }
            args.device.say(&format!(
                "memory: {}{} needs {} of {}{each}",
                match micro_batch {
                    None if replicas > 1 => format!("a share of {batch} images"),
                    None => format!("the whole batch of {batch}"),
                    Some(images) => format!("a micro-batch of {images}"),
                },
                if *recompute { " with --recompute" } else { "" },
                bytes(needed),
                bytes(memory),
            ));
            plan.config = config;
            return Ok(Some(memory));
        }
    }
    Err(CliError::Device(match least {
        Some(needed) => format!(
            "the smallest step needs {}, more than the limit of {}{each}; give more with \
             --memory, or use a smaller network or image size",
            bytes(needed),
            bytes(memory)
        ),
        None => "no step fits the largest binding of the adapter; use a smaller network or image \
                 size, or another device"
            .to_owned(),
    }))
}

/// Takes over what the ranks have chosen, each for its own devices: what fits all of them.
///
/// # Errors
/// If another rank has failed.
pub(super) fn agree(plan: &mut Plan, ranks: Option<&Ranks>) -> Result<(), CliError> {
    let own = (plan.config.micro_batch, plan.config.recompute);
    let all = ranks::gather(ranks, vec![own])?;
    plan.config.micro_batch = all.iter().filter_map(|(images, _)| *images).min();
    plan.config.recompute = all.iter().any(|(_, recompute)| *recompute);
    Ok(())
}

/// Checks that a run keeps the limit, whose measured kernels may need more than the built-in ones.
///
/// # Errors
/// If it does not.
pub(super) fn check_built(
    trainer: &Trainer,
    memory: Option<u64>,
    local_size: usize,
) -> Result<(), CliError> {
    let engines = trainer.engines();
    let needed = most(engines.map(|engine| (engine.device(), engine.bytes())));
    match memory.filter(|memory| needed > *memory) {
        Some(memory) => Err(CliError::Device(format!(
            "the kernels that were measured as the fastest need {}, more than the limit of {}{}; \
             give more with --memory, or --tune off",
            bytes(needed),
            bytes(memory),
            per_process(trainer.engines().map(Engine::device), local_size)
        ))),
        None => Ok(()),
    }
}

/// The most bytes that are needed in one memory: that of the process, or of a card, which may have
/// several replicas.
fn most<'a>(needed: impl Iterator<Item = (&'a Device, u64)>) -> u64 {
    let mut memories: BTreeMap<Option<usize>, u64> = BTreeMap::new();
    for (device, bytes) in needed {
        let card = device.description().filter(|_| !device.uses_host_memory());
        *memories.entry(card.map(|card| card.index)).or_default() += bytes;
    }
    memories.into_values().max().unwrap_or(0)
}

/// Bytes that a run needs in one memory; `None` if a value exceeds the largest binding, or a batch is
/// too small for batch norm.
fn needed(
    args: &Args,
    plan: &Plan,
    config: &Config,
    devices: &[Device],
    ranks: Option<&Ranks>,
) -> Result<Option<u64>, CliError> {
    let [train, test] = sources(plan)?;
    let options = options(args, config, plan);
    let graphs = Trainer::graphs(devices, ranks, &plan.network, &options, train, test);
    let needed = graphs.and_then(|graphs| {
        let each = devices.iter().map(|device| Engine::needed(device, &graphs));
        let each: Result<Vec<u64>, EngineError> = each.collect();
        Ok(most(devices.iter().zip(each?)))
    });
    match needed {
        Ok(needed) => Ok(Some(needed)),
        Err(TrainError::Batch { .. })
        | Err(TrainError::Engine(EngineError::Lower(LowerError::TooLarge { .. }))) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What follows a limit that is the part of a process in the memory of this machine.
fn per_process<'a>(mut devices: impl Iterator<Item = &'a Device>, local_size: usize) -> String {
    match local_size > 1 && devices.all(Device::uses_host_memory) {
        true => format!(" for each of {local_size} processes on this machine"),
        false => String::new(),
    }
}

/// The budget of a process for devices in its memory.
fn default_memory(
    devices: &[Device],
    local_size: usize,
    log: &DeviceArgs,
) -> Result<u64, CliError> {
    let other = devices.iter().find(|device| !device.uses_host_memory());
    match (other, available_per_process(local_size)) {
        (None, Some(available)) => {
            let budget = budget(available);
            log.say(&format!(
                "memory: {} are available{}, of which {} may be used",
                bytes(available),
                per_process(devices.iter(), local_size),
                bytes(budget)
            ));
            Ok(budget)
        }
        (other, _) => Err(CliError::Usage(format!(
            "{} does not tell how much memory it has; give what may be used with --memory, as in \
             --memory 6GiB",
            other.unwrap_or(&devices[0]).name()
        ))),
    }
}
