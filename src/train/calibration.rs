//! Calibration: whether the probabilities that a network gives are the shares of its right answers.
//!
//! Source: Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017,
//! equations 2 and 3, with the 15 bins of its tables.

/// Images whose confidence, the probability of the predicted class, lies in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// Number of images.
    pub images: u64,
    /// How many of them are classified correctly.
    pub correct: u64,
    /// Sum of their confidences.
    pub confidence: f64,
}

/// A reliability diagram as numbers: bin m of M has the confidences in ((m-1)/M, m/M].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    bins: [Bin; Calibration::BINS],
}

impl Calibration {
    /// Number of bins.
    pub const BINS: usize = 15;

    /// Counts an image.
    pub fn add(&mut self, confidence: f64, is_correct: bool) {
        let number = (confidence * Calibration::BINS as f64).ceil() as usize;
        let bin = &mut self.bins[number.clamp(1, Calibration::BINS) - 1];
        bin.images += 1;
        bin.correct += u64::from(is_correct);
        bin.confidence += confidence;
    }

    /// The bins, the lowest confidences first.
    pub fn bins(&self) -> &[Bin] {
        &self.bins
    }

    /// The expected calibration error, 0 to 1: the mean over images of the distance between the
    /// accuracy and the mean confidence of their bin. `None` without images.
    pub fn expected_error(&self) -> Option<f64> {
        let images: u64 = self.bins.iter().map(|bin| bin.images).sum();
        let distances = self
            .bins
            .iter()
            .map(|bin| (bin.correct as f64 - bin.confidence).abs());
        let sum: f64 = distances.sum();
        (images > 0).then(|| sum / images as f64)
    }
}

/// Softmax of logits, in double precision.
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let logits: Vec<f64> = logits.iter().map(|l| f64::from(*l)).collect();
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|l| libm::exp(l - largest)).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_error_by_hand() {
        let mut calibration = Calibration::default();
        assert_eq!(calibration.expected_error(), None);
        // Bin 12 is (0.733, 0.8]: confidences 0.8 and 0.75, one right. Bin 15: 1.0, right.
        calibration.add(0.8, true);
        calibration.add(0.75, false);
        calibration.add(1.0, true);
        let counts: Vec<u64> = calibration.bins().iter().map(|bin| bin.images).collect();
        assert_eq!((counts[11], counts[14]), (2, 1));
        // (|1 - 1.55| + |1 - 1|) / 3.
        let error = calibration.expected_error().unwrap();
        assert!((error - 0.55 / 3.0).abs() < 1e-12, "{error}");
        // A confidence of 0 belongs to no interval and is counted in the first.
        calibration.add(0.0, false);
        assert_eq!(calibration.bins()[0].images, 1);
    }

    #[test]
    fn probabilities_sum_to_one() {
        let probabilities = softmax(&[1000.0, 1000.0, -1000.0]);
        assert_eq!(probabilities, [0.5, 0.5, 0.0]);
    }
}
