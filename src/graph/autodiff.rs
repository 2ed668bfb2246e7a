//! Reverse-mode differentiation as a pass: walks the nodes backwards and appends, for each,
//! the nodes of its operator's gradient rule.
//!
//! [`super::ops::Add`] sums the contributions to one value, last use first: a fixed order, so
//! that the same graph always gives the same bits.

use super::ops::Tape;
use super::{Graph, GraphError, Node, ValueId, ops};

/// Appends the nodes that compute the gradients of the values in `wanted`.
///
/// `seeds` pairs each differentiated result with the value of its upstream gradient.
/// Returns the gradient of each wanted value; `None` if no result depends on it.
///
/// # Errors
/// [`GraphError::NotDifferentiable`] if a wanted value reaches a result through an operator
/// without a gradient.
pub fn backward(
    graph: &mut Graph,
    seeds: &[(ValueId, ValueId)],
    wanted: &[ValueId],
) -> Result<Vec<Option<ValueId>>, GraphError> {
    let forward = graph.nodes.clone();
    let mut depends = vec![false; graph.values.len()];
    for id in wanted {
        depends[id.0] = true;
    }
    for node in &forward {
        if node.inputs.iter().any(|id| depends[id.0]) {
            for output in &node.outputs {
                depends[output.0] = true;
            }
        }
    }
    let mut gradients: Vec<Option<ValueId>> = vec![None; graph.values.len()];
    for (result, seed) in seeds {
        gradients[result.0] = Some(*seed);
    }
    let mut tape = Tape {
        graph,
        wanted: depends,
    };
    for node in forward.iter().rev() {
        differentiate(&mut tape, node, &mut gradients)?;
    }
    Ok(wanted.iter().map(|id| gradients[id.0]).collect())
}

fn differentiate(
    tape: &mut Tape<'_>,
    node: &Node,
    gradients: &mut [Option<ValueId>],
) -> Result<(), GraphError> {
    let upstream: Vec<Option<ValueId>> = node.outputs.iter().map(|id| gradients[id.0]).collect();
    let needed = node.inputs.iter().any(|id| tape.wants(*id));
    if !needed || upstream.iter().all(Option::is_none) {
        return Ok(());
    }
    let contributions = node.op.gradient(tape, node, &upstream)?;
    for (input, contribution) in node.inputs.iter().zip(contributions) {
        let Some(contribution) = contribution.filter(|_| tape.wants(*input)) else {
            continue;
        };
        gradients[input.0] = Some(match gradients[input.0] {
            None => contribution,
            Some(sum) => tape.push_one(ops::Add, &[sum, contribution], *input)?,
        });
    }
    Ok(())
}
