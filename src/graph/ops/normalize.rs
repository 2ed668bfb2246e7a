//! The affine half of batch norm (Ioffe and Szegedy 2015), alone or with ReLU after it:
//!
//! ```text
//! x̂ = (x − mean) / √(variance + ε)      y = x̂·scale + shift      [y = max(y, 0)]
//! ```
//!
//! and its gradients, where dy is masked by the ReLU if there is one and M is the number of
//! values a channel has in the batch:
//!
//! ```text
//! dscale = Σ dy·x̂      dshift = Σ dy
//! dx = scale/√(variance + ε) · (dy − dshift/M − x̂·dscale/M)      in training
//! dx = scale/√(variance + ε) · dy                                with running statistics
//! ```

use super::super::autodiff::Tape;
use super::super::{GraphError, Node, Tensor, ValueId};
use super::shortcut::ShortcutGrad;
use super::{Draw, Operator, Sample, operands, require};
use crate::shape::{Layout, Shape};

/// (x [.., C], moments [2, C], affine [2, C]) → y.
///
/// Moments are mean and variance, affine is scale and shift.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalize {
    /// Added to the variance.
    pub epsilon: f32,
    /// The moments are those of x itself: then x's gradient goes through them as well.
    pub batch: bool,
    /// Whether ReLU follows.
    pub relu: bool,
}

/// (x, dy, moments, affine) → (dscale, dshift) as one tensor [2, C].
#[derive(Clone, Debug, PartialEq)]
pub struct NormalizeGradReduce {
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether ReLU follows.
    pub relu: bool,
}

/// (x, dy, moments, affine, daffine) → dx; or, where x also takes a shortcut, with the
/// gradient of that one's sum behind them: both gradients of x, added.
#[derive(Clone, Debug, PartialEq)]
pub struct NormalizeGrad {
    /// Added to the variance.
    pub epsilon: f32,
    /// As in [`Normalize`].
    pub batch: bool,
    /// Whether ReLU follows.
    pub relu: bool,
    /// The shortcut that x takes beside the normalisation.
    pub shortcut: Option<ShortcutGrad>,
}

fn check(x: &Shape, vectors: &[&Shape]) -> Result<(), String> {
    require(x.layout == Layout::Channels, || {
        "takes an activation".to_owned()
    })?;
    let expected = Shape::channels(&[2, x.last()]);
    require(vectors.iter().all(|v| **v == expected), || {
        format!("moments and affine must be {expected}")
    })
}

/// One channel's numbers.
struct Channel {
    mean: f64,
    inverse: f64,
    scale: f64,
    shift: f64,
}

impl Channel {
    fn all(moments: &Tensor, affine: &Tensor, epsilon: f32) -> Vec<Channel> {
        let channels = moments.shape.last();
        let (moments, affine) = (moments.values(), affine.values());
        (0..channels)
            .map(|c| Channel {
                mean: moments[c],
                inverse: 1.0 / (moments[channels + c] + f64::from(epsilon)).sqrt(),
                scale: affine[c],
                shift: affine[channels + c],
            })
            .collect()
    }

    fn normalized(&self, x: f64) -> f64 {
        (x - self.mean) * self.inverse
    }

    /// The upstream gradient, as the ReLU lets it through.
    fn masked(&self, x: f64, dy: f64, relu: bool) -> f64 {
        match relu && self.normalized(x) * self.scale + self.shift <= 0.0 {
            true => 0.0,
            false => dy,
        }
    }
}

impl Normalize {
    /// Appends the gradients of (x, moments, affine), from that of the result.
    pub(super) fn backward(
        &self,
        tape: &mut Tape<'_>,
        [x, moments, affine]: [ValueId; 3],
        dy: ValueId,
    ) -> Result<[Option<ValueId>; 3], GraphError> {
        let reduce = NormalizeGradReduce {
            epsilon: self.epsilon,
            relu: self.relu,
        };
        let daffine = tape.push_one(reduce, &[x, dy, moments, affine], affine)?;
        let mut dx = None;
        if tape.wants(x) {
            let op = NormalizeGrad {
                epsilon: self.epsilon,
                batch: self.batch,
                relu: self.relu,
                shortcut: None,
            };
            dx = Some(tape.push_one(op, &[x, dy, moments, affine, daffine], x)?);
        }
        Ok([dx, None, Some(daffine)])
    }
}

impl Operator for Normalize {
    const NAME: &'static str = "normalize";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [x, moments, affine] = operands(inputs)?;
        check(x, &[moments, affine])?;
        Ok(vec![x.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let channels = Channel::all(inputs[1], inputs[2], self.epsilon);
        let cells = inputs[0].values().iter().enumerate();
        let values = cells.map(|(i, x)| {
            let channel = &channels[i % channels.len()];
            let y = channel.normalized(*x) * channel.scale + channel.shift;
            match self.relu && y < 0.0 {
                true => 0.0,
                false => y,
            }
        });
        vec![Tensor::real(inputs[0].shape.clone(), values.collect())]
    }

    fn gradient(
        &self,
        tape: &mut Tape<'_>,
        node: &Node,
        upstream: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        let operands = [0, 1, 2].map(|i| node.inputs[i]);
        match upstream[0] {
            Some(dy) => Ok(self.backward(tape, operands, dy)?.to_vec()),
            None => Ok(vec![None; 3]),
        }
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .map(|(dims, batch, relu)| {
                let (x, moments, affine) = numbers(draw, &dims, batch);
                let op = Normalize {
                    epsilon: 1e-5,
                    batch,
                    relu,
                };
                Sample::new(op, vec![x, moments, affine])
            })
            .collect()
    }
}

impl Operator for NormalizeGradReduce {
    const NAME: &'static str = "normalize_grad_reduce";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [x, dy, moments, affine] = operands(inputs)?;
        check(x, &[moments, affine])?;
        require(x == dy, || "dy must have the shape of x".to_owned())?;
        Ok(vec![affine.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let channels = Channel::all(inputs[2], inputs[3], self.epsilon);
        let count = channels.len();
        let mut sums = vec![0.0; 2 * count];
        let cells = inputs[0].values().iter().zip(inputs[1].values());
        for (i, (x, dy)) in cells.enumerate() {
            let channel = &channels[i % count];
            let dy = channel.masked(*x, *dy, self.relu);
            sums[i % count] += dy * channel.normalized(*x);
            sums[count + i % count] += dy;
        }
        vec![Tensor::real(inputs[3].shape.clone(), sums)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .map(|(dims, batch, relu)| {
                let (x, moments, affine) = numbers(draw, &dims, batch);
                let dy = draw.real(x.shape.clone());
                let op = NormalizeGradReduce {
                    epsilon: 1e-5,
                    relu,
                };
                Sample::new(op, vec![x, dy, moments, affine])
            })
            .collect()
    }
}

impl Operator for NormalizeGrad {
    const NAME: &'static str = "normalize_grad";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let (own, of_sum) = inputs.split_at(inputs.len().min(5));
        let [x, dy, moments, affine, daffine] = operands(own)?;
        check(x, &[moments, affine, daffine])?;
        require(x == dy, || "dy must have the shape of x".to_owned())?;
        match &self.shortcut {
            Some(shortcut) => {
                let dx = shortcut.infer(of_sum)?;
                require(dx == [x.clone()], || {
                    format!("the shortcut must lead to {x}")
                })?;
                Ok(dx)
            }
            None => require(of_sum.is_empty(), || {
                format!("takes 5 operands, not {}", inputs.len())
            })
            .map(|()| vec![x.clone()]),
        }
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let channels = Channel::all(inputs[2], inputs[3], self.epsilon);
        let count = channels.len();
        let sums = inputs[4].values();
        let rows = inputs[0].shape.rows() as f64;
        let cells = inputs[0].values().iter().zip(inputs[1].values());
        let values = cells.enumerate().map(|(i, (x, dy))| {
            let c = i % count;
            let channel = &channels[c];
            let dy = channel.masked(*x, *dy, self.relu);
            let through_moments = match self.batch {
                true => (sums[count + c] + channel.normalized(*x) * sums[c]) / rows,
                false => 0.0,
            };
            channel.scale * channel.inverse * (dy - through_moments)
        });
        let mut values: Vec<f64> = values.collect();
        if let Some(shortcut) = &self.shortcut {
            let spread = shortcut.reference(&inputs[5..]).remove(0);
            for (value, spread) in values.iter_mut().zip(spread.values()) {
                *value += spread;
            }
        }
        vec![Tensor::real(inputs[0].shape.clone(), values)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .enumerate()
            .flat_map(|(case, (dims, batch, relu))| {
                let (x, moments, affine) = numbers(draw, &dims, batch);
                let dy = draw.real(x.shape.clone());
                let daffine = draw.real(affine.shape.clone());
                let [n, h, w, i] = dims;
                // Strides and widths in turn.
                let (stride, wider) = (1 + case % 2, 5 * (case / 2 % 2));
                let op = |shortcut| NormalizeGrad {
                    epsilon: 1e-5,
                    batch,
                    relu,
                    shortcut,
                };
                let shortcut = ShortcutGrad {
                    stride,
                    input: [h, w, i],
                };
                let sum = [n, h.div_ceil(stride), w.div_ceil(stride), i + wider];
                let sum = draw.real(Shape::channels(&sum));
                let own = vec![x, dy, moments, affine, daffine];
                let both = [&own[..], &[sum]].concat();
                [
                    Sample::new(op(None), own),
                    Sample::new(op(Some(shortcut)), both),
                ]
            })
            .collect()
    }
}

/// x, moments (its own if `batch`) and affine.
pub(super) fn numbers(draw: &mut Draw, dims: &[usize], batch: bool) -> (Tensor, Tensor, Tensor) {
    let x = draw.real(Shape::channels(dims));
    let vector = Shape::channels(&[2, x.shape.last()]);
    let moments = match batch {
        true => super::BatchMoments { running: None }
            .reference(&[&x])
            .remove(0),
        false => draw.positive(vector.clone()),
    };
    (x, moments, draw.real(vector))
}

fn cases() -> impl Iterator<Item = ([usize; 4], bool, bool)> {
    let dims = [[2, 1, 1, 1], [2, 3, 5, 7], [3, 17, 13, 33], [1, 2, 3, 286]];
    let modes = [(true, true), (true, false), (false, true), (false, false)];
    dims.into_iter()
        .flat_map(move |dims| modes.map(|(batch, relu)| (dims, batch, relu)))
}
