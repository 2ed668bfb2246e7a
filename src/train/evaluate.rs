//! Evaluation: scores with running statistics, no augmentation, every image once.

use std::sync::Arc;

use super::{InputPipeline, Totals, TrainError};
use crate::data::Source;
use crate::engine::{Device, Engine, TensorKind, Tensors};
use crate::graph::Passes;
use crate::graph::ops::Metrics;
use crate::kernels::Choices;
use crate::model::{Description, Mode, Network, names};
use crate::shape::Shape;

/// What an evaluation found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Loss and hits.
    pub totals: Totals,
    /// Rows: true class, columns: predicted class.
    pub confusion: Vec<Vec<u64>>,
}

/// A network ready to be evaluated on its own, outside training.
pub struct Evaluator {
    engine: Engine,
    input: InputPipeline,
    batch: usize,
    classes: usize,
}

impl Evaluator {
    /// Builds the evaluation of a checkpoint on a split.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn new(
        device: &Device,
        description: &Description,
        network: &Network,
        tensors: &Tensors,
        source: Arc<dyn Source>,
        batch: usize,
        workers: usize,
    ) -> Result<Evaluator, TrainError> {
        let batch = batch.min(source.len()).max(1);
        let pipeline = InputPipeline::new(source, names::EVAL_IMAGES, device, workers);
        let input = pipeline.input(batch, &description.preprocessing, false);
        let graph = network.graph(batch, &input, Mode::Evaluate, Passes::default())?;
        let mut engine = Engine::new(device, vec![graph], &Choices::default())?;
        engine.write_tensors(network, TensorKind::Weights, tensors);
        pipeline.upload(&mut engine);
        Ok(Evaluator {
            engine,
            input: pipeline,
            batch,
            classes: description.classes.len(),
        })
    }

    /// Evaluates every image; `progress` hears the number of images done.
    ///
    /// # Errors
    /// If data or device fail, or a score is NaN or infinite.
    pub async fn run(&mut self, mut progress: impl FnMut(usize)) -> Result<Evaluation, TrainError> {
        let mut confusion = vec![vec![0; self.classes]; self.classes];
        let shape = Shape::channels(&[self.batch, 1, 1, self.classes]);
        let mut batches = self
            .input
            .batches(chunks(self.input.len(), self.batch), None);
        let mut done = 0;
        clear_metrics(&mut self.engine);
        while let Some(batch) = batches.next() {
            let batch = batch?;
            self.input.write(&mut self.engine, &batch, self.batch);
            self.engine.run(0)?;
            let logits = self.engine.read_values(names::LOGITS, &shape).await?;
            for (scores, label) in logits.chunks_exact(self.classes).zip(&batch.labels) {
                confusion[*label as usize][largest(scores)] += 1;
            }
            done += batch.labels.len();
            progress(done);
        }
        let metrics = read_metrics(&self.engine).await?;
        if metrics.flags != 0 {
            return Err(TrainError::Scores);
        }
        Ok(Evaluation {
            totals: Totals::from(&metrics),
            confusion,
        })
    }
}

/// Index of the largest score; the first of equal ones.
fn largest(scores: &[f32]) -> usize {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    best
}

/// The numbers 0 to n − 1 in runs of a size.
pub(super) fn chunks(n: usize, size: usize) -> Vec<Vec<u32>> {
    let all: Vec<u32> = (0..n as u32).collect();
    all.chunks(size).map(<[u32]>::to_vec).collect()
}

pub(super) async fn read_metrics(engine: &Engine) -> Result<Metrics, TrainError> {
    let words = engine.read(names::METRICS, Metrics::shape().len()).await?;
    Ok(Metrics::from_words(&words))
}

pub(super) fn clear_metrics(engine: &mut Engine) {
    engine.clear(names::METRICS, &Metrics::shape());
}
