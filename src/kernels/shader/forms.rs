//! Which pieces implement the interfaces of a kernel: how vectors are stored, the form of the
//! matrices, and the filter of Winograd's convolution.

use crate::program::MatrixUnit;
use crate::shape::DType;

/// How a vector of four numbers is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Storage {
    /// As `vec4<f32>`.
    Plain,
    /// In single precision as two 64-bit integers, which halves the number of load and store
    /// instructions on software adapters.
    Wide,
    /// In half precision, two to a word. WGSL has instructions for that everywhere, so no
    /// adapter needs halves of its own.
    Half,
}

/// How vectors are stored that a kernel reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct StorageForms {
    /// Those of activations (the interface `activation`).
    pub(in super::super) stored: Storage,
    /// Those of all else, which are never halves (the interface `f32_storage`).
    pub(in super::super) exact: Storage,
}

impl StorageForms {
    /// What WebGPU has everywhere.
    pub(super) const PORTABLE: StorageForms = StorageForms {
        stored: Storage::Plain,
        exact: Storage::Plain,
    };

    /// Without 64-bit integers.
    pub(in super::super) fn narrow(self) -> StorageForms {
        let narrow = |storage| match storage {
            Storage::Wide => Storage::Plain,
            other => other,
        };
        StorageForms {
            stored: narrow(self.stored),
            exact: narrow(self.exact),
        }
    }

    /// The pieces.
    pub(super) fn pieces(self) -> [&'static str; 2] {
        let activation = match self.stored {
            Storage::Plain | Storage::Wide => "activation_f32",
            Storage::Half => "activation_f16",
        };
        let f32_storage = match self.exact {
            Storage::Plain | Storage::Half => "f32_vec4",
            Storage::Wide => "f32_u64",
        };
        [activation, f32_storage]
    }
}

/// The piece with the matrices of a unit.
///
/// # Panics
/// If no shader can be written for the unit ([`MatrixUnit::usable`]).
pub(super) fn matrix_form(unit: MatrixUnit) -> &'static str {
    match (unit.size, unit.operands) {
        (8, DType::F16) => "matrices_8x8_f16",
        (8, DType::F32) => "matrices_8x8_f32",
        (16, DType::F16) => "matrices_16x16_f16",
        (16, DType::F32) => "matrices_16x16_f32",
        _ => panic!("no kernel takes matrices of {unit}"),
    }
}

/// The filter for a number of outputs along one axis of a tile.
fn winograd_filter(outputs: u32) -> &'static str {
    match outputs {
        2 => "winograd2",
        4 => "winograd4",
        _ => panic!("no filter has {outputs} outputs"),
    }
}

/// The piece that a constant asks for.
pub(super) fn piece_of_constant((name, value): (&str, u32)) -> Option<&'static str> {
    (name == "OUT").then(|| winograd_filter(value))
}
