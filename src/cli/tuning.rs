//! The flag that says how kernels are chosen, the file that remembers, and what is said about
//! the choice.

use clap::Args;

use super::cache;
use super::device::DeviceArgs;
use crate::engine::{Device, EngineError, Tuned, Tuner, TuningCache};
use crate::graph::Graph;
use crate::kernels::Choices;

/// How to choose kernels.
#[derive(Args, Clone, Debug)]
pub(super) struct TuneArgs {
    /// on: measure which kernels are fastest on this adapter, once; cached: use what was
    /// measured before; off: use the built-in table
    #[arg(
        long,
        value_name = "WORD",
        default_value = "on",
        help_heading = "Device"
    )]
    #[arg(value_parser = ["on", "cached", "off"])]
    tune: String,
}

impl TuneArgs {
    /// The tuner, with what it remembers.
    pub(super) fn tuner(&self) -> Tuner {
        Tuner {
            memory: match self.tune.as_str() {
                "off" => TuningCache::default(),
                _ => recall(),
            },
            measure: self.tune == "on",
        }
    }
}

/// Completes choices for some graphs, remembers them, and says what that took.
///
/// # Errors
/// If the device fails, or cannot run the graphs.
pub(super) fn complete(
    tuner: &mut Tuner,
    device: &Device,
    graphs: &[Graph],
    choices: &Choices,
    talk: &DeviceArgs,
) -> Result<Choices, EngineError> {
    let target = device.target();
    let tuned = tuner.complete(device, &target, graphs, choices);
    let Tuned {
        choices,
        measured,
        skipped,
        seconds,
    } = pollster::block_on(tuned)?;
    if measured > 0 {
        remember(&tuner.memory);
        talk.say(&format!(
            "kernels: {measured} layers measured in {seconds:.1} s"
        ));
    }
    if skipped > 0 {
        talk.say(&format!(
            "kernels: time was up for {skipped} layers, which the next run measures"
        ));
    }
    Ok(choices)
}

/// What the file of choices remembers; nothing if it is missing or damaged, for it can be had
/// again.
fn recall() -> TuningCache {
    let text = cache::read(CHOICES);
    text.and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

/// Writes that file.
fn remember(memory: &TuningCache) {
    let text = serde_json::to_string_pretty(memory).expect("names are always JSON");
    cache::write(CHOICES, text.as_bytes());
}

const CHOICES: &str = "choices.json";
