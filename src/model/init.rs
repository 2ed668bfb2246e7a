//! Initial values, as in the authors' Torch code.
//!
//! Convolutions: normal with mean 0 and standard deviation sqrt(2 / (rows * columns * output
//! channels)), the fan-out rule of He et al. (2015), not truncated. Batch norm: scale 1, shift 0,
//! running mean 0, running variance 1. Classifier: weights uniform within 1/sqrt(input features)
//! of zero, bias zero.
//!
//! Every tensor draws from its own random stream, keyed by its index among the trained tensors,
//! so that the values of one do not depend on the size of another.
//! The same seed gives the same bits on every platform.

use super::layers::Network;
use super::parameters::{Parameter, ParameterRole};
use crate::rng::{Purpose, Stream};

/// Initial values of every floating-point tensor of the network by name, in file order and file
/// layout. The integer `num_batches_tracked` is not included; it starts at 0.
pub fn initial_values(network: &Network, seed: u64) -> Vec<(String, Vec<f32>)> {
    let mut trained = 0;
    let mut values = Vec::new();
    for parameter in network.parameters() {
        if parameter.role == ParameterRole::BatchesTracked {
            continue;
        }
        let stream = Stream::new(seed, Purpose::Initialise, trained, 0);
        trained += u32::from(parameter.role.is_trainable());
        let drawn = draw(&parameter, stream);
        values.push((parameter.name, drawn));
    }
    values
}

fn draw(parameter: &Parameter, mut stream: Stream) -> Vec<f32> {
    let length = parameter.len();
    match parameter.role {
        ParameterRole::ConvWeight => {
            let [output_channels, _, rows, columns] = parameter.shape[..] else {
                panic!("{} is not [out, in, rows, columns]", parameter.name);
            };
            let deviation = (2.0 / (rows * columns * output_channels) as f64).sqrt();
            let mut normal = || (stream.normal() * deviation) as f32;
            (0..length).map(|_| normal()).collect()
        }
        ParameterRole::LinearWeight => {
            let bound = 1.0 / (parameter.shape[1] as f64).sqrt();
            let mut uniform = || ((2.0 * stream.uniform_f64() - 1.0) * bound) as f32;
            (0..length).map(|_| uniform()).collect()
        }
        ParameterRole::BatchNormScale | ParameterRole::RunningVar => vec![1.0; length],
        ParameterRole::BatchNormShift
        | ParameterRole::RunningMean
        | ParameterRole::LinearBias
        | ParameterRole::BatchesTracked => vec![0.0; length],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NetworkSpec, Stem};

    fn moments(values: &[f32]) -> (f64, f64) {
        let count = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let square = values
            .iter()
            .map(|v| (f64::from(*v) - mean).powi(2))
            .sum::<f64>();
        (mean, (square / count).sqrt())
    }

    #[test]
    fn values_have_the_distribution_of_their_role() {
        let mut spec = NetworkSpec::pyramid(Stem::Cifar, 8, 112.0);
        spec.classes = 100;
        let network = Network::new(&spec).unwrap();
        let values = initial_values(&network, 7);
        let parameters = network.parameters();
        let floats = parameters
            .iter()
            .filter(|p| p.role != ParameterRole::BatchesTracked);
        assert_eq!(floats.clone().count(), values.len());
        for (parameter, (name, values)) in floats.zip(&values) {
            assert_eq!((&parameter.name, parameter.len()), (name, values.len()));
            let (mean, deviation) = moments(values);
            // Five standard errors of n draws; the error of a deviation is below 1/sqrt(n).
            let slack = 5.0 / (values.len() as f64).sqrt();
            match name.as_str() {
                "layer3.0.conv2.weight" => {
                    // [128, 128, 3, 3]: fan-out 1152.
                    let expected = (2.0f64 / 1152.0).sqrt();
                    assert!(mean.abs() < slack * expected, "{mean}");
                    assert!((deviation / expected - 1.0).abs() < slack, "{deviation}");
                    // A normal distribution has 4.55 % outside two deviations, a uniform none.
                    let tail = values
                        .iter()
                        .filter(|v| f64::from(v.abs()) > 2.0 * expected);
                    let share = tail.count() as f64 / values.len() as f64;
                    assert!((share - 0.0455).abs() < 0.005, "{share}");
                }
                "layer1.0.conv1.weight" => {
                    // [53, 16, 3, 3]: fan-out 477, not fan-in 144.
                    let expected = (2.0f64 / 477.0).sqrt();
                    assert!((deviation / expected - 1.0).abs() < slack, "{deviation}");
                }
                "fc.weight" => {
                    let bound = 1.0 / 128f32.sqrt();
                    assert!(values.iter().all(|v| v.abs() <= bound));
                    let expected = f64::from(bound) / 3f64.sqrt();
                    assert!(mean.abs() < slack * expected, "{mean}");
                    assert!((deviation / expected - 1.0).abs() < slack, "{deviation}");
                }
                _ if name.ends_with("bias") || name.ends_with("running_mean") => {
                    assert!(values.iter().all(|v| *v == 0.0), "{name}");
                }
                _ if name.contains("bn") => assert!(values.iter().all(|v| *v == 1.0), "{name}"),
                _ => assert!(values.iter().any(|v| *v != values[0]), "{name}"),
            }
        }
    }

    #[test]
    fn seeds_and_tensors_differ_and_repeat() {
        let network = Network::new(&NetworkSpec::pyramid(Stem::Cifar, 8, 28.0)).unwrap();
        let first = initial_values(&network, 1);
        assert_eq!(first, initial_values(&network, 1));
        let other = initial_values(&network, 2);
        assert_ne!(first[0].1, other[0].1);
        let start = |name: &str| {
            let found = first.iter().find(|(other, _)| other == name).unwrap();
            found.1[..4].to_vec()
        };
        assert_ne!(
            start("layer1.0.conv1.weight"),
            start("layer1.0.conv2.weight")
        );
    }

    #[test]
    fn a_tensor_does_not_depend_on_the_sizes_of_others() {
        let small = Network::new(&NetworkSpec::pyramid(Stem::Cifar, 8, 28.0)).unwrap();
        let large = Network::new(&NetworkSpec::pyramid(Stem::Cifar, 8, 56.0)).unwrap();
        let (small, large) = (initial_values(&small, 3), initial_values(&large, 3));
        assert_eq!(small[0], large[0]);
        // After tensors of other sizes the draws are still the same, scaled by another
        // fan-out: 9 * 35 against 9 * 53.
        let at = small
            .iter()
            .position(|(name, _)| name == "layer2.0.conv1.weight");
        let (small, large) = (&small[at.unwrap()].1, &large[at.unwrap()].1);
        let ratio = f64::from(small[0]) / f64::from(large[0]);
        assert!((ratio - (53.0f64 / 35.0).sqrt()).abs() < 1e-5, "{ratio}");
    }
}
