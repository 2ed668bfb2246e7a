//! Loss scaling: gradients in half precision keep their small values.
//!
//! The loss is multiplied by a large power of two, the gradients of the parameters are divided
//! by it again in the update; neither rounds.
//! The scale finds itself: a step whose gradients overflow is left out and halves it, many
//! good steps in a row double it (Micikevicius et al., *Mixed Precision Training*, ICLR 2018,
//! section 3.2; the constants are those of PyTorch's `GradScaler`).

use super::super::Tensor;
use super::{Draw, Metrics, Operator, Sample, operands, require};
use crate::shape::{DType, Shape};

/// Words of the loss scale.
pub const LOSS_SCALE_WORDS: usize = 4;

/// The state of loss scaling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// What losses are multiplied by: a power of two.
    pub scale: f32,
    /// Steps since the scale was changed.
    pub good_steps: u32,
    /// 1 if a gradient of the present step is NaN or infinite.
    pub overflow: u32,
    /// Steps that were left out.
    pub skipped: u32,
}

impl LossScale {
    /// Good steps after which the scale is doubled.
    pub const GROWTH_INTERVAL: u32 = 2000;

    /// The largest scale.
    pub const MAX: f32 = 16_777_216.0;

    /// Before the first step.
    pub fn start() -> LossScale {
        LossScale {
            scale: 65_536.0,
            good_steps: 0,
            overflow: 0,
            skipped: 0,
        }
    }

    /// Of a loss that is not scaled.
    pub fn none() -> LossScale {
        LossScale {
            scale: 1.0,
            ..LossScale::start()
        }
    }

    /// Shape of the state.
    pub fn shape() -> Shape {
        Shape::indices(&[LOSS_SCALE_WORDS])
    }

    /// As memory holds it: the bits of the scale, then the counts.
    pub fn to_words(self) -> [u32; LOSS_SCALE_WORDS] {
        let bits = self.scale.to_bits();
        [bits, self.good_steps, self.overflow, self.skipped]
    }

    /// The inverse of [`LossScale::to_words`].
    ///
    /// # Panics
    /// If there are fewer than [`LOSS_SCALE_WORDS`] words.
    pub fn from_words(words: &[u32]) -> LossScale {
        LossScale {
            scale: f32::from_bits(words[0]),
            good_steps: words[1],
            overflow: words[2],
            skipped: words[3],
        }
    }

    /// After a step. Says whether gradients overflow even without scaling.
    pub fn adjust(&mut self) -> bool {
        if self.overflow == 0 {
            self.good_steps += 1;
            if self.good_steps == LossScale::GROWTH_INTERVAL {
                self.scale = (2.0 * self.scale).min(LossScale::MAX);
                self.good_steps = 0;
            }
            return false;
        }
        self.overflow = 0;
        self.skipped += 1;
        self.good_steps = 0;
        let hopeless = self.scale <= 1.0;
        self.scale = (0.5 * self.scale).max(1.0);
        hopeless
    }
}

/// (weights f32 `[N]`, loss scale) → weights times the scale.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleLoss;

/// (gradients…, loss scale) → loss scale, in place: whether any gradient is NaN or infinite.
#[derive(Clone, Debug, PartialEq)]
pub struct FindOverflow;

/// (loss scale, metrics) → both in place: [`LossScale::adjust`], and
/// [`Metrics::BAD_GRADIENT`] where that is hopeless.
#[derive(Clone, Debug, PartialEq)]
pub struct AdjustLossScale;

impl Operator for ScaleLoss {
    const NAME: &'static str = "scale_loss";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [weights, scale] = operands(inputs)?;
        require(
            *weights == Shape::dense(&[weights.len()]) && *scale == LossScale::shape(),
            || "takes weights [N] and a loss scale".to_owned(),
        )?;
        Ok(vec![weights.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let scale = f64::from(LossScale::from_words(inputs[1].indices()).scale);
        let scaled = inputs[0].values().iter().map(|weight| weight * scale);
        vec![Tensor::real(inputs[0].shape.clone(), scaled.collect())]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [1, 5, 130]
            .map(|batch| {
                let weights = draw.positive(Shape::dense(&[batch]));
                Sample::new(ScaleLoss, vec![weights, tensor(LossScale::start())])
            })
            .into()
    }
}

impl Operator for FindOverflow {
    const NAME: &'static str = "find_overflow";
    const OUTPUTS: &'static [&'static str] = &[];

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let fine = match inputs.split_last() {
            Some((scale, gradients)) => {
                let real = gradients.iter().all(|shape| shape.dtype == DType::F32);
                **scale == LossScale::shape() && real && !gradients.is_empty()
            }
            None => false,
        };
        require(fine, || "takes gradients, then a loss scale".to_owned())?;
        Ok(vec![LossScale::shape()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (scale, gradients) = inputs.split_last().expect("infer has looked");
        let mut scale = LossScale::from_words(scale.indices());
        let mut all = gradients.iter().flat_map(|gradient| gradient.values());
        if all.any(|value| !value.is_finite()) {
            scale.overflow = 1;
        }
        vec![tensor(scale)]
    }

    fn updates(&self, operands: usize) -> Vec<(usize, usize)> {
        vec![(operands - 1, 0)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        let mut sample = |bad: Option<f64>| {
            let mut wide = draw.real(Shape::channels(&[2, 70]));
            if let (Some(bad), super::super::Data::Real(values)) = (bad, &mut wide.data) {
                values[77] = bad;
            }
            let weights = draw.real(Shape::weights([3, 3, 5, 6]));
            let inputs = vec![weights, wide, tensor(LossScale::start())];
            Sample::new(FindOverflow, inputs)
        };
        [None, Some(f64::NAN), Some(f64::NEG_INFINITY)]
            .map(&mut sample)
            .into()
    }
}

impl Operator for AdjustLossScale {
    const NAME: &'static str = "adjust_loss_scale";
    const OUTPUTS: &'static [&'static str] = &[];

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [scale, metrics] = operands(inputs)?;
        require(
            *scale == LossScale::shape() && *metrics == Metrics::shape(),
            || "takes a loss scale and metrics".to_owned(),
        )?;
        Ok(vec![scale.clone(), metrics.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let mut scale = LossScale::from_words(inputs[0].indices());
        let mut metrics = Metrics::from_words(inputs[1].indices());
        if scale.adjust() {
            metrics.flags |= Metrics::BAD_GRADIENT;
        }
        let metrics = Tensor::index(Metrics::shape(), metrics.to_words().into());
        vec![tensor(scale), metrics]
    }

    fn updates(&self, _operands: usize) -> Vec<(usize, usize)> {
        vec![(0, 0), (1, 1)]
    }

    fn samples(_draw: &mut Draw) -> Vec<Sample> {
        let start = LossScale::start();
        let last = LossScale::GROWTH_INTERVAL - 1;
        let overflow = 1;
        let states = [
            start,
            LossScale {
                good_steps: last,
                ..start
            },
            LossScale {
                good_steps: last,
                scale: LossScale::MAX,
                ..start
            },
            LossScale {
                overflow,
                good_steps: 7,
                skipped: 3,
                ..start
            },
            LossScale {
                overflow,
                scale: 2.0,
                ..start
            },
            LossScale {
                overflow,
                scale: 1.0,
                ..start
            },
        ];
        let metrics = || Tensor::zeros(&Metrics::shape());
        states
            .map(|state| Sample::new(AdjustLossScale, vec![tensor(state), metrics()]))
            .into()
    }
}

fn tensor(scale: LossScale) -> Tensor {
    Tensor::index(LossScale::shape(), scale.to_words().into())
}
