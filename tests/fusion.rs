//! Every rule of `graph::rewrite`: the graphs before and after compute the same in the
//! interpreter, and their text is that of `tests/snapshots/fusion.txt`.
//!
//! The references of fused operators do the same arithmetic in the same order, so that even
//! the bits agree.

mod common;

use std::collections::BTreeMap;

use common::networks::{graph, small_networks};
use common::snapshot;
use pyr_wgpu::graph::ops::{
    self, BatchMoments, Conv2d, Conv2dGradInput, Draw, Normalize, NormalizeGrad,
    NormalizeGradReduce, RunningAverage, ShortcutAdd, ShortcutGrad, Window,
};
use pyr_wgpu::graph::{Arena, Graph, Node, Op, Role, Tensor, ValueId, interp, rewrite};
use pyr_wgpu::model::Input;
use pyr_wgpu::shape::Shape;
use pyr_wgpu::train::{Mode, sample_operands};

const EPSILON: f32 = 1e-5;

const WINDOW: Window = Window {
    stride: 1,
    padding: 1,
};

fn normalize(batch: bool, relu: bool) -> Normalize {
    Normalize {
        epsilon: EPSILON,
        batch,
        relu,
    }
}

fn conv2d() -> Conv2d {
    Conv2d::new(WINDOW)
}

/// A graph under construction, with random operands.
struct Case {
    graph: Graph,
    draw: Draw,
    store: interp::Store,
}

impl Case {
    fn new() -> Case {
        Case {
            graph: Graph::new(),
            draw: Draw::new(5),
            store: interp::Store::new(),
        }
    }

    fn value(&mut self, name: &str, tensor: Tensor) -> ValueId {
        self.store.insert(name.to_owned(), tensor.clone());
        self.graph.external(name, tensor.shape)
    }

    /// An activation [2, 4, 4, C].
    fn map(&mut self, name: &str, channels: usize) -> ValueId {
        let tensor = self.draw.real(Shape::channels(&[2, 4, 4, channels]));
        self.value(name, tensor)
    }

    /// Positive numbers [2, C]: moments, or scale and shift.
    fn vectors(&mut self, name: &str, channels: usize) -> ValueId {
        let tensor = self.draw.positive(Shape::channels(&[2, channels]));
        self.value(name, tensor)
    }

    fn weights(&mut self, name: &str, inputs: usize, outputs: usize) -> ValueId {
        let tensor = self.draw.real(Shape::weights([3, 3, inputs, outputs]));
        self.value(name, tensor)
    }

    fn push(&mut self, op: impl Into<ops::Op>, inputs: &[ValueId], name: &str) -> ValueId {
        self.graph.push_one(op, inputs, name).unwrap()
    }

    /// Applies rules, which must not change a bit of the results; returns both graphs as text.
    fn fused(mut self, what: &str, results: &[ValueId], rules: fn(&mut Graph)) -> String {
        for (number, id) in results.iter().enumerate() {
            self.graph.output(*id, &format!("result {number}"));
        }
        let mut fused = self.graph.clone();
        rules(&mut fused);
        fused.validate().unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_ne!(fused, self.graph, "{what}: no rule applies");
        let [before, after] = [&self.graph, &fused].map(|graph| {
            let mut store = self.store.clone();
            interp::run(graph, &mut store).unwrap_or_else(|e| panic!("{what}: {e}"));
            let lasting = graph.values.iter().filter(|v| v.role != Role::Temporary);
            let names = lasting.map(|v| v.name.clone());
            names
                .map(|name| (name.clone(), store[&name].clone()))
                .collect::<Vec<_>>()
        });
        assert_eq!(before, after, "{what}");
        format!("# {what}\n{}→\n{fused}\n", self.graph)
    }
}

fn normalize_relu() -> String {
    let mut case = Case::new();
    let (x, moments, affine) = (case.map("x", 3), case.vectors("m", 3), case.vectors("a", 3));
    let y = case.push(normalize(false, false), &[x, moments, affine], "y");
    let z = case.push(ops::Relu, &[y], "z");
    case.fused("normalize, relu", &[z], rewrite::fuse_forward)
}

fn normalize_shortcut_add() -> String {
    let mut case = Case::new();
    let (x, moments, affine) = (case.map("x", 5), case.vectors("m", 5), case.vectors("a", 5));
    let input = case.map("input", 3);
    let branch = case.push(normalize(false, false), &[x, moments, affine], "branch");
    let op = ShortcutAdd::new(1);
    let sum = case.push(op, &[branch, input], "sum");
    case.fused("normalize, shortcut_add", &[sum], rewrite::fuse_forward)
}

fn batch_moments_running_average() -> String {
    let mut case = Case::new();
    let x = case.map("x", 3);
    let start = case.draw.positive(Shape::channels(&[2, 3]));
    case.store.insert("running".to_owned(), start.clone());
    let running = case.graph.kept("running", start.shape, Arena::Statistics);
    let moments = case.push(BatchMoments { running: None }, &[x], "moments");
    let average = RunningAverage {
        weight: 0.1,
        count: 32,
    };
    case.push(average, &[running, moments], "updated");
    let what = "batch_moments, running_average";
    case.fused(what, &[moments], rewrite::fuse_forward)
}

fn conv2d_normalize() -> String {
    let mut case = Case::new();
    let (x, w) = (case.map("x", 3), case.weights("w", 3, 5));
    let (moments, affine) = (case.vectors("m", 5), case.vectors("a", 5));
    let y = case.push(conv2d(), &[x, w], "y");
    let z = case.push(normalize(false, true), &[y, moments, affine], "z");
    case.fused("conv2d, normalize", &[z], rewrite::fuse_inference)
}

fn normalize_conv2d() -> String {
    let mut case = Case::new();
    let (x, w) = (case.map("x", 3), case.weights("w", 3, 5));
    let (moments, affine) = (case.vectors("m", 3), case.vectors("a", 3));
    let y = case.push(normalize(false, true), &[x, moments, affine], "y");
    let z = case.push(conv2d(), &[y, w], "z");
    case.fused("normalize, conv2d", &[z], rewrite::fuse_loads)
}

/// The gradient of a normalisation, by x.
fn normalize_grad(case: &mut Case, channels: usize) -> ValueId {
    let (x, dy) = (case.map("x", channels), case.map("dy", channels));
    let (moments, affine) = (case.vectors("m", channels), case.vectors("a", channels));
    let daffine = case.vectors("da", channels);
    let op = NormalizeGrad {
        epsilon: EPSILON,
        batch: true,
        relu: true,
        shortcut: None,
        partial_affine: None,
    };
    case.push(op, &[x, dy, moments, affine, daffine], "dx")
}

fn normalize_grad_add() -> String {
    let mut case = Case::new();
    let dx = normalize_grad(&mut case, 3);
    let other = case.map("other", 3);
    let sum = case.push(ops::Add, &[other, dx], "sum");
    case.fused("normalize_grad, add", &[sum], rewrite::fuse_backward)
}

fn shortcut_grad_normalize_grad() -> String {
    let mut case = Case::new();
    let shortcut = ShortcutGrad {
        stride: 2,
        input: [4, 4, 3],
    };
    let dsum = case.draw.real(Shape::channels(&[2, 2, 2, 5]));
    let dsum = case.value("dsum", dsum);
    let through = case.push(shortcut, &[dsum], "through");
    let dx = normalize_grad(&mut case, 3);
    let sum = case.push(ops::Add, &[dx, through], "sum");
    let what = "shortcut_grad, normalize_grad, add";
    case.fused(what, &[sum], rewrite::fuse_backward)
}

fn conv2d_batch_moments() -> String {
    let mut case = Case::new();
    let (x, w) = (case.map("x", 3), case.weights("w", 3, 5));
    let y = case.push(conv2d(), &[x, w], "y");
    let moments = case.push(BatchMoments { running: None }, &[y], "moments");
    let what = "conv2d, batch_moments";
    case.fused(what, &[y, moments], rewrite::fuse_reductions)
}

fn shortcut_add_batch_moments() -> String {
    let mut case = Case::new();
    let (branch, x) = (case.map("branch", 5), case.map("x", 3));
    let op = ShortcutAdd::new(1);
    let y = case.push(op, &[branch, x], "y");
    let moments = case.push(BatchMoments { running: None }, &[y], "moments");
    let what = "shortcut_add, batch_moments";
    case.fused(what, &[y, moments], rewrite::fuse_reductions)
}

fn conv2d_grad_input_normalize_grad_reduce() -> String {
    let mut case = Case::new();
    let (dy, w, x) = (case.map("dy", 5), case.weights("w", 3, 5), case.map("x", 3));
    let (moments, affine) = (case.vectors("m", 3), case.vectors("a", 3));
    let op = Conv2dGradInput {
        window: WINDOW,
        input: [4, 4],
        partial_affine: None,
    };
    let dx = case.push(op, &[dy, w], "dx");
    let reduce = NormalizeGradReduce {
        epsilon: EPSILON,
        relu: true,
    };
    let daffine = case.push(reduce, &[x, dx, moments, affine], "daffine");
    let what = "conv2d_grad_input, normalize_grad_reduce";
    case.fused(what, &[dx, daffine], rewrite::fuse_reductions)
}

fn normalize_grad_normalize_grad_reduce() -> String {
    let mut case = Case::new();
    let dx = normalize_grad(&mut case, 3);
    let x = case.map("previous x", 3);
    let (moments, affine) = (case.vectors("previous m", 3), case.vectors("previous a", 3));
    let reduce = NormalizeGradReduce {
        epsilon: EPSILON,
        relu: false,
    };
    let daffine = case.push(reduce, &[x, dx, moments, affine], "daffine");
    let what = "normalize_grad, normalize_grad_reduce";
    case.fused(what, &[dx, daffine], rewrite::fuse_reductions)
}

#[test]
fn every_rule_keeps_what_is_computed() {
    let cases = [
        normalize_relu(),
        normalize_shortcut_add(),
        batch_moments_running_average(),
        conv2d_normalize(),
        normalize_conv2d(),
        normalize_grad_add(),
        shortcut_grad_normalize_grad(),
        conv2d_batch_moments(),
        shortcut_add_batch_moments(),
        conv2d_grad_input_normalize_grad_reduce(),
        normalize_grad_normalize_grad_reduce(),
    ];
    snapshot("fusion", &cases.concat());
}

/// A reduction whose other operands are computed after the producer is not fused.
#[test]
fn a_reduction_of_later_values_stays_apart() {
    let mut case = Case::new();
    let (dy, w, x) = (case.map("dy", 5), case.weights("w", 3, 5), case.map("x", 3));
    let (moments, affine) = (case.vectors("m", 3), case.vectors("a", 3));
    let op = Conv2dGradInput {
        window: WINDOW,
        input: [4, 4],
        partial_affine: None,
    };
    let dx = case.push(op, &[dy, w], "dx");
    let again = case.push(ops::Relu, &[x], "x again");
    let reduce = NormalizeGradReduce {
        epsilon: EPSILON,
        relu: false,
    };
    case.push(reduce, &[again, dx, moments, affine], "daffine");
    let before = case.graph.clone();
    rewrite::fuse_reductions(&mut case.graph);
    assert_eq!(case.graph, before);
}

/// Whether a node shows that a rule fired.
type Fired = fn(&Node) -> bool;

/// The rules that whole networks exercise.
const RULES: [(&str, Fired); 6] = [
    ("relu", |node| match &node.op {
        Op::Normalize(op) => op.relu,
        Op::Conv2d(op) => op.normalize_input.as_ref().is_some_and(|norm| norm.relu),
        _ => false,
    }),
    (
        "normalize, conv2d",
        |node| matches!(&node.op, Op::Conv2d(op) if op.normalize_input.is_some()),
    ),
    (
        "normalize, shortcut_add",
        |node| matches!(&node.op, Op::ShortcutAdd(op) if op.normalize.is_some()),
    ),
    (
        "normalize_grad, add",
        |node| matches!(&node.op, Op::NormalizeGrad(op) if op.shortcut.is_some()),
    ),
    ("normalize_grad, shortcut_grad", |node| match &node.op {
        Op::NormalizeGrad(op) => op.shortcut.as_ref().is_some_and(|s| s.stride == 2),
        _ => false,
    }),
    (
        "batch_moments, running_average",
        |node| matches!(&node.op, Op::BatchMoments(op) if op.running.is_some()),
    ),
];

fn count(graph: &Graph, fired: Fired) -> usize {
    graph.nodes.iter().filter(|node| fired(node)).count()
}

/// Fusion changes no bit of a training step of a whole network: scores, loss, gradients,
/// parameters and running statistics.
#[test]
fn fusion_changes_nothing() {
    let mut totals = RULES.map(|_| 0);
    for small in small_networks() {
        let (name, network, batch) = (small.name, &small.network, small.batch);
        let [unfused, fused] =
            [false, true].map(|fuse| graph(network, batch, &Input::Tensor, Mode::Train, fuse));
        for ((rule, fired), total) in RULES.iter().zip(&mut totals) {
            assert_eq!(count(&unfused, *fired), 0, "{name}: {rule}");
            *total += count(&fused, *fired);
        }
        // In these networks a batch norm precedes every ReLU.
        let relu: Fired = |node| matches!(node.op, Op::Relu(_));
        let (_, with_relu) = RULES[0];
        assert_eq!(count(&fused, with_relu), count(&unfused, relu), "{name}");
        assert_eq!(count(&fused, relu), 0, "{name}");

        let store = sample_operands(&unfused, 3);
        assert_eq!(store, sample_operands(&fused, 3), "{name}");
        let [unfused, fused] = [unfused, fused].map(|graph| {
            let mut store = store.clone();
            interp::run(&graph, &mut store).unwrap_or_else(|e| panic!("{name}: {e}"));
            store.into_iter().collect::<BTreeMap<_, _>>()
        });
        assert!(unfused.keys().eq(fused.keys()), "{name}");
        for (value, tensor) in &unfused {
            assert_eq!(*tensor, fused[value], "{name}: {value}");
        }
    }
    for ((rule, _), total) in RULES.iter().zip(totals) {
        assert!(total > 0, "{rule} fires in no network");
    }
}
