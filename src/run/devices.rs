//! The devices of a run, as `environment.json` records them.

use serde::{Deserialize, Serialize};

use super::{ENVIRONMENT, RunDirectory, RunError};
use crate::engine::Device;

/// A device as a run records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedDevice {
    /// The value of `--device` that selects it.
    pub device: String,
    /// The backend of an adapter: the same card may have several.
    pub backend: Option<String>,
    /// Which of the adapters with this name and backend it is, from 0.
    pub ordinal: usize,
}

impl RecordedDevice {
    /// The record of a device.
    pub fn of(device: &Device) -> RecordedDevice {
        let adapter = device.description();
        RecordedDevice {
            device: device.selector(),
            backend: adapter.map(|adapter| adapter.backend.clone()),
            ordinal: adapter.map_or(0, |adapter| adapter.ordinal),
        }
    }
}

impl RunDirectory {
    /// The devices on which the run began, in order, and how many each of several ranks had; none if
    /// the run ended before they were recorded.
    ///
    /// # Errors
    /// If the record is damaged.
    pub fn devices(&self) -> Result<(Vec<RecordedDevice>, Vec<usize>), RunError> {
        #[derive(Deserialize)]
        struct Recorded {
            #[serde(default)]
            ranks: Vec<usize>,
            #[serde(flatten)]
            first: Own,
            #[serde(default)]
            others: Vec<Own>,
        }
        #[derive(Deserialize)]
        struct Own {
            device: String,
            adapter: Option<Adapter>,
        }
        #[derive(Deserialize)]
        struct Adapter {
            backend: String,
            #[serde(default)]
            ordinal: usize,
        }
        let recorded: Option<Recorded> = self.json(ENVIRONMENT)?;
        let ranks = recorded.as_ref().map(|recorded| recorded.ranks.clone());
        let all = recorded.into_iter().flat_map(|recorded| {
            let first = std::iter::once(recorded.first);
            first.chain(recorded.others)
        });
        let devices = all.map(|Own { device, adapter }| RecordedDevice {
            device,
            ordinal: adapter.as_ref().map_or(0, |adapter| adapter.ordinal),
            backend: adapter.map(|adapter| adapter.backend),
        });
        let (devices, ranks): (Vec<_>, _) = (devices.collect(), ranks.unwrap_or_default());
        let listed = ranks
            .iter()
            .try_fold(0usize, |sum, count| sum.checked_add(*count));
        match ranks.is_empty() || listed == Some(devices.len()) {
            true => Ok((devices, ranks)),
            false => Err(self.damaged(format!(
                "{ENVIRONMENT} has {} devices, but those of its ranks are {ranks:?}; restore it",
                devices.len()
            ))),
        }
    }
}
