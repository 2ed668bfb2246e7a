//! Sums gradients over micro-batches: sums += gradients, for all parameters or a bucket of them at once.

use super::super::Tensor;
use super::named::{inputs, named};
use super::{Draw, HalfMaps, Operator, Sample, require};
use crate::shape::Shape;

/// (sums…, gradients…) → sums…, in place.
#[derive(Clone, Debug, PartialEq)]
pub struct Accumulate;

inputs! {
    /// Operands of [`Accumulate`].
    AccumulateInputs of Accumulate {
        /// The sums, updated in place.
        sums: many(|_, count| count / 2),
        /// As many gradients, of the same shapes.
        gradients: many(|_, count| count / 2),
    }
}

impl Operator for Accumulate {
    const NAME: &'static str = "accumulate";
    const OUTPUTS: &'static [&'static str] = &[];
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let AccumulateInputs { sums, gradients } = self.try_inputs(inputs)?;
        require(!sums.is_empty() && sums == gradients, || {
            "needs gradients with the shapes of the sums".to_owned()
        })?;
        Ok(sums.iter().map(|s| (*s).clone()).collect())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let AccumulateInputs { sums, gradients } = self.inputs(inputs);
        let add = |(sum, gradient): (&&Tensor, &Tensor)| {
            let pairs = sum.values().iter().zip(gradient.values());
            Tensor::real(sum.shape.clone(), pairs.map(|(s, g)| s + g).collect())
        };
        sums.iter().zip(gradients).map(add).collect()
    }

    fn updates(&self, operands: usize) -> Vec<(usize, usize)> {
        (0..operands / 2).map(|i| (i, i)).collect()
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        let shapes = [Shape::weights([3, 3, 5, 6]), Shape::channels(&[2, 70])];
        let inputs = shapes.iter().chain(&shapes).map(|s| draw.real(s.clone()));
        vec![Sample::new(Accumulate, inputs.collect())]
    }
}
