//! Detects gradients that are NaN or infinite; see [`LossScale`].

use super::super::{Data, Tensor};
use super::named::{inputs, named};
use super::{Draw, HalfMaps, LossScale, Operator, Sample, overflows, require};
use crate::shape::{DType, Shape};

/// (gradients…, loss scale) → loss scale, in place. Sets [`LossScale::overflow`] if a gradient is
/// NaN or infinite.
#[derive(Clone, Debug, PartialEq)]
pub struct FindOverflow;

inputs! {
    /// Operands of [`FindOverflow`].
    FindOverflowInputs of FindOverflow {
        /// The gradients to check.
        gradients: many(|_, count| count.saturating_sub(1)),
        /// The loss scale, updated in place.
        scale,
    }
}

impl Operator for FindOverflow {
    const NAME: &'static str = "find_overflow";
    const OUTPUTS: &'static [&'static str] = &[];
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let FindOverflowInputs { gradients, scale } = self.try_inputs(inputs)?;
        let real = gradients.iter().all(|shape| shape.dtype == DType::F32);
        require(
            *scale == LossScale::shape() && real && !gradients.is_empty(),
            || "needs gradients, then a loss scale".to_owned(),
        )?;
        Ok(vec![LossScale::shape()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let FindOverflowInputs { gradients, scale } = self.inputs(inputs);
        let mut scale = LossScale::from_words(scale.indices());
        let mut all = gradients.iter().flat_map(|gradient| gradient.values());
        if all.any(|value| overflows(*value)) {
            scale.overflow = 1;
        }
        vec![scale.tensor()]
    }

    fn updates(&self, operands: usize) -> Vec<(usize, usize)> {
        vec![(operands - 1, 0)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        let mut sample = |bad: Option<f64>| {
            let mut wide = draw.real(Shape::channels(&[2, 70]));
            if let (Some(bad), Data::Real(values)) = (bad, &mut wide.data) {
                values[77] = bad;
            }
            let weights = draw.real(Shape::weights([3, 3, 5, 6]));
            let inputs = vec![weights, wide, LossScale::initial().tensor()];
            Sample::new(FindOverflow, inputs)
        };
        [None, Some(f64::NAN), Some(f64::NEG_INFINITY)]
            .map(&mut sample)
            .into()
    }
}
