//! The flag for tuning kernels, the file that caches the choices, and the messages about them.

use clap::{Args, ValueEnum};

use super::cache;
use super::device::DeviceArgs;
use super::error::CliError;
use crate::engine::{Device, EngineError, Tuned, Tuner, TuningCache};
use crate::graph::Graph;
use crate::kernels::Choices;
use crate::train::golden;

/// Values of `--tune`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Tune {
    On,
    Cached,
    Off,
}

/// How to choose kernels.
#[derive(Args, Clone, Debug)]
pub(super) struct TuneArgs {
    #[arg(long, value_name = "WORD", help = help("on"), help_heading = "Device")]
    pub(super) tune: Option<Tune>,
}

/// The help of `--tune`.
pub(super) fn help(default: &str) -> String {
    format!(
        "on: measure once which kernels are fastest on this adapter; cached: use earlier \
         measurements only; off: use the built-in table [default: {default}]"
    )
}

impl TuneArgs {
    /// Checks that the flag has an effect.
    ///
    /// # Errors
    /// If it was given for a device without a choice of kernels.
    pub(super) fn check(&self, device: &DeviceArgs) -> Result<(), CliError> {
        match self.tune {
            Some(_) => device.needs_adapter("--tune", "has no choice of kernels"),
            None => Ok(()),
        }
    }

    /// The tuner, with the cached choices.
    pub(super) fn tuner(&self, default: Tune) -> Tuner {
        let tune = self.tune.unwrap_or(default);
        Tuner {
            memory: match tune {
                Tune::Off => TuningCache::default(),
                Tune::On | Tune::Cached => load_choices(),
            },
            measure: tune == Tune::On,
            golden: (tune == Tune::On).then_some(golden),
        }
    }
}

/// Completes the choices for some graphs, caches new measurements, and prints how long they took
/// and which kernels must not be used.
///
/// # Errors
/// If the device fails, or cannot run the graphs.
pub(super) fn complete(
    tuner: &mut Tuner,
    device: &Device,
    graphs: &[Graph],
    choices: &Choices,
    log: &DeviceArgs,
) -> Result<Choices, EngineError> {
    let target = device.target();
    let tuned = tuner.complete(device, &target, graphs, choices);
    let Tuned {
        choices,
        classes,
        measured,
        skipped,
        seconds,
        check_seconds,
        excluded,
    } = pollster::block_on(tuned)?;
    if measured > 0 || check_seconds.is_some() || !excluded.is_empty() {
        save_choices(&tuner.memory);
    }
    for (kernel, reason) in &excluded {
        log.say(&format!(
            "warning: the kernel {kernel} is no longer used on {}: {reason}; update the driver, and \
             report the output of `pyr-wgpu selftest`",
            device.selector()
        ));
    }
    if measured > 0 {
        log.say(&format!(
            "kernels: {measured} layers in {classes} classes of shape measured in {seconds:.1} s"
        ));
    }
    if let Some(seconds) = check_seconds {
        log.say(&format!(
            "kernels: a small network was compared with the processor in {seconds:.1} s"
        ));
    }
    if skipped > 0 {
        log.say(&format!(
            "kernels: {skipped} layers were not measured for lack of time, and use the kernels of \
             similar ones or the built-in choice; the next run continues"
        ));
    }
    Ok(choices)
}

/// The cached choices; empty if the file is missing or damaged, since they can be measured again.
fn load_choices() -> TuningCache {
    let text = cache::read(CHOICES);
    text.and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

/// Writes the choices to the cache.
fn save_choices(choices: &TuningCache) {
    let text = serde_json::to_string_pretty(choices).expect("names are always JSON");
    cache::write(CHOICES, text.as_bytes());
}

const CHOICES: &str = "choices.json";
