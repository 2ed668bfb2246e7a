//! The state from which a run resumes: its position and every tensor it needs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Totals;
use crate::engine::{TensorKind, Tensors};
use crate::graph::ops::{LOSS_SCALE_WORDS, LossScale, METRIC_WORDS, Metrics};
use crate::model::{Network, initial_values};

/// What determines which images a step of an epoch processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochOrder {
    /// Seed of the run.
    pub seed: u64,
    /// Number of training images.
    pub images: usize,
    /// Images per step.
    pub batch_size: usize,
}

impl EpochOrder {
    /// Steps of an epoch.
    pub fn steps(&self) -> u32 {
        let steps = self.images.div_ceil(self.batch_size);
        u32::try_from(steps).expect("datasets have at most 2^32 images")
    }

    /// Images that so many steps process.
    pub fn images_after(&self, steps: u32) -> usize {
        (steps as usize)
            .saturating_mul(self.batch_size)
            .min(self.images)
    }
}

/// Progress of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The current epoch, from 1.
    pub epoch: u32,
    /// Optimiser steps done in it.
    pub step: u32,
    /// What `step` counts; missing in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<EpochOrder>,
    /// Batches processed by batch norm since the start of the run.
    pub batches_tracked: u64,
    /// The metrics of the epoch so far, as words, so that a resumed epoch continues the same sums.
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
            order: None,
            batches_tracked: 0,
            metrics: [0; METRIC_WORDS],
            loss_scale: None,
        }
    }

    /// Whether the steps done are the first of an epoch in this order.
    pub fn fits(&self, order: &EpochOrder) -> bool {
        self.step == 0 || self.order.unwrap_or(*order) == *order && self.step <= order.steps()
    }

    /// Returns to the start of the epoch; the weights stay as they are.
    pub fn restart_epoch(&mut self) {
        self.step = 0;
        self.metrics = [0; METRIC_WORDS];
    }

    /// Checks a position that was read from a file.
    ///
    /// # Errors
    /// What no run can have written.
    pub fn check(&self) -> Result<(), String> {
        let rule = |holds: bool, text: String| match holds {
            true => Ok(()),
            false => Err(text),
        };
        let Position {
            epoch,
            step,
            batches_tracked,
            ..
        } = self;
        rule(*epoch > 0, "epochs are counted from 1, not 0".to_owned())?;
        let trained = *epoch > 1 || *step > 0;
        rule(
            !trained || *batches_tracked > 0,
            format!("epoch {epoch}, step {step} cannot have seen {batches_tracked} batches"),
        )?;
        rule(
            i64::try_from(*batches_tracked).is_ok(),
            format!("{batches_tracked} batches are impossible"),
        )?;
        let metrics = Metrics::from_words(&self.metrics);
        let counts = [metrics.top1, metrics.top5, metrics.images];
        rule(
            !metrics.diverged()
                && metrics.halted == 0
                && metrics.loss >= 0.0
                && (metrics.images > 0 || metrics.loss == 0.0)
                && counts.is_sorted(),
            "its metrics are impossible".to_owned(),
        )?;
        if let Some(order) = &self.order {
            let EpochOrder {
                images, batch_size, ..
            } = *order;
            rule(
                batch_size > 0
                    && (1..=u32::MAX as usize).contains(&images)
                    && *step <= order.steps(),
                format!(
                    "step {step} is impossible with {images} images in batches of {batch_size}"
                ),
            )?;
            rule(
                metrics.images as usize == order.images_after(*step),
                format!("step {step} cannot have seen {} images", metrics.images),
            )?;
        }
        let loss_scale = self.loss_scale.map(|words| LossScale::from_words(&words));
        rule(
            loss_scale.is_none_or(|scale| scale.is_valid()),
            "its loss scale is impossible".to_owned(),
        )
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
    /// Averages of the weights, if the run keeps any; `None` before its first step.
    pub averages: Option<Tensors>,
    /// Progress of the run.
    pub position: Position,
}

impl Snapshot {
    /// Before the first step: initial weights from a seed, optimiser state of zeros.
    pub fn initial(network: &Network, seed: u64) -> Snapshot {
        let trained = network.trained_parameters().into_iter();
        let zeros: Tensors = trained
            .map(|p| (p.name.clone(), vec![0.0; p.len()]))
            .collect();
        Snapshot {
            weights: initial_values(network, seed).into_iter().collect(),
            optimizer: TensorKind::optimizer_state()
                .map(|kind| (kind, zeros.clone()))
                .collect(),
            averages: None,
            position: Position::start(),
        }
    }

    /// The weights to evaluate and to predict with: the averages, if the run keeps any.
    pub fn result(&self) -> &Tensors {
        self.averages.as_ref().unwrap_or(&self.weights)
    }
}
