//! The state from which a run resumes: its position and every tensor it needs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Totals;
use crate::engine::{TensorKind, Tensors};
use crate::graph::ops::{LOSS_SCALE_WORDS, METRIC_WORDS, Metrics};
use crate::model::{Network, initial_values};

/// Progress of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The current epoch, from 1.
    pub epoch: u32,
    /// Optimiser steps done in it.
    pub step: u32,
    /// Batches processed by batch norm since the start of the run.
    pub batches_tracked: u64,
    /// The device's metrics of the epoch so far, as words, so that a resumed epoch continues the
    /// same sums.
    pub metrics: [u32; METRIC_WORDS],
    /// The state of loss scaling, with half-precision activations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<[u32; LOSS_SCALE_WORDS]>,
}

impl Position {
    /// Before the first step.
    pub fn start() -> Position {
        Position {
            epoch: 1,
            step: 0,
            batches_tracked: 0,
            metrics: [0; METRIC_WORDS],
            loss_scale: None,
        }
    }

    /// Metrics of the epoch so far.
    pub fn totals(&self) -> Totals {
        Totals::from(&Metrics::from_words(&self.metrics))
    }
}

/// Everything that a checkpoint must hold to resume a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Parameters and running statistics.
    pub weights: Tensors,
    /// Optimiser state: every kind of [`TensorKind::optimizer_state`].
    pub optimizer: BTreeMap<TensorKind, Tensors>,
    /// Progress of the run.
    pub position: Position,
}

impl Snapshot {
    /// Before the first step: initial weights from a seed, optimiser state of zeros.
    pub fn initial(network: &Network, seed: u64) -> Snapshot {
        let parameters = network.parameters().into_iter();
        let trainable = parameters.filter(|p| p.role.is_trainable());
        let zeros: Tensors = trainable
            .map(|p| (p.name.clone(), vec![0.0; p.len()]))
            .collect();
        Snapshot {
            weights: initial_values(network, seed).into_iter().collect(),
            optimizer: TensorKind::optimizer_state()
                .map(|kind| (kind, zeros.clone()))
                .collect(),
            position: Position::start(),
        }
    }
}
