//! Fusion: rules that replace a pattern of nodes by one node of the same meaning.
//!
//! A rule never changes what is computed: before and after agree in [`super::interp`], and a
//! test holds every rule to it.
//! Forward rules run before differentiation, so that the fused operator's own gradient is
//! used; backward rules run after it.

use super::{Graph, Node, Op, Role, ops};

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

/// Lets convolutions normalise what they load. After [`fuse_inference`], which needs less.
pub fn fuse_loads(graph: &mut Graph) {
    apply(graph, &[normalize_conv2d]);
}

/// Fuses patterns of a forward pass that nothing is differentiated through.
pub fn fuse_inference(graph: &mut Graph) {
    apply(graph, &[conv2d_normalize]);
}

/// Fuses patterns of the backward pass.
pub fn fuse_backward(graph: &mut Graph) {
    apply(graph, &[normalize_grad_add, shortcut_grad_normalize_grad]);
}

/// One application: `node` takes the place of the node that the rule was asked about, and
/// the node `absorbed` goes.
struct Replacement {
    absorbed: usize,
    node: Node,
}

type Rule = fn(&Graph, usize) -> Option<Replacement>;

fn apply(graph: &mut Graph, rules: &[Rule]) {
    let mut index = 0;
    while index < graph.nodes.len() {
        match rules.iter().find_map(|rule| rule(graph, index)) {
            Some(Replacement { absorbed, node }) => {
                graph.nodes[index] = node;
                graph.nodes.remove(absorbed);
                // The new node may be part of another pattern.
                index -= usize::from(absorbed < index);
            }
            None => index += 1,
        }
    }
}

/// normalize, relu → normalize with ReLU.
fn normalize_relu(graph: &Graph, index: usize) -> Option<Replacement> {
    let relu = &graph.nodes[index];
    let Op::Relu(_) = relu.op else { return None };
    let absorbed = only_producer(graph, index, 0)?;
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

/// normalize, conv2d → conv2d that normalises what it loads.
fn normalize_conv2d(graph: &Graph, index: usize) -> Option<Replacement> {
    let node = &graph.nodes[index];
    let Op::Conv2d(plain) = &node.op else {
        return None;
    };
    let absorbed = only_producer(graph, index, 0)?;
    let producer = &graph.nodes[absorbed];
    let Op::Normalize(normalize) = &producer.op else {
        return None;
    };
    let op = ops::Conv2d {
        normalize_input: Some(normalize.clone()),
        ..plain.clone()
    };
    let [x, moments, affine] = [0, 1, 2].map(|i| producer.inputs[i]);
    plain.normalize_input.is_none().then(|| Replacement {
        absorbed,
        node: Node {
            op: op.into(),
            inputs: [&[x, node.inputs[1], moments, affine], &node.inputs[2..]].concat(),
            outputs: node.outputs.clone(),
        },
    })
}

/// conv2d, normalize by running statistics → conv2d that normalises its result.
fn conv2d_normalize(graph: &Graph, index: usize) -> Option<Replacement> {
    let node = &graph.nodes[index];
    let Op::Normalize(normalize) = &node.op else {
        return None;
    };
    let absorbed = only_producer(graph, index, 0)?;
    let producer = &graph.nodes[absorbed];
    let Op::Conv2d(plain) = &producer.op else {
        return None;
    };
    let op = ops::Conv2d {
        normalize: Some(normalize.clone()),
        ..plain.clone()
    };
    (!normalize.batch && plain.normalize.is_none()).then(|| Replacement {
        absorbed,
        node: Node {
            op: op.into(),
            inputs: [&producer.inputs[..], &node.inputs[1..]].concat(),
            outputs: node.outputs.clone(),
        },
    })
}

/// batch_moments, running_average → batch_moments that updates the running statistics.
fn batch_moments_running_average(graph: &Graph, index: usize) -> Option<Replacement> {
    let node = &graph.nodes[index];
    let Op::BatchMoments(ops::BatchMoments { running: None }) = &node.op else {
        return None;
    };
    let updates = |other: &Node| {
        matches!(other.op, Op::RunningAverage(_)) && other.inputs[1] == node.outputs[0]
    };
    let absorbed = graph.nodes.iter().position(updates)?;
    let update = &graph.nodes[absorbed];
    let Op::RunningAverage(running) = &update.op else {
        return None;
    };
    let op = ops::BatchMoments {
        running: Some(running.clone()),
    };
    Some(Replacement {
        absorbed,
        node: Node {
            op: op.into(),
            inputs: vec![node.inputs[0], update.inputs[0]],
            outputs: vec![node.outputs[0], update.outputs[0]],
        },
    })
}

/// normalize, shortcut_add → shortcut_add that normalises its branch.
fn normalize_shortcut_add(graph: &Graph, index: usize) -> Option<Replacement> {
    let sum = &graph.nodes[index];
    let Op::ShortcutAdd(plain) = &sum.op else {
        return None;
    };
    let absorbed = only_producer(graph, index, 0)?;
    let producer = &graph.nodes[absorbed];
    let (Op::Normalize(normalize), None) = (&producer.op, &plain.normalize) else {
        return None;
    };
    let op = ops::ShortcutAdd {
        normalize: Some(normalize.clone()),
        ..plain.clone()
    };
    let [branch, moments, affine] = [0, 1, 2].map(|i| producer.inputs[i]);
    (!normalize.relu).then(|| Replacement {
        absorbed,
        node: Node {
            op: op.into(),
            inputs: vec![branch, sum.inputs[1], moments, affine],
            outputs: sum.outputs.clone(),
        },
    })
}

/// normalize_grad, add → normalize_grad with an identity as shortcut.
fn normalize_grad_add(graph: &Graph, index: usize) -> Option<Replacement> {
    let add = &graph.nodes[index];
    let Op::Add(_) = add.op else { return None };
    [0, 1].into_iter().find_map(|operand| {
        let absorbed = only_producer(graph, index, operand)?;
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
        plain.shortcut.is_none().then(|| Replacement {
            absorbed,
            node: Node {
                op: op.into(),
                inputs: [&producer.inputs[..], &[add.inputs[1 - operand]]].concat(),
                outputs: add.outputs.clone(),
            },
        })
    })
}

/// shortcut_grad, normalize_grad with an identity as shortcut → normalize_grad with that
/// shortcut.
fn shortcut_grad_normalize_grad(graph: &Graph, index: usize) -> Option<Replacement> {
    let node = &graph.nodes[index];
    let Op::NormalizeGrad(op) = &node.op else {
        return None;
    };
    let (own, sum) = node.inputs.split_at_checked(5)?;
    let &[sum] = sum else { return None };
    let absorbed = only_producer(graph, index, own.len())?;
    let producer = &graph.nodes[absorbed];
    let Op::ShortcutGrad(shortcut) = &producer.op else {
        return None;
    };
    // Only of an identity: no shortcut leads through two.
    let identity = op.shortcut.as_ref().is_some_and(|s| s.stride == 1)
        && graph.shape(sum) == graph.shape(node.outputs[0]);
    let op = ops::NormalizeGrad {
        shortcut: Some(shortcut.clone()),
        ..op.clone()
    };
    identity.then(|| Replacement {
        absorbed,
        node: Node {
            op: op.into(),
            inputs: [own, &producer.inputs].concat(),
            outputs: node.outputs.clone(),
        },
    })
}

/// The node that makes an operand, if that operand is temporary and nobody else uses it.
fn only_producer(graph: &Graph, index: usize, operand: usize) -> Option<usize> {
    let id = graph.nodes[index].inputs[operand];
    let uses = graph.nodes.iter().flat_map(|n| &n.inputs);
    let alone = uses.filter(|used| **used == id).count() == 1;
    let temporary = graph.value(id).role == Role::Temporary;
    let makes = |n: &Node| n.outputs.contains(&id);
    graph
        .nodes
        .iter()
        .position(makes)
        .filter(|_| alone && temporary)
}
