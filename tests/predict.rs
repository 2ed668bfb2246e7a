//! Prediction, as the command line and the page use it: preprocessing, probabilities, class
//! activation maps, and several images at once.

mod common;

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage, imageops};
use pyr_wgpu::checkpoint::Checkpoint;
use pyr_wgpu::data::Resize;
use pyr_wgpu::engine::{Device, Tensors, built_in};
use pyr_wgpu::model::{Description, Network, NetworkSpec, Preprocessing, Stem, initial_values};
use pyr_wgpu::predict::{Predictor, is_uncertain};
use pyr_wgpu::trained_model::{TrainedModel, checkpoint};

/// A small network with biases, for images of 16x16.
fn trained() -> TrainedModel {
    let mut spec = NetworkSpec::pyramid(Stem::Cifar, 8, 5.0);
    spec.image_size = 16;
    spec.classes = 3;
    let network = Network::new(&spec).unwrap();
    let mut tensors: Tensors = initial_values(&network, 3).into_iter().collect();
    tensors.insert("fc.bias".to_owned(), vec![0.5, -0.25, 0.125]);
    TrainedModel {
        description: Description {
            preprocessing: Preprocessing::new(&spec, [127.5; 3], [64.0; 3]),
            classes: ["a", "b", "c"].map(str::to_owned).into(),
            network: spec,
        },
        network,
        tensors,
        batches_tracked: 0,
        described: true,
    }
}

/// A network that is trained on the 16x16 centre of images whose shorter side is 20.
fn trained_on_centres() -> TrainedModel {
    let mut trained = trained();
    trained.description.preprocessing.resize = Resize::new(16, 20);
    trained
}

#[test]
fn the_shorter_side_of_a_checkpoint_is_obeyed() {
    let image = RgbImage::from_fn(30, 20, |x, y| {
        let byte = |a, b| (x * a + y * b) as u8;
        Rgb([byte(8, 0), byte(0, 12), byte(31, 57)])
    });
    // The shorter side is 20 already, so nothing is interpolated: 7 columns are cut off at
    // each side, and 2 rows above and below.
    let centre = imageops::crop_imm(&image, 7, 2, 16, 16)
        .to_image()
        .into_raw();
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, ImageFormat::Png).unwrap();

    // The preprocessing survives writing and reading the checkpoint.
    let trained = trained_on_centres();
    let (network, tensors) = (&trained.network, &trained.tensors);
    let written = checkpoint(network, &trained.description, tensors, 0).to_bytes();
    let read = Checkpoint::from_bytes(&written).unwrap();
    let read = TrainedModel::read(read, None).unwrap();
    assert_eq!(read.description, trained.description);
    let predictor = Predictor::new(&Device::Reference, &read, built_in).unwrap();
    assert_eq!(predictor.decode(file.get_ref()).unwrap(), centre);
    assert_eq!(predictor.fit(30, 20, image.into_raw()).unwrap(), centre);
    // An image of the network's size is taken as it is.
    assert_eq!(predictor.fit(16, 16, centre.clone()).unwrap(), centre);
}

/// Flags may set another size; the proportion stays that of the checkpoint.
#[test]
fn another_size_keeps_the_proportions() {
    let trained = trained_on_centres();
    let (network, tensors) = (&trained.network, &trained.tensors);
    let written = checkpoint(network, &trained.description, tensors, 0);
    let mut larger = trained.description.network.clone();
    larger.image_size = 32;
    let read = TrainedModel::read(written, Some(larger)).unwrap();
    assert_eq!(read.description.preprocessing.resize, Resize::new(32, 40));
}

fn image() -> Vec<u8> {
    (0..16 * 16 * 3).map(|i| (i * 37 % 251) as u8).collect()
}

fn devices() -> impl Iterator<Item = Device> {
    common::fast_devices().cloned().chain([Device::Reference])
}

#[test]
fn class_activation_maps_add_up_to_the_logit() {
    let trained = trained();
    for device in devices() {
        let mut predictor = Predictor::new(&device, &trained, built_in).unwrap();
        let predictions = pollster::block_on(predictor.classify(&image())).unwrap();
        let sum: f64 = predictions.iter().map(|p| p.probability).sum();
        assert!((sum - 1.0).abs() < 1e-9);
        assert_eq!(
            is_uncertain(&predictions),
            predictions[0].probability <= 0.5
        );
        let powers = [0, 1, 2].map(|class| {
            let map = pollster::block_on(predictor.class_activation_map(class)).unwrap();
            assert_eq!((map.size, map.values.len()), (4, 16));
            let mean = map.values.iter().sum::<f32>() / 16.0;
            f64::from(mean + trained.tensors["fc.bias"][class]).exp()
        });
        for p in &predictions {
            let expected = powers[p.index] / powers.iter().sum::<f64>();
            // The mean has sixteen terms in single precision.
            assert!((p.probability - expected).abs() < 1e-5, "{p:?} {expected}");
        }
        let stages = pollster::block_on(predictor.stages()).unwrap();
        let sizes: Vec<_> = stages.iter().map(|s| (s.name.as_str(), s.size)).collect();
        assert_eq!(sizes, [("layer1.0", 16), ("layer2.0", 8), ("layer3.0", 4)]);
    }
}

#[test]
fn several_at_once_get_the_answers_that_each_gets_alone() {
    let trained = trained();
    let inverse: Vec<u8> = image().iter().map(|byte| 255 - byte).collect();
    let both = [image(), inverse.clone()].concat();
    for device in devices() {
        let mut pair = Predictor::of_many(&device, &trained, 2, built_in).unwrap();
        let mut single = Predictor::new(&device, &trained, built_in).unwrap();
        let together = pollster::block_on(pair.classify_all(&both)).unwrap();
        assert_eq!(together.len(), 2);
        for (image, answer) in [image(), inverse.clone()].iter().zip(&together) {
            let alone = pollster::block_on(single.classify(image)).unwrap();
            for (a, b) in answer.iter().zip(&alone) {
                // Larger batches may be summed in another order.
                assert_eq!(a.index, b.index);
                assert!((a.probability - b.probability).abs() < 1e-5, "{a:?} {b:?}");
            }
        }
        assert_ne!(together[0], together[1]);
    }
}
