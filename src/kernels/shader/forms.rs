//! Which pieces implement the interfaces of a kernel: how vectors are stored, the form of the
//! matrices, and the filter of Winograd's convolution.

use crate::program::MatrixUnit;
use crate::shape::DType;

/// How activations are stored (the interface `activation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum ActivationStorage {
    /// In f32 storage.
    F32,
    /// In half precision, two to a word. WGSL has instructions for that everywhere, so no
    /// adapter needs halves of its own.
    F16,
}

/// How vectors of four f32 are stored (the interface `f32_storage`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum F32Storage {
    /// As `vec4<f32>`.
    Vec4,
    /// As two 64-bit integers, which halves the number of load and store instructions on
    /// software adapters.
    U64,
}

/// How the vectors are stored that a kernel reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct StorageForms {
    pub(in super::super) activation: ActivationStorage,
    pub(in super::super) f32: F32Storage,
}

impl StorageForms {
    /// Single precision as WebGPU has it everywhere.
    pub(super) const PORTABLE: StorageForms = StorageForms {
        activation: ActivationStorage::F32,
        f32: F32Storage::Vec4,
    };

    /// Without 64-bit integers.
    pub(in super::super) fn narrow(self) -> StorageForms {
        StorageForms {
            f32: F32Storage::Vec4,
            ..self
        }
    }

    /// The pieces.
    pub(super) fn pieces(self) -> [&'static str; 2] {
        let activation = match self.activation {
            ActivationStorage::F32 => "activation_f32",
            ActivationStorage::F16 => "activation_f16",
        };
        let f32_storage = match self.f32 {
            F32Storage::Vec4 => "f32_vec4",
            F32Storage::U64 => "f32_u64",
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
