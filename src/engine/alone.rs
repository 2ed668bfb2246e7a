//! One node of a graph as a graph of its own, to be timed and compared.

use crate::graph::{Graph, Node, Op, Role, Value, ValueId, interp};
use crate::kernels::{self, Choices, Offer, Target};
use crate::shape::{DType, Layout, Shape};

use super::EngineError;

/// A node, with the nodes that merge its partial statistics: how many slices those have depends
/// on the kernel, so they cannot be compared themselves.
pub(super) struct Alone {
    /// External operands, outputs as results.
    pub(super) graph: Graph,
    /// Names of the operands, and their values in the original graph.
    pub(super) operands: Vec<(String, ValueId)>,
    /// Names of the results with real numbers, their values in the original graph, and the nodes
    /// that compute them.
    pub(super) results: Vec<(String, ValueId, usize)>,
}

impl Alone {
    /// The node with an index.
    pub(super) fn new(graph: &Graph, index: usize) -> Alone {
        let node = &graph.nodes[index];
        let mut nodes = vec![index];
        for id in &node.outputs {
            if graph.shape(*id).layout == Layout::Slices {
                let merging = graph.nodes.iter().enumerate();
                let merging = merging.filter(|(_, other)| other.inputs.contains(id));
                nodes.extend(merging.map(|(index, _)| index));
            }
        }
        let mut alone = Alone {
            graph: Graph::new(),
            operands: Vec::new(),
            results: Vec::new(),
        };
        let mut own: Vec<Option<ValueId>> = vec![None; graph.values.len()];
        for index in nodes {
            let Node {
                op,
                inputs,
                outputs,
            } = &graph.nodes[index];
            for id in inputs {
                if own[id.0].is_none() {
                    let name = format!("operand {}", alone.operands.len());
                    own[id.0] = Some(alone.declare(graph, *id, &name, Role::External));
                    alone.operands.push((name, *id));
                }
            }
            for id in outputs {
                let shape = graph.shape(*id);
                if own[id.0].is_none() {
                    let role = match shape.layout {
                        Layout::Slices => Role::Temporary,
                        _ => Role::Output,
                    };
                    let name = format!("result {}", alone.graph.values.len());
                    own[id.0] = Some(alone.declare(graph, *id, &name, role));
                }
                let own = own[id.0].expect("it was declared");
                if shape.layout != Layout::Slices && shape.dtype != DType::U32 {
                    let name = alone.graph.value(own).name.clone();
                    alone.results.push((name, *id, index));
                }
            }
            let mapped = |ids: &[ValueId]| ids.iter().filter_map(|id| own[id.0]).collect();
            let node = Node {
                op: op.clone(),
                inputs: mapped(inputs),
                outputs: mapped(outputs),
            };
            alone.graph.nodes.push(node);
        }
        alone
    }

    /// Images in a batch.
    pub(super) fn images(&self) -> usize {
        self.maps().map(|map| map.dims[0]).max().unwrap_or(1)
    }

    /// The fewest images whose feature maps all have so many pixels.
    pub(super) fn images_with(&self, pixels: usize) -> usize {
        let images = self.maps().map(|map| {
            let image = map.dims[1] * map.dims[2];
            pixels.div_ceil(image.max(1))
        });
        images.max().unwrap_or(1).min(self.images())
    }

    fn maps(&self) -> impl Iterator<Item = &Shape> {
        let shapes = self.graph.values.iter().map(|value| &value.shape);
        shapes.filter(|shape| is_map(shape))
    }

    /// The same node on another number of images.
    pub(super) fn with_images(&self, images: usize) -> Alone {
        let before = self.images();
        let mut graph = self.graph.clone();
        for value in &mut graph.values {
            if is_map(&value.shape) {
                value.shape.dims[0] = images;
            }
        }
        for node in &mut graph.nodes {
            if let Op::MergeMoments(op) = &mut node.op {
                op.rows = op.rows / before * images;
            }
        }
        Alone {
            graph,
            operands: self.operands.clone(),
            results: self.results.clone(),
        }
    }

    /// Names of the results that a run does not read: others change with every run.
    pub(super) fn new_results(&self) -> Vec<String> {
        let is_read = |id: ValueId| self.operands.iter().any(|(_, operand)| *operand == id);
        let results = self.results.iter().filter(|(_, id, _)| !is_read(*id));
        results.map(|(name, ..)| name.clone()).collect()
    }

    fn declare(&mut self, graph: &Graph, id: ValueId, name: &str, role: Role) -> ValueId {
        self.graph.values.push(Value {
            name: name.to_owned(),
            shape: graph.shape(id).clone(),
            role,
        });
        ValueId(self.graph.values.len() - 1)
    }

    /// The operands from the values of the original graph, by [`value_name`].
    pub(super) fn operands_from(&self, values: &interp::Store) -> interp::Store {
        let operand = |(name, id): &(String, ValueId)| {
            let own = self.graph.find(name).expect("the graph has its operands");
            let tensor = values[&value_name(*id)].clone();
            (name.clone(), tensor.stored_as(self.graph.shape(own)))
        };
        self.operands.iter().map(operand).collect()
    }

    /// The choice of kernels for the node, if there is one.
    ///
    /// # Errors
    /// If the graph cannot be lowered.
    pub(super) fn offer(&self, target: &Target) -> Result<Option<Offer>, EngineError> {
        let lowered = kernels::lower(&self.graph, target, &Choices::default())?;
        Ok(lowered.offers.into_iter().next())
    }
}

/// Whether a value has the axes N, H, W, C.
fn is_map(shape: &Shape) -> bool {
    shape.layout == Layout::Channels && shape.dims.len() == 4
}

/// The name under which [`Alone::operands_from`] finds a value.
pub(super) fn value_name(id: ValueId) -> String {
    format!("value {}", id.0)
}
