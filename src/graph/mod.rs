//! Networks as data: values, operators on them, and passes over both.
//!
//! A [`Graph`] is a list of nodes in execution order; each applies an operator of [`ops`] to
//! values and makes new ones.
//! [`autodiff`] appends the nodes that compute gradients, [`rewrite`] replaces patterns by
//! cheaper equals, [`activation_checkpointing`] trades time for memory, [`precision`] halves the bytes of
//! feature maps, [`interp`] executes a graph in double precision by the plain reference beside
//! each operator, and `Display` prints it.
//!
//! Values are single assignment, except that a few operators update *kept* values in place
//! (running averages, metrics, the optimiser's state): there the node lists the same value
//! among its inputs and its outputs.
//! [`lasting`] says where values that outlive a run lie in memory.
//! The graph performs no input or output and knows no device.

pub mod activation_checkpointing;
pub mod autodiff;
pub mod interp;
pub mod lasting;
pub mod ops;
pub mod precision;
pub mod rewrite;
pub mod step;
mod tensor;

pub use activation_checkpointing::ActivationCheckpointing;
pub use ops::Op;
pub use precision::Precision;
pub use tensor::{Data, Tensor};

use std::fmt;

use crate::shape::Shape;

/// Which passes go over the graph of a network, besides differentiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes {
    /// Whether the rules of [`rewrite`] are applied.
    pub fuse: bool,
    /// What the backward pass computes again.
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

/// Names a value of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// Vectors that hold many kept values one after another, in order of declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arena {
    /// What is trained.
    Parameters,
    /// The gradient of the loss, value by value as in `Parameters`.
    Gradients,
    /// The optimiser's velocity, likewise.
    Momentum,
    /// Gradients summed over micro-batches, likewise.
    Sums,
    /// Running statistics of batch norm.
    Statistics,
}

impl Arena {
    /// All arenas.
    pub const ALL: [Arena; 5] = [
        Arena::Parameters,
        Arena::Gradients,
        Arena::Momentum,
        Arena::Sums,
        Arena::Statistics,
    ];

    /// Name for buffers and messages.
    pub fn name(self) -> &'static str {
        match self {
            Arena::Parameters => "parameters",
            Arena::Gradients => "gradients",
            Arena::Momentum => "momentum",
            Arena::Sums => "sums",
            Arena::Statistics => "statistics",
        }
    }
}

/// How long a value lives and who may touch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Written (and perhaps read) from outside, kept between runs, a buffer of its own.
    External,
    /// Kept between runs in an arena.
    Kept(Arena),
    /// Made by a run and readable after it.
    Output,
    /// Lives only inside a run.
    Temporary,
}

/// One value of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// For people, and for finding kept and external values across graphs.
    pub name: String,
    /// Extents and layout.
    pub shape: Shape,
    /// Lifetime.
    pub role: Role,
}

/// One operator applied to values.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// Operands, in the operator's order.
    pub inputs: Vec<ValueId>,
    /// Results, in the operator's order; updated values appear in `inputs` as well.
    pub outputs: Vec<ValueId>,
}

/// A network, or a whole training step, as data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Values by [`ValueId`].
    pub values: Vec<Value>,
    /// Nodes in execution order.
    pub nodes: Vec<Node>,
    /// Arenas that a run fills with zeros when all nodes are done.
    pub clears: Vec<Arena>,
}

/// What can be wrong with a graph.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GraphError {
    /// Operand shapes that an operator cannot take.
    #[error("{op} ({name}): {reason}; operands are {operands}")]
    Shapes {
        /// Operator.
        op: &'static str,
        /// Name of the first operand.
        name: String,
        /// The rule that is broken.
        reason: String,
        /// All operand shapes.
        operands: String,
    },
    /// A gradient through an operator that has none.
    #[error("{op} ({name}) has no gradient; it must not lie between parameters and loss")]
    NotDifferentiable {
        /// Operator.
        op: &'static str,
        /// Name of the result whose gradient was wanted.
        name: String,
    },
    /// A value that a run needs and that was not provided.
    #[error("value {0} was not provided")]
    Missing(String),
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Declares a value that comes from outside.
    pub fn external(&mut self, name: &str, shape: Shape) -> ValueId {
        self.declare(name, shape, Role::External)
    }

    /// Declares a value that is kept in an arena.
    pub fn kept(&mut self, name: &str, shape: Shape, arena: Arena) -> ValueId {
        self.declare(name, shape, Role::Kept(arena))
    }

    /// Applies an operator; checks shapes; returns its results.
    ///
    /// # Errors
    /// [`GraphError::Shapes`] if the operator does not take such operands.
    pub fn push(
        &mut self,
        op: impl Into<Op>,
        inputs: &[ValueId],
        name: &str,
    ) -> Result<Vec<ValueId>, GraphError> {
        let op = op.into();
        let shapes = self.infer(&op, inputs)?;
        let updates = op.updates(inputs.len());
        let several = shapes.len() > 1;
        let outputs: Vec<ValueId> = shapes
            .into_iter()
            .enumerate()
            .map(
                |(index, shape)| match updates.iter().find(|(_, output)| *output == index) {
                    Some((input, _)) => inputs[*input],
                    None if several => self.declare(
                        &format!("{name}.{}", op.output_names()[index]),
                        shape,
                        Role::Temporary,
                    ),
                    None => self.declare(name, shape, Role::Temporary),
                },
            )
            .collect();
        self.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
        });
        Ok(outputs)
    }

    /// [`Graph::push`] for operators with one result.
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

    /// The value behind an id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// The shape behind an id.
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

    /// Makes a temporary value readable after the run, under a name.
    pub fn output(&mut self, id: ValueId, name: &str) {
        let value = &mut self.values[id.0];
        value.name = name.to_owned();
        value.role = Role::Output;
    }

    /// Makes a temporary value the new contents of a kept one.
    ///
    /// # Panics
    /// If the shapes differ: a mistake of ours.
    pub fn store(&mut self, temporary: ValueId, kept: ValueId) {
        assert_eq!(self.shape(temporary), self.shape(kept), "store");
        for node in &mut self.nodes {
            for id in node.inputs.iter_mut().chain(&mut node.outputs) {
                if *id == temporary {
                    *id = kept;
                }
            }
        }
    }

    /// Checks every node: operands exist before use, shapes agree with the operators' rules,
    /// only kept and external values are updated.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn validate(&self) -> Result<(), GraphError> {
        let mut known: Vec<bool> = self
            .values
            .iter()
            .map(|v| matches!(v.role, Role::External | Role::Kept(_)))
            .collect();
        for node in &self.nodes {
            if let Some(id) = node.inputs.iter().find(|id| !known[id.0]) {
                return Err(GraphError::Missing(self.value(*id).name.clone()));
            }
            let shapes = self.infer(&node.op, &node.inputs)?;
            for (output, shape) in node.outputs.iter().zip(&shapes) {
                if self.shape(*output).computed() != *shape {
                    return Err(self.shape_error(
                        &node.op,
                        &node.inputs,
                        format!("makes {shape}, not {}", self.shape(*output)),
                    ));
                }
                let updated = node.inputs.contains(output);
                let lasting = matches!(self.value(*output).role, Role::External | Role::Kept(_));
                if updated && !lasting {
                    return Err(self.shape_error(
                        &node.op,
                        &node.inputs,
                        "updates a value that is not kept".to_owned(),
                    ));
                }
                known[output.0] = true;
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
