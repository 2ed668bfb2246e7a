//! Executes a graph with the operators' references, in double precision, on one thread.

use std::collections::HashMap;
use std::ops::Range;

use super::{Graph, GraphError, Role, Tensor, ValueId};

/// Values that outlive a run (external, kept and output) by name.
pub type Store = HashMap<String, Tensor>;

/// Runs all nodes: reads external and kept values from `store`, writes updated values and
/// outputs back to it, and then zeroes the arenas in [`Graph::clears`].
///
/// # Errors
/// [`GraphError::Missing`] if the store lacks a value or holds one of another shape.
pub fn run(graph: &Graph, store: &mut Store) -> Result<(), GraphError> {
    run_nodes(graph, 0..graph.nodes.len(), store, &mut HashMap::new())
}

/// Runs some of the nodes, as [`run`] does; the arenas are zeroed after the last node of the graph.
/// `temporaries` has the temporary values that later nodes read.
///
/// # Errors
/// As [`run`].
pub fn run_nodes(
    graph: &Graph,
    nodes: Range<usize>,
    store: &mut Store,
    temporaries: &mut HashMap<ValueId, Tensor>,
) -> Result<(), GraphError> {
    let mut values = std::mem::take(temporaries);
    let mut last_use = vec![0; graph.values.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for id in &node.inputs {
            last_use[id.0] = index;
        }
    }
    let is_temporary = |id: ValueId| graph.value(id).role == Role::Temporary;
    for index in nodes.clone() {
        let node = &graph.nodes[index];
        for id in &node.inputs {
            if !values.contains_key(id) {
                values.insert(*id, fetch(graph, store, *id)?);
            }
        }
        let inputs: Vec<&Tensor> = node.inputs.iter().map(|id| &values[id]).collect();
        let results = node.op.reference(&inputs);
        for (id, tensor) in node.outputs.iter().zip(results) {
            values.insert(*id, tensor.stored_as(graph.shape(*id)));
        }
        for id in &node.inputs {
            if last_use[id.0] == index && is_temporary(*id) {
                values.remove(id);
            }
        }
    }
    for (id, tensor) in values {
        match is_temporary(id) {
            true => {
                temporaries.insert(id, tensor);
            }
            false => {
                store.insert(graph.value(id).name.clone(), tensor);
            }
        }
    }
    if nodes.end < graph.nodes.len() {
        return Ok(());
    }
    temporaries.clear();
    for id in graph.clears.iter().flat_map(|arena| graph.arena(*arena)) {
        let value = graph.value(id);
        store.insert(value.name.clone(), Tensor::zeros(&value.shape));
    }
    Ok(())
}

fn fetch(graph: &Graph, store: &Store, id: ValueId) -> Result<Tensor, GraphError> {
    let value = graph.value(id);
    match store.get(&value.name) {
        Some(tensor) if tensor.shape == value.shape => Ok(tensor.clone()),
        _ => Err(GraphError::Missing(value.name.clone())),
    }
}
