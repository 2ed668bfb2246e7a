//! Metrics that accumulate on the device and are read back only occasionally.

use crate::shape::Shape;

/// Words in the metrics tensor.
pub const METRIC_WORDS: usize = 8;

/// Contents of the metrics tensor: words 0 to 4, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Sum of the images' losses.
    pub loss: f32,
    /// Images whose label ranks first.
    pub top1: u32,
    /// Images whose label ranks among the first five.
    pub top5: u32,
    /// Number of images counted.
    pub images: u32,
    /// Bit 0: a loss was NaN or infinite; bit 1: a gradient was.
    pub flags: u32,
}

impl Metrics {
    /// Shape of the metrics tensor.
    pub fn shape() -> Shape {
        Shape::indices(&[METRIC_WORDS])
    }

    /// Flag: a loss was NaN or infinite.
    pub const BAD_LOSS: u32 = 1;
    /// Flag: a gradient was NaN or infinite.
    pub const BAD_GRADIENT: u32 = 2;

    /// Encodes the metrics tensor; words 5 to 7 are zero.
    pub fn to_words(self) -> [u32; METRIC_WORDS] {
        let loss = self.loss.to_bits();
        [loss, self.top1, self.top5, self.images, self.flags, 0, 0, 0]
    }

    /// The inverse of [`Metrics::to_words`].
    ///
    /// # Panics
    /// If there are fewer than five words.
    pub fn from_words(words: &[u32]) -> Metrics {
        Metrics {
            loss: f32::from_bits(words[0]),
            top1: words[1],
            top5: words[2],
            images: words[3],
            flags: words[4],
        }
    }
}
