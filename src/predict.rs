//! Pictures in, classes with probabilities out: what the command line and the page share.

use crate::data::{self, Crop, DataError};
use crate::engine::{Device, Engine, EngineError, Kind};
use crate::graph::Passes;
use crate::graph::ops::AssembleBatch;
use crate::kernels::Choices;
use crate::model::{Description, Input, Mode, names};
use crate::shape::Shape;
use crate::trained::Trained;

/// A class and how probable it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Number of the class.
    pub index: usize,
    /// Its name.
    pub class: String,
    /// Softmax of its score.
    pub probability: f64,
}

/// A network ready to classify one picture at a time.
pub struct Predictor {
    engine: Engine,
    description: Description,
}

impl Predictor {
    /// Builds the network of a checkpoint.
    ///
    /// # Errors
    /// If the device cannot hold or run it.
    pub fn new(device: &Device, trained: &Trained) -> Result<Predictor, EngineError> {
        let Trained {
            description,
            network,
            tensors,
            ..
        } = trained;
        let input = Input::Pictures {
            name: names::EVAL_PICTURES,
            count: 1,
            preprocessing: description.preprocessing,
            augment: false,
        };
        let graph = network.graph(1, &input, Mode::Predict, Passes::default())?;
        let mut engine = Engine::new(device, vec![graph], &Choices::default())?;
        engine.write_tensors(network, Kind::Weights, tensors);
        Ok(Predictor {
            engine,
            description: description.clone(),
        })
    }

    /// Decodes a file's bytes to the picture that the network sees: N·N·3 bytes, rows of RGB.
    ///
    /// # Errors
    /// If the bytes are no picture.
    pub fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, DataError> {
        let spec = &self.description.network;
        let crop = match self.description.preprocessing.shorter_side == spec.image_size {
            true => Crop::Shorter,
            false => Crop::ImageNet,
        };
        data::decode_picture(bytes, spec.image_size, crop)
    }

    /// Classes of a picture as [`Predictor::decode`] gives it, the most probable first.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn classify(&mut self, picture: &[u8]) -> Result<Vec<Prediction>, EngineError> {
        let classes = self.description.classes.len();
        let size = self.description.network.image_size as usize;
        let words = AssembleBatch::pack_pictures(picture, size);
        self.engine.write(names::EVAL_PICTURES, &words);
        self.engine.run(0)?;
        let shape = Shape::channels(&[1, 1, 1, classes]);
        let logits = self.engine.read_values(names::LOGITS, &shape).await?;
        let mut predictions: Vec<Prediction> = softmax(&logits)
            .into_iter()
            .zip(&self.description.classes)
            .enumerate()
            .map(|(index, (probability, class))| Prediction {
                index,
                class: class.clone(),
                probability,
            })
            .collect();
        predictions.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        Ok(predictions)
    }
}

/// Probabilities of scores.
fn softmax(logits: &[f32]) -> Vec<f64> {
    let logits: Vec<f64> = logits.iter().map(|l| f64::from(*l)).collect();
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|l| libm::exp(l - largest)).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}
