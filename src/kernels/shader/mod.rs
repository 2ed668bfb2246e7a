//! Shader text: the WGSL files, and the three preprocessing steps that turn them into kernels.
//!
//! The files in `shaders` are WGSL with directives in comments. A kernel is a file after these
//! steps, in this order:
//!
//! 1. [`import`]: `// import NAME` inserts a piece of `shaders/lib` and, recursively, its imports.
//!    Some names are interfaces: several pieces with the same declarations implement them
//!    (`activation`: in single or half precision), and the kernel's [`forms`] select one.
//! 2. [`constants`]: `const ROWS: u32 = 2u;` takes the value that a variant sets.
//! 3. [`unroll`]: loops marked `//@unroll` are unrolled.
//!
//! A kernel needs the device features of the pieces that it imports: the table in [`library`]
//! declares them, and `tests/shaders.rs` compares them with what naga finds in the module.
//!
//! # Why not `override`
//!
//! WGSL has constants that are set when a pipeline is created (`override`). They can size arrays
//! in workgroup memory, but not arrays in registers (`array<vec4<f32>, PIXELS>` in a function
//! requires a const-expression); they cannot bound loops that are unrolled as text; and no `const`
//! can depend on them. Nearly every constant here needs one of the three.
//! Overrides would suffice for the flags (`MOMENTS`, `TRANSPOSED`), which compile to the same code
//! either way, but would be a second mechanism and a second part of a kernel's identity.
//! With one mechanism, the text alone identifies a kernel.

mod constants;
mod forms;
mod import;
mod library;
mod unroll;

pub(super) use forms::{ActivationStorage, F32Storage, StorageForms, matrix_form, winograd_filter};

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::program::{Access, Kernel};
use import::expand;
use library::INTERFACES;

/// A WGSL file and its interface to the host.
pub(super) struct Shader {
    /// Stem of the file.
    pub(super) name: &'static str,
    /// Contents of the file.
    pub(super) text: &'static str,
    /// Access of the storage bindings from binding 1 on.
    pub(super) bindings: &'static [Access],
    /// Names of the fields of its uniform, in order.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the tests compare it with the file")
    )]
    pub(super) parameters: &'static [&'static str],
}

/// Declares the host half of a WGSL file: its stem, the access of its storage bindings, and the
/// struct of its parameters.
macro_rules! shader {
    ($name:literal, [$($access:ident),*], $parameters:ty $(,)?) => {
        Shader {
            name: $name,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl")),
            bindings: &[$(crate::program::Access::$access),*],
            parameters: <$parameters>::NAMES,
        }
    };
}
pub(super) use shader;

/// The text of all pieces that kernels share.
pub(super) fn library() -> impl Iterator<Item = u8> {
    library::PIECES.iter().flat_map(|piece| piece.text.bytes())
}

impl Shader {
    /// The kernel with the constants of the file.
    pub(super) fn kernel(&self) -> Kernel {
        self.variant(&[])
    }

    /// The kernel with other values for some of its constants.
    ///
    /// # Panics
    /// If the file does not declare one of the constants: a bug.
    pub(super) fn variant(&self, constants: &[(&str, u32)]) -> Kernel {
        self.with_storage(StorageForms::PORTABLE, constants)
    }

    /// [`Shader::variant`] with these storage forms. Both forms of f32 storage hold the same
    /// bytes.
    pub(super) fn with_storage(&self, storage: StorageForms, constants: &[(&str, u32)]) -> Kernel {
        self.build(storage.pieces().to_vec(), constants)
    }

    /// [`Shader::with_storage`] with a piece for another interface: one of [`matrix_form`] or
    /// [`winograd_filter`].
    pub(super) fn with_piece(
        &self,
        piece: &'static str,
        storage: StorageForms,
        constants: &[(&str, u32)],
    ) -> Kernel {
        let mut pieces = storage.pieces().to_vec();
        pieces.push(piece);
        self.build(pieces, constants)
    }

    /// Builds a kernel, once: a network uses the same few in thousands of dispatches.
    fn build(&self, pieces: Vec<&'static str>, constants: &[(&str, u32)]) -> Kernel {
        type Key = (&'static str, Vec<&'static str>, Vec<(String, u32)>);
        static BUILT: LazyLock<Mutex<HashMap<Key, Kernel>>> = LazyLock::new(Mutex::default);
        let owned = constants
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value));
        let key = (self.name, pieces, owned.collect());
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = built.get(&key) {
            return kernel.clone();
        }
        let kernel = self.preprocess(&key.1, constants);
        built.insert(key, kernel.clone());
        kernel
    }

    fn preprocess(&self, pieces: &[&'static str], constants: &[(&str, u32)]) -> Kernel {
        let module = expand(self.text, pieces);
        let mut name = self.name.to_owned();
        for (constant, value) in constants {
            name += &format!(" {constant}={value}");
        }
        let alternatives = INTERFACES.iter().flat_map(|interface| interface.pieces);
        for (_, suffix) in alternatives.filter(|(piece, _)| module.has(piece)) {
            name += suffix;
        }
        let text = constants::specialize(&module.text(), constants);
        let needs = module.needs();
        let numbers = constants::numbers(&text);
        Kernel {
            name,
            source: unroll::unroll(&text, &numbers).into(),
            bindings: self.bindings.to_vec(),
            workgroup: constants::workgroup(&text, &numbers),
            needs,
        }
    }
}

/// Declares a kernel's parameters: a struct whose fields are the words of the uniform in the
/// WGSL file, in order.
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

/// Checks that a WGSL file agrees with its host half in the names of the parameters and the access
/// of the bindings, for all pieces that can implement its interfaces.
#[cfg(test)]
pub(super) fn check_twin(shader: &Shader) {
    let mut alternatives: Vec<Vec<&str>> = vec![Vec::new()];
    for interface in INTERFACES {
        let longer = |chosen: &Vec<&'static str>| {
            let pieces = interface.pieces.iter();
            let longer = pieces.map(|(piece, _)| [&chosen[..], &[piece]].concat());
            longer.collect::<Vec<_>>()
        };
        alternatives = alternatives.iter().flat_map(longer).collect();
    }
    let sources: std::collections::BTreeSet<String> = alternatives
        .iter()
        .map(|chosen| expand(shader.text, chosen).text())
        .collect();
    for source in sources {
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|e| panic!("{}: {}", shader.name, e.emit_to_string(&source)));
        check_module(shader, &module);
    }
}

#[cfg(test)]
fn check_module(shader: &Shader, module: &naga::Module) {
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
                assert_eq!(names, shader.parameters, "{}", shader.name);
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
