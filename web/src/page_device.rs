//! A device with a trained network.

use std::collections::BTreeMap;

use pyr_wgpu::checkpoint::Checkpoint;
use pyr_wgpu::data::LARGEST_FILE;
use pyr_wgpu::engine::{Device, DeviceRequest, built_in};
use pyr_wgpu::model::{Description, METADATA_KEY, Network, initial_values};
use pyr_wgpu::predict::{FeatureMaps, Predictor, is_uncertain};
use pyr_wgpu::trained_model::TrainedModel;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

use crate::fault::Fault;
use crate::training::Training;

/// A device, and the network that classifies on it.
#[wasm_bindgen]
pub struct PageDevice {
    device: Device,
    loaded: Option<Predictor>,
    /// Built before its weights have arrived.
    prepared: Option<Predictor>,
}

#[wasm_bindgen]
impl PageDevice {
    /// Opens the browser's adapter (`gpu`) or the processor (`cpu`).
    ///
    /// # Errors
    /// `no-adapter` if there is none or it cannot be opened.
    pub async fn open(device: String) -> Result<PageDevice, JsValue> {
        let request = DeviceRequest {
            // The first adapter; browsers offer only one.
            device: Some(match device.as_str() {
                "cpu" => "cpu".to_owned(),
                _ => "0".to_owned(),
            }),
            ..DeviceRequest::default()
        };
        Ok(PageDevice {
            device: Device::open(&request).await.map_err(Fault::from)?,
            loaded: None,
            prepared: None,
        })
    }

    /// `gpu`, `software` or `cpu`.
    pub fn kind(&self) -> String {
        let kind = match self.device.description() {
            Some(adapter) if adapter.software() => "software",
            Some(_) => "gpu",
            None => "cpu",
        };
        kind.to_owned()
    }

    /// The device in words.
    pub fn name(&self) -> String {
        self.device.name()
    }

    /// Builds a network from its description (JSON as in a checkpoint's metadata) before its
    /// weights have arrived, and runs it once: the browser compiles its kernels meanwhile.
    ///
    /// # Errors
    /// `checkpoint` if the description is invalid, else the device's error.
    pub async fn prepare(&mut self, description: &str) -> Result<(), JsValue> {
        let description = described(description)?;
        let network =
            Network::new(&description.network).map_err(|e| Fault::new("checkpoint", e))?;
        let tensors = initial_values(&network, 0).into_iter().collect();
        let size = description.network.image_size as usize;
        let trained = TrainedModel {
            description,
            network,
            tensors,
            batches_tracked: 0,
            described: true,
        };
        let mut predictor = self.predictor(&trained)?;
        let blank = vec![0; 3 * size * size];
        predictor.classify(&blank).await.map_err(Fault::from)?;
        self.prepared = Some(predictor);
        Ok(())
    }

    /// Loads a checkpoint's network and weights; on an error the previous ones stay. Returns the
    /// facts of the model card as JSON.
    ///
    /// # Errors
    /// `checkpoint` with the reason, else the device's error.
    pub fn load(&mut self, bytes: &[u8]) -> Result<String, JsValue> {
        let checkpoint = Checkpoint::from_bytes(bytes).map_err(|e| Fault::new("checkpoint", e))?;
        let metadata = checkpoint.metadata.clone();
        let trained = TrainedModel::read(checkpoint, None).map_err(Fault::from)?;
        let card = card(&trained, &metadata, bytes.len());
        let fits = |p: &Predictor| *p.description() == trained.description;
        let predictor = match self.prepared.take().filter(fits) {
            Some(mut predictor) => {
                predictor.set_weights(&trained.tensors);
                predictor
            }
            None => self.predictor(&trained)?,
        };
        self.loaded = Some(predictor);
        Ok(card.to_string())
    }

    fn predictor(&self, trained: &TrainedModel) -> Result<Predictor, JsValue> {
        Ok(Predictor::new(&self.device, trained, built_in).map_err(Fault::from)?)
    }

    fn loaded(&mut self) -> Result<&mut Predictor, JsValue> {
        let missing = || Fault::new("failed", "no network is loaded").into();
        self.loaded.as_mut().ok_or_else(missing)
    }

    /// Rows and columns of the network's input.
    ///
    /// # Errors
    /// If no network is loaded.
    pub fn size(&mut self) -> Result<u32, JsValue> {
        Ok(self.loaded()?.description().network.image_size)
    }

    /// Decodes an image file to the network's input size: rows of RGB bytes.
    ///
    /// # Errors
    /// `picture` if it cannot be decoded.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Vec<u8>, JsValue> {
        Ok(self.loaded()?.decode(bytes).map_err(Fault::from)?)
    }

    /// Resizes the RGBA pixels of a canvas to the network's input size: rows of RGB bytes.
    ///
    /// # Errors
    /// `picture` if the number of bytes does not match the extents.
    pub fn fit(&mut self, width: u32, height: u32, rgba: &[u8]) -> Result<Vec<u8>, JsValue> {
        let rgb = rgba.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]);
        let fitted = self.loaded()?.fit(width, height, rgb.collect());
        Ok(fitted.map_err(Fault::from)?)
    }

    /// Classifies an image from [`PageDevice::decode`] or [`PageDevice::fit`]. Returns JSON: all
    /// classes, the most probable first, and whether the prediction is `uncertain`.
    ///
    /// # Errors
    /// The device's error.
    pub async fn classify(&mut self, image: Vec<u8>) -> Result<String, JsValue> {
        let predictions = self.loaded()?.classify(&image).await.map_err(Fault::from)?;
        let rows: Vec<Value> = predictions
            .iter()
            .map(|p| json!({ "index": p.index, "class": p.class, "probability": p.probability }))
            .collect();
        let answer = json!({ "predictions": rows, "uncertain": is_uncertain(&predictions) });
        Ok(answer.to_string())
    }

    /// The feature maps at the end of each stage, for the image classified last: an array
    /// of `{name, size, channels, maps}` with grey bytes, map after map, each scaled from its
    /// minimum to its maximum.
    ///
    /// # Errors
    /// The device's error.
    pub async fn stages(&mut self) -> Result<js_sys::Array, JsValue> {
        let stages = self.loaded()?.stages().await.map_err(Fault::from)?;
        Ok(stages.iter().map(stage_object).collect())
    }

    /// The class activation map of a class for the image classified last, row by row.
    ///
    /// # Errors
    /// The device's error, or that there is no such class.
    pub async fn class_activation_map(&mut self, class: usize) -> Result<Vec<f32>, JsValue> {
        let loaded = self.loaded()?;
        if class >= loaded.description().classes.len() {
            return Err(Fault::new("failed", format!("there is no class {class}")).into());
        }
        let map = loaded.class_activation_map(class).await;
        Ok(map.map_err(Fault::from)?.values)
    }

    /// Starts a training run on the same device.
    ///
    /// # Errors
    /// The device's error.
    pub fn train(&self, seed: u32) -> Result<Training, JsValue> {
        Ok(Training::new(&self.device, seed.into())?)
    }

    /// Destroys the device, as a driver's reset does, to test the page's recovery.
    pub fn lose(&self) {
        if let Device::Gpu(gpu) = &self.device {
            gpu.destroy();
        }
    }
}

fn described(text: &str) -> Result<Description, JsValue> {
    let metadata = BTreeMap::from([(METADATA_KEY.to_owned(), text.to_owned())]);
    let description = Description::read(&metadata).map_err(|e| Fault::new("checkpoint", e))?;
    Ok(description.expect("the key is there"))
}

/// The facts of a network's model card, and the bytes of the largest image file that is read.
fn card(trained: &TrainedModel, metadata: &BTreeMap<String, String>, bytes: usize) -> Value {
    let Description {
        network, classes, ..
    } = &trained.description;
    let counts = trained.network.counts();
    let others: BTreeMap<&String, &String> = metadata
        .iter()
        .filter(|(key, _)| *key != METADATA_KEY)
        .collect();
    json!({
        "network": network.to_string(),
        "depth": network.depth,
        "alpha": network.alpha,
        "parameters": counts.parameters,
        "macs": counts.macs,
        "classes": classes,
        "imageSize": network.image_size,
        "largestFile": LARGEST_FILE,
        "described": trained.described,
        "trained": others,
        "bytes": bytes,
    })
}

fn stage_object(maps: &FeatureMaps) -> JsValue {
    let object = js_sys::Object::new();
    let pairs: [(&str, JsValue); 4] = [
        ("name", maps.name.as_str().into()),
        ("size", (maps.size as u32).into()),
        ("channels", (maps.channels as u32).into()),
        (
            "maps",
            js_sys::Uint8ClampedArray::from(&grey(maps)[..]).into(),
        ),
    ];
    for (key, value) in pairs {
        // Setting a property of a new object cannot fail.
        let _ = js_sys::Reflect::set(&object, &key.into(), &value);
    }
    object.into()
}

/// Map after map, each scaled from its minimum to its maximum.
fn grey(maps: &FeatureMaps) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(maps.values.len());
    for channel in 0..maps.channels {
        let values = || maps.values.iter().skip(channel).step_by(maps.channels);
        let least = values().copied().fold(f32::INFINITY, f32::min);
        let range = values().copied().fold(f32::NEG_INFINITY, f32::max) - least;
        let scale = if range > 0.0 { 255.0 / range } else { 0.0 };
        bytes.extend(values().map(|value| ((value - least) * scale + 0.5) as u8));
    }
    bytes
}
