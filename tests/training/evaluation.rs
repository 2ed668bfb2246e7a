//! Evaluation during a run and on its own.

use std::sync::Arc;

use pyr_wgpu::data::{DataError, EpochKey, Source, Views};
use pyr_wgpu::engine::built_in;
use pyr_wgpu::train::{Evaluator, EvaluatorOptions, Trainer};

use crate::common::runs::{CLASSES, Run, devices};

/// The trainer's evaluation is the evaluator's, and both count every image once.
#[test]
fn evaluations_agree() {
    for device in devices() {
        let run = Run::random(8, 20, 8);
        pollster::block_on(async {
            let mut trainer = run.trainer(device, &run.start());
            pollster::block_on(trainer.step()).unwrap();
            let state = trainer.snapshot().await.unwrap();
            let before = state.position.totals();
            assert_eq!(before.images, 8);
            let mut heard = Vec::new();
            let totals = loop {
                let (done, totals) = trainer.evaluate_batch().await.unwrap();
                heard.push(done);
                if let Some(totals) = totals {
                    break totals;
                }
            };
            assert_eq!(heard, [8, 13]);
            assert_eq!(
                trainer.collect().await.unwrap(),
                before,
                "metrics of the epoch"
            );

            for batch_size in [8, 5, 100] {
                let options = EvaluatorOptions {
                    keep_scores: false,
                    batch_size,
                    workers: 2,
                    preprocessing: run.options.preprocessing,
                };
                let evaluator = Evaluator::new(
                    device,
                    &run.network(),
                    // The averages: with the weights the loss is another one.
                    state.result(),
                    options,
                    run.test_source(),
                    built_in,
                );
                let mut evaluator = evaluator.unwrap();
                let evaluation = evaluator.run(|_| {}).await.unwrap();
                let found = evaluation.totals;
                assert_eq!(
                    (found.top1, found.top5, found.images),
                    (totals.top1, totals.top5, 13)
                );
                let distance = (found.loss - totals.loss).abs();
                assert!(distance <= 1e-5 * totals.loss, "{found:?} {totals:?}");
                let rows: Vec<u64> = evaluation
                    .confusion
                    .iter()
                    .map(|row| row.iter().sum())
                    .collect();
                assert_eq!(rows, [3, 3, 3, 2, 2], "images of each class");
                let right: u64 = (0..CLASSES as usize)
                    .map(|c| evaluation.confusion[c][c])
                    .sum();
                assert_eq!(right, totals.top1);
            }
        });
    }
}

/// Images of which one is damaged: another is read in its place.
struct Damaged(Arc<dyn Source>);

const DAMAGED: usize = 11;

impl Source for Damaged {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn label(&self, index: usize) -> u32 {
        self.0.label(index)
    }

    fn size(&self) -> u32 {
        self.0.size()
    }

    fn read(&self, index: usize, key: Option<EpochKey>, out: &mut [u8]) -> Result<(), DataError> {
        let read = if index == DAMAGED { 0 } else { index };
        self.0.read(read, key, out)
    }

    fn is_damaged(&self, index: usize) -> bool {
        index == DAMAGED
    }

    fn resident(&self) -> Option<&[u8]> {
        None
    }
}

#[test]
fn a_damaged_image_is_not_evaluated() {
    for device in devices() {
        let run = Run::new(8, 20, 8);
        let state = run.start();
        let options = EvaluatorOptions {
            keep_scores: false,
            batch_size: 8,
            workers: 2,
            preprocessing: run.options.preprocessing,
        };
        let evaluate = |source| {
            let (network, weights) = (run.network(), &state.weights);
            let evaluator = Evaluator::new(device, &network, weights, options, source, built_in);
            pollster::block_on(evaluator.unwrap().run(|_| {})).unwrap()
        };
        let found = evaluate(Arc::new(Damaged(run.test_source())));
        let rows = found.confusion.iter().map(|row| row.iter().sum::<u64>());
        // Thirteen images, of which the second of class 1 is damaged.
        assert_eq!(rows.collect::<Vec<_>>(), [3, 2, 3, 2, 2]);
        assert_eq!(found.totals.images, 12);
        let whole = evaluate(run.test_source()).totals;
        assert!(found.totals.loss < whole.loss, "{found:?} {whole:?}");

        let mut trainer = Trainer::new(
            std::slice::from_ref(device),
            None,
            run.network(),
            run.options.clone(),
            run.train_source(),
            Arc::new(Damaged(run.test_source())),
            |_, graphs| built_in(graphs),
        )
        .unwrap();
        trainer.restore(&state);
        let tested = pollster::block_on(async {
            loop {
                if let (_, Some(totals)) = trainer.evaluate_batch().await.unwrap() {
                    break totals;
                }
            }
        });
        assert_eq!((tested.images, tested.top1), (12, found.totals.top1));
    }
}

/// Each image with others as further views, back to back.
struct Several {
    source: Arc<dyn Source>,
    views: usize,
    resident: Option<Vec<u8>>,
}

impl Several {
    fn new(source: Arc<dyn Source>, views: usize, resident: bool) -> Arc<Several> {
        let mut several = Several {
            source,
            views,
            resident: None,
        };
        if resident {
            let image = 3 * several.size().pow(2) as usize * views;
            let mut bytes = vec![0; several.len() * image];
            for (index, out) in bytes.chunks_exact_mut(image).enumerate() {
                several.read(index, None, out).unwrap();
            }
            several.resident = Some(bytes);
        }
        Arc::new(several)
    }
}

impl Source for Several {
    fn len(&self) -> usize {
        self.source.len()
    }

    fn label(&self, index: usize) -> u32 {
        self.source.label(index)
    }

    fn size(&self) -> u32 {
        self.source.size()
    }

    fn views(&self) -> usize {
        self.views
    }

    fn read(&self, index: usize, key: Option<EpochKey>, out: &mut [u8]) -> Result<(), DataError> {
        let image = out.len() / self.views;
        for (view, out) in out.chunks_exact_mut(image).enumerate() {
            self.source.read((index + view) % self.len(), key, out)?;
        }
        Ok(())
    }

    fn resident(&self) -> Option<&[u8]> {
        self.resident.as_deref()
    }
}

/// The scores of an image of several views are the means of the views' scores, also where the last
/// batch is smaller.
#[test]
fn scores_of_views_are_averaged() {
    for device in devices() {
        // Images of an odd number of bytes.
        let run = Run::random(9, 20, 8);
        let evaluate = |views: Views, source: Arc<dyn Source>| {
            let mut preprocessing = run.options.preprocessing;
            preprocessing.resize.views = views;
            let options = EvaluatorOptions {
                keep_scores: true,
                batch_size: 40,
                workers: 2,
                preprocessing,
            };
            let (network, weights) = (run.network(), &run.start().weights);
            let evaluator = Evaluator::new(device, &network, weights, options, source, built_in);
            pollster::block_on(evaluator.unwrap().run(|_| {})).unwrap()
        };
        let single = evaluate(Views::Centre, run.test_source());
        let cases = [
            (Views::Flip, true),
            (Views::TenCrop, true),
            (Views::TenCrop, false),
        ];
        for (views, resident) in cases {
            let count = views.count();
            let found = evaluate(views, Several::new(run.test_source(), count, resident));
            assert_eq!((found.scores.len(), found.totals.images), (13, 13));
            let mut loss = 0.0;
            for (index, scores) in found.scores.iter().enumerate() {
                let of_view = |view: usize| &single.scores[(index + view) % 13].logits;
                let mean = |class: usize| {
                    let sum: f64 = (0..count).map(|v| f64::from(of_view(v)[class])).sum();
                    sum / count as f64
                };
                let means: Vec<f64> = (0..CLASSES as usize).map(mean).collect();
                for (found, mean) in scores.logits.iter().zip(&means) {
                    assert!((f64::from(*found) - mean).abs() < 1e-5, "{found} {mean}");
                }
                let sum: f64 = means.iter().map(|mean| mean.exp()).sum();
                loss += sum.ln() - means[scores.label as usize];
            }
            let distance = (found.totals.loss - loss).abs();
            assert!(distance < 1e-4, "{} {loss}", found.totals.loss);
        }
    }
}
