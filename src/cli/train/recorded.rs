//! The devices of a run and their kernels: what it has recorded, and what is measured for the rest.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::error::CliError;
use super::super::tuning::{Tune, complete};
use super::args::Args;
use super::config::{Allowed, RANKS};
use super::plan::Plan;
use crate::engine::{Device, Tuner};
use crate::graph::Graph;
use crate::kernels::Choices;
use crate::ranks::Ranks;
use crate::run::{DeviceEnvironment, RecordedDevice, RunDirectory};
use crate::text::printable_path;
use crate::train::{TrainError, Trainer};

/// What was decided before the devices are opened, by a run that resumes or by another one: their
/// kernels, and which devices those were.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Recorded {
    /// One table for each device.
    pub(super) choices: Vec<Choices>,
    /// The devices of a run that resumes.
    pub(super) devices: Vec<RecordedDevice>,
    /// The devices of each rank, if there were several.
    pub(super) ranks: Vec<usize>,
}

impl Recorded {
    /// Reads what the run has recorded, else the kernels of `--choices`.
    pub(super) fn read(
        args: &Args,
        plan: &Plan,
        directory: Option<&RunDirectory>,
    ) -> Result<Recorded, CliError> {
        let (devices, ranks) = match directory {
            Some(run) => run.devices()?,
            None => Default::default(),
        };
        let choices = recorded_choices(args, plan, directory)?;
        Ok(Recorded {
            choices: choices.unwrap_or_default(),
            devices,
            ranks,
        })
    }

    /// Compares the number of ranks with that of the run.
    ///
    /// # Errors
    /// If they differ, unless that is allowed.
    pub(super) fn check_ranks(
        &self,
        allowed: &Allowed<'_>,
        ranks: Option<&Ranks>,
    ) -> Result<(), CliError> {
        let (before, now) = (self.ranks.len().max(1), ranks.map_or(1, Ranks::count));
        if self.devices.is_empty() || before == now || allowed.has(RANKS) {
            return Ok(());
        }
        let processes = |count| match count {
            1 => "one process".to_owned(),
            count => format!("{count} processes"),
        };
        Err(CliError::Usage(format!(
            "the run was started by {} and is resumed by {}, which divide batches differently; \
             start as many, or accept other results with --allow {RANKS}",
            processes(before),
            processes(now)
        )))
    }

    /// The devices that a rank had, or those that it may take in their place.
    pub(super) fn devices_of(&self, ranks: Option<&Ranks>) -> &[RecordedDevice] {
        let (rank, count) = ranks.map_or((0, 1), |ranks| (ranks.rank(), ranks.count()));
        if self.ranks.len().max(1) != count {
            return match self.devices.windows(2).all(|pair| pair[0] == pair[1]) {
                true => &self.devices[..self.devices.len().min(1)],
                false => &[],
            };
        }
        let Some(own) = self.ranks.get(rank) else {
            return &self.devices;
        };
        let first: usize = self.ranks[..rank].iter().sum();
        &self.devices[first..first + own]
    }

    /// The table of a device; a device that was not there has that of the first.
    fn of(&self, device: &Device) -> Choices {
        let own = RecordedDevice::of(device);
        let at = self.devices.iter().position(|other| *other == own);
        let own = at.and_then(|at| self.choices.get(at));
        own.or(self.choices.first()).cloned().unwrap_or_default()
    }
}

/// The kernels that are decided before the devices are opened, one table for each: those that the run
/// has recorded, else those of `--choices`.
fn recorded_choices(
    args: &Args,
    plan: &Plan,
    directory: Option<&RunDirectory>,
) -> Result<Option<Vec<Choices>>, CliError> {
    let own = match directory {
        Some(run) => run.choices()?,
        None => None,
    };
    let missing = |path: &Path, advice: &str| {
        let path = printable_path(path);
        CliError::Checkpoint(format!("{path} has no choices.json; {advice}"))
    };
    match (own, &args.files.choices, directory) {
        (Some(own), ..) => Ok(Some(own)),
        (None, Some(other), _) => match RunDirectory::open(other)?.choices()? {
            None => Err(missing(
                other,
                "give the directory of a run that has begun to train",
            )),
            choices => Ok(choices),
        },
        (None, None, Some(run)) if plan.start.is_saved() => Err(missing(
            run.path(),
            "without it the results would differ; restore it, or copy that of a run with the same \
             kernels",
        )),
        (None, None, _) => Ok(None),
    }
}

/// The kernels of each device: those that were recorded, and measured ones where none were. Rank 0
/// measures first, and what it has measured serves the same devices of the others.
pub(super) fn choose(
    args: &Args,
    devices: &[Device],
    ranks: Option<&Ranks>,
    is_resumed: bool,
    recorded: &Recorded,
    graphs: &[Graph],
) -> Result<Vec<Choices>, TrainError> {
    let replicas = Trainer::replicas(devices, ranks);
    // A resumed run keeps its kernels, so that its results are bit-identical, unless the shares of
    // its devices have changed.
    let is_equal = recorded.devices.len().max(1) == replicas;
    let mut tuner = match is_resumed && !recorded.choices.is_empty() && is_equal {
        true => Tuner::default(),
        false => args.tune.tuner(Tune::On),
    };
    let has_recorded = !recorded.choices.is_empty();
    let mut measured = None;
    if let Some(ranks) = ranks.filter(|ranks| ranks.rank() > 0) {
        let bytes = ranks.broadcast(&[])?;
        let found: Vec<Used> = serde_json::from_slice(&bytes).expect("rank 0 has the same version");
        measured = Some(found);
    }
    let mut choices = Vec::new();
    for device in devices {
        // With the same driver, which belongs to the name.
        let same = measured.iter().flatten().filter(|_| !has_recorded);
        let mut same = same.filter(|used| used.device.device_name == device.name());
        let own = match same.next() {
            Some(used) => used.choices.clone(),
            None => recorded.of(device),
        };
        choices.push(complete(&mut tuner, device, graphs, &own, &args.device)?);
    }
    if let Some(ranks) = ranks.filter(|ranks| ranks.rank() == 0) {
        let used = devices.iter().zip(&choices);
        let used: Vec<Used> = used.map(|(device, own)| Used::new(device, own)).collect();
        ranks.broadcast(&serde_json::to_vec(&used).expect("plain data"))?;
    }
    Ok(choices)
}

/// A device of a run, and its kernels.
#[derive(Serialize, Deserialize)]
pub(super) struct Used {
    pub(super) device: DeviceEnvironment,
    pub(super) choices: Choices,
}

impl Used {
    fn new(device: &Device, choices: &Choices) -> Used {
        Used {
            device: DeviceEnvironment::new(device),
            choices: choices.clone(),
        }
    }

    /// Those of a trainer.
    pub(super) fn of(trainer: &Trainer) -> Vec<Used> {
        let engines = trainer.engines();
        engines
            .map(|engine| Used::new(engine.device(), engine.choices()))
            .collect()
    }
}
