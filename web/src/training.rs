//! The training of the page's second tab: the network `demo` on the drawn shapes.

use pyr_wgpu::data::{Dataset, DatasetKind, shapes};
use pyr_wgpu::engine::Device;
use pyr_wgpu::graph::Passes;
use pyr_wgpu::kernels::Choices;
use pyr_wgpu::model::{Description, Network, Preprocessing, preset};
use pyr_wgpu::predict::Predictor;
use pyr_wgpu::train::{Options, Recipe, Snapshot, Totals, TrainError, Trainer};
use pyr_wgpu::trained_model::{TrainedModel, checkpoint};
use serde_json::json;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::fault::Fault;

/// Test images that are classified again and again.
const EXAM: usize = 64;

/// A run, driven from JavaScript some steps at a time.
#[wasm_bindgen]
pub struct Training {
    device: Device,
    trainer: Trainer,
    recipe: Recipe,
    description: Description,
    /// The first test images back to back, and their classes.
    images: Vec<u8>,
    truth: Vec<u32>,
    examiner: Predictor,
    /// Metrics of the epoch when they were last read.
    before: Totals,
}

#[wasm_bindgen]
impl Training {
    pub(crate) fn new(device: &Device, seed: u64) -> Result<Training, Fault> {
        let failed = |error: &dyn std::fmt::Display| Fault::new("failed", error);
        let mut spec = preset("demo").map_err(|e| failed(&e))?;
        let shapes = shapes::open(spec.resize(), true);
        spec.classes = shapes.classes.len() as u32;
        let network = Network::new(&spec).map_err(|e| failed(&e))?;
        let description = Description {
            preprocessing: Preprocessing::new(&spec, shapes.mean, shapes.std),
            classes: shapes.classes.clone(),
            network: spec,
        };
        let recipe = Recipe::for_dataset(DatasetKind::Shapes);
        let options = Options {
            recipe: recipe.clone(),
            micro_batch: None,
            seed,
            passes: Passes::default(),
            workers: 1,
            preprocessing: description.preprocessing,
        };
        let start = Snapshot::initial(&network, seed);
        let (images, truth) = first_images(&shapes)?;
        let trained = TrainedModel {
            description: description.clone(),
            network: network.clone(),
            tensors: start.weights.clone(),
            described: true,
        };
        let examiner = Predictor::of_many(device, &trained, EXAM)?;
        let Dataset { train, test, .. } = shapes;
        let train = train.expect("the training part was asked for");
        let choose = |_: &[_]| Ok(Choices::default());
        let mut trainer = Trainer::new(device, network, options, train, test, choose)?;
        trainer.restore(&start);
        Ok(Training {
            device: device.clone(),
            trainer,
            recipe,
            description,
            images,
            truth,
            examiner,
            before: Totals::default(),
        })
    }

    /// Runs up to `count` steps of the epoch and waits for them; returns JSON: where the run
    /// stands, how many images the steps had, and their mean loss and error (in 0..1).
    ///
    /// # Errors
    /// What the device says, or that the training diverged.
    pub async fn steps(&mut self, count: u32) -> Result<String, JsValue> {
        let mut images = 0;
        for _ in 0..count {
            if self.trainer.epoch_done() {
                break;
            }
            images += self.trainer.step().map_err(Fault::from)?;
        }
        let now = self.trainer.collect().await.map_err(Fault::from)?;
        let recent = Totals {
            loss: now.loss - self.before.loss,
            top1: now.top1 - self.before.top1,
            top5: now.top5 - self.before.top5,
            images: now.images - self.before.images,
        };
        self.before = now;
        let position = self.trainer.position();
        let progress = json!({
            "epoch": position.epoch,
            "epochs": self.recipe.epochs,
            "step": position.step,
            "steps": self.trainer.steps_per_epoch(),
            "loss": recent.mean_loss(),
            "error": recent.top1_error() / 100.0,
            "memory": self.trainer.engine().bytes(),
            "images": images,
        });
        Ok(progress.to_string())
    }

    /// Whether all steps of the epoch are done.
    #[wasm_bindgen(getter)]
    pub fn epoch_done(&self) -> bool {
        self.trainer.epoch_done()
    }

    /// Whether all epochs are done.
    #[wasm_bindgen(getter)]
    pub fn finished(&self) -> bool {
        self.trainer.finished()
    }

    /// Evaluates all test images and begins the next epoch. After each batch `turn` is
    /// called and its promise waited for, so that others get their turn. Returns JSON: the
    /// epoch, loss and error (in 0..1).
    ///
    /// # Errors
    /// What the device says, or that the training diverged.
    pub async fn end_epoch(&mut self, turn: js_sys::Function) -> Result<String, JsValue> {
        let device = self.device.clone();
        let give_way = async |_: usize| {
            // Who waits here only gives way: errors come back from the evaluation itself.
            let _ = device.finished().await;
            if let Ok(promise) = turn.call0(&JsValue::NULL) {
                let _ = JsFuture::from(js_sys::Promise::from(promise)).await;
            }
        };
        let tested = self.trainer.evaluate(give_way).await.map_err(Fault::from)?;
        let epoch = self.trainer.position().epoch;
        self.trainer.next_epoch();
        self.before = Totals::default();
        let result = json!({
            "epoch": epoch,
            "testLoss": tested.mean_loss(),
            "testError": tested.top1_error() / 100.0,
        });
        Ok(result.to_string())
    }

    /// The images of the examination: 64 times 32 by 32 RGB bytes.
    #[wasm_bindgen(getter)]
    pub fn images(&self) -> Vec<u8> {
        self.images.clone()
    }

    /// Classifies the examination's images with the present weights; returns JSON: for each
    /// its true class, the most probable one and how probable that is.
    ///
    /// # Errors
    /// What the device says.
    pub async fn examine(&mut self) -> Result<String, JsValue> {
        let snapshot = self.trainer.snapshot().await.map_err(Fault::from)?;
        self.examiner.set_weights(&snapshot.weights);
        let answers = self.examiner.classify_all(&self.images).await;
        let answers = answers.map_err(Fault::from)?;
        let rows = answers.iter().zip(&self.truth).map(|(ranked, truth)| {
            let best = &ranked[0];
            json!({
                "truth": self.description.classes[*truth as usize],
                "class": best.class,
                "probability": best.probability,
            })
        });
        Ok(serde_json::Value::Array(rows.collect()).to_string())
    }

    /// The weights as a safetensors file that the command line opens.
    ///
    /// # Errors
    /// What the device says.
    pub async fn checkpoint(&mut self) -> Result<Vec<u8>, JsValue> {
        let snapshot = self.trainer.snapshot().await.map_err(Fault::from)?;
        let seen = snapshot.position.batches_tracked;
        let network = self.trainer.network();
        Ok(checkpoint(network, &self.description, &snapshot.weights, seen).to_bytes())
    }
}

/// The images that the grid shows, and their classes.
fn first_images(shapes: &Dataset) -> Result<(Vec<u8>, Vec<u32>), TrainError> {
    let length = 3 * (shapes.test.size() as usize).pow(2);
    let mut images = vec![0; EXAM * length];
    for (index, slot) in images.chunks_exact_mut(length).enumerate() {
        shapes.test.read(index, None, slot)?;
    }
    let truth = (0..EXAM).map(|index| shapes.test.label(index));
    Ok((images, truth.collect()))
}
