//! Runs graphs on devices: the one place where graphs, kernels and devices meet.
//!
//! An [`Engine`] holds some graphs on a device, with everything built: pipelines, buffers,
//! bind groups. Lasting values are looked up by name once, then written and read by handle, in
//! their memory layout; arenas can be read and written whole; a run executes one graph.
//! There are three kinds of [`Device`] behind one interface: a GPU, the CPU, and the operators'
//! plain references in double precision.

#[cfg(not(target_arch = "wasm32"))]
mod alone;
mod backend;
mod device;
#[cfg(not(target_arch = "wasm32"))]
mod golden;
mod kernel_check;
#[cfg(not(target_arch = "wasm32"))]
mod layer;
mod matrices;
#[cfg(not(target_arch = "wasm32"))]
mod measure;
mod memory;
#[cfg(not(target_arch = "wasm32"))]
mod on_cpu;
#[cfg(not(target_arch = "wasm32"))]
mod sampling;
#[cfg(not(target_arch = "wasm32"))]
mod timed;
#[cfg(not(target_arch = "wasm32"))]
mod trial;
#[cfg(not(target_arch = "wasm32"))]
mod tuner;
#[cfg(not(target_arch = "wasm32"))]
mod tuning_cache;
mod weights;

use std::ops::Range;
use std::slice::from_ref;

pub use device::{Device, DeviceKind, DeviceRequest};
#[cfg(not(target_arch = "wasm32"))]
pub use golden::Golden;
pub use matrices::try_matrices;
pub use memory::MemoryPlan;
#[cfg(not(target_arch = "wasm32"))]
pub use tuner::{Tuned, Tuner};
#[cfg(not(target_arch = "wasm32"))]
pub use tuning_cache::TuningCache;
pub use weights::{TensorKind, Tensors};

use crate::cpu;
#[cfg(not(target_arch = "wasm32"))]
use crate::gpu::KernelTime;
use crate::gpu::{GpuError, Readback};
use crate::graph::lasting::{LastingMemory, MemoryRange};
use crate::graph::ops::Reduction;
use crate::graph::{self, Arena, Graph, GraphError, Node, Op, ValueId, precision};
use crate::kernels::{self, Choices, LowerError, Lowered};
use crate::memory::{OutOfMemory, check as check_memory};
use crate::program::Program;
use crate::shape::Shape;
use backend::{
    AnyBackend, Backend, CpuBackend, GpuBackend, ReferenceBackend, delegate, needed_by_reference,
};

/// Errors of building and running graphs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// In opening or using the adapter.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// In lowering.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// In the graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// More memory than the process can use, on the CPU, the reference or a software adapter.
    #[error("{0}")]
    Memory(#[from] OutOfMemory),
    /// Half-precision activations on a device that supports f32 only.
    #[error(
        "{0} stores activations in single precision only; leave out --precision f16, or select a \
         GPU with --device (`pyr-wgpu devices` lists them)"
    )]
    Precision(String),
    /// A kernel that computes wrong values on an adapter, without another in its place.
    #[error(
        "{adapter} computes wrong values with the kernel {kernel}, and none is left to use in its \
         place; update the driver, or select another device, as in --device cpu; `pyr-wgpu \
         selftest` shows what to report, and --tune off uses the kernels unchecked"
    )]
    Faulty {
        /// The kernel.
        kernel: String,
        /// The adapter's name.
        adapter: String,
    },
}

/// Graphs ready to run on a device.
pub struct Engine {
    device: Device,
    lasting: LastingMemory,
    backend: AnyBackend,
    choices: Choices,
    /// What the parts of each graph end with.
    part_ends: Vec<Vec<PartEnd>>,
}

/// Handle of a lasting value of an engine's graphs: external, kept or an output.
///
/// [`Engine::value`] returns it; it is valid for that engine only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueHandle(usize);

/// What the host does after a part of a run ([`Graph::parts`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartEnd {
    /// It must compute a reduction, before the next part runs.
    Reduction(ReplicaReduction),
    /// It may read these numbers of [`Arena::Sums`] while the next parts run. They are complete in the
    /// last micro-batch of a step.
    Sums(Range<usize>),
    /// Nothing: the run has ended.
    Nothing,
}

/// A reduction over replicas ([`crate::graph::ops::AllReduce`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaReduction {
    /// What is reduced.
    pub reduction: Reduction,
    /// The statistics of the engine's own replica, after the part that ends with the reduction.
    pub own: ValueHandle,
    /// Where their result is written before the next part runs.
    pub all: ValueHandle,
}

/// Chooses no kernels: every node keeps that of the built-in table.
///
/// # Errors
/// None.
pub fn built_in(_: &[Graph]) -> Result<Choices, EngineError> {
    Ok(Choices::default())
}

/// Reads an arena or a value of an engine again and again, with the same memory of the host.
pub struct Reader {
    range: MemoryRange,
    readback: Option<Readback>,
}

impl Engine {
    /// Builds everything for graphs that share lasting values, which start as zeros.
    ///
    /// # Errors
    /// If the device cannot hold or run them.
    pub fn new(
        device: &Device,
        graphs: Vec<Graph>,
        choices: &Choices,
    ) -> Result<Engine, EngineError> {
        let lasting = LastingMemory::of(&graphs);
        let part_ends = graphs.iter().map(|graph| part_ends(graph, &lasting));
        let part_ends = part_ends.collect();
        let mut used = Choices::default();
        let backend = match device {
            Device::Gpu(gpu) => {
                let target = device.target();
                let (backend, chosen) = GpuBackend::new(gpu, &target, &graphs, &lasting, choices)?;
                used = chosen;
                AnyBackend::Gpu(backend)
            }
            Device::Cpu(_) if graphs.iter().any(precision::is_half) => {
                return Err(EngineError::Precision(device.name()));
            }
            Device::Cpu(cpu) => AnyBackend::Cpu(CpuBackend::new(cpu, graphs, &lasting)?),
            Device::Reference => AnyBackend::Reference(ReferenceBackend::new(graphs, &lasting)?),
        };
        Ok(Engine {
            device: device.clone(),
            lasting,
            backend,
            choices: used,
            part_ends,
        })
    }

    /// Checks that a device can hold graphs, as far as that is known before they are built: the
    /// largest binding of an adapter, and the memory of the process for devices that use it.
    ///
    /// # Errors
    /// If it cannot.
    pub fn check(device: &Device, graphs: &[Graph]) -> Result<(), EngineError> {
        let needed = Engine::host_memory_needed(from_ref(device), graphs)?;
        Ok(check_memory(needed)?)
    }

    /// Host memory in bytes that graphs need with the built-in kernels, summed over the devices that use
    /// host memory; each device holds every graph.
    ///
    /// # Errors
    /// If a value exceeds the largest binding of an adapter.
    pub fn host_memory_needed(devices: &[Device], graphs: &[Graph]) -> Result<u64, EngineError> {
        let mut host = 0u64;
        for device in devices {
            let needed = Engine::needed(device, graphs)?;
            if device.uses_host_memory() {
                host = host.saturating_add(needed);
            }
        }
        Ok(host)
    }

    /// Bytes of all buffers that graphs need on a device with the built-in kernels.
    ///
    /// # Errors
    /// If a value exceeds the largest binding of an adapter.
    pub fn needed(device: &Device, graphs: &[Graph]) -> Result<u64, EngineError> {
        let lasting = || LastingMemory::of(graphs);
        Ok(match device {
            Device::Gpu(_) => {
                let target = device.target();
                let lower = |graph| kernels::lower(graph, &target, &Choices::default());
                let lowered: Result<Vec<Lowered>, LowerError> = graphs.iter().map(lower).collect();
                let lowered = lowered?;
                let programs: Vec<&Program> = lowered.iter().map(|l| &l.program).collect();
                MemoryPlan::new(&programs).total()
            }
            Device::Cpu(cpu) => cpu::needed_bytes(cpu, graphs, &lasting()),
            Device::Reference => needed_by_reference(graphs, &lasting()),
        })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The kernels in use, where there was a choice.
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// Bytes of all buffers on the device.
    pub fn bytes(&self) -> u64 {
        delegate!(&self.backend, backend => backend.bytes())
    }

    /// The lasting value with a name.
    ///
    /// # Panics
    /// If no graph has such a value, which is a bug.
    pub fn value(&self, name: &str) -> ValueHandle {
        let found = self.lasting.find(name);
        ValueHandle(found.unwrap_or_else(|| panic!("no graph has a lasting value {name}")))
    }

    /// Shape of a value: the largest, if graphs differ.
    pub fn shape(&self, value: ValueHandle) -> &Shape {
        &self.lasting.values[value.0].shape
    }

    fn range(&self, value: ValueHandle) -> MemoryRange {
        self.lasting.values[value.0].range
    }

    /// Writes the first words of a value, in its memory layout.
    ///
    /// # Panics
    /// If the value has fewer words, which is a bug.
    pub fn write(&mut self, value: ValueHandle, words: &[u32]) {
        let range = self.range(value);
        assert!(
            words.len() <= range.words,
            "{} has {} words, not {}",
            self.lasting.values[value.0].name,
            range.words,
            words.len()
        );
        delegate!(&mut self.backend, backend => backend.write(range, words));
    }

    /// Writes the elements of an `f32` value, without pads.
    ///
    /// # Panics
    /// If the value has another number of elements, which is a bug.
    pub fn write_values(&mut self, value: ValueHandle, elements: &[f32]) {
        let packed = self.shape(value).pack(elements);
        self.write(value, bytemuck::cast_slice(&packed));
    }

    /// Fills a value with zeros.
    pub fn clear(&mut self, value: ValueHandle) {
        let range = self.range(value);
        delegate!(&mut self.backend, backend => backend.clear(range));
    }

    /// Reads a value, in its memory layout.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn read(&self, value: ValueHandle) -> Result<Vec<u32>, EngineError> {
        Ok(self.read_all(&[value]).await?.remove(0))
    }

    /// Reads several values at once.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn read_all(&self, values: &[ValueHandle]) -> Result<Vec<Vec<u32>>, EngineError> {
        let ranges: Vec<MemoryRange> = values.iter().map(|value| self.range(*value)).collect();
        delegate!(&self.backend, backend => backend.read(&ranges).await)
    }

    /// Reads the elements of an `f32` value, without pads.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn read_values(&self, value: ValueHandle) -> Result<Vec<f32>, EngineError> {
        let words = self.read(value).await?;
        let shape = self.shape(value);
        Ok(shape.unpack(bytemuck::cast_slice::<u32, f32>(&words)))
    }

    /// Reads a whole arena; empty if no graph has it.
    ///
    /// The layout is that of [`crate::graph::lasting`], the same on every device, so the result
    /// can be written to any engine with the same arena.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn read_arena(&self, arena: Arena) -> Result<Vec<f32>, EngineError> {
        let Some(range) = self.lasting.arena(arena) else {
            return Ok(Vec::new());
        };
        let read = delegate!(&self.backend, backend => backend.read(&[range]).await)?;
        Ok(bytemuck::cast_slice(&read[0]).to_vec())
    }

    /// Numbers of an arena, with its padding.
    pub fn arena_len(&self, arena: Arena) -> usize {
        self.lasting.arena(arena).map_or(0, |range| range.words)
    }

    /// Prepares reading some numbers of an arena again and again.
    ///
    /// # Errors
    /// If there is not as much memory for their copy.
    pub fn arena_reader(&self, arena: Arena, numbers: Range<usize>) -> Result<Reader, EngineError> {
        let whole = self.lasting.arena(arena);
        self.reader(part_of(whole.expect("a graph has the arena"), &numbers))
    }

    /// Prepares reading the statistics of reductions again and again; `None` if no graph has any.
    ///
    /// # Errors
    /// As [`Engine::arena_reader`].
    pub fn statistics_reader(&self) -> Result<Option<Reader>, EngineError> {
        let all = self.part_ends.iter().flatten();
        let ranges = all.filter_map(|end| match end {
            PartEnd::Reduction(reduction) => Some(self.range(reduction.own)),
            PartEnd::Sums(_) | PartEnd::Nothing => None,
        });
        let largest = ranges.max_by_key(|range| range.words);
        largest.map(|range| self.reader(range)).transpose()
    }

    fn reader(&self, range: MemoryRange) -> Result<Reader, EngineError> {
        let readback = delegate!(&self.backend, backend => backend.readback(range))?;
        Ok(Reader { range, readback })
    }

    /// Starts reading as the last run leaves the numbers, and returns at once.
    pub fn start_reading(&self, reader: &mut Reader) {
        let Reader { range, readback } = reader;
        delegate!(&self.backend, backend => backend.start_reading(*range, readback.as_mut()));
    }

    /// Starts reading the statistics of a reduction, as [`Engine::start_reading`] does.
    pub fn start_reading_statistics(&self, reader: &mut Reader, reduction: &ReplicaReduction) {
        reader.range = self.range(reduction.own);
        self.start_reading(reader);
    }

    /// Waits for the numbers, and calls a function with them, in their memory layout. They are those at
    /// the start.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If nothing was started.
    pub async fn finish_reading(
        &self,
        reader: &mut Reader,
        take: impl FnOnce(&[f32]),
    ) -> Result<(), EngineError> {
        let Reader { range, readback } = reader;
        let take = |words: &[u32]| take(bytemuck::cast_slice(words));
        let readback = readback.as_mut();
        delegate!(&self.backend, backend => backend.finish_reading(*range, readback, take).await)
    }

    /// Writes a whole arena, in the layout of [`Engine::read_arena`].
    ///
    /// # Panics
    /// If the arena has another length, which is a bug.
    pub fn write_arena(&mut self, arena: Arena, numbers: &[f32]) {
        let words = self.arena_len(arena);
        assert_eq!(words, numbers.len(), "words of the {}", arena.name());
        self.write_arena_part(arena, 0, numbers);
    }

    /// Writes numbers of an arena from the `first` on.
    ///
    /// # Panics
    /// If the arena does not have as many, which is a bug.
    pub fn write_arena_part(&mut self, arena: Arena, first: usize, numbers: &[f32]) {
        let Some(whole) = self.lasting.arena(arena) else {
            assert!(numbers.is_empty(), "no graph has {}", arena.name());
            return;
        };
        let range = part_of(whole, &(first..first + numbers.len()));
        let words = bytemuck::cast_slice(numbers);
        delegate!(&mut self.backend, backend => backend.write(range, words));
    }

    /// Fills an arena with zeros, if a graph has it.
    pub fn clear_arena(&mut self, arena: Arena) {
        if let Some(range) = self.lasting.arena(arena) {
            delegate!(&mut self.backend, backend => backend.clear(range));
        }
    }

    /// Runs a graph; on a GPU, submits it and returns before it has finished.
    ///
    /// # Errors
    /// Any error that the device has reported so far.
    ///
    /// # Panics
    /// If the graph has reductions over replicas, which is a bug: they lie between its parts.
    pub fn run(&mut self, graph: usize) -> Result<(), EngineError> {
        self.without_reductions(graph);
        let parts = 0..self.part_ends(graph).len();
        delegate!(&mut self.backend, backend => backend.run(graph, parts))
    }

    fn without_reductions(&self, graph: usize) {
        let mut ends = self.part_ends(graph).iter();
        assert!(
            !ends.any(|end| matches!(end, PartEnd::Reduction(_))),
            "the caller computes reductions over replicas"
        );
    }

    /// What each part of a graph ends with.
    pub fn part_ends(&self, graph: usize) -> &[PartEnd] {
        &self.part_ends[graph]
    }

    /// Runs a part of a graph, as [`Engine::run`] does. The parts of a run follow one another, with no
    /// other run in between.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn run_part(&mut self, graph: usize, part: usize) -> Result<(), EngineError> {
        delegate!(&mut self.backend, backend => backend.run(graph, part..part + 1))
    }

    /// Waits for all runs; in browsers, which cannot block, only checks for errors.
    ///
    /// # Errors
    /// Any error that the device has reported so far.
    pub fn finish(&self) -> Result<(), EngineError> {
        delegate!(&self.backend, backend => backend.finish())
    }

    /// Runs a graph and times each dispatch of its program, or each node on the CPU; `None` if
    /// the device has no timestamps.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// As [`Engine::run`].
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn time(&mut self, graph: usize) -> Result<Option<Vec<KernelTime>>, EngineError> {
        self.without_reductions(graph);
        delegate!(&mut self.backend, backend => backend.time(graph).await)
    }
}

/// A range of the numbers of an arena.
fn part_of(arena: MemoryRange, numbers: &Range<usize>) -> MemoryRange {
    assert!(numbers.end <= arena.words, "numbers of an arena");
    MemoryRange {
        offset: arena.offset + numbers.start,
        words: numbers.len(),
        ..arena
    }
}

/// What the parts of a graph end with.
fn part_ends(graph: &Graph, lasting: &LastingMemory) -> Vec<PartEnd> {
    let value = |id: &ValueId| {
        let found = lasting.find(&graph.value(*id).name);
        found.expect("the host reads values that outlive a run")
    };
    let sums = |ids: &[ValueId]| {
        let ranges = ids.iter().map(|id| lasting.values[value(id)].range);
        let first = ranges.clone().map(|range| range.offset).min();
        let end = ranges.map(|range| range.offset + range.words).max();
        first.unwrap_or(0)..end.unwrap_or(0)
    };
    let ends = graph.parts().into_iter().map(|part| match part.end {
        graph::PartEnd::Nothing => PartEnd::Nothing,
        graph::PartEnd::Reduction(number) | graph::PartEnd::Sums(number) => {
            let Node {
                op,
                inputs,
                outputs,
            } = &graph.nodes[number];
            match op {
                Op::AllReduce(op) => PartEnd::Reduction(ReplicaReduction {
                    reduction: op.reduction,
                    own: ValueHandle(value(&inputs[0])),
                    all: ValueHandle(value(&outputs[0])),
                }),
                _ => PartEnd::Sums(sums(outputs)),
            }
        }
    });
    ends.collect()
}
