//! What training keeps for each parameter, in one table: gradients, the optimiser's state, and
//! gradient sums over micro-batches.
//!
//! Graphs declare these values, engines read and write them, and run directories store those
//! that a run resumes from; all of them use this table.

use super::packing::PackedValue;
use crate::graph::{Arena, Graph};

/// A kind of tensor that is kept for each parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TensorKind {
    /// Parameters and running statistics.
    Weights,
    /// Gradients of the last run.
    Gradients,
    /// The optimiser's velocity.
    Momentum,
    /// Gradients summed over micro-batches.
    Sums,
    /// Exponential moving averages of parameters and running statistics.
    Averages,
}

struct Row {
    kind: TensorKind,
    arena: Arena,
    /// Prefix of the parameter's name in a graph.
    label: &'static str,
    /// Prefix of the tensor's name in a state file, if it is stored there.
    prefix: Option<&'static str>,
}

const fn row(
    kind: TensorKind,
    arena: Arena,
    label: &'static str,
    prefix: Option<&'static str>,
) -> Row {
    Row {
        kind,
        arena,
        label,
        prefix,
    }
}

#[rustfmt::skip]
const TABLE: [Row; 5] = [
    row(TensorKind::Weights,   Arena::Parameters, "",                    Some("")),
    row(TensorKind::Gradients, Arena::Gradients,  "gradient of ",        None),
    row(TensorKind::Momentum,  Arena::Momentum,   "momentum of ",        Some("momentum.")),
    row(TensorKind::Sums,      Arena::Sums,       "summed gradient of ", None),
    row(TensorKind::Averages,  Arena::Averages,   "average of ",         Some("average.")),
];

impl TensorKind {
    /// The kinds that the optimiser keeps from step to step for each trained parameter.
    pub fn optimizer_state() -> impl Iterator<Item = TensorKind> {
        let kept = |row: &&Row| row.prefix.is_some() && !row.kind.covers_statistics();
        TABLE.iter().filter(kept).map(|row| row.kind)
    }

    /// Whether this kind exists for running statistics and frozen parameters as well.
    fn covers_statistics(self) -> bool {
        matches!(self, TensorKind::Weights | TensorKind::Averages)
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The arena in which the graph keeps them; for weights, that of the parameters.
    pub fn arena(self) -> Arena {
        self.row().arena
    }

    /// Prefix of such a tensor's name in a state file: empty for weights, `None` for kinds that
    /// are not stored.
    pub fn prefix(self) -> Option<&'static str> {
        self.row().prefix
    }

    /// Name of the graph's value that belongs to a packed value of the network.
    pub fn value_name(self, packed: &str) -> String {
        format!("{}{packed}", self.row().label)
    }

    /// Whether this kind exists for a packed value.
    pub fn covers(self, packed: &PackedValue) -> bool {
        self.covers_statistics() || packed.arena == Arena::Parameters
    }

    /// Declares the values of this kind in a graph, in the network's order; averages in the order
    /// of the two arenas that they belong to.
    pub fn declare(self, graph: &mut Graph, packed: &[PackedValue]) {
        let mut covered: Vec<&PackedValue> = packed.iter().filter(|v| self.covers(v)).collect();
        if self == TensorKind::Averages {
            covered.sort_by_key(|value| value.arena);
        }
        for value in covered {
            let arena = match self {
                TensorKind::Weights => value.arena,
                _ => self.arena(),
            };
            graph.kept(&self.value_name(&value.name), value.shape.clone(), arena);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_row_and_its_own_names() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.kind as usize, index);
            let others = TABLE.iter().filter(|other| other.kind != row.kind);
            for other in others {
                assert_ne!((row.arena, row.label), (other.arena, other.label));
                assert!(row.prefix.is_none() || row.prefix != other.prefix);
            }
        }
        let state: Vec<TensorKind> = TensorKind::optimizer_state().collect();
        assert_eq!(state, [TensorKind::Momentum]);
    }
}
