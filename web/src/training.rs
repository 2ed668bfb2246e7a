//! Training in the page's second tab: the network `demo` on the drawn shapes.

use std::time::Duration;

use pyr_wgpu::data::{Dataset, DatasetKind, shapes};
use pyr_wgpu::engine::{Device, built_in};
use pyr_wgpu::graph::{Passes, Precision};
use pyr_wgpu::model::{Description, Network, Preprocessing, preset};
use pyr_wgpu::predict::Predictor;
use pyr_wgpu::train::{
    Options, Recipe, SaveInterval, Session, SessionOptions, Snapshot, TrainError, Trainer,
};
use pyr_wgpu::trained_model::{TrainedModel, checkpoint};
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::fault::Fault;

/// Test images that are classified repeatedly during training.
const EXAM: usize = 64;

/// Time between two events, so that classification can run in between, and the most steps between
/// them: a browser queues all work submitted.
const INTERVAL: Duration = Duration::from_millis(80);
const MAX_STEPS: u32 = 32;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance)]
    fn now() -> f64;
}

/// A run, driven from JavaScript event by event.
#[wasm_bindgen]
pub struct Training {
    session: Session,
    description: Description,
    /// The first test images back to back, and their classes.
    images: Vec<u8>,
    truth: Vec<u32>,
    examiner: Predictor,
}

#[wasm_bindgen]
impl Training {
    pub(crate) fn new(device: &Device, seed: u64) -> Result<Training, Fault> {
        let failed = |error: &dyn std::fmt::Display| Fault::new("failed", error);
        let mut spec = preset("demo").map_err(|e| failed(&e))?;
        let shapes = shapes::open(spec.resize(), true).map_err(|e| failed(&e))?;
        spec.classes = shapes.classes.len() as u32;
        let network = Network::new(&spec).map_err(|e| failed(&e))?;
        let description = Description {
            preprocessing: Preprocessing::new(&spec, shapes.mean, shapes.std),
            classes: shapes.classes.clone(),
            network: spec,
        };
        let options = Options {
            recipe: Recipe::for_dataset(DatasetKind::Shapes),
            micro_batch: None,
            shares: Vec::new(),
            sync_batch_norm: false,
            gradients: Precision::F32,
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
            batches_tracked: 0,
            described: true,
        };
        let examiner = Predictor::of_many(device, &trained, EXAM, built_in)?;
        let Dataset { train, test, .. } = shapes;
        let train = train.expect("the training part was asked for");
        let mut trainer = Trainer::new(
            std::slice::from_ref(device),
            None,
            network,
            options,
            train,
            test,
            |_, graphs| built_in(graphs),
        )?;
        trainer.restore(&start);
        let options = SessionOptions {
            run: None,
            save: SaveInterval::Never,
            interval: INTERVAL,
            max_steps: MAX_STEPS,
        };
        let clock = Box::new(|| Duration::from_secs_f64(now() / 1000.0));
        Ok(Training {
            session: Session::start(trainer, options, clock),
            description,
            images,
            truth,
            examiner,
        })
    }

    /// Runs to the next event and returns it as the JSON of `pyr_wgpu::train::Event`; nothing after
    /// the last one.
    ///
    /// # Errors
    /// The device's error, or that the training diverged.
    pub async fn next(&mut self) -> Result<Option<String>, JsValue> {
        let event = self.session.next(&mut ()).await.map_err(Fault::from)?;
        Ok(event.map(|event| event.to_json()))
    }

    /// The images that [`Training::examine`] classifies: 64 of 32 x 32 x RGB bytes.
    #[wasm_bindgen(getter)]
    pub fn images(&self) -> Vec<u8> {
        self.images.clone()
    }

    /// Classifies the first test images with the current weights; returns JSON: for each the true
    /// class, the most probable class and its probability.
    ///
    /// # Errors
    /// The device's error.
    pub async fn examine(&mut self) -> Result<String, JsValue> {
        let snapshot = self.session.snapshot().await.map_err(Fault::from)?;
        self.examiner.set_weights(snapshot.result());
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

    /// The weights as a safetensors file for the command line.
    ///
    /// # Errors
    /// The device's error.
    pub async fn checkpoint(&mut self) -> Result<Vec<u8>, JsValue> {
        let snapshot = self.session.snapshot().await.map_err(Fault::from)?;
        let seen = snapshot.position.batches_tracked;
        let network = self.session.trainer().network();
        Ok(checkpoint(network, &self.description, snapshot.result(), seen).to_bytes())
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
