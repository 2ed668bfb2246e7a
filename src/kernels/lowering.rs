//! A program under construction: a place for every value, and what kernels need to emit their
//! dispatches.

use super::shader::{ActivationStorage, F32Storage, StorageForms};
use super::{Choices, Target};
use crate::graph::lasting::ARENA_ALIGNMENT;
use crate::graph::{Arena, Graph, Node, Role, ValueId};
use crate::program::{
    Access, Binding, BufferId, Dispatch, Kernel, Lifetime, OFFSET_ALIGNMENT, Program,
};
use crate::shape::{DType, Layout, Shape};

const _: () = assert!(ARENA_ALIGNMENT.is_multiple_of(OFFSET_ALIGNMENT));

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which buffer.
    pub buffer: BufferId,
    /// First byte.
    pub offset: u64,
}

/// A program and the places of its graph's values.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The program.
    pub program: Program,
    /// Place of each value; `None` for values that nothing uses.
    pub places: Vec<Option<Place>>,
    /// The kernels that were chosen, for every node that had a choice.
    pub choices: Choices,
    /// What else could have been chosen.
    pub offers: Vec<Offer>,
}

/// A node that several kernels can compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its number in the graph.
    pub node: usize,
    /// Its key in the table of choices.
    pub key: String,
    /// Those that may be the fastest, the default first.
    pub candidates: Vec<&'static str>,
}

/// Why a graph cannot become a program for a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    /// A tensor that no binding can show.
    #[error(
        "{name} {shape} takes {bytes} bytes, more than the {limit} bytes that one binding of \
         this adapter can show; use a smaller batch"
    )]
    TooLarge {
        /// The value.
        name: String,
        /// Its shape.
        shape: String,
        /// Its size.
        bytes: u64,
        /// The adapter's limit.
        limit: u64,
    },
    /// A choice that names no kernel, or one that cannot run.
    #[error("kernel choice `{key}`: `{variant}` cannot run here; it can be {legal}")]
    Variant {
        /// Which node.
        key: String,
        /// What was chosen.
        variant: String,
        /// What could be.
        legal: String,
    },
}

/// What the kernels' files emit their dispatches into.
pub(super) struct Lowering<'a> {
    pub(super) graph: &'a Graph,
    pub(super) target: &'a Target,
    program: Program,
    places: Vec<Option<Place>>,
    choices: &'a Choices,
    made: Choices,
    offers: Vec<Offer>,
    /// Slices of each value that holds partial results, once they are known.
    slices: Vec<u32>,
    /// Of the node that is being lowered.
    pub(super) number: usize,
}

/// One launch, before it becomes a dispatch.
pub(super) struct Launch {
    pub(super) kernel: Kernel,
    pub(super) uniforms: Vec<u32>,
    pub(super) bindings: Vec<Binding>,
    pub(super) grid: [u32; 3],
    pub(super) flops: u64,
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
            made: Choices::default(),
            offers: Vec::new(),
            slices: vec![1; graph.values.len()],
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
                // The kernel that makes partial results says how many slices there are.
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
            choices: self.made,
            offers: self.offers,
        }
    }

    /// Values of an arena follow one another, each at a legal offset.
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

    /// How vectors are stored for a kernel that reads or writes this activation.
    ///
    /// Software adapters with 64-bit integers load and store f32 in pairs of those.
    pub(super) fn memory(&self, activation: ValueId) -> StorageForms {
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

    /// A value as a kernel reads it.
    pub(super) fn read(&self, id: ValueId) -> Binding {
        self.bind(id, Access::Read)
    }

    /// A value as a kernel writes (and perhaps reads) it.
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

    /// Room for so many slices of a value that holds partial results, as the kernel that makes
    /// it writes them.
    pub(super) fn slices(&mut self, id: ValueId, slices: u32) -> Binding {
        let value = self.graph.value(id);
        let bytes = u64::from(slices) * value.shape.bytes();
        let name = &value.name;
        let buffer = self.program.buffer(name, bytes, Lifetime::Temporary);
        self.places[id.0] = Some(Place { buffer, offset: 0 });
        self.slices[id.0] = slices;
        self.write(id)
    }

    /// A buffer that lives from its first to its last use, as a kernel writes it.
    pub(super) fn scratch(&mut self, of: ValueId, bytes: u64) -> Binding {
        let name = format!("{} slices", self.graph.value(of).name);
        Binding {
            buffer: self.program.buffer(&name, bytes, Lifetime::Temporary),
            offset: 0,
            bytes,
            access: Access::Write,
        }
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
        });
    }

    /// Arithmetic of a node on true elements.
    pub(super) fn flops(&self, node: &Node) -> u64 {
        let shapes = |ids: &[ValueId]| ids.iter().map(|id| self.shape(*id)).collect::<Vec<_>>();
        node.op.flops(&shapes(&node.inputs), &shapes(&node.outputs))
    }

    /// Picks a kernel among the legal ones, the default first; of these the first `candidates`
    /// may be the fastest.
    pub(super) fn choose(
        &mut self,
        key: String,
        legal: &[&'static str],
        candidates: usize,
    ) -> Result<&'static str, LowerError> {
        let variant = match self.choices.get(&key) {
            None => legal[0],
            Some(wanted) => {
                *legal
                    .iter()
                    .find(|v| **v == wanted)
                    .ok_or_else(|| LowerError::Variant {
                        key: key.clone(),
                        variant: wanted.to_owned(),
                        legal: legal.join(" or "),
                    })?
            }
        };
        if !self.offers.iter().any(|offer| offer.key == key) {
            self.offers.push(Offer {
                node: self.number,
                key: key.clone(),
                candidates: legal[..candidates.min(legal.len())].to_vec(),
            });
        }
        self.made.set(key, variant);
        Ok(variant)
    }
}

/// The same binding, read only.
pub(super) fn reading(binding: &Binding) -> Binding {
    Binding {
        access: Access::Read,
        ..binding.clone()
    }
}
