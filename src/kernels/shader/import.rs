//! Preprocessing, step 1: imports.
//!
//! A line `// import NAME` is replaced by the piece or interface of that name. Pieces may import
//! pieces; each is inserted once, at its first import. WGSL requires `enable` directives before
//! everything else, so those of all files move to the front.

use super::library::{PORTABLE, Piece, resolve};
use crate::program::Needs;

/// A file with all its imports.
#[derive(Default)]
pub(super) struct Expanded {
    directives: Vec<&'static str>,
    body: String,
    pieces: Vec<&'static Piece>,
}

/// Expands the imports of a file; `chosen` are the pieces that implement its interfaces.
///
/// # Panics
/// If an import names no piece or interface: a bug.
pub(super) fn expand(file: &'static str, chosen: &[&str]) -> Expanded {
    let mut expanded = Expanded::default();
    expanded.take(file, chosen);
    expanded
}

impl Expanded {
    fn take(&mut self, file: &'static str, chosen: &[&str]) {
        for line in file.lines() {
            if let Some(name) = line.strip_prefix("// import ") {
                let piece = resolve(name, chosen)
                    .unwrap_or_else(|| panic!("`{line}`: no piece or interface has that name"));
                if !self.has(piece.name) {
                    self.pieces.push(piece);
                    self.take(piece.text, chosen);
                }
            } else if line.starts_with("enable ") {
                if !self.directives.contains(&line) {
                    self.directives.push(line);
                }
            } else {
                self.body += line;
                self.body.push('\n');
            }
        }
    }

    /// Whether a piece was imported.
    pub(super) fn has(&self, name: &str) -> bool {
        self.pieces.iter().any(|piece| piece.name == name)
    }

    /// What the pieces need, taken together.
    pub(super) fn needs(&self) -> Needs {
        self.pieces.iter().fold(PORTABLE, |all, piece| Needs {
            subgroups: all.subgroups || piece.needs.subgroups,
            int64: all.int64 || piece.needs.int64,
            f16: all.f16 || piece.needs.f16,
            matrices: all.matrices || piece.needs.matrices,
        })
    }

    /// The text as one module.
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(self.body.len() + 64);
        for directive in &self.directives {
            text += directive;
            text.push('\n');
        }
        text + &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::super::library::PIECES;
    use super::*;

    #[test]
    fn pieces_come_once_and_directives_first() {
        let file = "const A: u32 = 1u;\n// import matrix_form\n// import f32_storage\n\
                    // import activation\n";
        let expanded = expand(file, &["matrices_8x8_f16", "f32_u64"]);
        let text = expanded.text();
        assert!(text.starts_with("enable f16;\nenable wgpu_cooperative_matrix;\nconst A"));
        for (declaration, times) in [("\nenable ", 1), ("alias F32Vec", 1), ("coop_mat16", 0)] {
            assert_eq!(text.matches(declaration).count(), times, "{declaration}");
        }
        let needs = Needs {
            int64: true,
            f16: true,
            matrices: true,
            ..PORTABLE
        };
        assert_eq!(expanded.needs(), needs);
        assert!(expanded.has("activation_f32") && !expanded.has("f32_vec4"));
    }

    #[test]
    fn imports_form_no_cycle() {
        for piece in PIECES {
            assert!(
                !expand(piece.text, &[piece.name]).has(piece.name),
                "{}",
                piece.name
            );
        }
    }

    #[test]
    #[should_panic(expected = "`// import nothing`: no piece")]
    fn an_unknown_import_is_a_mistake() {
        expand("// import nothing\n", &[]);
    }
}
