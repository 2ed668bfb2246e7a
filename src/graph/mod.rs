//! Networks as data: values, operators on them, and passes over both.
//!
//! A [`Graph`] is a list of nodes in execution order; each applies an operator of [`ops`] to
//! values and produces new ones.
//! [`autodiff`] appends the nodes that compute gradients, [`rewrite`] fuses patterns of nodes,
//! [`activation_checkpointing`] trades time for memory, [`precision`] stores feature maps in
//! half precision, [`sync_batch_norm`] makes the statistics of batch norm those of all replicas,
//! [`interp`] executes a graph with the double-precision reference of each
//! operator, and `Display` prints it.
//!
//! Values are single assignment, except that a few operators update external and kept values in
//! place (running statistics, metrics, the optimiser's state): such a node lists the value among
//! both its inputs and its outputs.
//! [`lasting`] lays out the values that outlive a run.
//! The graph performs no input or output and is independent of any device.

pub mod activation_checkpointing;
pub mod autodiff;
pub mod interp;
pub mod lasting;
pub mod ops;
pub mod precision;
pub mod rewrite;
pub mod step;
pub mod sync_batch_norm;
mod tensor;

pub use activation_checkpointing::ActivationCheckpointing;
pub use ops::Op;
pub use precision::Precision;
pub use tensor::{Data, Tensor};

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;

use crate::shape::Shape;

/// The passes applied to the graph of a network, besides differentiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes {
    /// Whether the rules of [`rewrite`] are applied.
    pub fuse: bool,
    /// What the backward pass recomputes.
    pub checkpointing: ActivationCheckpointing,
    /// How feature maps are stored.
    pub precision: Precision,
}

impl Default for Passes {
    fn default() -> Passes {
        Passes {
            fuse: true,
            checkpointing: ActivationCheckpointing::default(),
            precision: Precision::default(),
        }
    }
}

/// Index of a value in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// Contiguous memory of many kept values, in order of declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arena {
    /// Trainable parameters.
    Parameters,
    /// Gradients of the loss, one for each value of `Parameters` and in the same order.
    Gradients,
    /// Velocities of the optimiser, in the same order.
    Momentum,
    /// Gradients summed over micro-batches, in the same order.
    Sums,
    /// Averages of parameters over steps, then of statistics, each in the same order.
    Averages,
    /// Running statistics of batch norm, and frozen parameters: what has no gradient.
    Statistics,
}

impl Arena {
    /// All arenas.
    pub const ALL: [Arena; 6] = [
        Arena::Parameters,
        Arena::Gradients,
        Arena::Momentum,
        Arena::Sums,
        Arena::Averages,
        Arena::Statistics,
    ];

    /// Name of the arena's buffer, also used in messages.
    pub fn name(self) -> &'static str {
        match self {
            Arena::Parameters => "parameters",
            Arena::Gradients => "gradients",
            Arena::Momentum => "momentum",
            Arena::Sums => "sums",
            Arena::Averages => "averages",
            Arena::Statistics => "statistics",
        }
    }
}

/// Lifetime and storage of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Kept between runs in a buffer of its own; the caller writes it, before a run or at an
    /// [`ops::AllReduce`], and may read it.
    External,
    /// Kept between runs in an arena.
    Kept(Arena),
    /// Computed by a run and readable after it.
    Output,
    /// Lives only inside a run.
    Temporary,
}

/// One value of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Shown when printed; identifies kept, external and output values across graphs.
    pub name: String,
    /// Extents, element type and layout.
    pub shape: Shape,
    /// Lifetime and storage.
    pub role: Role,
}

/// One operator applied to values.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The operator and its attributes.
    pub op: Op,
    /// Operands, in the operator's order.
    pub inputs: Vec<ValueId>,
    /// Results, in the operator's order; values updated in place are in `inputs` too.
    pub outputs: Vec<ValueId>,
}

/// A part of a run, after which the host may act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its nodes.
    pub nodes: Range<usize>,
    /// What ends it.
    pub end: PartEnd,
}

/// What ends a part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartEnd {
    /// The node with this number, an [`ops::AllReduce`], which belongs to no part: the host computes it
    /// before the next part runs.
    Reduction(usize),
    /// The node with this number, an [`ops::Accumulate`], the last one of the part: the host may read its
    /// sums while the next parts run.
    Sums(usize),
    /// The end of the graph.
    Nothing,
}

/// A network, or a whole training step, as data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Values by [`ValueId`].
    pub values: Vec<Value>,
    /// Nodes in execution order.
    pub nodes: Vec<Node>,
    /// Arenas that a run fills with zeros after its last node.
    pub clears: Vec<Arena>,
}

/// Why a graph is invalid or cannot run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GraphError {
    /// Operand shapes that an operator does not accept.
    #[error("{op} ({name}): {reason}; operands are {operands}")]
    Shapes {
        /// Operator.
        op: &'static str,
        /// Name of the first operand.
        name: String,
        /// The violated rule.
        reason: String,
        /// Shapes of the first eight operands.
        operands: String,
    },
    /// A batch of more images than can be computed with.
    #[error("a batch of {batch} images is too large for this network; choose at most {most}")]
    Batch {
        /// Number of images.
        batch: usize,
        /// The largest number.
        most: usize,
    },
    /// A gradient through an operator that is not differentiable.
    #[error("{op} ({name}) has no gradient; it must not lie between parameters and loss")]
    NotDifferentiable {
        /// Operator.
        op: &'static str,
        /// Name of the operator's first result.
        name: String,
    },
    /// A value that was not provided, or that no earlier node computes.
    #[error("value {0} was not provided")]
    Missing(String),
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Declares an external value.
    pub fn external(&mut self, name: &str, shape: Shape) -> ValueId {
        self.declare(name, shape, Role::External)
    }

    /// Declares a value kept in an arena.
    pub fn kept(&mut self, name: &str, shape: Shape, arena: Arena) -> ValueId {
        self.declare(name, shape, Role::Kept(arena))
    }

    /// Appends a node and returns its results.
    ///
    /// # Errors
    /// [`GraphError::Shapes`] if the operator does not accept the operands' shapes.
    pub fn push(
        &mut self,
        op: impl Into<Op>,
        inputs: &[ValueId],
        name: &str,
    ) -> Result<Vec<ValueId>, GraphError> {
        let op = op.into();
        let shapes = self.infer(&op, inputs)?;
        let updates = op.updates(inputs.len()).into_iter();
        let updates: HashMap<usize, usize> =
            updates.map(|(input, output)| (output, input)).collect();
        let several = shapes.len() > 1;
        let outputs: Vec<ValueId> = shapes
            .into_iter()
            .enumerate()
            .map(|(index, shape)| match updates.get(&index) {
                Some(input) => inputs[*input],
                None if several => self.declare(
                    &format!("{name}.{}", op.output_names()[index]),
                    shape,
                    Role::Temporary,
                ),
                None => self.declare(name, shape, Role::Temporary),
            })
            .collect();
        self.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
        });
        Ok(outputs)
    }

    /// [`Graph::push`] for an operator with one result.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn push_one(
        &mut self,
        op: impl Into<Op>,
        inputs: &[ValueId],
        name: &str,
    ) -> Result<ValueId, GraphError> {
        Ok(self.push(op, inputs, name)?[0])
    }

    /// The value with this id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// The shape of the value with this id.
    pub fn shape(&self, id: ValueId) -> &Shape {
        &self.values[id.0].shape
    }

    /// Finds an external, kept or output value by name.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        let lasting = |v: &Value| v.name == name && v.role != Role::Temporary;
        self.values.iter().position(lasting).map(ValueId)
    }

    /// Values of an arena, in order.
    pub fn arena(&self, arena: Arena) -> Vec<ValueId> {
        (0..self.values.len())
            .map(ValueId)
            .filter(|id| self.value(*id).role == Role::Kept(arena))
            .collect()
    }

    /// Turns a temporary value into an output with this name.
    pub fn output(&mut self, id: ValueId, name: &str) {
        let value = &mut self.values[id.0];
        value.name = name.to_owned();
        value.role = Role::Output;
    }

    /// Replaces temporary values by kept ones in every node, so that the nodes that compute a
    /// temporary value write the kept one: pairs of a temporary value and a kept one.
    ///
    /// # Panics
    /// If the shapes of a pair differ or no node computes the temporary value, which is a bug.
    pub fn store(&mut self, pairs: impl IntoIterator<Item = (ValueId, ValueId)>) {
        let kept: HashMap<ValueId, ValueId> = pairs.into_iter().collect();
        for (temporary, kept) in &kept {
            assert_eq!(self.shape(*temporary), self.shape(*kept), "store");
        }
        let mut computed = HashSet::new();
        for node in &mut self.nodes {
            computed.extend(node.outputs.iter().copied());
            for id in node.inputs.iter_mut().chain(&mut node.outputs) {
                *id = *kept.get(id).unwrap_or(id);
            }
        }
        let missing = kept.keys().find(|id| !computed.contains(id));
        let missing = missing.map(|id| &self.value(*id).name);
        assert_eq!(missing, None, "no node computes this value");
    }

    /// The parts of a run, in order: most graphs have one.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut start = 0;
        for (number, node) in self.nodes.iter().enumerate() {
            let (nodes, end) = match node.op {
                Op::AllReduce(_) => (start..number, PartEnd::Reduction(number)),
                Op::Accumulate(_) => (start..number + 1, PartEnd::Sums(number)),
                _ => continue,
            };
            parts.push(Part { nodes, end });
            start = number + 1;
        }
        let is_rest = start < self.nodes.len() || parts.is_empty();
        let ends_in_reduction = matches!(
            parts.last(),
            Some(Part {
                end: PartEnd::Reduction(_),
                ..
            })
        );
        if is_rest || ends_in_reduction {
            parts.push(Part {
                nodes: start..self.nodes.len(),
                end: PartEnd::Nothing,
            });
        }
        parts
    }

    /// Checks every node: operands are defined before use, shapes satisfy the operators' rules,
    /// and only kept and external values are updated in place.
    ///
    /// # Errors
    /// The first violation.
    pub fn validate(&self) -> Result<(), GraphError> {
        let mut defined: Vec<bool> = self
            .values
            .iter()
            .map(|v| matches!(v.role, Role::External | Role::Kept(_)))
            .collect();
        for node in &self.nodes {
            if let Some(id) = node.inputs.iter().find(|id| !defined[id.0]) {
                return Err(GraphError::Missing(self.value(*id).name.clone()));
            }
            let shapes = self.infer(&node.op, &node.inputs)?;
            if node.outputs.len() != shapes.len() {
                let counts = format!(
                    "computes {} values, not {}",
                    shapes.len(),
                    node.outputs.len()
                );
                return Err(self.shape_error(&node.op, &node.inputs, counts));
            }
            let inputs: HashSet<&ValueId> = node.inputs.iter().collect();
            for (output, shape) in node.outputs.iter().zip(&shapes) {
                if self.shape(*output).computed() != *shape {
                    return Err(self.shape_error(
                        &node.op,
                        &node.inputs,
                        format!("computes {shape}, not {}", self.shape(*output)),
                    ));
                }
                let updated = inputs.contains(output);
                let lasting = matches!(self.value(*output).role, Role::External | Role::Kept(_));
                if updated && !lasting {
                    return Err(self.shape_error(
                        &node.op,
                        &node.inputs,
                        "updates a value that is neither kept nor external".to_owned(),
                    ));
                }
                defined[output.0] = true;
            }
        }
        Ok(())
    }

    fn declare(&mut self, name: &str, shape: Shape, role: Role) -> ValueId {
        self.values.push(Value {
            name: name.to_owned(),
            shape,
            role,
        });
        ValueId(self.values.len() - 1)
    }

    fn infer(&self, op: &Op, inputs: &[ValueId]) -> Result<Vec<Shape>, GraphError> {
        let shapes: Vec<Shape> = inputs.iter().map(|id| self.shape(*id).computed()).collect();
        op.infer(&shapes.iter().collect::<Vec<_>>())
            .map_err(|reason| self.shape_error(op, inputs, reason))
    }

    fn shape_error(&self, op: &Op, inputs: &[ValueId], reason: String) -> GraphError {
        let operands: Vec<String> = inputs
            .iter()
            .take(8)
            .map(|id| self.shape(*id).to_string())
            .collect();
        GraphError::Shapes {
            op: op.name(),
            name: inputs
                .first()
                .map_or_else(String::new, |id| self.value(*id).name.clone()),
            reason,
            operands: operands.join(" "),
        }
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in &self.nodes {
            let list = |ids: &[ValueId], shapes: bool| {
                let mut items: Vec<String> = ids
                    .iter()
                    .take(6)
                    .map(|id| {
                        let value = self.value(*id);
                        match shapes {
                            true => format!("{}: {}", value.name, value.shape),
                            false => value.name.clone(),
                        }
                    })
                    .collect();
                if ids.len() > 6 {
                    items.push(format!("… {} more", ids.len() - 6));
                }
                items.join(", ")
            };
            writeln!(
                f,
                "{} = {:?}({})",
                list(&node.outputs, true),
                node.op,
                list(&node.inputs, false)
            )?;
        }
        for arena in &self.clears {
            writeln!(f, "clear {}", arena.name())?;
        }
        Ok(())
    }
}
