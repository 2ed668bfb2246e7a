//! What the tuner knows of each adapter: measured choices, kernels that must not be used, and
//! whether the golden network has passed. The caller stores it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::gpu::Gpu;
use crate::graph::Precision;
use crate::kernels::{self, Choices};
use crate::program::{Kernel, Program};
use crate::rng::hash;

/// What is known, by adapter, driver, kernel sources and the version of this file's contents, so a
/// change of any of them triggers a new measurement and a new check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TuningCache(BTreeMap<String, Known>);

/// What is known of an adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Known {
    /// The fastest kernel of each class of shape that was measured.
    pub(super) classes: Choices,
    /// Hashes of the texts of kernels that compute what the CPU device computes.
    pub(super) compared: BTreeSet<String>,
    /// Kernels that must not be used ([`kernels::kernel_name`]), with the reason.
    pub(super) excluded: BTreeMap<String, String>,
    /// Precisions in which the golden network has passed.
    pub(super) checked: BTreeSet<String>,
}

impl TuningCache {
    /// What is known of an adapter.
    pub(super) fn of(&mut self, gpu: &Gpu) -> &mut Known {
        self.0.entry(identity(gpu)).or_default()
    }
}

impl Known {
    /// Whether a variant may be used for the node with a key.
    pub(super) fn allows(&self, key: &str, variant: &str) -> bool {
        let kernel = kernels::kernel_name(key, variant);
        !self.excluded.contains_key(&kernel)
    }

    /// Excludes a kernel, and forgets the choices of it.
    pub(super) fn exclude(&mut self, kernel: &str, reason: &str) {
        self.classes.remove_kernel(kernel);
        self.excluded.insert(kernel.to_owned(), reason.to_owned());
    }

    /// Whether a kernel computes what the CPU device computes.
    pub(super) fn has_compared(&self, kernel: &Kernel) -> bool {
        self.compared.contains(&text_hash(kernel))
    }

    /// Records that the kernels of a program compute what the CPU device computes.
    pub(super) fn record_compared(&mut self, program: &Program) {
        self.compared.extend(program.kernels.iter().map(text_hash));
    }

    /// Whether the golden network has passed in a precision.
    pub(super) fn is_checked(&self, precision: Precision) -> bool {
        self.checked.contains(&precision.to_string())
    }
}

fn text_hash(kernel: &Kernel) -> String {
    format!("{:016x}", hash(kernel.source.bytes()))
}

/// Version of what is cached: 1 was a choice for each node, 2 is one for each class of shape.
const VERSION: u32 = 2;

/// The cache key: what measurements are valid for.
fn identity(gpu: &Gpu) -> String {
    let d = &gpu.description;
    let matrices = match gpu.matrices.is_empty() {
        true => "",
        false => ", matrix units",
    };
    format!(
        "{}, {}, {} {}, kernels {:016x}{matrices}, version {VERSION}",
        d.name,
        d.backend,
        d.driver,
        d.driver_info,
        kernels::fingerprint()
    )
}
