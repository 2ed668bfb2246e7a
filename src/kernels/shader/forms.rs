//! Which pieces implement the interfaces of a kernel: storage of vectors, matrix form, and
//! Winograd filter.

use crate::program::MatrixUnit;
use crate::shape::DType;

/// How activations are stored (the interface `activation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum ActivationStorage {
    /// In f32 storage.
    F32,
    /// In half precision, two to a word. Core WGSL has the conversions, so the adapter need not
    /// support the type `f16`.
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

/// Storage of the vectors that a kernel reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct StorageForms {
    pub(in super::super) activation: ActivationStorage,
    pub(in super::super) f32: F32Storage,
}

impl StorageForms {
    /// Single precision, as every WebGPU device supports it.
    pub(super) const PORTABLE: StorageForms = StorageForms {
        activation: ActivationStorage::F32,
        f32: F32Storage::Vec4,
    };

    /// The same without 64-bit integers.
    pub(in super::super) fn narrow(self) -> StorageForms {
        StorageForms {
            f32: F32Storage::Vec4,
            ..self
        }
    }

    /// Names of the pieces that implement these forms.
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

/// The piece that declares the matrices of a unit.
///
/// # Panics
/// If no piece does, because the unit is not [`MatrixUnit::usable`].
pub(in super::super) fn matrix_form(unit: MatrixUnit) -> &'static str {
    match (unit.size, unit.operands) {
        (8, DType::F16) => "matrices_8x8_f16",
        (8, DType::F32) => "matrices_8x8_f32",
        (16, DType::F16) => "matrices_16x16_f16",
        (16, DType::F32) => "matrices_16x16_f32",
        _ => panic!("no kernel supports matrices of {unit}"),
    }
}

/// The piece with the Winograd filter for a number of outputs of a tile along one axis.
///
/// # Panics
/// If no piece has it.
pub(in super::super) fn winograd_filter(outputs: u32) -> &'static str {
    match outputs {
        2 => "winograd2",
        4 => "winograd4",
        _ => panic!("no Winograd filter has {outputs} outputs"),
    }
}
