//! Fusion: rules that replace a pattern of nodes by one node of the same meaning.
//!
//! A rule never changes what is computed: before and after agree in [`super::interp`], and a
//! test holds every rule to it.
//! Forward rules run before differentiation, so that the fused operator's own gradient is
//! used; backward rules run after it.

use super::{Graph, Node, Op, Role, ops};

/// Fuses patterns of the forward pass.
pub fn fuse_forward(graph: &mut Graph) {
    apply(graph, &[normalize_relu]);
}

/// Fuses patterns of the backward pass.
pub fn fuse_backward(graph: &mut Graph) {
    apply(graph, &[shortcut_grad_add]);
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

/// shortcut_grad, add → shortcut_grad with addend.
fn shortcut_grad_add(graph: &Graph, index: usize) -> Option<Replacement> {
    let add = &graph.nodes[index];
    let Op::Add(_) = add.op else { return None };
    [0, 1].into_iter().find_map(|operand| {
        let absorbed = only_producer(graph, index, operand)?;
        let producer = &graph.nodes[absorbed];
        let plain = matches!(producer.op, Op::ShortcutGrad(_)) && producer.inputs.len() == 1;
        plain.then(|| Replacement {
            absorbed,
            node: Node {
                op: producer.op.clone(),
                inputs: vec![producer.inputs[0], add.inputs[1 - operand]],
                outputs: add.outputs.clone(),
            },
        })
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
