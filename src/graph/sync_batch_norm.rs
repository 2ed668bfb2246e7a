//! Synchronised batch norm: with several replicas, each of which has a share of the batch, the
//! statistics are those of the whole batch, as in PyTorch's `SyncBatchNorm`.
//!
//! Replicas exchange two vectors for each batch norm: in the forward pass the moments, from which all
//! normalise and update their running statistics; in the backward pass the sums from which the gradient
//! through the moments is computed. The gradients of scale and shift stay those of the share, since the
//! gradients of all parameters are added over the replicas later.

use std::collections::HashMap;

use super::ops::{AllReduce, NormalizeGradInputs, Reduction};
use super::{Graph, Node, Op, Role, ValueId};

/// Adds the reductions of a forward pass, before any other pass.
pub fn reduce_moments(graph: &mut Graph) {
    let mut reduced: HashMap<ValueId, ValueId> = HashMap::new();
    for mut node in std::mem::take(&mut graph.nodes) {
        for input in &mut node.inputs {
            *input = *reduced.get(input).unwrap_or(input);
        }
        let own = matches!(node.op, Op::BatchMoments(_)).then(|| node.outputs[0]);
        graph.nodes.push(node);
        if let Some(own) = own {
            let name = graph.value(own).name.clone();
            graph.output(own, &format!("{name} of the share"));
            reduced.insert(own, all_reduce(graph, Reduction::Moments, own, &name));
        }
    }
}

/// Adds the reductions of the nodes from `first_backward` on, before any pass that fuses or copies
/// them; the gradients of parameters are already stored.
pub fn reduce_sums(graph: &mut Graph, first_backward: usize) {
    let backward = graph.nodes.split_off(first_backward);
    for mut node in backward {
        if let Op::NormalizeGrad(op) = &node.op
            && op.batch
        {
            let named = op.inputs(&node.inputs);
            let own = named.daffine;
            let name = graph.value(own).name.clone();
            let daffine = all_reduce(graph, Reduction::Sums, own, &name);
            node.inputs = NormalizeGradInputs { daffine, ..named }.list();
        }
        graph.nodes.push(node);
    }
}

/// Appends the reduction of a value; returns its result.
fn all_reduce(graph: &mut Graph, reduction: Reduction, own: ValueId, name: &str) -> ValueId {
    let shape = graph.shape(own).clone();
    let all = graph.declare(&format!("{name} of all shares"), shape, Role::External);
    graph.nodes.push(Node {
        op: AllReduce { reduction }.into(),
        inputs: vec![own],
        outputs: vec![all],
    });
    all
}
