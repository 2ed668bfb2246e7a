//! The table of `shaders/lib`: its pieces, the device features that each of them needs, and the
//! interfaces that several pieces implement.

use crate::program::Needs;

/// A WGSL file that others import.
pub(super) struct Piece {
    /// Stem of the file, by which it is imported.
    pub(super) name: &'static str,
    /// Contents of the file.
    pub(super) text: &'static str,
    /// Device features that it uses, those of its imports excluded.
    pub(super) needs: Needs,
}

/// A name for one of several pieces with the same declarations; which one is chosen when a kernel
/// is built.
pub(super) struct Interface {
    /// The name by which it is imported.
    pub(super) name: &'static str,
    /// The pieces, the default first, with the suffix that each adds to the name of a kernel.
    pub(super) pieces: &'static [(&'static str, &'static str)],
}

/// No optional device feature.
pub(super) const PORTABLE: Needs = Needs {
    subgroups: false,
    int64: false,
    f16: false,
    matrices: false,
};

macro_rules! pieces {
    ($($name:literal $([$($need:ident),+])? = $text:expr),* $(,)?) => {
        &[$(Piece {
            name: $name,
            text: $text,
            needs: Needs { $($($need: true,)+)? ..PORTABLE },
        }),*]
    };
}

/// All pieces: name, needs and file.
pub(super) const PIECES: &[Piece] = pieces![
    "activation_f16" = include_str!("../../../shaders/lib/activation_f16.wgsl"),
    "activation_f32" = include_str!("../../../shaders/lib/activation_f32.wgsl"),
    "affine_gradient" = include_str!("../../../shaders/lib/affine_gradient.wgsl"),
    "batch_norm" = include_str!("../../../shaders/lib/batch_norm.wgsl"),
    "column_coefficients" = include_str!("../../../shaders/lib/column_coefficients.wgsl"),
    "conv2d_broadcast" [subgroups] = include_str!("../../../shaders/lib/conv2d_broadcast.wgsl"),
    "conv2d_pixels" = include_str!("../../../shaders/lib/conv2d_pixels.wgsl"),
    "conv2d_tile" = include_str!("../../../shaders/lib/conv2d_tile.wgsl"),
    "conv2d_grad_weight" = include_str!("../../../shaders/lib/conv2d_grad_weight.wgsl"),
    "conv2d_grad_weight_broadcast" [subgroups] =
        include_str!("../../../shaders/lib/conv2d_grad_weight_broadcast.wgsl"),
    "conv2d_grad_weight_tile" = include_str!("../../../shaders/lib/conv2d_grad_weight_tile.wgsl"),
    "f32_u64" [int64] = include_str!("../../../shaders/lib/f32_u64.wgsl"),
    "f32_vec4" = include_str!("../../../shaders/lib/f32_vec4.wgsl"),
    "float" = include_str!("../../../shaders/lib/float.wgsl"),
    "line_reduction" = include_str!("../../../shaders/lib/line_reduction.wgsl"),
    "loss_scale" = include_str!("../../../shaders/lib/loss_scale.wgsl"),
    "matrices" [subgroups] = include_str!("../../../shaders/lib/matrices.wgsl"),
    "matrices_16x16_f16" [f16, matrices] =
        include_str!("../../../shaders/lib/matrices_16x16_f16.wgsl"),
    "matrices_16x16_f32" [matrices] = include_str!("../../../shaders/lib/matrices_16x16_f32.wgsl"),
    "matrices_8x8_f16" [f16, matrices] = include_str!("../../../shaders/lib/matrices_8x8_f16.wgsl"),
    "matrices_8x8_f32" [matrices] = include_str!("../../../shaders/lib/matrices_8x8_f32.wgsl"),
    "metrics" = include_str!("../../../shaders/lib/metrics.wgsl"),
    "moments" = include_str!("../../../shaders/lib/moments.wgsl"),
    "normalize_grad" = include_str!("../../../shaders/lib/normalize_grad.wgsl"),
    "philox" = include_str!("../../../shaders/lib/philox.wgsl"),
    "rectangle" = include_str!("../../../shaders/lib/rectangle.wgsl"),
    "relu" = include_str!("../../../shaders/lib/relu.wgsl"),
    "row_partition" = include_str!("../../../shaders/lib/row_partition.wgsl"),
    "running" = include_str!("../../../shaders/lib/running.wgsl"),
    "shortcut" = include_str!("../../../shaders/lib/shortcut.wgsl"),
    "squares" = include_str!("../../../shaders/lib/squares.wgsl"),
    "step" = include_str!("../../../shaders/lib/step.wgsl"),
    "store_moments" = include_str!("../../../shaders/lib/store_moments.wgsl"),
    "winograd" = include_str!("../../../shaders/lib/winograd.wgsl"),
    "winograd2" = include_str!("../../../shaders/lib/winograd2.wgsl"),
    "winograd4" = include_str!("../../../shaders/lib/winograd4.wgsl"),
];

/// All interfaces.
pub(super) const INTERFACES: &[Interface] = &[
    Interface {
        name: "activation",
        pieces: &[("activation_f32", ""), ("activation_f16", " half")],
    },
    Interface {
        name: "f32_storage",
        pieces: &[("f32_vec4", ""), ("f32_u64", " wide")],
    },
    Interface {
        name: "matrix_form",
        pieces: &[
            ("matrices_16x16_f16", ""),
            ("matrices_16x16_f32", " single"),
            ("matrices_8x8_f16", ""),
            ("matrices_8x8_f32", " single"),
        ],
    },
    Interface {
        name: "winograd_filter",
        pieces: &[("winograd2", ""), ("winograd4", "")],
    },
];

/// The piece that an import resolves to: the one of that name, or the one among `chosen` (else
/// the default) that implements the interface of that name.
pub(super) fn resolve(import: &str, chosen: &[&str]) -> Option<&'static Piece> {
    let interface = INTERFACES.iter().find(|own| own.name == import);
    let name = match interface {
        Some(Interface { pieces, .. }) => {
            let wanted = pieces.iter().find(|(name, _)| chosen.contains(name));
            wanted.unwrap_or(&pieces[0]).0
        }
        None => import,
    };
    PIECES.iter().find(|piece| piece.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_resolve_to_pieces() {
        for interface in INTERFACES {
            assert!(PIECES.iter().all(|piece| piece.name != interface.name));
            for (piece, _) in interface.pieces {
                let found = resolve(interface.name, &[piece]).expect(interface.name);
                assert_eq!(found.name, *piece);
            }
        }
        assert!(resolve("nothing", &[]).is_none());
    }
}
