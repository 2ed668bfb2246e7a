//! The work of a step, for the roofline: operations and memory traffic.

use crate::graph::{Graph, Node, ValueId};
use crate::program::Program;

/// The dispatches of a program, or the nodes of a graph that is not lowered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Work {
    /// Names of kernels, or of operators.
    pub(super) kernels: Vec<String>,
    /// In order of execution.
    pub(super) tasks: Vec<Task>,
}

/// One dispatch, or one node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Task {
    /// Index of its kernel.
    pub(super) kernel: usize,
    /// Display name of what it computes.
    pub(super) label: String,
    /// Operations, without pads.
    pub(super) flops: u64,
    /// Lower bound of its memory traffic in bytes: all operands and results, once.
    pub(super) bytes: u64,
    /// [`Dispatch::serial_steps`](crate::program::Dispatch::serial_steps); 0 for nodes.
    pub(super) serial_steps: u32,
}

impl Work {
    /// The dispatches of a program.
    pub(super) fn of_program(program: &Program) -> Work {
        let kernels = program.kernels.iter();
        let dispatches = program.dispatches.iter();
        Work {
            kernels: kernels.map(|kernel| kernel.name.clone()).collect(),
            tasks: dispatches
                .map(|dispatch| Task {
                    kernel: dispatch.kernel.0,
                    label: dispatch.label.clone(),
                    flops: dispatch.flops,
                    bytes: Program::bytes(dispatch),
                    serial_steps: dispatch.serial_steps,
                })
                .collect(),
        }
    }

    /// The nodes of a graph.
    pub(super) fn of_graph(graph: &Graph) -> Work {
        let mut kernels: Vec<String> = Vec::new();
        let mut tasks = Vec::new();
        for node in &graph.nodes {
            let name = node.op.name();
            let known = kernels.iter().position(|kernel| kernel == name);
            let kernel = known.unwrap_or_else(|| {
                kernels.push(name.to_owned());
                kernels.len() - 1
            });
            tasks.push(task(graph, node, kernel));
        }
        Work { kernels, tasks }
    }

    /// Operations of the whole step, without pads.
    pub(super) fn flops(&self) -> u64 {
        self.tasks.iter().map(|task| task.flops).sum()
    }
}

fn task(graph: &Graph, node: &Node, kernel: usize) -> Task {
    let shapes = |ids: &[ValueId]| ids.iter().map(|id| graph.shape(*id)).collect::<Vec<_>>();
    let mut operands: Vec<ValueId> = node.inputs.iter().chain(&node.outputs).copied().collect();
    operands.sort_unstable();
    operands.dedup();
    let result = node.outputs.first();
    Task {
        kernel,
        label: result.map_or_else(String::new, |id| graph.value(*id).name.clone()),
        flops: node.op.flops(&shapes(&node.inputs), &shapes(&node.outputs)),
        bytes: operands.iter().map(|id| graph.shape(*id).bytes()).sum(),
        serial_steps: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::ops;
    use crate::shape::Shape;

    #[test]
    fn operands_of_a_node_count_once() {
        let mut graph = Graph::new();
        let x = graph.external("x", Shape::channels(&[2, 4, 4, 8]));
        let sum = graph.push_one(ops::Add, &[x, x], "sum").unwrap();
        graph.push_one(ops::Relu, &[sum], "y").unwrap();
        graph.push_one(ops::Add, &[x, sum], "z").unwrap();
        let work = Work::of_graph(&graph);
        assert_eq!(work.kernels, ["add", "relu"]);
        let kernels: Vec<usize> = work.tasks.iter().map(|task| task.kernel).collect();
        assert_eq!(kernels, [0, 1, 0]);
        let bytes: Vec<u64> = work.tasks.iter().map(|task| task.bytes / 1024).collect();
        assert_eq!(bytes, [2, 2, 3]);
        assert_eq!(work.tasks[2].label, "z");
    }
}
