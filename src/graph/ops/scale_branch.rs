//! Random factors on residual branches: ShakeDrop (Yamada, Iwamura, Akiba, Kise: *ShakeDrop
//! Regularization for Deep Residual Learning*, 2019, arXiv 1802.02375, equation 6) and stochastic
//! depth (Huang et al., *Deep Networks with Stochastic Depth*, ECCV 2016).
//!
//! Each image draws its own b, α and β in each unit; some programs draw one b for the whole batch.
//! With b = 1 with the probability p of the unit and
//! else 0, α uniform in [−1, 1) and β uniform in [0, 1), the factors are
//!
//! ```text
//!                    output in training   gradient         output in evaluation
//! ShakeDrop          b + α − b·α          b + β − b·β      p, the expectation
//! stochastic depth   b / p                b / p            1
//! ```
//!
//! The paper on stochastic depth multiplies by b in training and by p in evaluation; dividing by p
//! in training instead, as torchvision's `StochasticDepth` does, leaves networks that other programs
//! evaluate as they are.
//! The draws are a function of (seed, epoch, sample, unit), so that the backward pass, and a
//! forward pass that is recomputed, draw the same.

use std::fmt;

use super::super::step::{STEP_WORDS, Step};
use super::super::{GraphError, Node, Tensor, ValueId};
use super::named::{inputs, named};
use super::tape::Tape;
use super::{Draw, HalfMaps, Operator, Sample, require};
use crate::rng::{self, Purpose, philox4x32, unit_interval};
use crate::shape::{Layout, Shape};

/// How residual branches are scaled at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchRule {
    /// By a random number in [−1, 1) instead of 1, and their gradient by another.
    ShakeDrop,
    /// By 0 instead of 1/p.
    StochasticDepth,
}

impl fmt::Display for BranchRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BranchRule::ShakeDrop => "ShakeDrop",
            BranchRule::StochasticDepth => "stochastic depth",
        })
    }
}

/// Which factors a [`ScaleBranch`] applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchPass {
    /// Those of the output in training.
    Forward,
    /// Those of the gradient.
    Backward,
    /// The expectation of the output's.
    Expectation,
}

/// (x [N, .., C], samples u32 `[N]`, step) → x times a factor for each image; (x) → x times the
/// expectation of that factor.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleBranch {
    /// The distribution of the factors.
    pub rule: BranchRule,
    /// Probability of an undisturbed branch, 0 < p ≤ 1.
    pub survival: f64,
    /// Number of the unit, part of the random numbers' counter.
    pub unit: u32,
    /// Which factors.
    pub pass: BranchPass,
}

impl ScaleBranch {
    /// Branches whose first random word is below this are undisturbed.
    pub fn threshold(&self) -> u32 {
        (self.survival * 4_294_967_296.0) as u32
    }

    /// Factor on undisturbed branches; in evaluation, on all.
    pub fn undisturbed(&self) -> f32 {
        match (self.rule, self.pass) {
            (BranchRule::ShakeDrop, BranchPass::Expectation) => self.survival as f32,
            (BranchRule::ShakeDrop, _) | (_, BranchPass::Expectation) => 1.0,
            (BranchRule::StochasticDepth, _) => (1.0 / self.survival) as f32,
        }
    }

    /// The factor on a disturbed branch is uniform in an interval: its start, its length, and the
    /// index of the random word.
    pub fn disturbed(&self) -> (f32, f32, usize) {
        match (self.rule, self.pass) {
            (BranchRule::StochasticDepth, _) => (0.0, 0.0, 1),
            (BranchRule::ShakeDrop, BranchPass::Backward) => (0.0, 1.0, 2),
            (BranchRule::ShakeDrop, _) => (-1.0, 2.0, 1),
        }
    }

    /// The factor of an image, given its index in the dataset.
    pub fn factor(&self, sample: u32, step: &Step) -> f32 {
        let counter = [self.unit, sample, step.epoch, Purpose::Branch as u32];
        let words = philox4x32(counter, rng::key(step.seed));
        let (start, length, word) = self.disturbed();
        match words[0] < self.threshold() {
            true => self.undisturbed(),
            false => start + length * unit_interval(words[word]),
        }
    }
}

inputs! {
    /// Operands of [`ScaleBranch`].
    ScaleBranchInputs of ScaleBranch {
        /// Output of the branch, or its gradient [N, .., C].
        x,
        /// Index of each image in its dataset, u32 `[N]`; in training.
        samples: optional(|op, _| op.pass != BranchPass::Expectation),
        /// Seed and epoch; in training.
        step: optional(|op, _| op.pass != BranchPass::Expectation),
    }
}

impl Operator for ScaleBranch {
    const NAME: &'static str = "scale_branch";
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let ScaleBranchInputs { x, samples, step } = self.try_inputs(inputs)?;
        require(self.survival > 0.0 && self.survival <= 1.0, || {
            format!("probability {} is not in (0, 1]", self.survival)
        })?;
        let images = x.dims[0];
        require(
            x.layout == Layout::Channels
                && samples.is_none_or(|samples| samples.len() == images)
                && step.is_none_or(|step| step.len() == STEP_WORDS),
            || "needs features, a sample for each image, and the step tensor".to_owned(),
        )?;
        Ok(vec![x.computed()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let ScaleBranchInputs { x, samples, step } = self.inputs(inputs);
        let each = x.shape.len() / x.shape.dims[0];
        let images = x.values().chunks(each).enumerate();
        let values = images.flat_map(|(image, values)| {
            let factor = match (samples, step) {
                (Some(samples), Some(step)) => {
                    let step = Step::from_words(step.indices());
                    self.factor(samples.indices()[image], &step)
                }
                _ => self.undisturbed(),
            };
            values.iter().map(move |x| x * f64::from(factor))
        });
        vec![Tensor::real(x.shape.clone(), values.collect())]
    }

    fn gradient(
        &self,
        tape: &mut Tape<'_>,
        node: &Node,
        upstream: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        let named = self.inputs(&node.inputs);
        let mut gradients = vec![None; node.inputs.len()];
        if let Some(dy) = upstream[0] {
            let op = ScaleBranch {
                pass: match self.pass {
                    BranchPass::Expectation => BranchPass::Expectation,
                    BranchPass::Forward | BranchPass::Backward => BranchPass::Backward,
                },
                ..self.clone()
            };
            let x = named.x;
            let operands = ScaleBranchInputs { x: dy, ..named };
            gradients[0] = Some(tape.push_one(op, &operands.list(), x)?);
        }
        Ok(gradients)
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        use BranchPass::{Backward, Expectation, Forward};
        use BranchRule::{ShakeDrop, StochasticDepth};
        let step = Step {
            seed: 77,
            epoch: 2,
            ..Step::default()
        };
        let cases = [
            (ShakeDrop, 0.5, Forward, [9, 2, 3, 5]),
            (ShakeDrop, 0.1, Backward, [7, 3, 1, 33]),
            (ShakeDrop, 0.7, Expectation, [2, 3, 3, 6]),
            (StochasticDepth, 0.4, Forward, [9, 1, 2, 64]),
            (StochasticDepth, 0.4, Backward, [3, 2, 2, 7]),
        ];
        (1..)
            .zip(cases)
            .map(|(unit, (rule, survival, pass, dims))| {
                let op = ScaleBranch {
                    rule,
                    survival,
                    unit,
                    pass,
                };
                let mut inputs = vec![draw.real(Shape::channels(&dims))];
                if pass != Expectation {
                    inputs.push(draw.words(Shape::indices(&dims[..1])));
                    inputs.push(Tensor::index(Step::shape(), step.to_words().into()));
                }
                Sample::new(op, inputs)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The factors of many images, against the equations with the drawn b, α and β.
    #[test]
    fn factors_are_those_of_the_papers() {
        let step = Step {
            seed: 5,
            epoch: 3,
            ..Step::default()
        };
        let p = 0.3;
        let count = 20_000;
        let mut sums = [[0.0; 3]; 2];
        for (rule, sums) in [BranchRule::ShakeDrop, BranchRule::StochasticDepth]
            .into_iter()
            .zip(&mut sums)
        {
            for sample in 0..count {
                let op = |pass| ScaleBranch {
                    rule,
                    survival: p,
                    unit: 4,
                    pass,
                };
                let words = philox4x32([4, sample, 3, Purpose::Branch as u32], rng::key(5));
                let uniform = |word: u32| f64::from(word >> 8) / f64::from(1 << 24);
                let b = f64::from(u8::from(f64::from(words[0]) < p * 2f64.powi(32)));
                let (alpha, beta) = (2.0 * uniform(words[1]) - 1.0, uniform(words[2]));
                let expected = match rule {
                    BranchRule::ShakeDrop => [b + alpha - b * alpha, b + beta - b * beta],
                    BranchRule::StochasticDepth => [b / p, b / p],
                };
                let passes = [BranchPass::Forward, BranchPass::Backward];
                for (pass, expected) in passes.into_iter().zip(expected) {
                    let factor = f64::from(op(pass).factor(sample, &step));
                    assert!((factor - expected).abs() <= 1e-7 * expected.abs());
                }
                let factor = f64::from(op(BranchPass::Forward).factor(sample, &step));
                let bounds = match rule {
                    BranchRule::ShakeDrop => -1.0..=1.0,
                    BranchRule::StochasticDepth => 0.0..=1.0 / p * (1.0 + 1e-7),
                };
                assert!(bounds.contains(&factor), "{rule:?}: {factor}");
                for (sum, term) in sums.iter_mut().zip([b, factor, factor * factor]) {
                    *sum += term / f64::from(count);
                }
            }
            let evaluated = ScaleBranch {
                rule,
                survival: p,
                unit: 4,
                pass: BranchPass::Expectation,
            };
            let [share, mean, square] = *sums;
            // Five standard errors, at most once in a million seeds.
            let error = |variance: f64| 5.0 * (variance / f64::from(count)).sqrt();
            assert!((share - p).abs() < error(p * (1.0 - p)), "{rule:?} {share}");
            let expected = f64::from(evaluated.undisturbed());
            let variance = square - mean * mean;
            assert!((mean - expected).abs() < error(variance), "{rule:?} {mean}");
        }
    }

    /// No factor is shared between units, epochs, samples or seeds.
    #[test]
    fn every_unit_and_epoch_draws_anew() {
        let factor = |seed, epoch, unit, sample| {
            let step = Step {
                seed,
                epoch,
                ..Step::default()
            };
            let op = ScaleBranch {
                rule: BranchRule::ShakeDrop,
                survival: 1e-9,
                unit,
                pass: BranchPass::Forward,
            };
            op.factor(sample, &step)
        };
        let draws = [
            factor(1, 1, 1, 1),
            factor(2, 1, 1, 1),
            factor(1, 2, 1, 1),
            factor(1, 1, 2, 1),
            factor(1, 1, 1, 2),
        ];
        for (index, draw) in draws.iter().enumerate() {
            assert!(!draws[..index].contains(draw), "{draws:?}");
        }
    }
}
