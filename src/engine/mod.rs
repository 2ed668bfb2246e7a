//! Graphs in, runnable things out: the one place where graphs, kernels and devices meet.
//!
//! An [`Engine`] holds some graphs on a device, with everything built: pipelines, buffers,
//! bind groups. Values from outside and kept values are written and read by name, in the
//! layout of memory; a run executes one graph.
//! Three devices are known: a GPU, the processor, and the plain reference in double precision,
//! which is slow and rounds lasting values to `f32` at the end of a run.

mod device;
mod kernel_check;
mod matrices;
mod memory;
#[cfg(not(target_arch = "wasm32"))]
mod tuner;
mod weights;

use std::collections::HashMap;

pub use device::{Device, DeviceRequest};
pub use matrices::try_matrices;
pub use memory::MemoryPlan;
#[cfg(not(target_arch = "wasm32"))]
pub use tuner::{Tuned, Tuner, TuningCache};
pub use weights::{TensorKind, Tensors};

use crate::cpu;
use crate::gpu::{GpuError, LoadedPrograms};
use crate::graph::{Graph, GraphError, Role, Tensor, interp, precision};
use crate::kernels::{self, Choices, LowerError, Lowered, Place};
use crate::program::Program;
use crate::shape::Shape;

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
    graphs: Vec<Graph>,
    back: Back,
    choices: Choices,
}

/// The device's half.
enum Back {
    Gpu {
        loaded: LoadedPrograms,
        programs: Vec<Program>,
        /// Buffer and first byte of every lasting value.
        places: HashMap<String, (String, u64)>,
    },
    Cpu {
        loaded: cpu::LoadedGraphs,
        programs: Vec<Program>,
    },
    /// TuningCache images by the name of the value.
    Reference { memory: HashMap<String, Vec<u32>> },
}

/// Chooses nothing for any graph: every node keeps the kernel of the built-in table.
///
/// # Errors
/// None.
pub fn built_in(_: &[Graph]) -> Result<Choices, EngineError> {
    Ok(Choices::default())
}

impl Engine {
    /// Builds everything for some graphs that share kept values.
    ///
    /// # Errors
    /// If the device cannot hold or run them.
    pub fn new(
        device: &Device,
        graphs: Vec<Graph>,
        choices: &Choices,
    ) -> Result<Engine, EngineError> {
        let mut made = Choices::default();
        let back = match device {
            Device::Gpu(gpu) => {
                let target = device.target();
                let lowered: Result<Vec<Lowered>, LowerError> = graphs
                    .iter()
                    .map(|graph| kernels::lower(graph, &target, choices))
                    .collect();
                let lowered = lowered?;
                let places = places(&graphs, &lowered);
                let programs: Vec<Program> = lowered
                    .into_iter()
                    .map(|lowered| {
                        made.extend(&lowered.choices);
                        lowered.program
                    })
                    .collect();
                let loaded = LoadedPrograms::new(gpu, &programs.iter().collect::<Vec<_>>())?;
                #[cfg(not(target_arch = "wasm32"))]
                gpu.hand_over_pipelines();
                Back::Gpu {
                    loaded,
                    programs,
                    places,
                }
            }
            Device::Cpu(_) => {
                if graphs.iter().any(precision::is_half) {
                    return Err(EngineError::Precision(device.name()));
                }
                let programs: Vec<Program> = graphs.iter().map(cpu::program).collect();
                let loaded = cpu::LoadedGraphs::new(&graphs, &programs);
                Back::Cpu { loaded, programs }
            }
            Device::Reference => Back::Reference {
                memory: memory(&graphs),
            },
        };
        Ok(Engine {
            device: device.clone(),
            graphs,
            back,
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

    /// The programs that run; empty on the reference.
    pub fn programs(&self) -> &[Program] {
        match &self.back {
            Back::Gpu { programs, .. } | Back::Cpu { programs, .. } => programs,
            Back::Reference { .. } => &[],
        }
    }

    /// Bytes of all buffers on the device.
    pub fn bytes(&self) -> u64 {
        match &self.back {
            Back::Gpu { loaded, .. } => loaded.bytes(),
            Back::Cpu { loaded, .. } => loaded.bytes(),
            Back::Reference { memory } => memory.values().map(|w| 4 * w.len() as u64).sum(),
        }
    }

    /// Writes the first words of an external or kept value, as they lie in memory.
    ///
    /// # Panics
    /// If no graph has such a value: a mistake of ours.
    pub fn write(&mut self, name: &str, words: &[u32]) {
        match (&mut self.back, &self.device) {
            (Back::Gpu { loaded, places, .. }, Device::Gpu(gpu)) => {
                let (buffer, offset) = &places[name];
                loaded.write(gpu, buffer, *offset, bytemuck::cast_slice(words));
            }
            (Back::Cpu { loaded, .. }, _) => {
                loaded.words_mut(name)[..words.len()].copy_from_slice(words);
            }
            (Back::Reference { memory }, _) => {
                let stored = memory.get_mut(name).expect("a graph has this value");
                stored[..words.len()].copy_from_slice(words);
            }
            _ => unreachable!("back and device are made together"),
        }
    }

    /// Writes true elements of an `f32` value.
    ///
    /// # Panics
    /// As [`Engine::write`].
    pub fn write_values(&mut self, name: &str, shape: &Shape, values: &[f32]) {
        let packed = shape.pack(values);
        self.write(name, bytemuck::cast_slice(&packed));
    }

    /// Fills all of an external or kept value with zeros.
    ///
    /// # Panics
    /// As [`Engine::write`].
    pub fn clear(&mut self, name: &str, shape: &Shape) {
        self.write(name, &vec![0; shape.stored_len()]);
    }

    /// Reads the first words of a lasting value, as they lie in memory.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// As [`Engine::write`].
    pub async fn read(&self, name: &str, words: usize) -> Result<Vec<u32>, EngineError> {
        Ok(self.read_all(&[(name, words)]).await?.remove(0))
    }

    /// Reads the first words of several lasting values at once.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// As [`Engine::write`].
    pub async fn read_all(&self, values: &[(&str, usize)]) -> Result<Vec<Vec<u32>>, EngineError> {
        match (&self.back, &self.device) {
            (Back::Gpu { loaded, places, .. }, Device::Gpu(gpu)) => {
                let part = |(name, words): &(&str, usize)| {
                    let (buffer, offset) = &places[*name];
                    (buffer.as_str(), *offset, 4 * *words as u64)
                };
                let parts: Vec<_> = values.iter().map(part).collect();
                let bytes = loaded.read(gpu, &parts).await?;
                let words = bytes.iter().map(|b| bytemuck::pod_collect_to_vec(b));
                Ok(words.collect())
            }
            (Back::Cpu { loaded, .. }, _) => {
                let stored = values.iter();
                let words = stored.map(|(name, words)| loaded.words(name)[..*words].to_vec());
                Ok(words.collect())
            }
            (Back::Reference { memory }, _) => {
                let stored = values.iter().map(|(name, words)| &memory[*name][..*words]);
                Ok(stored.map(<[u32]>::to_vec).collect())
            }
            _ => unreachable!("back and device are made together"),
        }
    }

    /// Reads the true elements of an `f32` value.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// As [`Engine::write`].
    pub async fn read_values(&self, name: &str, shape: &Shape) -> Result<Vec<f32>, EngineError> {
        let words = self.read(name, shape.stored_len()).await?;
        Ok(shape.unpack(bytemuck::cast_slice::<u32, f32>(&words)))
    }

    /// Starts a run of a graph; only on a GPU it returns before the run has ended.
    ///
    /// # Errors
    /// What the device reported since the last call.
    pub fn run(&mut self, graph: usize) -> Result<(), EngineError> {
        match (&mut self.back, &self.device) {
            (Back::Gpu { loaded, .. }, Device::Gpu(gpu)) => Ok(loaded.run(gpu, graph)?),
            (Back::Cpu { loaded, .. }, Device::Cpu(cpu)) => {
                loaded.run(cpu, &self.graphs[graph], graph, |_| ());
                Ok(())
            }
            (Back::Reference { memory }, _) => interpret(&self.graphs[graph], memory),
            _ => unreachable!("back and device are made together"),
        }
    }

    /// Waits for all runs.
    ///
    /// # Errors
    /// What went wrong in them.
    pub fn finish(&self) -> Result<(), EngineError> {
        match &self.device {
            Device::Gpu(gpu) => Ok(gpu.finish()?),
            Device::Cpu(_) | Device::Reference => Ok(()),
        }
    }

    /// Times every dispatch of a graph's program; `None` without timestamps.
    ///
    /// # Errors
    /// If the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn time(
        &mut self,
        graph: usize,
    ) -> Result<Option<Vec<crate::gpu::KernelTime>>, EngineError> {
        match (&mut self.back, &self.device) {
            (Back::Gpu { loaded, .. }, Device::Gpu(gpu)) => Ok(loaded.time(gpu, graph).await?),
            (Back::Cpu { loaded, .. }, Device::Cpu(cpu)) => {
                let mut times = Vec::new();
                let begin = std::time::Instant::now();
                let mut last = begin;
                loaded.run(cpu, &self.graphs[graph], graph, |_| {
                    let now = std::time::Instant::now();
                    times.push(crate::gpu::KernelTime {
                        dispatch: times.len(),
                        start: (last - begin).as_secs_f64(),
                        seconds: (now - last).as_secs_f64(),
                    });
                    last = now;
                });
                Ok(Some(times))
            }
            _ => Ok(None),
        }
    }
}

/// Buffer and offset of every lasting value of some graphs.
fn places(graphs: &[Graph], lowered: &[Lowered]) -> HashMap<String, (String, u64)> {
    let mut places = HashMap::new();
    for (graph, lowered) in graphs.iter().zip(lowered) {
        for (value, place) in graph.values.iter().zip(&lowered.places) {
            let (Some(Place { buffer, offset }), true) = (place, value.role != Role::Temporary)
            else {
                continue;
            };
            let buffer = lowered.program.buffers[buffer.0].name.clone();
            let known = places.insert(value.name.clone(), (buffer.clone(), *offset));
            assert!(
                known.is_none_or(|known| known == (buffer, *offset)),
                "{} lies in two places",
                value.name
            );
        }
    }
    places
}

/// Zeros for every lasting value, as large as the largest graph wants it.
fn memory(graphs: &[Graph]) -> HashMap<String, Vec<u32>> {
    let mut memory: HashMap<String, Vec<u32>> = HashMap::new();
    for value in graphs.iter().flat_map(|g| &g.values) {
        if value.role != Role::Temporary {
            let words = memory.entry(value.name.clone()).or_default();
            words.resize(words.len().max(value.shape.stored_len()), 0);
        }
    }
    memory
}

/// Runs a graph by the reference on memory images.
fn interpret(graph: &Graph, memory: &mut HashMap<String, Vec<u32>>) -> Result<(), EngineError> {
    let lasting = || graph.values.iter().filter(|v| v.role != Role::Temporary);
    let mut store: interp::Store = lasting()
        .map(|value| {
            let words = &memory[&value.name][..value.shape.stored_len()];
            let tensor = Tensor::from_words(&value.shape, words);
            (value.name.clone(), tensor)
        })
        .collect();
    interp::run(graph, &mut store)?;
    for value in lasting() {
        let words = store[&value.name].to_words();
        let stored = memory.get_mut(&value.name).expect("all values have memory");
        stored[..words.len()].copy_from_slice(&words);
    }
    Ok(())
}
