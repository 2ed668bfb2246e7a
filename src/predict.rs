//! Images in, classes with probabilities out: what the command line and the page share.

use crate::data::{self, DataError};
use crate::engine::{Device, Engine, EngineError, TensorKind, Tensors, ValueHandle};
use crate::graph::ops::AssembleBatch;
use crate::graph::{Graph, Passes, ValueId};
use crate::kernels::Choices;
use crate::model::{Description, Input, LayerKind, Network, Unit, names};
use crate::trained_model::TrainedModel;

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

/// What the network made of an image at one place: rows, columns, channels.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMaps {
    /// Name of the layer.
    pub name: String,
    /// Rows and columns.
    pub size: usize,
    /// Number of maps.
    pub channels: usize,
    /// Pixel by pixel, channels last.
    pub values: Vec<f32>,
}

/// A network ready to classify images, one or some at a time.
pub struct Predictor {
    engine: Engine,
    network: Network,
    description: Description,
    /// Images of one run.
    count: usize,
    images: ValueHandle,
    logits: ValueHandle,
    /// Names and values of what [`Predictor::stages`] and [`Predictor::evidence`] read.
    stages: Vec<(String, ValueHandle)>,
    features: (String, ValueHandle),
    /// The classifier: weights [classes, features], biases.
    classifier: (Vec<f32>, Vec<f32>),
}

impl Predictor {
    /// Builds the network of a checkpoint for one image at a time; `choose` says which kernels
    /// compute it.
    ///
    /// # Errors
    /// If the device cannot hold or run it.
    pub fn new(
        device: &Device,
        trained: &TrainedModel,
        choose: impl FnOnce(&[Graph]) -> Result<Choices, EngineError>,
    ) -> Result<Predictor, EngineError> {
        Predictor::of_many(device, trained, 1, choose)
    }

    /// Builds the network of a checkpoint for `count` images at a time.
    ///
    /// # Errors
    /// If the device cannot hold or run it.
    pub fn of_many(
        device: &Device,
        trained: &TrainedModel,
        count: usize,
        choose: impl FnOnce(&[Graph]) -> Result<Choices, EngineError>,
    ) -> Result<Predictor, EngineError> {
        let TrainedModel {
            description,
            network,
            tensors,
            ..
        } = trained;
        let input = Input::Images {
            name: names::EVAL_IMAGES,
            count,
            preprocessing: description.preprocessing,
            augment: false,
        };
        let mut graph = network.prediction_graph(count, &input, Passes::default())?;
        for name in last_units(network).chain([last_map(network)]) {
            make_readable(&mut graph, name);
        }
        let graphs = vec![graph];
        let choices = choose(&graphs)?;
        let mut engine = Engine::new(device, graphs, &choices)?;
        let rows: Vec<u32> = (0..count as u32).collect();
        engine.write(engine.value(names::ROWS), &rows);
        let named = |name: &str| (name.to_owned(), engine.value(name));
        let mut predictor = Predictor {
            images: engine.value(names::EVAL_IMAGES),
            logits: engine.value(names::LOGITS),
            stages: last_units(network).map(named).collect(),
            features: named(last_map(network)),
            engine,
            network: network.clone(),
            description: description.clone(),
            count,
            classifier: Default::default(),
        };
        predictor.set_weights(tensors);
        Ok(predictor)
    }

    /// What the network is for, and what it expects.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Replaces parameters and running statistics.
    ///
    /// # Panics
    /// If the tensors are not those of the network.
    pub fn set_weights(&mut self, tensors: &Tensors) {
        self.engine
            .write_tensors(&self.network, TensorKind::Weights, tensors);
        self.classifier = (tensors["fc.weight"].clone(), tensors["fc.bias"].clone());
    }

    /// Decodes a file's bytes to the image that the network sees: N·N·3 bytes, rows of RGB.
    ///
    /// # Errors
    /// If the bytes are no image.
    pub fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, DataError> {
        data::decode_image(bytes, self.description.preprocessing.resize)
    }

    /// Resizes decoded pixels, `width` times `height` times RGB, to the network's size as
    /// [`Predictor::decode`] does.
    ///
    /// # Errors
    /// If there are not as many bytes as the extents say, or none.
    pub fn fit(&self, width: u32, height: u32, rgb: Vec<u8>) -> Result<Vec<u8>, DataError> {
        data::fit_pixels(width, height, rgb, self.description.preprocessing.resize)
    }

    /// Classes of an image as [`Predictor::decode`] gives it, the most probable first; of
    /// several back to back, those of the first.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn classify(&mut self, image: &[u8]) -> Result<Vec<Prediction>, EngineError> {
        Ok(self.classify_all(image).await?.remove(0))
    }

    /// Classes of each of the images, which lie back to back, the most probable first.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If they are not as many as the predictor was built for.
    pub async fn classify_all(
        &mut self,
        images: &[u8],
    ) -> Result<Vec<Vec<Prediction>>, EngineError> {
        let classes = self.description.classes.len();
        let size = self.description.network.image_size as usize;
        assert_eq!(images.len(), self.count * 3 * size * size, "images");
        let words = AssembleBatch::pack_images(images, size);
        self.engine.write(self.images, &words);
        self.engine.run(0)?;
        let logits = self.engine.read_values(self.logits).await?;
        let images = logits.chunks_exact(classes);
        Ok(images.map(|logits| self.ranked(logits)).collect())
    }

    /// Classes by their scores, the most probable first.
    fn ranked(&self, logits: &[f32]) -> Vec<Prediction> {
        let mut predictions: Vec<Prediction> = softmax(logits)
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
        predictions
    }

    /// What the last unit of each stage made of the image classified last, or of the first
    /// of several.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn stages(&self) -> Result<Vec<FeatureMaps>, EngineError> {
        let mut maps = Vec::new();
        for (name, value) in &self.stages {
            maps.push(self.maps(name, *value).await?);
        }
        Ok(maps)
    }

    /// Where the image classified last, or the first of several, speaks for a class: the class activation map of Zhou
    /// et al. (CVPR 2016, "Learning Deep Features for Discriminative Localization").
    ///
    /// Row by row; its mean plus the class's bias is the class's score.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If there is no such class.
    pub async fn evidence(&self, class: usize) -> Result<FeatureMaps, EngineError> {
        let (name, value) = &self.features;
        let maps = self.maps(name, *value).await?;
        let row = class * maps.channels..(class + 1) * maps.channels;
        let weights = &self.classifier.0[row];
        let pixels = maps.values.chunks_exact(maps.channels);
        let dot = |pixel: &[f32]| pixel.iter().zip(weights).map(|(x, w)| x * w).sum();
        Ok(FeatureMaps {
            name: self.description.classes[class].clone(),
            size: maps.size,
            channels: 1,
            values: pixels.map(dot).collect(),
        })
    }

    async fn maps(&self, name: &str, value: ValueHandle) -> Result<FeatureMaps, EngineError> {
        let shape = self.engine.shape(value);
        let (size, channels) = (shape.dims[1], shape.last());
        let mut values = self.engine.read_values(value).await?;
        values.truncate(size * size * channels);
        Ok(FeatureMaps {
            name: name.to_owned(),
            size,
            channels,
            values,
        })
    }
}

/// Whether the evidence is thin: no class is more probable than all others together.
///
/// A network with softmax knows its classes only; whatever else it is shown is divided among
/// them, and mostly without a majority.
pub fn thin(predictions: &[Prediction]) -> bool {
    predictions.iter().all(|p| p.probability <= 0.5)
}

/// Makes a value of a graph readable under its own name.
fn make_readable(graph: &mut Graph, name: &str) {
    let named = graph.values.iter().position(|value| value.name == name);
    let id = ValueId(named.expect("layers give their name to a value"));
    graph.output(id, name);
}

/// The last unit of each stage.
fn last_units(network: &Network) -> impl Iterator<Item = &str> {
    let units = &network.units;
    let last = |(at, unit): (usize, &'_ Unit)| {
        let next = units.get(at + 1);
        next.is_none_or(|next| next.stage != unit.stage)
    };
    let ends = units.iter().enumerate().filter(move |unit| last(*unit));
    ends.map(|(_, unit)| unit.name.as_str())
}

/// The layer whose maps the classifier sees the means of.
fn last_map(network: &Network) -> &str {
    let head = network.head.iter();
    let maps = head.take_while(|layer| layer.kind != LayerKind::GlobalAveragePool);
    &maps.last().expect("a head begins with a batch norm").name
}

/// Probabilities of scores.
fn softmax(logits: &[f32]) -> Vec<f64> {
    let logits: Vec<f64> = logits.iter().map(|l| f64::from(*l)).collect();
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|l| libm::exp(l - largest)).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}
