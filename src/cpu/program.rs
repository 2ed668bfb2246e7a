//! A graph as a program for the processor: a buffer for each value, a dispatch for each node.
//!
//! There is no shader behind it; it serves the memory plan, and whoever counts bytes and
//! operations.

use crate::graph::{Graph, Node, Role, ValueId};
use crate::program::{Access, Binding, BufferId, Dispatch, Kernel, Lifetime, Needs, Program};

/// Buffer i is the graph's value i, dispatch i its node i.
pub fn program(graph: &Graph) -> Program {
    let mut program = Program::new();
    for value in &graph.values {
        let lifetime = match value.role {
            Role::Temporary => Lifetime::Temporary,
            _ => Lifetime::Kept,
        };
        program.buffer(&value.name, value.shape.bytes(), lifetime);
    }
    for node in &graph.nodes {
        let dispatch = dispatch(graph, node, &mut program);
        program.dispatches.push(dispatch);
    }
    program
}

fn dispatch(graph: &Graph, node: &Node, program: &mut Program) -> Dispatch {
    let binding = |id: &ValueId, access| Binding {
        buffer: BufferId(id.0),
        offset: 0,
        bytes: graph.shape(*id).bytes(),
        access,
    };
    let read = node.inputs.iter().filter(|id| !node.outputs.contains(id));
    let bindings: Vec<Binding> = read
        .map(|id| binding(id, Access::Read))
        .chain(node.outputs.iter().map(|id| binding(id, Access::Write)))
        .collect();
    let kernel = program.kernel(Kernel {
        name: node.op.name().to_owned(),
        source: String::new(),
        bindings: Vec::new(),
        needs: Needs::default(),
    });
    let shapes = |ids: &[ValueId]| ids.iter().map(|id| graph.shape(*id)).collect::<Vec<_>>();
    let result = node.outputs.first();
    Dispatch {
        kernel,
        label: result.map_or_else(String::new, |id| graph.value(*id).name.clone()),
        uniforms: Vec::new(),
        bindings,
        grid: [1; 3],
        flops: node.op.flops(&shapes(&node.inputs), &shapes(&node.outputs)),
    }
}
