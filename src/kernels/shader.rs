//! Shader text: real WGSL files, shared pieces by import, tile constants by name.
//!
//! A line `// import NAME` is replaced by `shaders/lib/NAME.wgsl`.
//! A variant gives module-scope constants other values: `const ROWS: u32 = 2u;` keeps its
//! name and type and gets the variant's value.
//! Loops marked `//@unroll` are written out: see [`super::unroll`].

use super::unroll::unroll;
use crate::program::{Access, Kernel, MatrixUnit, Needs};
use crate::shape::DType;

/// Pieces that several shaders import.
const LIBRARY: [(&str, &str); 21] = [
    (
        "conv2d_pixels",
        include_str!("../../shaders/lib/conv2d_pixels.wgsl"),
    ),
    (
        "conv2d_broadcast",
        include_str!("../../shaders/lib/conv2d_broadcast.wgsl"),
    ),
    (
        "conv2d_tile",
        include_str!("../../shaders/lib/conv2d_tile.wgsl"),
    ),
    (
        "conv2d_weights",
        include_str!("../../shaders/lib/conv2d_weights.wgsl"),
    ),
    (
        "conv2d_weights_broadcast",
        include_str!("../../shaders/lib/conv2d_weights_broadcast.wgsl"),
    ),
    (
        "conv2d_weights_tile",
        include_str!("../../shaders/lib/conv2d_weights_tile.wgsl"),
    ),
    ("exact", include_str!("../../shaders/lib/exact.wgsl")),
    ("float", include_str!("../../shaders/lib/float.wgsl")),
    (
        "loss_scale",
        include_str!("../../shaders/lib/loss_scale.wgsl"),
    ),
    ("matrices", include_str!("../../shaders/lib/matrices.wgsl")),
    ("moments", include_str!("../../shaders/lib/moments.wgsl")),
    (
        "batch_norm",
        include_str!("../../shaders/lib/batch_norm.wgsl"),
    ),
    ("philox", include_str!("../../shaders/lib/philox.wgsl")),
    ("running", include_str!("../../shaders/lib/running.wgsl")),
    ("shortcut", include_str!("../../shaders/lib/shortcut.wgsl")),
    ("step", include_str!("../../shaders/lib/step.wgsl")),
    ("stored", include_str!("../../shaders/lib/stored.wgsl")),
    (
        "row_partition",
        include_str!("../../shaders/lib/row_partition.wgsl"),
    ),
    ("winograd", include_str!("../../shaders/lib/winograd.wgsl")),
    (
        "winograd2",
        include_str!("../../shaders/lib/winograd2.wgsl"),
    ),
    (
        "winograd4",
        include_str!("../../shaders/lib/winograd4.wgsl"),
    ),
];

/// A WGSL file and what the host must know of it.
pub(super) struct Shader {
    /// Stem of the file.
    pub(super) name: &'static str,
    /// The file.
    pub(super) text: &'static str,
    /// Access of the storage bindings from binding 1 on.
    pub(super) bindings: &'static [Access],
    /// Names of the parameters in its uniform, in order.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the tests compare it with the file")
    )]
    pub(super) parameters: &'static [&'static str],
    /// Whether it uses subgroup operations.
    pub(super) subgroups: bool,
}

/// Declares the host half of a WGSL file: its stem, the access of its storage bindings, the
/// struct of its parameters, and whether it uses subgroup operations.
macro_rules! shader {
    ($name:literal, [$($access:ident),*], $parameters:ty) => {
        shader!(@ $name, [$($access),*], $parameters, false)
    };
    ($name:literal, [$($access:ident),*], $parameters:ty, subgroups) => {
        shader!(@ $name, [$($access),*], $parameters, true)
    };
    (@ $name:literal, [$($access:ident),*], $parameters:ty, $subgroups:literal) => {
        Shader {
            name: $name,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl")),
            bindings: &[$(crate::program::Access::$access),*],
            parameters: <$parameters>::NAMES,
            subgroups: $subgroups,
        }
    };
}
pub(super) use shader;

/// The text of all kernels' shared pieces.
pub(super) fn library() -> impl Iterator<Item = u8> {
    LIBRARY.iter().flat_map(|(_, text)| text.bytes())
}

impl Shader {
    /// The kernel as it stands in the file.
    pub(super) fn kernel(&self) -> Kernel {
        self.variant(&[])
    }

    /// [`Shader::variant`] whose vectors lie in memory in these forms. Wide ones have the same
    /// bits as plain ones.
    pub(super) fn suited(&self, memory: StorageForms, constants: &[(&str, u32)]) -> Kernel {
        let mut kernel = self.variant(constants);
        let mut text = String::with_capacity(kernel.source.len() + 512);
        for line in kernel.source.lines() {
            text += memory.declaration(line).as_deref().unwrap_or(line);
            text.push('\n');
        }
        kernel.needs.int64 = text.contains("u64");
        if memory.stored == Storage::Half && text.contains("Stored") {
            kernel.name += " half";
        }
        if kernel.needs.int64 {
            kernel.name += " wide";
        }
        kernel.source = text;
        kernel
    }

    /// [`Shader::suited`] to a matrix unit: the piece `matrices` with matrices of its size and
    /// operands of its precision.
    pub(super) fn for_unit(
        &self,
        unit: MatrixUnit,
        memory: StorageForms,
        constants: &[(&str, u32)],
    ) -> Kernel {
        let mut kernel = self.suited(memory, constants);
        let size = unit.size;
        let own = format!("coop_mat{size}x{size}");
        kernel.source = kernel.source.replace("coop_mat16x16", &own);
        if unit.operands == DType::F32 {
            let single = kernel.source.replace("enable f16;\n", "");
            kernel.source = single.replace("alias Operand = f16;", "alias Operand = f32;");
            kernel.needs.f16 = false;
            kernel.name += " single";
        }
        kernel
    }

    /// The kernel with other values for some of its constants.
    ///
    /// # Panics
    /// If the file does not declare such a constant: a mistake of ours.
    pub(super) fn variant(&self, constants: &[(&str, u32)]) -> Kernel {
        let mut name = self.name.to_owned();
        let mut source = expand(self.text, constants);
        for (constant, value) in constants {
            source = replace(&source, constant, *value)
                .unwrap_or_else(|| panic!("{} declares no constant {constant}", self.name));
            name += &format!(" {constant}={value}");
        }
        source = unroll(&source, constants);
        let uses = |extension| source.contains(&format!("enable {extension};"));
        let needs = Needs {
            subgroups: self.subgroups,
            int64: false,
            f16: uses("f16"),
            matrices: uses("wgpu_cooperative_matrix"),
        };
        Kernel {
            name,
            source,
            bindings: self.bindings.to_vec(),
            needs,
        }
    }
}

/// How a vector of four numbers lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// As `vec4<f32>`.
    Plain,
    /// In single precision as two 64-bit integers, which halves the number of load and store
    /// instructions on software adapters.
    Wide,
    /// In half precision, two to a word. WGSL has instructions for that everywhere, so no
    /// adapter needs halves of its own.
    Half,
}

/// How vectors lie in memory for one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StorageForms {
    /// Those of feature maps (`shaders/lib/stored.wgsl`).
    pub(super) stored: Storage,
    /// Those of all else, which are never halves (`shaders/lib/exact.wgsl`).
    pub(super) exact: Storage,
}

impl StorageForms {
    /// Without wide moves.
    pub(super) fn narrow(self) -> StorageForms {
        let narrow = |storage| match storage {
            Storage::Wide => Storage::Plain,
            other => other,
        };
        StorageForms {
            stored: narrow(self.stored),
            exact: narrow(self.exact),
        }
    }

    /// What stands in place of a declaration of the two pieces.
    fn declaration(self, line: &str) -> Option<String> {
        let pieces = [
            (self.stored, "Stored", "fn "),
            (self.exact, "Exact", "fn exact_"),
        ];
        pieces.iter().find_map(|(storage, alias, function)| {
            let own = |text: &str| text.replace("Stored", alias).replace("fn ", function);
            let all = &DECLARATIONS;
            let [_, wide, half] = all
                .iter()
                .find(|[start, ..]| line.starts_with(&own(start)))?;
            match storage {
                Storage::Plain => None,
                Storage::Wide => Some(own(wide)),
                Storage::Half => Some(own(half)),
            }
        })
    }
}

/// The declarations of `shaders/lib/stored.wgsl` by their first words; what they become where
/// vectors are pairs of 64-bit integers, and where they are halves. Those of
/// `shaders/lib/exact.wgsl` differ in their names only.
const DECLARATIONS: [[&str; 3]; 3] = [
    [
        "alias Stored ",
        "alias Stored = vec2<u64>;",
        "alias Stored = vec2<u32>;",
    ],
    [
        "fn floats(",
        "fn floats(value: Stored) -> vec4<f32> { return bitcast<vec4<f32>>(vec4<u32>(\
         u32(value.x), u32(value.x >> 32u), u32(value.y), u32(value.y >> 32u))); }",
        "fn floats(value: Stored) -> vec4<f32> { \
         return vec4<f32>(unpack2x16float(value.x), unpack2x16float(value.y)); }",
    ],
    [
        "fn packed(",
        "fn packed(value: vec4<f32>) -> Stored { let words = bitcast<vec4<u32>>(value); \
         return vec2<u64>(u64(words.x) | (u64(words.y) << 32u), \
         u64(words.z) | (u64(words.w) << 32u)); }",
        "fn packed(value: vec4<f32>) -> Stored { \
         return vec2<u32>(pack2x16float(value.xy), pack2x16float(value.zw)); }",
    ],
];

/// Replaces import lines by the pieces they name; a name may end in a constant and what it is
/// unless it is given, as in `// import winograd{OUT|2}`.
fn expand(text: &str, constants: &[(&str, u32)]) -> String {
    let mut source = String::with_capacity(text.len());
    for line in text.lines() {
        match line.strip_prefix("// import ") {
            Some(piece) => {
                let piece = match piece.trim().trim_end_matches('}').split_once('{') {
                    Some((stem, constant)) => {
                        let (constant, default) = constant
                            .split_once('|')
                            .unwrap_or_else(|| panic!("`{line}` has no default"));
                        let given = constants.iter().find(|(name, _)| *name == constant);
                        let given = given.map(|(_, value)| value.to_string());
                        stem.to_owned() + given.as_deref().unwrap_or(default)
                    }
                    None => piece.trim().to_owned(),
                };
                let found = LIBRARY.iter().find(|(name, _)| *name == piece);
                let (_, text) = found.unwrap_or_else(|| panic!("no shader piece named {piece}"));
                source += text;
            }
            None => source += line,
        }
        source.push('\n');
    }
    source
}

/// Gives `const NAME: type = value;` another value.
fn replace(source: &str, constant: &str, value: u32) -> Option<String> {
    let mut found = false;
    let lines: Vec<String> = source
        .lines()
        .map(|line| {
            let declares = line
                .strip_prefix("const ")
                .and_then(|rest| rest.strip_prefix(constant))
                .and_then(|rest| rest.strip_prefix(": "))
                .and_then(|rest| rest.split_once(" = "));
            match declares {
                Some((kind, _)) => {
                    found = true;
                    let value = match kind {
                        "bool" => (value != 0).to_string(),
                        "i32" => format!("{value}i"),
                        _ => format!("{value}u"),
                    };
                    format!("const {constant}: {kind} = {value};")
                }
                None => line.to_owned(),
            }
        })
        .collect();
    found.then(|| lines.join("\n") + "\n")
}

/// Declares a kernel's parameters once: a struct whose fields are the words of the uniform
/// `Params` in the WGSL file, in order.
macro_rules! parameters {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default)]
        $visibility struct $name { $($(#[$field_meta])* $visibility $field: u32),* }

        impl $name {
            $visibility const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];

            $visibility fn words(self) -> Vec<u32> {
                vec![$(self.$field),*]
            }
        }
    };
}
pub(super) use parameters;

/// Compares a WGSL file with its host half: names of the parameters, access of the bindings.
#[cfg(test)]
pub(super) fn check_twin(shader: &Shader) {
    let parameters = shader.parameters;
    let source = expand(shader.text, &[]);
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|e| panic!("{}: {}", shader.name, e.emit_to_string(&source)));
    let mut accesses = Vec::new();
    for (_, variable) in module.global_variables.iter() {
        let Some(binding) = &variable.binding else {
            continue;
        };
        match variable.space {
            naga::AddressSpace::Uniform => {
                assert_eq!(binding.binding, 0, "{}", shader.name);
                let naga::TypeInner::Struct { members, .. } = &module.types[variable.ty].inner
                else {
                    panic!("{}: the uniform must be a struct", shader.name);
                };
                for (index, member) in members.iter().enumerate() {
                    assert_eq!(member.offset as usize, 4 * index, "{}", shader.name);
                }
                let names: Vec<&str> = members.iter().filter_map(|m| m.name.as_deref()).collect();
                assert_eq!(names, parameters, "{}", shader.name);
            }
            naga::AddressSpace::Storage { access } => {
                let write = access.contains(naga::StorageAccess::STORE);
                let access = if write { Access::Write } else { Access::Read };
                accesses.push((binding.binding, access));
            }
            _ => {}
        }
    }
    accesses.sort_by_key(|(binding, _)| *binding);
    let expected: Vec<(u32, Access)> = (1..).zip(shader.bindings.iter().copied()).collect();
    assert_eq!(accesses, expected, "{}", shader.name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_keep_their_type() {
        let text = "const TILE: u32 = 2u;\nconst FLIP: bool = false;\nlet TILE = 3;\n";
        let text = replace(text, "TILE", 5).and_then(|t| replace(&t, "FLIP", 1));
        let expected = "const TILE: u32 = 5u;\nconst FLIP: bool = true;\nlet TILE = 3;\n";
        assert_eq!(text.as_deref(), Some(expected));
        assert_eq!(replace("const TILES: u32 = 2u;", "TILE", 5), None);
    }
}
