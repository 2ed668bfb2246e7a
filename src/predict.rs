//! Prediction: from images to classes with probabilities, for the command line and the page.

use crate::checkpoint::first_not_finite;
use crate::data::{self, DataError};
use crate::engine::{Device, Engine, EngineError, TensorKind, Tensors, ValueHandle};
use crate::graph::ops::AssembleBatch;
use crate::graph::{Graph, GraphError, Passes, ValueId};
use crate::kernels::Choices;
use crate::model::{
    BatchAugmentation, Description, Input, LayerKind, Network, Preprocessing, Unit, names,
};
use crate::shape::PixelFormat;
use crate::train::softmax;
use crate::trained_model::TrainedModel;

/// A class and its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Index of the class.
    pub index: usize,
    /// Its name.
    pub class: String,
    /// Softmax of its logit, 0 to 1.
    pub probability: f64,
}

/// Why an image has no prediction.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PredictError {
    /// The device failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A score or a feature map is NaN or infinite.
    #[error(
        "{what} is {value}: the network's numbers overflow on this image, so there is no \
         prediction; use another checkpoint"
    )]
    NotFinite {
        /// Which one.
        what: String,
        /// The first such value.
        value: f32,
    },
}

/// Feature maps of one image, [size, size, channels].
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMaps {
    /// Name of the layer, or of the class.
    pub name: String,
    /// Number of rows and of columns.
    pub size: usize,
    /// Number of maps.
    pub channels: usize,
    /// Row by row, channels last.
    pub values: Vec<f32>,
}

/// A network ready to classify images, in batches of a fixed size.
pub struct Predictor {
    engine: Engine,
    network: Network,
    description: Description,
    /// Batch size.
    count: usize,
    images: ValueHandle,
    logits: ValueHandle,
    /// Layers that [`Predictor::stages`] reads.
    stages: Vec<(String, ValueHandle)>,
    /// The layer that [`Predictor::class_activation_map`] reads.
    features: (String, ValueHandle),
    /// The classifier: weights [classes, features], biases.
    classifier: (Vec<f32>, Vec<f32>),
}

impl Predictor {
    /// Builds the network of a checkpoint for one image at a time. `choose` selects the kernels of
    /// the graph.
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

    /// Builds the network of a checkpoint for batches of `count` images. `choose` selects the
    /// kernels of the graph.
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
        let graphs = vec![Predictor::graph(network, description.preprocessing, count)?];
        let choices = choose(&graphs)?;
        let mut engine = Engine::new(device, graphs, &choices)?;
        let entries = count * description.preprocessing.resize.views.count();
        let rows: Vec<u32> = (0..entries as u32).collect();
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

    /// The graph of a batch of `count` images.
    ///
    /// # Errors
    /// None for a valid network.
    pub fn graph(
        network: &Network,
        preprocessing: Preprocessing,
        count: usize,
    ) -> Result<Graph, GraphError> {
        let input = Input::Images {
            name: names::EVAL_IMAGES,
            count: count * preprocessing.resize.views.count(),
            pixels: PixelFormat::U8,
            preprocessing,
            augmentation: BatchAugmentation::default(),
        };
        let mut graph = network.prediction_graph(count, &input, Passes::default())?;
        for name in last_units(network).chain([last_map(network)]) {
            make_readable(&mut graph, name);
        }
        Ok(graph)
    }

    /// The network, its classes and its preprocessing.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Replaces parameters and running statistics.
    ///
    /// # Panics
    /// If the tensors do not match the network.
    pub fn set_weights(&mut self, tensors: &Tensors) {
        self.engine
            .write_tensors(&self.network, TensorKind::Weights, tensors);
        self.classifier = (tensors["fc.weight"].clone(), tensors["fc.bias"].clone());
    }

    /// Decodes an image file and resizes it to the network's input: u8 [V, N, N, 3], RGB, of V
    /// views ([`data::Views`]).
    ///
    /// # Errors
    /// If the bytes are not an image in a supported format.
    pub fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, DataError> {
        data::decode_image(bytes, self.description.preprocessing.resize)
    }

    /// Resizes decoded pixels, `height` rows of `width` RGB triples, to the network's input as
    /// [`Predictor::decode`] does.
    ///
    /// # Errors
    /// If the number of bytes does not match the extents, or is zero.
    pub fn fit(&self, width: u32, height: u32, rgb: Vec<u8>) -> Result<Vec<u8>, DataError> {
        data::fit_pixels(width, height, rgb, self.description.preprocessing.resize)
    }

    /// Classifies an image from [`Predictor::decode`], the most probable class first. Of a batch of
    /// several images, returns the first one's classes.
    ///
    /// # Errors
    /// If the device fails, or a score is NaN or infinite.
    pub async fn classify(&mut self, image: &[u8]) -> Result<Vec<Prediction>, PredictError> {
        Ok(self.classify_all(image).await?.remove(0))
    }

    /// Classifies a batch of contiguous images, the most probable class of each first.
    ///
    /// # Errors
    /// If the device fails, or a score is NaN or infinite.
    ///
    /// # Panics
    /// If their number is not the predictor's batch size.
    pub async fn classify_all(
        &mut self,
        images: &[u8],
    ) -> Result<Vec<Vec<Prediction>>, PredictError> {
        let classes = self.description.classes.len();
        let size = self.description.network.image_size as usize;
        let views = self.count * self.description.preprocessing.resize.views.count();
        assert_eq!(images.len(), views * 3 * size * size, "images");
        let words = AssembleBatch::pack_images(images, views);
        self.engine.write(self.images, &words);
        self.engine.run(0)?;
        let logits = self.engine.read_values(self.logits).await?;
        let what = |at: usize| {
            format!(
                "the score of class {:?}",
                self.description.classes[at % classes]
            )
        };
        check_finite(&logits, what)?;
        let images = logits.chunks_exact(classes);
        Ok(images.map(|logits| self.ranked(logits)).collect())
    }

    /// Classes of an image, the most probable first.
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

    /// Outputs of the last unit of each stage, for the first view of the last batch.
    ///
    /// # Errors
    /// If the device fails, or a feature is NaN or infinite.
    pub async fn stages(&self) -> Result<Vec<FeatureMaps>, PredictError> {
        let mut maps = Vec::new();
        for (name, value) in &self.stages {
            maps.push(self.maps(name, *value).await?);
        }
        Ok(maps)
    }

    /// Class activation map of a class, for the first view of the last batch (Zhou et al., CVPR
    /// 2016, "Learning Deep Features for Discriminative Localization").
    ///
    /// Its mean plus the class's bias is the class's logit, of a single view.
    ///
    /// # Errors
    /// If the device fails, or a feature is NaN or infinite.
    ///
    /// # Panics
    /// If there is no such class.
    pub async fn class_activation_map(&self, class: usize) -> Result<FeatureMaps, PredictError> {
        let (name, value) = &self.features;
        let maps = self.maps(name, *value).await?;
        let row = class * maps.channels..(class + 1) * maps.channels;
        let weights = &self.classifier.0[row];
        let pixels = maps.values.chunks_exact(maps.channels);
        let dot = |pixel: &[f32]| pixel.iter().zip(weights).map(|(x, w)| x * w).sum();
        let values: Vec<f32> = pixels.map(dot).collect();
        let class = &self.description.classes[class];
        check_finite(&values, |_| {
            format!("the activation map of class {class:?}")
        })?;
        Ok(FeatureMaps {
            name: class.clone(),
            size: maps.size,
            channels: 1,
            values,
        })
    }

    async fn maps(&self, name: &str, value: ValueHandle) -> Result<FeatureMaps, PredictError> {
        let shape = self.engine.shape(value);
        let (size, channels) = (shape.dims[1], shape.last());
        let mut values = self.engine.read_values(value).await?;
        values.truncate(size * size * channels);
        check_finite(&values, |_| format!("the output of {name}"))?;
        Ok(FeatureMaps {
            name: name.to_owned(),
            size,
            channels,
            values,
        })
    }
}

/// Whether the prediction is uncertain: no class has more than half of the probability.
///
/// Softmax distributes all probability over the known classes, so an image of anything else mostly
/// has no majority.
pub fn is_uncertain(predictions: &[Prediction]) -> bool {
    predictions.iter().all(|p| p.probability <= 0.5)
}

/// Checks that all values are finite; `what` names the one at an index.
fn check_finite(values: &[f32], what: impl Fn(usize) -> String) -> Result<(), PredictError> {
    match first_not_finite(values) {
        None => Ok(()),
        Some((at, value)) => Err(PredictError::NotFinite {
            what: what(at),
            value,
        }),
    }
}

/// Marks a value of a graph as an output, under its own name.
fn make_readable(graph: &mut Graph, name: &str) {
    let named = graph.values.iter().position(|value| value.name == name);
    let id = ValueId(named.expect("every layer names a value"));
    graph.output(id, name);
}

/// Names of the last unit of each stage.
fn last_units(network: &Network) -> impl Iterator<Item = &str> {
    let units = &network.units;
    let last = |(at, unit): (usize, &'_ Unit)| {
        let next = units.get(at + 1);
        next.is_none_or(|next| next.stage != unit.stage)
    };
    let ends = units.iter().enumerate().filter(move |unit| last(*unit));
    ends.map(|(_, unit)| unit.name.as_str())
}

/// Name of the layer before global average pooling.
fn last_map(network: &Network) -> &str {
    let head = network.head.iter();
    let maps = head.take_while(|layer| layer.kind != LayerKind::GlobalAveragePool);
    &maps.last().expect("a head begins with a batch norm").name
}
