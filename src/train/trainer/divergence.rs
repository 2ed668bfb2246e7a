//! Where a NaN or an infinity first occurred in a run.

use super::super::TrainError;
use super::Trainer;
use crate::checkpoint::first_not_finite;
use crate::engine::{TensorKind, Tensors};
use crate::graph::Precision;
use crate::graph::ops::Metrics;
use crate::model::{Parameter, ParameterRole};
use crate::shape::LANES;

impl Trainer {
    /// Names the first tensor, in the order of the layers, that has a NaN or an infinity.
    pub(super) fn first_bad(&self, tensors: &Tensors) -> Option<String> {
        let is_bad = |values: &Vec<f32>| first_not_finite(values).is_some();
        let mut parameters = self.network.parameters().into_iter();
        let Parameter { name, role, .. } =
            parameters.find(|parameter| tensors.get(&parameter.name).is_some_and(is_bad))?;
        let layer = name.rsplit_once('.').map_or(&*name, |(layer, _)| layer);
        Some(match role {
            ParameterRole::RunningMean => format!("running mean of {layer}"),
            ParameterRole::RunningVar => format!("running variance of {layer}"),
            _ => name,
        })
    }

    /// The error of a run in which the metrics of a replica have a NaN or an infinity: where it first
    /// occurred.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) async fn diverged(
        &self,
        replica: usize,
        metrics: &Metrics,
    ) -> Result<TrainError, TrainError> {
        // All its batches of the epoch so far, as step and micro-batch.
        let mut batches: Vec<(u32, u32)> = (0..self.position.step)
            .flat_map(|step| {
                let all = self.division.micro_batches(self.batch_at(step));
                let replica = self.replicas.numbers().start + replica;
                let before = all[..replica].iter().map(Vec::len).sum::<usize>() as u32;
                let own = before + 1..=before + all[replica].len() as u32;
                own.map(move |batch| (step + 1, batch))
            })
            .collect();
        let halted = metrics.halted as usize;
        let tensor = |vector: u32| {
            let bytes = 4 * LANES as u64;
            self.network.tensor_at(u64::from(vector - 1) * bytes).name
        };
        let (later, in_loss, what) = match (metrics.gradient, metrics.update) {
            (0, 0) => {
                let weights = TensorKind::Weights;
                let engine = self.engine_of(replica);
                let weights = engine.read_tensors(&self.network, weights).await?;
                let what = self.first_bad(&weights).unwrap_or_else(|| {
                    let classifier = self.network.head.last().map(|layer| &layer.name);
                    format!(
                        "loss of the logits of {}",
                        classifier.expect("a classifier")
                    )
                });
                (halted.saturating_sub(1), true, what)
            }
            (0, vector) => (halted, false, format!("update of {}", tensor(vector))),
            (vector, _) => (halted, false, format!("gradient of {}", tensor(vector))),
        };
        // With common statistics a NaN reaches all replicas in the same step.
        let is_everywhere = self.replicas.total() == 1 || self.division.synchronized;
        let what = match is_everywhere {
            true => what,
            false => format!("{what} on {}", self.engine_of(replica).device().selector()),
        };
        batches.truncate(batches.len().saturating_sub(later));
        let (step, batch) = batches.last().copied().unwrap_or((self.position.step, 1));
        let micro_batch = self.options.micro_batch.and(in_loss.then_some(batch));
        Ok(self.divergence(step, micro_batch, &format!("the {what}")))
    }

    pub(super) fn divergence(&self, step: u32, micro_batch: Option<u32>, what: &str) -> TrainError {
        let hint = match self.options.passes.precision {
            Precision::F16 => " (half precision overflows above 65504; try --precision f32)",
            Precision::F32 => "",
        };
        TrainError::Diverged {
            epoch: self.position.epoch,
            step,
            micro_batch,
            what: format!("{what} is NaN or infinite{hint}"),
        }
    }
}
