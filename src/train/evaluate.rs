//! Evaluation: running statistics, no augmentation, every image once. Images found damaged are
//! left out, so [`Totals::images`] is the number of those that were evaluated.

use std::sync::Arc;

use super::calibration::{Calibration, softmax};
use super::input_pipeline::{BatchValues, Batches, InputPipeline};
use super::step_graph::{Mode, step_graph};
use super::{Totals, TrainError};
use crate::data::Source;
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
    /// Confusion matrix: rows are true classes, columns predicted ones. Empty if not requested.
    pub confusion: Vec<Vec<u64>>,
    /// Confidences against right answers; empty if the confusion matrix is.
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

/// What an evaluation collects beside the totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Nothing; logits stay on the device.
    Totals,
    /// The confusion matrix of this many classes, and calibration.
    Classes(usize),
    /// The scores of every image as well.
    Scores(usize),
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

/// One evaluation in progress, batch by batch: of a trainer's weights, or of an [`Evaluator`]'s.
pub(super) struct EvaluationPass {
    /// Index of the evaluation graph in the engine.
    graph: usize,
    /// Batch size.
    size: usize,
    batches: Batches,
    done: usize,
    keep_scores: bool,
    confusion: Vec<Vec<u64>>,
    calibration: Calibration,
    scores: Vec<ImageScores>,
}

impl EvaluationPass {
    /// Clears the metrics.
    pub(super) fn begin(
        engine: &mut Engine,
        input: &InputPipeline,
        values: &EvaluationValues,
        graph: usize,
        size: usize,
        detail: Detail,
    ) -> EvaluationPass {
        engine.clear(values.metrics);
        let classes = match detail {
            Detail::Totals => 0,
            Detail::Classes(classes) | Detail::Scores(classes) => classes,
        };
        let all: Vec<u32> = (0..input.len() as u32).collect();
        EvaluationPass {
            graph,
            size,
            batches: input.batches(all.chunks(size).map(<[u32]>::to_vec).collect(), None),
            done: 0,
            keep_scores: matches!(detail, Detail::Scores(_)),
            confusion: vec![vec![0; classes]; classes],
            calibration: Calibration::default(),
            scores: Vec::new(),
        }
    }

    /// Images done so far.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// Evaluates the next batch, if there is one.
    pub(super) async fn batch(
        &mut self,
        engine: &mut Engine,
        input: &InputPipeline,
        values: &EvaluationValues,
    ) -> Result<(), TrainError> {
        let Some(batch) = self.batches.next() else {
            return Ok(());
        };
        let mut batch = batch?;
        for (label, index) in batch.labels.iter_mut().zip(&batch.indices) {
            if input.is_damaged(*index as usize) {
                *label = IGNORED;
            }
        }
        input.write(engine, &values.batch, &batch, self.size);
        engine.run(self.graph)?;
        let classes = self.confusion.len();
        if classes > 0 {
            let logits = engine.read_values(values.logits).await?;
            let images = batch.labels.iter().zip(&batch.indices);
            let rows = logits.chunks_exact(classes).zip(images);
            for (logits, (label, index)) in rows.filter(|(_, (label, _))| **label != IGNORED) {
                let predicted = argmax(logits);
                self.confusion[*label as usize][predicted] += 1;
                let confidence = softmax(logits)[predicted];
                self.calibration
                    .add(confidence, predicted == *label as usize);
                if self.keep_scores {
                    self.scores.push(ImageScores {
                        index: *index as usize,
                        label: *label,
                        logits: logits.to_vec(),
                    });
                }
            }
        }
        self.done += batch.labels.len();
        Ok(())
    }

    /// Reads the totals after the last batch.
    pub(super) async fn finish(
        self,
        engine: &Engine,
        values: &EvaluationValues,
    ) -> Result<Evaluation, TrainError> {
        let metrics = read_metrics(engine, values.metrics).await?;
        if metrics.diverged() {
            return Err(TrainError::Scores);
        }
        Ok(Evaluation {
            totals: Totals::from(&metrics),
            confusion: self.confusion,
            calibration: self.calibration,
            scores: self.scores,
        })
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
    detail: Detail,
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
            detail: match options.keep_scores {
                true => Detail::Scores(network.spec().classes as usize),
                false => Detail::Classes(network.spec().classes as usize),
            },
        })
    }

    /// Evaluates every image; `progress` is called with the number of images done.
    ///
    /// # Errors
    /// If data or device fail, or a logit is NaN or infinite.
    pub async fn run(&mut self, mut progress: impl FnMut(usize)) -> Result<Evaluation, TrainError> {
        let (engine, input, values) = (&mut self.engine, &self.input, &self.values);
        let mut pass = EvaluationPass::begin(engine, input, values, 0, self.batch, self.detail);
        while pass.done() < input.len() {
            pass.batch(engine, input, values).await?;
            progress(pass.done());
        }
        pass.finish(engine, values).await
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
