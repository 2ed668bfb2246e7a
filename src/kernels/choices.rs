//! Which kernel computes which node: a table from node descriptions to variant names.
//!
//! A run freezes its table in its directory; given the same table, the same seed and the
//! same adapter, training gives the same bits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Plain WGSL for every legal shape.
pub(super) const DIRECT: &str = "direct";
/// One subgroup per workgroup, operands broadcast by shuffles: software adapters.
pub(super) const SUBGROUP: &str = "subgroup";

/// Winograd's convolution, and the results of a tile along one axis. The larger tile is faster
/// where it is fast at all, but rounds more: it is for those who name it.
pub(super) const WINOGRAD: [(&str, u32); 2] = [("winograd 2x2", 2), ("winograd 4x4", 4)];

/// Variant by node description, such as `conv2d 3x3/1 16x24 @32x32x128`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Choices {
    table: BTreeMap<String, String>,
    #[serde(skip)]
    everywhere: Option<String>,
}

impl Choices {
    /// One variant for every node that has a choice.
    pub fn everywhere(variant: &str) -> Choices {
        Choices {
            table: BTreeMap::new(),
            everywhere: Some(variant.to_owned()),
        }
    }

    /// The chosen variant.
    pub fn get(&self, key: &str) -> Option<&str> {
        let entry = self.table.get(key).or(self.everywhere.as_ref());
        entry.map(String::as_str)
    }

    /// Chooses.
    pub fn set(&mut self, key: String, variant: &str) {
        self.table.insert(key, variant.to_owned());
    }

    /// Adds all choices of another table.
    pub fn extend(&mut self, other: &Choices) {
        let rows = other.table.iter().map(|(k, v)| (k.clone(), v.clone()));
        self.table.extend(rows);
    }

    /// All choices, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.table.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
}
