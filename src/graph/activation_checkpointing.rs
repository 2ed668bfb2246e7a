//! Activation checkpointing: the backward pass recomputes values that the forward pass does not
//! keep, which trades time for memory.
//!
//! Without this pass every forward value that a gradient needs stays in memory until the
//! backward pass reads it. This pass lets backward nodes read copies of cheap values, recomputed
//! from kept ones just before their first use. A copy has the same operator and operands, and
//! therefore the same bits. The idea is that of Chen et al. (2016, "Training Deep Nets with
//! Sublinear Memory Cost") and, for normalisation, of Rota Bulò et al. (2018, "In-Place
//! Activated BatchNorm").

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{Graph, Node, Op, Role, ValueId};

/// What the backward pass recomputes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationCheckpointing {
    /// Nothing: most memory, least time.
    Off,
    /// Results of normalisation, ReLU and random factors, each an elementwise pass over an
    /// activation.
    #[default]
    Normalized,
    /// Also the large convolution outputs and unit outputs, except every third unit output.
    Units,
}

/// Units from one kept unit output to the next. A longer segment keeps fewer outputs but has more
/// units live during recomputation. For 18 equal units of three large values each, 18/s kept
/// outputs and 3·s live values are fewest near s = √(18/3), with a flat minimum.
const SEGMENT: usize = 3;

/// Convolution and unit outputs of at most 1/`SMALL` of the largest value's elements are kept:
/// late stages do as many operations for fewer elements, so recomputation saves little memory.
const SMALL: usize = 8;

fn is_elementwise(op: &Op) -> bool {
    matches!(op, Op::Normalize(_) | Op::Relu(_) | Op::ScaleBranch(_))
}

impl ActivationCheckpointing {
    /// The values of a forward pass that are not kept.
    fn dropped(self, graph: &Graph) -> HashSet<ValueId> {
        let size = |node: &Node| graph.value(node.outputs[0]).shape.len();
        let largest = graph.nodes.iter().map(size).max().unwrap_or(0);
        let mut units = 0;
        let mut dropped = HashSet::new();
        for node in &graph.nodes {
            let large = size(node) > largest / SMALL;
            let ends_unit = matches!(node.op, Op::ShortcutAdd(_));
            units += usize::from(ends_unit);
            let within_segment =
                matches!(node.op, Op::Conv2d(_)) || (ends_unit && units % SEGMENT != 0);
            let drop = is_elementwise(&node.op)
                || (self == ActivationCheckpointing::Units && large && within_segment);
            if drop {
                dropped.extend(&node.outputs);
            }
        }
        dropped
    }
}

/// Makes the nodes from `first_backward` on read recomputed copies of the values not kept.
pub fn apply(graph: &mut Graph, first_backward: usize, what: ActivationCheckpointing) {
    if what == ActivationCheckpointing::Off {
        return;
    }
    let backward = graph.nodes.split_off(first_backward);
    let mut producers: HashMap<ValueId, usize> = HashMap::new();
    for (number, node) in graph.nodes.iter().enumerate() {
        for output in &node.outputs {
            producers.insert(*output, number);
        }
    }
    let mut copies = Copies {
        dropped: what.dropped(graph),
        forward: graph.nodes.clone(),
        producers,
        made: HashMap::new(),
        elementwise: HashMap::new(),
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
    /// The forward node that computes each value.
    producers: HashMap<ValueId, usize>,
    dropped: HashSet<ValueId>,
    /// The copy of each recomputed value.
    made: HashMap<ValueId, ValueId>,
    /// The copies of elementwise results since the last unit output was recomputed: the backward
    /// pass may reach an earlier unit much later, and recomputes them then.
    elementwise: HashMap<ValueId, ValueId>,
}

impl Copies {
    /// The value that a backward node reads in place of `id`: `id` itself if it is kept, else
    /// its copy, whose node is appended on first use.
    fn of(&mut self, graph: &mut Graph, id: ValueId) -> ValueId {
        if let Some(copy) = self.made.get(&id).or_else(|| self.elementwise.get(&id)) {
            return *copy;
        }
        let producer = self
            .producers
            .get(&id)
            .map(|number| self.forward[*number].clone());
        let Some(mut node) = producer else { return id };
        if graph.value(id).role != Role::Temporary || !self.dropped.contains(&id) {
            return id;
        }
        for input in &mut node.inputs {
            *input = self.of(graph, *input);
        }
        let mut copied = id;
        for output in &mut node.outputs {
            let value = graph.value(*output);
            let name = format!("{} again", value.name);
            let copy = graph.declare(&name, value.shape.clone(), Role::Temporary);
            let copies = match is_elementwise(&node.op) {
                true => &mut self.elementwise,
                false => &mut self.made,
            };
            copies.insert(*output, copy);
            if *output == id {
                copied = copy;
            }
            *output = copy;
        }
        if matches!(node.op, Op::ShortcutAdd(_)) {
            self.elementwise.clear();
        }
        graph.nodes.push(node);
        copied
    }
}
