//! A kernel that writes partial statistics in its epilogue, and the kernel that merges them.

use crate::engine::Device;
use crate::graph::ops::Sample;
use crate::graph::{Graph, Node, Op, Tensor, ValueId, interp, ops, precision, rewrite};
use crate::kernels::{Choices, lower};
use crate::shape::Shape;

use super::CheckError;
use super::case::{Change, Operands, is_map, run};
use super::tolerance::{bound, judged_as};

/// A producer, and a reduction of its output.
#[derive(Clone)]
pub struct Pair {
    graph: Graph,
    store: interp::Store,
    half: bool,
}

impl Pair {
    /// The pair with feature maps in half or single precision; `None` if there is none.
    pub fn new(sample: &Sample, half: bool) -> Option<Pair> {
        let mut graph = Graph::new();
        let mut store = interp::Store::new();
        let mut declare = |graph: &mut Graph, name: String, tensor: &Tensor| {
            store.insert(name.clone(), tensor.clone());
            graph.external(&name, tensor.shape.clone())
        };
        let inputs: Vec<ValueId> = (0..)
            .zip(&sample.inputs)
            .map(|(i, tensor)| {
                let id = declare(&mut graph, format!("operand {i}"), tensor);
                match half && is_map(tensor.shape.clone()) {
                    true => graph
                        .push_one(ops::Convert, &[id], "converted")
                        .expect(VALID),
                    false => id,
                }
            })
            .collect();
        let result = graph
            .push_one(sample.op.clone(), &inputs, "y")
            .expect(VALID);
        let shape = graph.shape(result).clone();
        let reduction = match &sample.op {
            Op::Conv2d(_) | Op::ShortcutAdd(_) => {
                let op = ops::BatchMoments { running: None };
                graph.push_one(op, &[result], "reduction").expect(VALID)
            }
            Op::Conv2dGradInput(_) | Op::NormalizeGrad(_) => {
                // Arbitrary numbers, some on either side of the ReLU's zero.
                let numbers = |count: usize, least: f64| {
                    let wave = |i: usize| least + ((i * 37 % 101) as f64 / 50.0 - 1.0);
                    (0..count).map(|i| wave(i) as f32).map(f64::from).collect()
                };
                let vectors = Shape::channels(&[2, shape.last()]);
                let x = Tensor::real(shape.clone(), numbers(shape.len(), 0.0));
                let mut moments: Vec<f64> = numbers(vectors.len(), 1.5);
                let mut affine: Vec<f64> = numbers(vectors.len(), 0.2);
                // Zeros of x in channel 0 are normalised to exactly 0.
                moments[0] = 0.0;
                affine[shape.last()] = 0.0;
                let moments = Tensor::real(vectors.clone(), moments);
                let affine = Tensor::real(vectors.clone(), affine);
                let mut x = declare(&mut graph, "x".to_owned(), &x);
                if half {
                    x = graph
                        .push_one(ops::Convert, &[x], "converted")
                        .expect(VALID);
                }
                let moments = declare(&mut graph, "moments".to_owned(), &moments);
                let affine = declare(&mut graph, "affine".to_owned(), &affine);
                let op = ops::NormalizeGradReduce {
                    epsilon: 1e-5,
                    relu: shape.last().is_multiple_of(2),
                };
                let operands = ops::NormalizeGradReduceInputs {
                    x,
                    dy: result,
                    moments,
                    affine,
                };
                graph
                    .push_one(op, &operands.list(), "reduction")
                    .expect(VALID)
            }
            _ => return None,
        };
        let y = match half {
            true => graph.push_one(ops::Convert, &[result], "converted").ok()?,
            false => result,
        };
        graph.output(y, "y");
        graph.output(reduction, "reduction");
        // The rule requires the normalised value to be computed before the producer.
        if let Op::Conv2dGradInput(_) | Op::NormalizeGrad(_) = &sample.op {
            let at = graph
                .nodes
                .iter()
                .position(|node| node.outputs.contains(&result));
            let producer = graph.nodes.remove(at?);
            let reducer = graph
                .nodes
                .iter()
                .position(|node| node.outputs.contains(&reduction));
            graph.nodes.insert(reducer?, producer);
        }
        rewrite::fuse_reductions(&mut graph);
        let second = |node: &Node| matches!(node.op, Op::MergeMoments(_) | Op::SumSlices(_));
        // The moments after a convolution that normalizes its output are those of another value.
        if let Op::Conv2d(conv) = &sample.op
            && conv.normalize_output.is_some()
        {
            assert!(!graph.nodes.iter().any(second), "the rule applies: {graph}");
            return None;
        }
        assert!(
            graph.nodes.iter().any(second),
            "the rule does not apply: {graph}"
        );
        if half {
            precision::halve(&mut graph);
        }
        (precision::is_half(&graph) == half).then_some(Pair { graph, store, half })
    }

    /// Whether feature maps are stored in half precision.
    pub fn is_half(&self) -> bool {
        self.half
    }

    /// Compares both kernels, or those of a changed program, with the reference, and checks that a
    /// NaN in the input reaches both outputs. Returns the largest difference relative to its bound;
    /// `None` if the device cannot run the choices.
    ///
    /// # Errors
    /// The first difference beyond the bound, or an error of the device.
    pub async fn check(
        &self,
        device: &Device,
        sample: &Sample,
        choices: &Choices,
        change: Option<Change<'_>>,
    ) -> Result<Option<f64>, CheckError> {
        let able = !self.half || matches!(device, Device::Gpu(_));
        if !able || lower(&self.graph, &device.target(), choices).is_err() {
            return Ok(None);
        }
        let stores = self.stores(sample);
        let [found, with_nan] = self.run(device, choices, change, &stores).await?;
        self.judge(sample, &judged_as(device, choices), [&found, &with_nan])
            .map(Some)
    }

    /// The operands, and the same with a NaN in the input.
    fn stores(&self, sample: &Sample) -> [interp::Store; 2] {
        let mut poisoned = self.store.clone();
        let mut values = sample.inputs[0].values().to_vec();
        let middle = values.len() / 2;
        values[middle] = f64::NAN;
        let operand = Tensor::real(sample.inputs[0].shape.clone(), values);
        poisoned.insert("operand 0".to_owned(), operand);
        [self.store.clone(), poisoned]
    }

    /// The memory images of the operands, and the same with a NaN in the input.
    pub fn operands(&self, sample: &Sample) -> [Operands; 2] {
        self.stores(sample).each_ref().map(images)
    }

    /// Output and reduction from their memory images.
    pub fn tensors(&self, images: &[Vec<u32>]) -> [Tensor; 2] {
        let shape = |name| {
            self.graph
                .shape(self.graph.find(name).expect("the pair has its results"))
        };
        [0, 1].map(|at| Tensor::from_words(shape(RESULTS[at]), &images[at]))
    }

    /// Compares output and reduction, and those with a NaN in the input, with the reference.
    ///
    /// # Errors
    /// The first difference beyond the bound, or the first NaN that is hidden.
    pub fn judge(
        &self,
        sample: &Sample,
        choices: &Choices,
        [found, with_nan]: [&[Tensor; 2]; 2],
    ) -> Result<f64, CheckError> {
        let [expected, expected_nan] = self.stores(sample).map(|store| self.reference(store));

        // The output has the errors of its kernel; the reduction over the rows multiplies them by
        // its factors and adds its own rounding (`case.rs`).
        let largest =
            |tensor: &Tensor| tensor.values().iter().fold(1.0, |m: f64, v| m.max(v.abs()));
        let y = &expected[0];
        let rows = y.shape.rows() as f64;
        let (size, rounding) = (largest(&found[0]), (rows + 16.0) / 16_777_216.0);
        let operands: Vec<&Tensor> = sample.inputs.iter().collect();
        let own = bound(sample, &sample.op.reference(&operands), choices, self.half);
        // Storing a half rounds by half an ULP; output and reference are both rounded.
        let rounded = if self.half { size / 2048.0 } else { 0.0 };
        let off = own + rounded;
        let passed_on = match &sample.op {
            // Errors of the mean, and of the mean square with the factor 2·(|y| + |mean|).
            Op::Conv2d(_) | Op::ShortcutAdd(_) => 4.0 * size * off + rounding * 4.0 * size * size,
            // A sum of products with |x̂| ≤ (1 + 2.5) / √0.5 < 5.
            _ => rows * 5.0 * (off + rounding * size),
        };
        let graph = &self.graph;
        let mut share = 0.0f64;
        for (at, tolerance) in [off + rounded, passed_on].into_iter().enumerate() {
            let pairs = found[at].values().iter().zip(expected[at].values());
            for (i, (a, b)) in pairs.enumerate() {
                let difference = (a - b).abs();
                ensure(difference <= tolerance, || {
                    let name = RESULTS[at];
                    format!("{graph}: {name} {i} is {a}, reference {b}, tolerance {tolerance:e}")
                })?;
                if difference > 0.0 {
                    share = share.max(difference / tolerance);
                }
            }
            let pairs = with_nan[at].values().iter().zip(expected_nan[at].values());
            for (a, b) in pairs {
                let visible = !b.is_nan() || a.is_nan();
                ensure(visible, || format!("{graph}: a NaN became {a}"))?;
            }
        }
        Ok(share)
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    fn reference(&self, mut store: interp::Store) -> [Tensor; 2] {
        interp::run(&self.graph, &mut store).expect("the pair has its operands");
        RESULTS.map(|name| store[name].clone())
    }

    /// Output and reduction for each of two sets of operands.
    async fn run(
        &self,
        device: &Device,
        choices: &Choices,
        change: Option<Change<'_>>,
        stores: &[interp::Store; 2],
    ) -> Result<[[Tensor; 2]; 2], CheckError> {
        let graph = &self.graph;
        let operands = stores.each_ref().map(images);
        let names = RESULTS.map(str::to_owned);
        let runs = run(device, graph, choices, change, &operands, &names).await;
        let runs = runs.map_err(|error| CheckError::device(graph.to_string(), error))?;
        Ok([0, 1].map(|run| self.tensors(&runs[run])))
    }
}

/// Memory images of the tensors of a store.
pub fn images(store: &interp::Store) -> Operands {
    let image = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.to_words());
    store.iter().map(image).collect()
}

/// The pairs of a sample, with each choice of kernels.
pub fn pairs(sample: &Sample) -> Vec<(Pair, Choices)> {
    let named = [
        "tiled 256x20",
        "tiled 64x128",
        "winograd 2x2",
        "matrix 128x48",
    ];
    let mut pairs = Vec::new();
    for pair in [false, true]
        .into_iter()
        .filter_map(|half| Pair::new(sample, half))
    {
        pairs.push((pair.clone(), Choices::default()));
        if matches!(sample.op, Op::Conv2d(_) | Op::Conv2dGradInput(_)) {
            pairs.extend(named.map(|name| (pair.clone(), Choices::everywhere(name))));
        }
    }
    pairs
}

/// The names of the output and of the reduction.
pub const RESULTS: [&str; 2] = ["y", "reduction"];

const VALID: &str = "the sample's operands fit its operator";

/// A difference unless something holds.
fn ensure(holds: bool, difference: impl FnOnce() -> String) -> Result<(), CheckError> {
    match holds {
        true => Ok(()),
        false => Err(CheckError::Differs(difference())),
    }
}
