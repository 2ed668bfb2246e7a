//! Memory for time: the backward pass computes again what the forward pass does not keep.
//!
//! Without this pass every forward value that a gradient needs lives from one half of the
//! step to the other. Here the gradient's nodes get copies of cheap values, computed from
//! what is kept just before they are needed; a copy has the same operator and operands, so
//! it has the same bits. The idea is that of Chen et al. (2016, "Training Deep Nets with
//! Sublinear Memory Cost") and, for normalisation, of Rota Bulò et al. (2018, "In-Place
//! Activated BatchNorm").

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{Graph, Node, Op, Role, ValueId};

/// What the backward pass computes again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationCheckpointing {
    /// Nothing: the most memory, the least time.
    Off,
    /// Results of normalisation and ReLU: one pass over an activation each.
    #[default]
    Normalized,
    /// Large values inside units as well; what is kept is the sum of every third unit.
    Units,
}

/// Units from one kept sum to the next. More would keep fewer sums, and have more units alive
/// while they are computed again; for a stage of 18 equal units, each of which has three large
/// values, their number is least at the square root of 18 / 3, and flat around it.
const SEGMENT: usize = 3;

/// Values smaller than the largest one by this factor cost more time than they free memory:
/// convolutions of late stages have as many operations on fewer elements.
const SMALL: usize = 8;

fn normalizes(op: &Op) -> bool {
    matches!(op, Op::Normalize(_) | Op::Relu(_))
}

impl ActivationCheckpointing {
    /// What of a forward pass is not kept.
    fn dropped(self, graph: &Graph) -> HashSet<ValueId> {
        let size = |node: &Node| graph.value(node.outputs[0]).shape.len();
        let largest = graph.nodes.iter().map(size).max().unwrap_or(0);
        let mut units = 0;
        let mut dropped = HashSet::new();
        for node in &graph.nodes {
            let large = size(node) > largest / SMALL;
            let drop = match node.op {
                _ if normalizes(&node.op) => true,
                Op::Conv2d(_) => self == ActivationCheckpointing::Units && large,
                Op::ShortcutAdd(_) => {
                    units += 1;
                    self == ActivationCheckpointing::Units && large && units % SEGMENT != 0
                }
                _ => false,
            };
            if drop {
                dropped.extend(&node.outputs);
            }
        }
        dropped
    }
}

/// Lets the nodes from `first_backward` on use copies of what is not kept.
pub fn apply(graph: &mut Graph, first_backward: usize, what: ActivationCheckpointing) {
    if what == ActivationCheckpointing::Off {
        return;
    }
    let backward = graph.nodes.split_off(first_backward);
    let mut makers: HashMap<ValueId, usize> = HashMap::new();
    for (number, node) in graph.nodes.iter().enumerate() {
        for output in &node.outputs {
            makers.insert(*output, number);
        }
    }
    let mut copies = Copies {
        dropped: what.dropped(graph),
        forward: graph.nodes.clone(),
        makers,
        made: HashMap::new(),
    };
    for mut node in backward {
        for input in &mut node.inputs {
            *input = copies.of(graph, *input);
        }
        graph.nodes.push(node);
    }
}

struct Copies {
    forward: Vec<Node>,
    /// The forward node that makes a value.
    makers: HashMap<ValueId, usize>,
    dropped: HashSet<ValueId>,
    made: HashMap<ValueId, ValueId>,
}

impl Copies {
    /// The value that a backward node should use for a value: itself if it is kept, else a
    /// copy, which is computed now if it was not before.
    fn of(&mut self, graph: &mut Graph, id: ValueId) -> ValueId {
        if let Some(copy) = self.made.get(&id) {
            return *copy;
        }
        let maker = self
            .makers
            .get(&id)
            .map(|number| self.forward[*number].clone());
        let Some(mut node) = maker else { return id };
        if graph.value(id).role != Role::Temporary || !self.dropped.contains(&id) {
            return id;
        }
        for input in &mut node.inputs {
            *input = self.of(graph, *input);
        }
        for output in &mut node.outputs {
            let value = graph.value(*output);
            let name = format!("{} again", value.name);
            let copy = graph.declare(&name, value.shape.clone(), Role::Temporary);
            self.made.insert(*output, copy);
            *output = copy;
        }
        if matches!(node.op, Op::ShortcutAdd(_)) {
            self.forget_normalized();
        }
        graph.nodes.push(node);
        self.made[&id]
    }

    /// A sum ends a unit, whose gradient may be far: then its normalised values are made anew.
    fn forget_normalized(&mut self) {
        let Copies {
            made,
            makers,
            forward,
            ..
        } = self;
        made.retain(|id, _| !normalizes(&forward[makers[id]].op));
    }
}
