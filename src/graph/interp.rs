//! Executes a graph with the operators' references, in double precision, on one thread.

use std::collections::HashMap;

use super::{Graph, GraphError, Role, Tensor, ValueId};

/// Values that outlive a run (external, kept and output) by name.
pub type Store = HashMap<String, Tensor>;

/// Runs all nodes: reads external and kept values from `store`, writes updated values and
/// outputs back to it, and then zeroes the arenas in [`Graph::clears`].
///
/// # Errors
/// [`GraphError::Missing`] if the store lacks a value or holds one of another shape.
pub fn run(graph: &Graph, store: &mut Store) -> Result<(), GraphError> {
    let mut values: Vec<Option<Tensor>> = vec![None; graph.values.len()];
    let mut last_use = vec![0; graph.values.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for id in &node.inputs {
            last_use[id.0] = index;
        }
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        for id in &node.inputs {
            if values[id.0].is_none() {
                values[id.0] = Some(fetch(graph, store, *id)?);
            }
        }
        let inputs: Vec<&Tensor> = node
            .inputs
            .iter()
            .filter_map(|id| values[id.0].as_ref())
            .collect();
        let results = node.op.reference(&inputs);
        for (id, tensor) in node.outputs.iter().zip(results) {
            values[id.0] = Some(tensor.stored_as(graph.shape(*id)));
        }
        for id in &node.inputs {
            if last_use[id.0] == index && graph.value(*id).role == Role::Temporary {
                values[id.0] = None;
            }
        }
    }
    for (value, tensor) in graph.values.iter().zip(values) {
        if let (Some(tensor), true) = (tensor, value.role != Role::Temporary) {
            store.insert(value.name.clone(), tensor);
        }
    }
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
