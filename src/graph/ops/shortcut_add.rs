//! The output of a unit: the sum of branch and zero-padded shortcut, see [`super::shortcut`].

use super::super::{GraphError, Node, Tensor, ValueId};
use super::batch_moments::{partial, partial_shape};
use super::batch_norm::numbers;
use super::named::{inputs, named, outputs};
use super::normalize::{NormalizeInputs, check_norm, normalized};
use super::shortcut::{cases, check, window};
use super::tape::Tape;
use super::{Draw, HalfMaps, Normalize, Operator, Sample, ShortcutGrad, nhwc, require};
use crate::shape::Shape;

/// (branch [N, P, Q, O], x [N, H, W, I]) → branch + pad(pool(x)); or, with the branch's
/// moments and affine [2, O] as further operands, normalize(branch) + pad(pool(x)).
#[derive(Clone, Debug, PartialEq)]
pub struct ShortcutAdd {
    /// 1: no pooling; 2: 2x2 average pooling.
    pub stride: usize,
    /// The normalisation of the branch, without ReLU.
    pub normalize: Option<Normalize>,
    /// Whether the partial moments of the sum are a second result.
    pub partial_moments: bool,
}

impl ShortcutAdd {
    /// Without normalisation or statistics.
    pub fn new(stride: usize) -> ShortcutAdd {
        ShortcutAdd {
            stride,
            normalize: None,
            partial_moments: false,
        }
    }
}

inputs! {
    /// Operands of [`ShortcutAdd`].
    ShortcutAddInputs of ShortcutAdd {
        /// The branch of the unit [N, P, Q, O].
        branch,
        /// The input of the unit [N, H, W, I].
        x,
        /// Operands of the normalisation of the branch.
        norm: norm(|op, _| op.normalize.is_some()),
    }
}

outputs! {
    /// Results of [`ShortcutAdd`].
    ShortcutAddOutputs of ShortcutAdd {
        /// The sum [N, P, Q, O].
        y,
        /// Partial moments of the sum [3, O].
        partial_moments: optional(|op, _| op.partial_moments),
    }
}

impl Operator for ShortcutAdd {
    const NAME: &'static str = "shortcut_add";
    const OUTPUTS: &'static [&'static str] = &["y", "partial moments"];
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let ShortcutAddInputs { branch, x, norm } = self.try_inputs(inputs)?;
        check(self.stride, nhwc(branch)?, nhwc(x)?)?;
        let relu = self.normalize.as_ref().is_some_and(|n| n.relu);
        require(!relu, || "the branch must omit ReLU".to_owned())?;
        check_norm(&self.normalize, branch, norm)?;
        let results = ShortcutAddOutputs {
            y: branch.clone(),
            partial_moments: self.partial_moments.then(|| partial_shape(branch.last())),
        };
        Ok(results.list())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let ShortcutAddInputs { branch, x, norm } = self.inputs(inputs);
        let shape = branch.shape.clone();
        let [_, p, q, o] = [0, 1, 2, 3].map(|axis| shape.dims[axis]);
        let [_, h, w, i] = [0, 1, 2, 3].map(|axis| x.shape.dims[axis]);
        let x = x.values();
        let branch = normalized(&self.normalize, branch, norm);
        let cells = branch.values().iter().enumerate();
        let values = cells.map(|(cell, branch)| {
            let (o_at, q_at) = (cell % o, cell / o % q);
            let (p_at, n) = (cell / o / q % p, cell / o / q / p);
            if o_at >= i {
                return *branch;
            }
            let (rows, columns) = (window(p_at, self.stride, h), window(q_at, self.stride, w));
            let count = (rows.len() * columns.len()) as f64;
            let mut sum = 0.0;
            for row in rows {
                for column in columns.clone() {
                    sum += x[((n * h + row) * w + column) * i + o_at];
                }
            }
            branch + sum / count
        });
        let y = Tensor::real(shape, values.collect());
        let partial_moments = self.partial_moments.then(|| partial(&y));
        ShortcutAddOutputs { y, partial_moments }.list()
    }

    fn gradient(
        &self,
        tape: &mut Tape<'_>,
        node: &Node,
        upstream: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        let Some(dy) = self.outputs(upstream).y else {
            return Ok(vec![None; node.inputs.len()]);
        };
        let ShortcutAddInputs { branch, x, norm } = self.inputs(&node.inputs);
        let mut gradients = ShortcutAddInputs {
            branch: Some(dy),
            x: None,
            norm: None,
        };
        if tape.wants(x) {
            let dims = &tape.graph.shape(x).dims;
            let op = ShortcutGrad {
                stride: self.stride,
                input: [dims[1], dims[2], dims[3]],
            };
            // The gradient of an identity shortcut is the upstream gradient.
            gradients.x = match self.stride == 1 && tape.graph.shape(dy) == tape.graph.shape(x) {
                true => Some(dy),
                false => Some(tape.push_one(op, &[dy], x)?),
            };
        }
        if let (Some(normalize), Some(norm)) = (&self.normalize, norm) {
            let operands = NormalizeInputs { x: branch, norm };
            let NormalizeInputs { x, norm } = normalize.backward(tape, operands, dy)?;
            gradients.branch = x;
            gradients.norm = Some(norm);
        }
        Ok(gradients.list())
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .enumerate()
            .flat_map(|(case, (batch, [h, w, i], o, stride))| {
                let dims = [batch, h.div_ceil(stride), w.div_ceil(stride), o];
                let of_batch = case % 2 == 1;
                let (branch, moments, affine) = numbers(draw, &dims, of_batch);
                let x = draw.real(Shape::channels(&[batch, h, w, i]));
                let op = |normalize| ShortcutAdd {
                    stride,
                    normalize,
                    partial_moments: false,
                };
                let normalize = Normalize {
                    epsilon: 1e-5,
                    batch: of_batch,
                    relu: false,
                };
                let plain = vec![branch, x];
                let normalized = [&plain[..], &[moments, affine]].concat();
                [
                    Sample::new(op(None), plain),
                    Sample::new(op(Some(normalize)), normalized),
                ]
            })
            .collect()
    }
}
