//! Evaluation: running statistics, no augmentation, every image once. Images found damaged are
//! left out, so [`Totals::images`] is the number of those that were evaluated.

use std::sync::Arc;

use super::calibration::{Calibration, softmax};
use super::input_pipeline::{BatchValues, Batches, InputPipeline};
use super::step_graph::{Mode, step_graph};
use super::{Totals, TrainError};
use crate::data::{Batch, Source};
use crate::engine::{Device, Engine, EngineError, TensorKind, Tensors, ValueHandle};
use crate::graph::ops::{IGNORED, Metrics};
use crate::graph::{Graph, Passes};
use crate::kernels::Choices;
use crate::model::{BatchAugmentation, Network, Preprocessing, names};

/// The result of an evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Loss and correct answers.
    pub totals: Totals,
    /// Confusion matrix: rows are true classes, columns predicted ones.
    pub confusion: Vec<Vec<u64>>,
    /// Confidences against right answers.
    pub calibration: Calibration,
    /// The scores of every image, in the order of the dataset; empty if not requested.
    pub scores: Vec<ImageScores>,
}

/// What a network says of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageScores {
    /// Index in the dataset.
    pub index: usize,
    /// The true class.
    pub label: u32,
    /// A logit for each class.
    pub logits: Vec<f32>,
}

/// The engine's values that an evaluation writes and reads.
pub(super) struct EvaluationValues {
    batch: BatchValues,
    logits: ValueHandle,
    metrics: ValueHandle,
}

impl EvaluationValues {
    /// Uploads a resident split and looks the values up.
    pub(super) fn new(input: &InputPipeline, engine: &mut Engine) -> EvaluationValues {
        EvaluationValues {
            batch: input.upload(engine),
            logits: engine.value(names::LOGITS),
            metrics: engine.value(names::METRICS),
        }
    }
}

/// One evaluation in progress on a device, batch by batch: of a trainer's weights, or of an
/// [`Evaluator`]'s.
pub(super) struct EvaluationPass {
    /// Index of the evaluation graph in the engine.
    graph: usize,
    /// Batch size.
    size: usize,
    batches: Batches,
}

impl EvaluationPass {
    /// Clears the metrics. Of every `replicas` batches, one is evaluated: the one with this number.
    pub(super) fn begin(
        engine: &mut Engine,
        input: &InputPipeline,
        values: &EvaluationValues,
        graph: usize,
        size: usize,
        (number, replicas): (usize, usize),
    ) -> EvaluationPass {
        engine.clear(values.metrics);
        let all: Vec<u32> = (0..input.len() as u32).collect();
        let own = all.chunks(size).skip(number).step_by(replicas);
        EvaluationPass {
            graph,
            size,
            batches: input.batches_of_device(own.map(<[u32]>::to_vec).collect()),
        }
    }

    /// Submits the next batch, and returns it; `None` after the last.
    pub(super) fn submit(
        &mut self,
        engine: &mut Engine,
        input: &InputPipeline,
        values: &EvaluationValues,
    ) -> Result<Option<Batch>, TrainError> {
        let Some(batch) = self.batches.next() else {
            return Ok(None);
        };
        let mut batch = batch?;
        for (label, index) in batch.labels.iter_mut().zip(&batch.indices) {
            if input.is_damaged(*index as usize) {
                *label = IGNORED;
            }
        }
        input.write(engine, &values.batch, &batch, self.size);
        engine.run(self.graph)?;
        Ok(Some(batch))
    }
}

/// Options of an [`Evaluator`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvaluatorOptions {
    /// Batch size of the network; an image is as many entries as it has views.
    pub batch_size: usize,
    /// Threads that read batches ahead, for a split in neither host nor device memory.
    pub workers: usize,
    /// Mean and standard deviation of the channels, and the views whose scores are averaged, as in
    /// the source.
    pub preprocessing: Preprocessing,
    /// Whether to keep the scores of every image: four bytes for each class.
    pub keep_scores: bool,
}

impl EvaluatorOptions {
    fn input(&self, device: &Device, source: &Arc<dyn Source>) -> InputPipeline {
        InputPipeline::new(
            Arc::clone(source),
            names::EVAL_IMAGES,
            std::slice::from_ref(device),
            self.workers,
        )
    }

    /// Images of a batch: no more than there are.
    fn batch(&self, input: &InputPipeline) -> usize {
        let images = self.batch_size / self.preprocessing.resize.views.count();
        images.min(input.len()).max(1)
    }
}

/// A network ready for evaluation outside training.
pub struct Evaluator {
    engine: Engine,
    input: InputPipeline,
    values: EvaluationValues,
    batch: usize,
    classes: usize,
    keep_scores: bool,
}

impl Evaluator {
    /// The graphs of an evaluation.
    ///
    /// # Errors
    /// None for a valid network.
    pub fn graphs(
        device: &Device,
        network: &Network,
        options: &EvaluatorOptions,
        source: &Arc<dyn Source>,
    ) -> Result<Vec<Graph>, TrainError> {
        let input = options.input(device, source);
        let batch = options.batch(&input);
        let images = input.input(batch, &options.preprocessing, BatchAugmentation::default());
        let passes = Passes::default();
        let graph = step_graph(network, batch, &images, Mode::Evaluate, passes)?;
        Ok(vec![graph])
    }

    /// Builds the evaluation of a network's weights on a split. `choose` selects the kernels of
    /// the [`Evaluator::graphs`].
    ///
    /// # Errors
    /// If the device cannot hold or run it.
    pub fn new(
        device: &Device,
        network: &Network,
        tensors: &Tensors,
        options: EvaluatorOptions,
        source: Arc<dyn Source>,
        choose: impl FnOnce(&[Graph]) -> Result<Choices, EngineError>,
    ) -> Result<Evaluator, TrainError> {
        let graphs = Evaluator::graphs(device, network, &options, &source)?;
        let input = options.input(device, &source);
        let choices = choose(&graphs)?;
        let mut engine = Engine::new(device, graphs, &choices)?;
        engine.write_tensors(network, TensorKind::Weights, tensors);
        let values = EvaluationValues::new(&input, &mut engine);
        Ok(Evaluator {
            engine,
            values,
            batch: options.batch(&input),
            input,
            classes: network.spec().classes as usize,
            keep_scores: options.keep_scores,
        })
    }

    /// Evaluates every image; `progress` is called with the number of images done.
    ///
    /// # Errors
    /// If data or device fail, or a logit is NaN or infinite.
    pub async fn run(&mut self, mut progress: impl FnMut(usize)) -> Result<Evaluation, TrainError> {
        let Evaluator {
            engine,
            input,
            values,
            batch,
            classes,
            keep_scores,
        } = self;
        let mut pass = EvaluationPass::begin(engine, input, values, 0, *batch, (0, 1));
        let mut evaluation = Evaluation {
            confusion: vec![vec![0; *classes]; *classes],
            ..Evaluation::default()
        };
        let mut done = 0;
        while let Some(batch) = pass.submit(engine, input, values)? {
            let logits = engine.read_values(values.logits).await?;
            evaluation.add(&batch, &logits, *keep_scores);
            done += batch.labels.len();
            progress(done);
        }
        let metrics = read_metrics(engine, values.metrics).await?;
        if metrics.diverged() {
            return Err(TrainError::Scores);
        }
        evaluation.totals = Totals::from(&metrics);
        Ok(evaluation)
    }
}

impl Evaluation {
    /// Adds the logits of a batch to all but the totals.
    fn add(&mut self, batch: &Batch, logits: &[f32], keep_scores: bool) {
        let images = batch.labels.iter().zip(&batch.indices);
        let rows = logits.chunks_exact(self.confusion.len()).zip(images);
        for (logits, (label, index)) in rows.filter(|(_, (label, _))| **label != IGNORED) {
            let predicted = argmax(logits);
            self.confusion[*label as usize][predicted] += 1;
            let confidence = softmax(logits)[predicted];
            self.calibration
                .add(confidence, predicted == *label as usize);
            if keep_scores {
                self.scores.push(ImageScores {
                    index: *index as usize,
                    label: *label,
                    logits: logits.to_vec(),
                });
            }
        }
    }
}

/// Index of the largest score; of equal scores, the first.
pub fn argmax(scores: &[f32]) -> usize {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    best
}

pub(super) async fn read_metrics(
    engine: &Engine,
    metrics: ValueHandle,
) -> Result<Metrics, TrainError> {
    Ok(Metrics::from_words(&engine.read(metrics).await?))
}
