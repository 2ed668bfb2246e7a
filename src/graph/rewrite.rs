//! Fusion: rules that replace a pattern of nodes by one equivalent node.
//!
//! A rule never changes what is computed: [`super::interp`] gives the same results before and
//! after, which `tests/fusion.rs` checks for every rule.
//! Forward rules run before differentiation, so that the fused operator's own gradient is
//! used; backward rules run after it.

use std::collections::HashSet;

use super::ops::{
    BatchMomentsInputs, BatchMomentsOutputs, Conv2dInputs, NormalizeGradInputs, NormalizeInputs,
    ShortcutAddInputs,
};
use super::{Graph, Node, Op, Role, ValueId, ops};

/// Fuses patterns of the forward pass.
pub fn fuse_forward(graph: &mut Graph) {
    apply(
        graph,
        &[
            normalize_relu,
            normalize_shortcut_add,
            batch_moments_running_average,
        ],
    );
}

/// Fuses normalisations into the loads of the convolutions that follow. For inference, runs after
/// [`fuse_inference`], whose fusion is cheaper.
pub fn fuse_loads(graph: &mut Graph) {
    apply(graph, &[normalize_conv2d]);
}

/// Fuses patterns of a forward pass that is never differentiated.
pub fn fuse_inference(graph: &mut Graph) {
    apply(graph, &[conv2d_normalize]);
}

/// Fuses patterns of the backward pass.
pub fn fuse_backward(graph: &mut Graph) {
    apply(graph, &[normalize_grad_add, shortcut_grad_normalize_grad]);
}

/// Moves the first half of a reduction over an activation, or over its gradient, into the epilogue
/// of the operator that computes it. Runs after every pass that moves or copies nodes: a copy
/// must not repeat the reduction.
pub fn fuse_reductions(graph: &mut Graph) {
    // The rules move no node, and the values that they add have no other reader.
    let links = Links::of(graph);
    for index in 0..graph.nodes.len() {
        partial_moments(graph, &links, index);
        partial_affine(graph, &links, index);
    }
}

/// The result of a rule: `node` replaces the matched node, and the node at index `absorbed` is
/// removed.
struct Replacement {
    absorbed: usize,
    node: Node,
}

type Rule = fn(&Graph, &Links, usize) -> Option<Replacement>;

fn apply(graph: &mut Graph, rules: &[Rule]) {
    let mut links = Links::of(graph);
    // Absorbed nodes are removed at the end, so that indices stay valid.
    let mut absorbed = vec![false; graph.nodes.len()];
    for index in 0..graph.nodes.len() {
        // The new node may match another rule.
        while !absorbed[index]
            && let Some(found) = rules.iter().find_map(|rule| rule(graph, &links, index))
        {
            links.remove(graph, found.absorbed);
            links.remove(graph, index);
            graph.nodes[index] = found.node;
            links.add(graph, index);
            absorbed[found.absorbed] = true;
        }
    }
    let mut absorbed = absorbed.into_iter();
    graph.nodes.retain(|_| absorbed.next() == Some(false));
}

/// Which nodes compute and read each value.
struct Links {
    producer: Vec<Option<usize>>,
    /// A node that reads a value twice is listed twice.
    readers: Vec<Vec<usize>>,
}

impl Links {
    fn of(graph: &Graph) -> Links {
        let mut links = Links {
            producer: vec![None; graph.values.len()],
            readers: vec![Vec::new(); graph.values.len()],
        };
        for index in 0..graph.nodes.len() {
            links.add(graph, index);
        }
        links
    }

    fn add(&mut self, graph: &Graph, index: usize) {
        let node = &graph.nodes[index];
        for id in computed(node) {
            self.producer[id.0] = Some(index);
        }
        for id in &node.inputs {
            self.readers[id.0].push(index);
        }
    }

    fn remove(&mut self, graph: &Graph, index: usize) {
        let node = &graph.nodes[index];
        for id in computed(node) {
            self.producer[id.0] = None;
        }
        for id in &node.inputs {
            self.readers[id.0].retain(|reader| *reader != index);
        }
    }

    /// Index of the node that computes a value; updating it in place does not count.
    fn producer(&self, id: ValueId) -> Option<usize> {
        self.producer[id.0]
    }

    /// Index of the node that computes a value, if the value is temporary and read exactly once.
    fn only_producer(&self, graph: &Graph, id: ValueId) -> Option<usize> {
        let alone = self.readers[id.0].len() == 1;
        let temporary = graph.value(id).role == Role::Temporary;
        self.producer(id).filter(|_| alone && temporary)
    }
}

/// The results of a node, without the values that it updates in place.
fn computed(node: &Node) -> impl Iterator<Item = ValueId> {
    let inputs: HashSet<ValueId> = node.inputs.iter().copied().collect();
    let outputs = node.outputs.iter().copied();
    outputs.filter(move |id| !inputs.contains(id))
}

/// normalize, relu → normalize with ReLU.
fn normalize_relu(graph: &Graph, links: &Links, index: usize) -> Option<Replacement> {
    let relu = &graph.nodes[index];
    let Op::Relu(op) = &relu.op else { return None };
    let absorbed = links.only_producer(graph, op.inputs(&relu.inputs).x)?;
    let producer = &graph.nodes[absorbed];
    let Op::Normalize(normalize) = &producer.op else {
        return None;
    };
    let op = ops::Normalize {
        relu: true,
        ..normalize.clone()
    };
    (!normalize.relu).then(|| Replacement {
        absorbed,
        node: Node {
            op: op.into(),
            inputs: producer.inputs.clone(),
            outputs: relu.outputs.clone(),
        },
    })
}

/// normalize, conv2d → conv2d that normalises its input.
fn normalize_conv2d(graph: &Graph, links: &Links, index: usize) -> Option<Replacement> {
    let node = &graph.nodes[index];
    let Op::Conv2d(plain) = &node.op else {
        return None;
    };
    let named = plain.inputs(&node.inputs);
    let absorbed = links.only_producer(graph, named.x)?;
    let producer = &graph.nodes[absorbed];
    let Op::Normalize(normalize) = &producer.op else {
        return None;
    };
    let op = ops::Conv2d {
        normalize_input: Some(normalize.clone()),
        ..plain.clone()
    };
    let NormalizeInputs { x, norm } = normalize.inputs(&producer.inputs);
    let inputs = Conv2dInputs {
        x,
        normalize_input: Some(norm),
        ..named
    };
    plain.normalize_input.is_none().then(|| Replacement {
        absorbed,
        node: Node {
            op: op.into(),
            inputs: inputs.list(),
            outputs: node.outputs.clone(),
        },
    })
}

/// conv2d, normalize with running statistics → conv2d that normalises its output.
fn conv2d_normalize(graph: &Graph, links: &Links, index: usize) -> Option<Replacement> {
    let node = &graph.nodes[index];
    let Op::Normalize(normalize) = &node.op else {
        return None;
    };
    let NormalizeInputs { x, norm } = normalize.inputs(&node.inputs);
    let absorbed = links.only_producer(graph, x)?;
    let producer = &graph.nodes[absorbed];
    let Op::Conv2d(plain) = &producer.op else {
        return None;
    };
    let op = ops::Conv2d {
        normalize_output: Some(normalize.clone()),
        ..plain.clone()
    };
    let inputs = Conv2dInputs {
        normalize_output: Some(norm),
        ..plain.inputs(&producer.inputs)
    };
    (!normalize.batch && plain.normalize_output.is_none()).then(|| Replacement {
        absorbed,
        node: Node {
            op: op.into(),
            inputs: inputs.list(),
            outputs: node.outputs.clone(),
        },
    })
}

/// batch_moments, running_average → batch_moments that updates the running statistics.
fn batch_moments_running_average(
    graph: &Graph,
    links: &Links,
    index: usize,
) -> Option<Replacement> {
    let node = &graph.nodes[index];
    let Op::BatchMoments(plain @ ops::BatchMoments { running: None }) = &node.op else {
        return None;
    };
    let x = plain.inputs(&node.inputs).x;
    let moments = plain.outputs(&node.outputs).moments;
    let mut readers = links.readers[moments.0].iter();
    let (absorbed, average, running) = readers.find_map(|at| {
        let other = &graph.nodes[*at];
        let Op::RunningAverage(average) = &other.op else {
            return None;
        };
        Some((*at, average, average.inputs(&other.inputs).running))
    })?;
    let op = ops::BatchMoments {
        running: Some(average.clone()),
    };
    let inputs = BatchMomentsInputs {
        x,
        running: Some(running),
    };
    let outputs = BatchMomentsOutputs {
        moments,
        running: Some(running),
    };
    Some(Replacement {
        absorbed,
        node: Node {
            op: op.into(),
            inputs: inputs.list(),
            outputs: outputs.list(),
        },
    })
}

/// normalize, shortcut_add → shortcut_add that normalises its branch.
fn normalize_shortcut_add(graph: &Graph, links: &Links, index: usize) -> Option<Replacement> {
    let sum = &graph.nodes[index];
    let Op::ShortcutAdd(plain) = &sum.op else {
        return None;
    };
    let named = plain.inputs(&sum.inputs);
    let absorbed = links.only_producer(graph, named.branch)?;
    let producer = &graph.nodes[absorbed];
    let (Op::Normalize(normalize), None) = (&producer.op, &plain.normalize) else {
        return None;
    };
    let op = ops::ShortcutAdd {
        normalize: Some(normalize.clone()),
        ..plain.clone()
    };
    let NormalizeInputs { x, norm } = normalize.inputs(&producer.inputs);
    let inputs = ShortcutAddInputs {
        branch: x,
        norm: Some(norm),
        ..named
    };
    (!normalize.relu).then(|| Replacement {
        absorbed,
        node: Node {
            op: op.into(),
            inputs: inputs.list(),
            outputs: sum.outputs.clone(),
        },
    })
}

/// normalize_grad, add → normalize_grad with an identity shortcut.
fn normalize_grad_add(graph: &Graph, links: &Links, index: usize) -> Option<Replacement> {
    let add = &graph.nodes[index];
    let Op::Add(op) = &add.op else { return None };
    let ops::AddInputs { a, b } = op.inputs(&add.inputs);
    [(a, b), (b, a)].into_iter().find_map(|(term, other)| {
        let absorbed = links.only_producer(graph, term)?;
        let producer = &graph.nodes[absorbed];
        let Op::NormalizeGrad(plain) = &producer.op else {
            return None;
        };
        let dims = &graph.shape(add.outputs[0]).dims;
        let identity = ops::ShortcutGrad {
            stride: 1,
            input: [*dims.get(1)?, *dims.get(2)?, *dims.get(3)?],
        };
        let op = ops::NormalizeGrad {
            shortcut: Some(identity),
            ..plain.clone()
        };
        let inputs = NormalizeGradInputs {
            dsum: Some(other),
            ..plain.inputs(&producer.inputs)
        };
        plain.shortcut.is_none().then(|| Replacement {
            absorbed,
            node: Node {
                op: op.into(),
                inputs: inputs.list(),
                outputs: add.outputs.clone(),
            },
        })
    })
}

/// shortcut_grad, normalize_grad with an identity shortcut → normalize_grad with the shortcut of
/// shortcut_grad.
fn shortcut_grad_normalize_grad(graph: &Graph, links: &Links, index: usize) -> Option<Replacement> {
    let node = &graph.nodes[index];
    let Op::NormalizeGrad(op) = &node.op else {
        return None;
    };
    let named = op.inputs(&node.inputs);
    let sum = named.dsum?;
    let absorbed = links.only_producer(graph, sum)?;
    let producer = &graph.nodes[absorbed];
    let Op::ShortcutGrad(shortcut) = &producer.op else {
        return None;
    };
    // Only an identity shortcut: a node holds one shortcut and cannot compose two.
    let identity = op.shortcut.as_ref().is_some_and(|s| s.stride == 1)
        && graph.shape(sum) == graph.shape(node.outputs[0]);
    let op = ops::NormalizeGrad {
        shortcut: Some(shortcut.clone()),
        ..op.clone()
    };
    let inputs = NormalizeGradInputs {
        dsum: Some(shortcut.inputs(&producer.inputs).dy),
        ..named
    };
    identity.then(|| Replacement {
        absorbed,
        node: Node {
            op: op.into(),
            inputs: inputs.list(),
            outputs: node.outputs.clone(),
        },
    })
}

/// conv2d or shortcut_add, batch_moments → conv2d or shortcut_add with partial moments of its
/// result, merge_moments.
fn partial_moments(graph: &mut Graph, links: &Links, reducer: usize) {
    let node = &graph.nodes[reducer];
    let Op::BatchMoments(op) = &node.op else {
        return;
    };
    let named = op.inputs(&node.inputs);
    let outputs = node.outputs.clone();
    let op = ops::MergeMoments {
        rows: graph.shape(named.x).rows(),
        running: op.running.clone(),
    };
    let Some(producer) = links.producer(named.x).filter(|at| *at < reducer) else {
        return;
    };
    let enabled = match &mut graph.nodes[producer].op {
        Op::Conv2d(conv) if conv.normalize_output.is_none() => &mut conv.partial_moments,
        Op::ShortcutAdd(sum) => &mut sum.partial_moments,
        _ => return,
    };
    if std::mem::replace(enabled, true) {
        return;
    }
    let partial = add_result(graph, producer, named.x, "partial moments");
    let inputs = ops::MergeMomentsInputs {
        partial,
        running: named.running,
    };
    graph.nodes[reducer] = Node {
        op: op.into(),
        inputs: inputs.list(),
        outputs,
    };
}

/// conv2d_grad_input or normalize_grad, normalize_grad_reduce → conv2d_grad_input or normalize_grad
/// with partial gradients of scale and shift, sum_slices.
fn partial_affine(graph: &mut Graph, links: &Links, reducer: usize) {
    let node = &graph.nodes[reducer];
    let Op::NormalizeGradReduce(reduce) = &node.op else {
        return;
    };
    let (reduce, outputs) = (reduce.clone(), node.outputs.clone());
    let ops::NormalizeGradReduceInputs {
        x,
        dy,
        moments,
        affine,
    } = reduce.inputs(&node.inputs);
    let Some(at) = links.producer(dy).filter(|at| *at < reducer) else {
        return;
    };
    // Activation checkpointing may recompute these only after `at`.
    let defined = |id: ValueId| links.producer(id).is_none_or(|index| index < at);
    let all_defined = [x, moments, affine].into_iter().all(defined);
    if !all_defined {
        return;
    }
    let norm = Some(ops::NormalizedOperands { x, moments, affine });
    let node = &mut graph.nodes[at];
    node.inputs = match &mut node.op {
        Op::Conv2dGradInput(op) if op.partial_affine.is_none() => {
            let named = op.inputs(&node.inputs);
            op.partial_affine = Some(reduce);
            ops::Conv2dGradInputInputs { norm, ..named }.list()
        }
        Op::NormalizeGrad(op) if op.partial_affine.is_none() => {
            let named = op.inputs(&node.inputs);
            op.partial_affine = Some(reduce);
            NormalizeGradInputs { norm, ..named }.list()
        }
        _ => return,
    };
    let partial = add_result(graph, at, dy, "partial affine");
    graph.nodes[reducer] = Node {
        op: ops::SumSlices.into(),
        inputs: ops::SumSlicesInputs { partial }.list(),
        outputs,
    };
}

/// Declares the second result of a node whose operator now has two; named after the first.
fn add_result(graph: &mut Graph, node: usize, first: ValueId, name: &str) -> ValueId {
    let Node { op, inputs, .. } = &graph.nodes[node];
    let shapes = graph
        .infer(op, inputs)
        .expect("the rule keeps the node valid");
    let name = format!("{} {name}", graph.value(first).name);
    let shape = shapes.into_iter().nth(1).expect("a second result");
    let partial = graph.declare(&name, shape, Role::Temporary);
    graph.nodes[node].outputs.push(partial);
    partial
}
