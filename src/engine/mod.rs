//! Graphs in, runnable things out: the one place where graphs, kernels and devices meet.
//!
//! An [`Engine`] holds some graphs on a device, with everything built: pipelines, buffers,
//! bind groups. Lasting values are found by name once, then written and read by handle, in the
//! layout of memory; arenas can be read and written whole; a run executes one graph.
//! Three devices are known ([`Device`]), all behind one interface: a GPU, the processor, and
//! the plain reference in double precision.

mod backend;
mod device;
mod kernel_check;
mod matrices;
mod memory;
#[cfg(not(target_arch = "wasm32"))]
mod tuner;
mod weights;

pub use device::{Device, DeviceRequest};
pub use matrices::try_matrices;
pub use memory::MemoryPlan;
#[cfg(not(target_arch = "wasm32"))]
pub use tuner::{Tuned, Tuner, TuningCache};
pub use weights::{TensorKind, Tensors};

use crate::gpu::GpuError;
#[cfg(not(target_arch = "wasm32"))]
use crate::gpu::KernelTime;
use crate::graph::lasting::{LastingMemory, MemoryRange};
use crate::graph::{Arena, Graph, GraphError, precision};
use crate::kernels::{Choices, LowerError};
use crate::shape::Shape;
use backend::{AnyBackend, Backend, CpuBackend, GpuBackend, ReferenceBackend, delegate};

/// What can go wrong in running graphs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// On the way to or on the adapter.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// In lowering.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// In the graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Feature maps in half precision, on a device that has none.
    #[error(
        "{0} stores feature maps in single precision only; leave out --precision f16, or name a \
         graphics adapter with --device (`devices` lists them)"
    )]
    Precision(String),
}

/// Graphs ready to run on a device.
pub struct Engine {
    device: Device,
    lasting: LastingMemory,
    backend: AnyBackend,
    choices: Choices,
}

/// A lasting value of an engine's graphs: external, kept or an output.
///
/// Get it from [`Engine::value`]; it is good for that engine only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueHandle(usize);

/// Chooses nothing for any graph: every node keeps the kernel of the built-in table.
///
/// # Errors
/// None.
pub fn built_in(_: &[Graph]) -> Result<Choices, EngineError> {
    Ok(Choices::default())
}

impl Engine {
    /// Builds everything for some graphs that share lasting values; these begin as zeros.
    ///
    /// # Errors
    /// If the device cannot hold or run them.
    pub fn new(
        device: &Device,
        graphs: Vec<Graph>,
        choices: &Choices,
    ) -> Result<Engine, EngineError> {
        let lasting = LastingMemory::of(&graphs);
        let mut made = Choices::default();
        let backend = match device {
            Device::Gpu(gpu) => {
                let target = device.target();
                let (backend, chosen) = GpuBackend::new(gpu, &target, &graphs, &lasting, choices)?;
                made = chosen;
                AnyBackend::Gpu(backend)
            }
            Device::Cpu(_) if graphs.iter().any(precision::is_half) => {
                return Err(EngineError::Precision(device.name()));
            }
            Device::Cpu(cpu) => AnyBackend::Cpu(CpuBackend::new(cpu, graphs, &lasting)),
            Device::Reference => AnyBackend::Reference(ReferenceBackend::new(graphs, &lasting)),
        };
        Ok(Engine {
            device: device.clone(),
            lasting,
            backend,
            choices: made,
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

    /// The lasting value of a name.
    ///
    /// # Panics
    /// If no graph has such a value: a mistake of ours.
    pub fn value(&self, name: &str) -> ValueHandle {
        let found = self.lasting.find(name);
        ValueHandle(found.unwrap_or_else(|| panic!("no graph has a lasting value {name}")))
    }

    /// Shape of a value; the largest, if graphs differ.
    pub fn shape(&self, value: ValueHandle) -> &Shape {
        &self.lasting.values[value.0].shape
    }

    fn range(&self, value: ValueHandle) -> MemoryRange {
        self.lasting.values[value.0].range
    }

    /// Writes the first words of a value, as they lie in memory.
    ///
    /// # Panics
    /// If the value has fewer words: a mistake of ours.
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

    /// Writes the true elements of an `f32` value.
    ///
    /// # Panics
    /// If the value has another number of elements: a mistake of ours.
    pub fn write_values(&mut self, value: ValueHandle, elements: &[f32]) {
        let packed = self.shape(value).pack(elements);
        self.write(value, bytemuck::cast_slice(&packed));
    }

    /// Fills all of a value with zeros.
    pub fn clear(&mut self, value: ValueHandle) {
        let range = self.range(value);
        delegate!(&mut self.backend, backend => backend.clear(range));
    }

    /// Reads a value, as it lies in memory.
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

    /// Reads the true elements of an `f32` value.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn read_values(&self, value: ValueHandle) -> Result<Vec<f32>, EngineError> {
        let words = self.read(value).await?;
        let shape = self.shape(value);
        Ok(shape.unpack(bytemuck::cast_slice::<u32, f32>(&words)))
    }

    /// Reads an arena whole; empty if no graph has it.
    ///
    /// The layout is that of [`crate::graph::lasting`], the same on every device: what was
    /// read here can be written to an engine with the same arena anywhere.
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

    /// Writes an arena whole, in the layout of [`Engine::read_arena`].
    ///
    /// # Panics
    /// If the arena has another length: a mistake of ours.
    pub fn write_arena(&mut self, arena: Arena, numbers: &[f32]) {
        let range = self.lasting.arena(arena);
        let words = range.map_or(0, |range| range.words);
        assert_eq!(words, numbers.len(), "words of the {}", arena.name());
        if let Some(range) = range {
            let words = bytemuck::cast_slice(numbers);
            delegate!(&mut self.backend, backend => backend.write(range, words));
        }
    }

    /// Fills an arena with zeros, if a graph has it.
    pub fn clear_arena(&mut self, arena: Arena) {
        if let Some(range) = self.lasting.arena(arena) {
            delegate!(&mut self.backend, backend => backend.clear(range));
        }
    }

    /// Starts a run of a graph; only on a GPU it returns before the run has ended.
    ///
    /// # Errors
    /// What the device reported since the last call.
    pub fn run(&mut self, graph: usize) -> Result<(), EngineError> {
        delegate!(&mut self.backend, backend => backend.run(graph))
    }

    /// Waits for all runs.
    ///
    /// # Errors
    /// What went wrong in them.
    pub fn finish(&self) -> Result<(), EngineError> {
        delegate!(&self.backend, backend => backend.finish())
    }

    /// Runs a graph and times every dispatch of its program, or every node where there is
    /// none; `None` without timestamps.
    ///
    /// # Errors
    /// If the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn time(&mut self, graph: usize) -> Result<Option<Vec<KernelTime>>, EngineError> {
        delegate!(&mut self.backend, backend => backend.time(graph).await)
    }
}
