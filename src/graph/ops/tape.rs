//! The graph that gradient rules append their nodes to.

use super::super::{Graph, GraphError, ValueId};
use super::Op;

/// The graph under differentiation, and which of its values need a gradient.
pub struct Tape<'g> {
    /// The graph that is extended.
    pub graph: &'g mut Graph,
    /// By value: whether it depends on a value whose gradient was requested.
    pub(in super::super) wanted: Vec<bool>,
}

impl Tape<'_> {
    /// Whether this value needs a gradient: it depends on one whose gradient was requested.
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
