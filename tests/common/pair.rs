//! A kernel that writes partial statistics in its epilogue, and the kernel that merges them.

use pyr_wgpu::engine::{Device, Engine};
use pyr_wgpu::graph::ops::Sample;
use pyr_wgpu::graph::{Graph, Node, Op, Tensor, ValueId, interp, ops, precision, rewrite};
use pyr_wgpu::kernels::{Choices, lower};
use pyr_wgpu::shape::Shape;

use super::kernel::is_map;
use super::tolerance::bound;

/// A producer, and a reduction of its output.
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
                    true => graph.push_one(ops::Convert, &[id], "converted").unwrap(),
                    false => id,
                }
            })
            .collect();
        let result = graph.push_one(sample.op.clone(), &inputs, "y").unwrap();
        let shape = graph.shape(result).clone();
        let reduction = match &sample.op {
            Op::Conv2d(_) | Op::ShortcutAdd(_) => {
                let op = ops::BatchMoments { running: None };
                graph.push_one(op, &[result], "reduction").unwrap()
            }
            Op::Conv2dGradInput(_) => {
                // Arbitrary numbers, some on either side of the ReLU's zero.
                let numbers = |count: usize, least: f64| {
                    let wave = |i: usize| least + ((i * 37 % 101) as f64 / 50.0 - 1.0);
                    (0..count).map(|i| wave(i) as f32).map(f64::from).collect()
                };
                let vectors = Shape::channels(&[2, shape.last()]);
                let x = Tensor::real(shape.clone(), numbers(shape.len(), 0.0));
                let moments = Tensor::real(vectors.clone(), numbers(vectors.len(), 1.5));
                let affine = Tensor::real(vectors.clone(), numbers(vectors.len(), 0.2));
                let mut x = declare(&mut graph, "x".to_owned(), &x);
                if half {
                    x = graph.push_one(ops::Convert, &[x], "converted").unwrap();
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
                graph.push_one(op, &operands.list(), "reduction").unwrap()
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
        if let Op::Conv2dGradInput(_) = &sample.op {
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

    /// Compares both kernels with the reference, and checks that a NaN in the input reaches both
    /// outputs. Returns false if the device cannot run the choice.
    pub fn check(&self, device: &Device, sample: &Sample, choice: &str) -> bool {
        let choices = match choice {
            "" => Choices::default(),
            name => Choices::everywhere(name),
        };
        let able = !self.half || matches!(device, Device::Gpu(_));
        if !able || lower(&self.graph, &device.target(), &choices).is_err() {
            return false;
        }
        let graphs = vec![self.graph.clone()];
        let mut engine = Engine::new(device, graphs, &choices).unwrap();
        let [y, reduction] = self.run(&mut engine, &self.store);
        // The output has the errors of its kernel; the reduction over the rows multiplies them by
        // its factors and adds its own rounding (kernel.rs).
        let largest =
            |tensor: &Tensor| tensor.values().iter().fold(1.0, |m: f64, v| m.max(v.abs()));
        let rows = y.1.shape.rows() as f64;
        let (size, rounding) = (largest(&y.1), (rows + 16.0) / 16_777_216.0);
        let operands: Vec<&Tensor> = sample.inputs.iter().collect();
        let own = bound(sample, &sample.op.reference(&operands), &choices, self.half);
        // Storing a half rounds by half an ULP; output and reference are both rounded.
        let rounded = if self.half { size / 2048.0 } else { 0.0 };
        let off = own + rounded;
        let passed_on = match &sample.op {
            // Errors of the mean, and of the mean square with the factor 2·(|y| + |mean|).
            Op::Conv2d(_) | Op::ShortcutAdd(_) => 4.0 * size * off + rounding * 4.0 * size * size,
            // A sum of products with |x̂| ≤ (1 + 2.5) / √0.5 < 5.
            _ => rows * 5.0 * (off + rounding * size),
        };
        for (what, (found, expected), tolerance) in [
            ("y", &y, off + rounded),
            ("reduction", &reduction, passed_on),
        ] {
            for (i, (a, b)) in found.values().iter().zip(expected.values()).enumerate() {
                assert!(
                    (a - b).abs() <= tolerance,
                    "{}: {what} {i} is {a}, reference {b}, tolerance {tolerance:e}",
                    self.graph
                );
            }
        }
        let mut poisoned = self.store.clone();
        let mut values = sample.inputs[0].values().to_vec();
        let middle = values.len() / 2;
        values[middle] = f64::NAN;
        let operand = Tensor::real(sample.inputs[0].shape.clone(), values);
        poisoned.insert("operand 0".to_owned(), operand);
        for (found, expected) in self.run(&mut engine, &poisoned) {
            for (a, b) in found.values().iter().zip(expected.values()) {
                let hidden = b.is_nan() && !a.is_nan();
                assert!(!hidden, "{}: a NaN became {a}", self.graph);
            }
        }
        true
    }

    /// Output and reduction, each as computed and as the reference computes it.
    fn run(&self, engine: &mut Engine, store: &interp::Store) -> [(Tensor, Tensor); 2] {
        let mut expected = store.clone();
        interp::run(&self.graph, &mut expected).unwrap();
        for (name, tensor) in store {
            engine.write(engine.value(name), &tensor.to_words());
        }
        engine.run(0).unwrap();
        ["y", "reduction"].map(|name| {
            let expected = expected[name].clone();
            let words = pollster::block_on(engine.read(engine.value(name))).unwrap();
            (Tensor::from_words(&expected.shape, &words), expected)
        })
    }
}
