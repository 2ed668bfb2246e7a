//! A program under construction: the place of every value, and what operators need to emit their
//! dispatches.

use super::shader::{ActivationStorage, F32Storage, StorageForms};
use super::{Choices, ShapeClass, Target};
use crate::graph::lasting::ARENA_ALIGNMENT;
use crate::graph::{Arena, Graph, Node, Role, ValueId};
use crate::program::{
    Access, Binding, BufferId, Dispatch, Kernel, Lifetime, OFFSET_ALIGNMENT, Program,
};
use crate::shape::{DType, Layout, Shape};

const _: () = assert!(ARENA_ALIGNMENT.is_multiple_of(OFFSET_ALIGNMENT));

/// Location of a value in a program's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The buffer.
    pub buffer: BufferId,
    /// Offset of the first byte.
    pub offset: u64,
}

/// A program and the places of its graph's values.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The program.
    pub program: Program,
    /// Place of each value; `None` for temporaries that no node uses.
    pub places: Vec<Option<Place>>,
    /// The kernel selected for each node that has a choice.
    pub choices: Choices,
    /// Nodes that have a choice, the first for each key.
    pub offers: Vec<Offer>,
}

/// A node that several kernels can compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its index in the graph.
    pub node: usize,
    /// Its key in the table of choices.
    pub key: String,
    /// The class of nodes that share their fastest kernel with it.
    pub class: ShapeClass,
    /// Floating-point operations of all nodes with the key.
    pub flops: u64,
    /// Variants that can compute it, the default first.
    pub legal: Vec<&'static str>,
    /// How many of the first may be the fastest.
    pub candidates: usize,
}

impl Offer {
    /// Variants that may be the fastest.
    pub fn candidates(&self) -> &[&'static str] {
        &self.legal[..self.candidates]
    }
}

/// Why a graph cannot be lowered for a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    /// A tensor that exceeds the largest binding.
    #[error(
        "{name} {shape} takes {bytes} bytes, more than the {limit} bytes that one buffer binding \
         of this adapter can hold; use a smaller batch"
    )]
    TooLarge {
        /// Name of the value.
        name: String,
        /// Its shape.
        shape: String,
        /// Its size in memory.
        bytes: u64,
        /// The target's largest binding, in bytes.
        limit: u64,
    },
    /// A choice that names no variant, or one that cannot compute the node on the target.
    #[error("kernel choice `{key}`: `{variant}` is not available here; choose {legal}")]
    Variant {
        /// Key of the node.
        key: String,
        /// The variant that was chosen.
        variant: String,
        /// The variants that can compute the node.
        legal: String,
    },
}

/// The program under construction, and the context in which operators emit dispatches.
pub(super) struct Lowering<'a> {
    pub(super) graph: &'a Graph,
    pub(super) target: &'a Target,
    program: Program,
    places: Vec<Option<Place>>,
    choices: &'a Choices,
    selected: Choices,
    offers: Vec<Offer>,
    /// Number of slices of each value: 1 until the kernel that writes partial results sets it.
    slices: Vec<u32>,
    /// The sum that the next dispatch of sums computes too.
    pub(super) deferred: Option<SliceSum>,
    /// Index of the node that is being lowered.
    pub(super) number: usize,
}

/// A sum of the slices of `partial` to `total`, which has the size of a slice.
pub(super) struct SliceSum {
    pub(super) partial: Binding,
    pub(super) total: ValueId,
}

/// A dispatch whose kernel is not yet registered in the program.
pub(super) struct Launch {
    pub(super) kernel: Kernel,
    pub(super) uniforms: Vec<u32>,
    pub(super) bindings: Vec<Binding>,
    pub(super) grid: [u32; 3],
    pub(super) flops: u64,
    /// [`Dispatch::serial_steps`].
    pub(super) serial_steps: u32,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        target: &'a Target,
        choices: &'a Choices,
    ) -> Result<Lowering<'a>, LowerError> {
        let mut lowering = Lowering {
            graph,
            target,
            program: Program::new(),
            places: vec![None; graph.values.len()],
            choices,
            selected: Choices::default(),
            offers: Vec::new(),
            slices: vec![1; graph.values.len()],
            deferred: None,
            number: 0,
        };
        for arena in Arena::ALL {
            lowering.place_arena(arena);
        }
        let mut used = vec![false; graph.values.len()];
        for node in &graph.nodes {
            for id in node.inputs.iter().chain(&node.outputs) {
                used[id.0] = true;
            }
        }
        for (index, value) in graph.values.iter().enumerate() {
            let bytes = value.shape.bytes();
            if bytes > target.max_binding && used[index] {
                return Err(LowerError::TooLarge {
                    name: value.name.clone(),
                    shape: value.shape.to_string(),
                    bytes,
                    limit: target.max_binding,
                });
            }
            let lifetime = match value.role {
                Role::Kept(_) => continue,
                Role::External | Role::Output => Lifetime::Kept,
                // Allocated by `Lowering::slices`: their number depends on the kernel.
                Role::Temporary if value.shape.layout == Layout::Slices => continue,
                Role::Temporary if used[index] => Lifetime::Temporary,
                Role::Temporary => continue,
            };
            let buffer = lowering.program.buffer(&value.name, bytes, lifetime);
            lowering.places[index] = Some(Place { buffer, offset: 0 });
        }
        Ok(lowering)
    }

    /// The finished program.
    pub(super) fn finish(self) -> Lowered {
        Lowered {
            program: self.program,
            places: self.places,
            choices: self.selected,
            offers: self.offers,
        }
    }

    /// Ends a part of the program, as of the graph ([`Graph::parts`]).
    pub(super) fn end_part(&mut self) {
        self.program.pauses.push(self.program.dispatches.len());
    }

    /// Allocates an arena: its values follow one another, each at an aligned offset.
    fn place_arena(&mut self, arena: Arena) {
        let ids = self.graph.arena(arena);
        let (offsets, bytes) = self.graph.arena_offsets(arena);
        if bytes == 0 {
            return;
        }
        let buffer = self.program.buffer(arena.name(), bytes, Lifetime::Kept);
        if self.graph.clears.contains(&arena) {
            self.program.clears.push(buffer);
        }
        for (id, offset) in ids.into_iter().zip(offsets) {
            self.places[id.0] = Some(Place { buffer, offset });
        }
    }

    /// Shape of a value.
    pub(super) fn shape(&self, id: ValueId) -> &'a Shape {
        self.graph.shape(id)
    }

    /// Storage forms for a kernel that reads or writes this activation.
    ///
    /// Software adapters with 64-bit integers load and store four f32 as a pair of those.
    pub(super) fn storage(&self, activation: ValueId) -> StorageForms {
        StorageForms {
            activation: match self.shape(activation).dtype {
                DType::F16 => ActivationStorage::F16,
                DType::F32 | DType::U32 => ActivationStorage::F32,
            },
            f32: match self.target.software && self.target.int64 {
                true => F32Storage::U64,
                false => F32Storage::Vec4,
            },
        }
    }

    /// A read-only binding of a value.
    pub(super) fn read(&self, id: ValueId) -> Binding {
        self.bind(id, Access::Read)
    }

    /// A binding of a value that a kernel writes, and may read.
    pub(super) fn write(&self, id: ValueId) -> Binding {
        self.bind(id, Access::Write)
    }

    fn bind(&self, id: ValueId, access: Access) -> Binding {
        let place = self.places[id.0].expect("values of nodes have places");
        Binding {
            buffer: place.buffer,
            offset: place.offset,
            bytes: u64::from(self.slices[id.0]) * self.shape(id).bytes(),
            access,
        }
    }

    /// Allocates a number of slices for a value that holds partial results; returns the binding
    /// for the kernel that writes them.
    pub(super) fn slices(&mut self, id: ValueId, slices: u32) -> Binding {
        let value = self.graph.value(id);
        let bytes = u64::from(slices) * value.shape.bytes();
        let name = &value.name;
        let buffer = self.program.buffer(name, bytes, Lifetime::Temporary);
        self.places[id.0] = Some(Place { buffer, offset: 0 });
        self.slices[id.0] = slices;
        self.write(id)
    }

    /// Allocates a temporary buffer for the computation of `of`, named after it and `purpose`;
    /// returns a binding to write it.
    pub(super) fn scratch(&mut self, of: ValueId, purpose: &str, bytes: u64) -> Binding {
        let name = format!("{} {purpose}", self.graph.value(of).name);
        Binding {
            buffer: self.program.buffer(&name, bytes, Lifetime::Temporary),
            offset: 0,
            bytes,
            access: Access::Write,
        }
    }

    /// A binding for an output that the kernel of `of` does not write: it must be bound too, to
    /// a buffer that nothing else binds.
    pub(super) fn unused(&mut self, of: ValueId) -> Binding {
        self.scratch(of, "unused", 16)
    }

    /// Emits a dispatch that computes `of`.
    pub(super) fn launch(&mut self, of: ValueId, launch: Launch) {
        debug_assert_eq!(
            launch.kernel.bindings,
            launch.bindings.iter().map(|b| b.access).collect::<Vec<_>>()
        );
        let kernel = self.program.kernel(launch.kernel);
        self.program.dispatches.push(Dispatch {
            kernel,
            label: self.graph.value(of).name.clone(),
            uniforms: launch.uniforms,
            bindings: launch.bindings,
            grid: launch.grid,
            flops: launch.flops,
            serial_steps: launch.serial_steps,
        });
    }

    /// Floating-point operations of a node, those on padding excluded.
    pub(super) fn flops(&self, node: &Node) -> u64 {
        let shapes = |ids: &[ValueId]| ids.iter().map(|id| self.shape(*id)).collect::<Vec<_>>();
        node.op.flops(&shapes(&node.inputs), &shapes(&node.outputs))
    }

    /// Selects a kernel among the legal ones, of which the first is the default and the first
    /// `candidates` may be the fastest. The class is that of the key's first node.
    ///
    /// # Errors
    /// If the table of choices names a variant that is not legal.
    pub(super) fn choose(
        &mut self,
        (key, class): (String, ShapeClass),
        legal: &[&'static str],
        candidates: usize,
    ) -> Result<&'static str, LowerError> {
        let variant = match self.choices.get(&key) {
            None => legal[0],
            Some(chosen) => {
                *legal
                    .iter()
                    .find(|v| **v == chosen)
                    .ok_or_else(|| LowerError::Variant {
                        key: key.clone(),
                        variant: chosen.to_owned(),
                        legal: legal.join(" or "),
                    })?
            }
        };
        let flops = self.flops(&self.graph.nodes[self.number]);
        match self.offers.iter_mut().find(|offer| offer.key == key) {
            Some(offer) => offer.flops += flops,
            None => self.offers.push(Offer {
                node: self.number,
                key: key.clone(),
                class,
                flops,
                legal: legal.to_vec(),
                candidates: candidates.min(legal.len()),
            }),
        }
        self.selected.set(key, variant);
        Ok(variant)
    }
}

/// The same binding, read-only.
pub(super) fn reading(binding: &Binding) -> Binding {
    Binding {
        access: Access::Read,
        ..binding.clone()
    }
}
