//! The table of `shaders/lib`: its pieces, what each of them needs of a device, and the
//! interfaces that several pieces implement.

use crate::program::Needs;

/// A WGSL file that others import.
pub(super) struct Piece {
    /// Stem of the file, which is the name it is imported by.
    pub(super) name: &'static str,
    /// The file.
    pub(super) text: &'static str,
    /// What it uses, apart from what the pieces use that it imports itself.
    pub(super) needs: Needs,
}

/// A name that stands for one of several pieces with the same declarations. Whoever builds a
/// kernel says which one.
pub(super) struct Interface {
    /// The name it is imported by.
    pub(super) name: &'static str,
    /// The pieces, the default first, and what each adds to the name of a kernel.
    pub(super) pieces: &'static [(&'static str, &'static str)],
}

/// What every device has.
pub(super) const PORTABLE: Needs = Needs {
    subgroups: false,
    int64: false,
    f16: false,
    matrices: false,
};

macro_rules! pieces {
    ($($name:literal $([$($need:ident),+])?),* $(,)?) => {
        &[$(Piece {
            name: $name,
            text: include_str!(concat!("../../../shaders/lib/", $name, ".wgsl")),
            needs: Needs { $($($need: true,)+)? ..PORTABLE },
        }),*]
    };
}

/// All pieces, each with its needs.
pub(super) const PIECES: &[Piece] = pieces![
    "activation_f16",
    "activation_f32",
    "batch_norm",
    "conv2d_broadcast"[subgroups],
    "conv2d_pixels",
    "conv2d_tile",
    "conv2d_grad_weight",
    "conv2d_grad_weight_broadcast"[subgroups],
    "conv2d_grad_weight_tile",
    "f32_u64"[int64],
    "f32_vec4",
    "float",
    "loss_scale",
    "matrices"[subgroups],
    "matrices_16x16_f16"[f16, matrices],
    "matrices_16x16_f32"[matrices],
    "matrices_8x8_f16"[f16, matrices],
    "matrices_8x8_f32"[matrices],
    "moments",
    "philox",
    "row_partition",
    "running",
    "shortcut",
    "step",
    "winograd",
    "winograd2",
    "winograd4",
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

/// The piece that an import means: the one of that name, or the one among `chosen` (else the
/// default) that implements the interface of that name.
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
    fn the_table_holds_the_files() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/lib");
        let files = std::fs::read_dir(folder).unwrap();
        let mut files: Vec<String> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let mut pieces: Vec<String> = PIECES.iter().map(|p| format!("{}.wgsl", p.name)).collect();
        pieces.sort();
        assert_eq!(pieces, files);
    }

    #[test]
    fn interfaces_stand_for_pieces() {
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
