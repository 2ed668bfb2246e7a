//! Where gradient rules put their nodes.

use super::super::{Graph, GraphError, ValueId};
use super::Op;

/// The graph that a differentiation extends, and what it asks for.
pub struct Tape<'g> {
    /// The graph that grows.
    pub graph: &'g mut Graph,
    /// By value: whether anything that is trained depends on it.
    pub(in super::super) wanted: Vec<bool>,
}

impl Tape<'_> {
    /// Whether anything that is trained depends on this value.
    pub fn wants(&self, id: ValueId) -> bool {
        self.wanted.get(id.0).copied().unwrap_or(false)
    }

    /// Appends a node with one result, named after the value whose gradient it is.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn push_one(
        &mut self,
        op: impl Into<Op>,
        inputs: &[ValueId],
        of: ValueId,
    ) -> Result<ValueId, GraphError> {
        let name = format!("d {}", self.graph.value(of).name);
        self.graph.push_one(op, inputs, &name)
    }
}
