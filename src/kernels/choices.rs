//! Which kernel computes which node: a table from node keys to variant names.
//!
//! A run saves its table in its directory; with the same table, seed and adapter, training is
//! bitwise reproducible.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Plain WGSL; supports every legal shape.
pub(super) const DIRECT: &str = "direct";
/// One subgroup per workgroup, operands broadcast by shuffles; for software adapters.
pub const SUBGROUP: &str = "subgroup";

/// Winograd convolution: names, and result pixels of a tile along one axis. The larger tile needs
/// fewer products but rounds more, so it is used only where it is chosen explicitly.
pub(super) const WINOGRAD: [(&str, u32); 2] = [("winograd 2x2", 2), ("winograd 4x4", 4)];

/// Name of the kernel that a choice selects, without the sizes of its key: operator, variant,
/// precision of the feature maps.
///
/// ```
/// let name = pyr_wgpu::kernels::kernel_name("conv2d 3x3/1 16>24 @32x32x128", "direct");
/// assert_eq!(name, "conv2d direct f32");
/// ```
pub fn kernel_name(key: &str, variant: &str) -> String {
    let operator = key.split(' ').next().unwrap_or(key);
    let precision = if key.ends_with(HALF) { HALF } else { " f32" };
    format!("{operator} {variant}{precision}")
}

/// The end of the keys of nodes with feature maps in half precision.
pub(super) const HALF: &str = " f16";

/// Variant by node key, such as `conv2d 3x3/1 16>24 @32x32x128`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Choices {
    table: BTreeMap<String, String>,
    #[serde(skip)]
    everywhere: Option<String>,
}

impl Choices {
    /// Chooses one variant for every node that has a choice.
    pub fn everywhere(variant: &str) -> Choices {
        Choices {
            table: BTreeMap::new(),
            everywhere: Some(variant.to_owned()),
        }
    }

    /// The variant chosen for a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let entry = self.table.get(key).or(self.everywhere.as_ref());
        entry.map(String::as_str)
    }

    /// Chooses a variant for a key.
    pub fn set(&mut self, key: String, variant: &str) {
        self.table.insert(key, variant.to_owned());
    }

    /// Removes the entries that select a kernel ([`kernel_name`]).
    pub fn remove_kernel(&mut self, kernel: &str) {
        self.table
            .retain(|key, variant| kernel_name(key, variant) != kernel);
    }

    /// Adds the entries of another table, which replace those with the same key.
    pub fn extend(&mut self, other: &Choices) {
        let rows = other.table.iter().map(|(k, v)| (k.clone(), v.clone()));
        self.table.extend(rows);
    }

    /// Whether an entry needs matrix units.
    pub fn need_matrices(&self) -> bool {
        self.table.values().any(|name| name.starts_with("matrix"))
    }

    /// All entries, ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.table.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
}
