//! Programs ready to run: pipelines, buffers and bind groups built once.
//!
//! Programs that are loaded together share the buffers they both name (parameters, metrics,
//! …) and, since they run one after another, one set of physical buffers for temporaries.

use std::collections::HashMap;

use super::{Checks, Gpu, GpuError};
use crate::program::plan::Plan;
use crate::program::{Access, Kernel, Lifetime, OFFSET_ALIGNMENT, Program};

/// A set of programs on a device.
pub struct LoadedPrograms {
    kept: HashMap<String, wgpu::Buffer>,
    programs: Vec<Vec<BoundDispatch>>,
    bytes: u64,
}

/// A dispatch with everything it needs.
pub(super) struct BoundDispatch {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) bind_group: wgpu::BindGroup,
    pub(super) grid: [u32; 3],
}

/// A compiled kernel.
pub(super) struct Compiled {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

impl LoadedPrograms {
    /// Builds everything that the programs need.
    ///
    /// Kept buffers start as zeros.
    ///
    /// # Errors
    /// If a buffer exceeds the adapter's limits, or the driver rejects a kernel.
    pub fn new(gpu: &Gpu, programs: &[&Program]) -> Result<LoadedPrograms, GpuError> {
        let plans: Vec<Plan> = programs.iter().map(|p| Plan::new(p)).collect();
        let compiled = compile(gpu, programs)?;
        let kept = kept_buffers(gpu, programs)?;
        let slots = slot_buffers(gpu, &plans)?;
        let mut loaded = LoadedPrograms {
            bytes: kept.values().chain(&slots).map(wgpu::Buffer::size).sum(),
            kept,
            programs: Vec::new(),
        };
        for (index, program) in programs.iter().enumerate() {
            let slot_of = |buffer: usize| {
                let slot = plans[index].slot_of[buffer].expect("bound buffers have slots");
                &slots[slot]
            };
            let launches = loaded.bind(gpu, program, &compiled, slot_of);
            loaded.programs.push(launches);
        }
        gpu.check()?;
        Ok(loaded)
    }

    /// Bytes of all buffers: what the programs take on the adapter, the driver's own
    /// overhead apart.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a kept buffer exists.
    pub fn has(&self, name: &str) -> bool {
        self.kept.contains_key(name)
    }

    /// Writes bytes into a kept buffer before the next run.
    ///
    /// # Panics
    /// If there is no such buffer: a mistake of ours.
    pub fn write(&self, gpu: &Gpu, name: &str, offset: u64, bytes: &[u8]) {
        gpu.queue.write_buffer(self.kept(name), offset, bytes);
    }

    /// Reads parts (name, first byte, bytes) of kept buffers as the last run left them.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If there is no such buffer: a mistake of ours.
    pub async fn read(
        &self,
        gpu: &Gpu,
        parts: &[(&str, u64, u64)],
    ) -> Result<Vec<Vec<u8>>, GpuError> {
        let parts: Vec<_> = parts
            .iter()
            .map(|(name, offset, bytes)| (self.kept(name), *offset, *bytes))
            .collect();
        gpu.read(&parts).await
    }

    /// Submits a whole program.
    ///
    /// # Errors
    /// What the device reported since the last call.
    pub fn run(&self, gpu: &Gpu, program: usize) -> Result<(), GpuError> {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for launch in &self.programs[program] {
            launch.record(&mut pass);
        }
        drop(pass);
        gpu.submit(encoder.finish())
    }

    pub(super) fn launches(&self, program: usize) -> &[BoundDispatch] {
        &self.programs[program]
    }

    fn kept(&self, name: &str) -> &wgpu::Buffer {
        let buffer = self.kept.get(name);
        buffer.unwrap_or_else(|| panic!("no program names a buffer {name}"))
    }

    /// Makes bind groups, with the parameters of all dispatches in one uniform buffer.
    fn bind<'a>(
        &'a self,
        gpu: &Gpu,
        program: &Program,
        compiled: &HashMap<&Kernel, Compiled>,
        slot_of: impl Fn(usize) -> &'a wgpu::Buffer,
    ) -> Vec<BoundDispatch> {
        let (uniforms, offsets) = uniform_buffer(gpu, program);
        let dispatches = program.dispatches.iter().zip(offsets);
        dispatches
            .map(|(dispatch, offset)| {
                let kernel = &compiled[program.kernel_of(dispatch)];
                let mut entries = vec![entry(
                    0,
                    &uniforms,
                    offset,
                    4 * dispatch.uniforms.len() as u64,
                )];
                for (index, binding) in dispatch.bindings.iter().enumerate() {
                    let buffer = &program.buffers[binding.buffer.0];
                    let buffer = match buffer.lifetime {
                        Lifetime::Kept => self.kept(&buffer.name),
                        Lifetime::Temporary => slot_of(binding.buffer.0),
                    };
                    let number = 1 + index as u32;
                    entries.push(entry(number, buffer, binding.offset, binding.bytes));
                }
                let bind_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(&dispatch.label),
                    layout: &kernel.layout,
                    entries: &entries,
                });
                BoundDispatch {
                    pipeline: kernel.pipeline.clone(),
                    bind_group,
                    grid: dispatch.grid,
                }
            })
            .collect()
    }
}

impl BoundDispatch {
    pub(super) fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        let [x, y, z] = self.grid;
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

fn entry(number: u32, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> wgpu::BindGroupEntry<'_> {
    wgpu::BindGroupEntry {
        binding: number,
        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer,
            offset,
            size: std::num::NonZeroU64::new(bytes),
        }),
    }
}

fn buffer(
    gpu: &Gpu,
    name: &str,
    bytes: u64,
    usage: wgpu::BufferUsages,
) -> Result<wgpu::Buffer, GpuError> {
    let limit = gpu.description.max_buffer;
    if bytes > limit {
        return Err(GpuError::BufferTooLarge {
            name: name.to_owned(),
            bytes,
            limit,
            adapter: gpu.description.name.clone(),
        });
    }
    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(name),
        size: bytes,
        usage,
        mapped_at_creation: false,
    });
    gpu.check()?;
    Ok(buffer)
}

/// One buffer for each name, as large as the largest program wants it.
fn kept_buffers(
    gpu: &Gpu,
    programs: &[&Program],
) -> Result<HashMap<String, wgpu::Buffer>, GpuError> {
    let mut sizes: HashMap<&str, u64> = HashMap::new();
    for buffer in programs.iter().flat_map(|p| &p.buffers) {
        if buffer.lifetime == Lifetime::Kept {
            let size = sizes.entry(&buffer.name).or_default();
            *size = (*size).max(buffer.bytes);
        }
    }
    let usage =
        wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
    sizes
        .into_iter()
        .map(|(name, bytes)| Ok((name.to_owned(), buffer(gpu, name, bytes, usage)?)))
        .collect()
}

/// Physical buffers for temporaries: slot by slot as large as any program needs.
fn slot_buffers(gpu: &Gpu, plans: &[Plan]) -> Result<Vec<wgpu::Buffer>, GpuError> {
    let count = plans.iter().map(|plan| plan.slots.len()).max().unwrap_or(0);
    (0..count)
        .map(|slot| {
            let sizes = plans.iter().filter_map(|plan| plan.slots.get(slot));
            let bytes = sizes.copied().max().unwrap_or(0);
            let name = format!("temporary {slot}");
            buffer(gpu, &name, bytes, wgpu::BufferUsages::STORAGE)
        })
        .collect()
}

/// The parameters of all dispatches, each at a legal offset.
fn uniform_buffer(gpu: &Gpu, program: &Program) -> (wgpu::Buffer, Vec<u64>) {
    let mut words: Vec<u32> = Vec::new();
    let mut offsets = Vec::new();
    for dispatch in &program.dispatches {
        words.resize(
            words.len().next_multiple_of(OFFSET_ALIGNMENT as usize / 4),
            0,
        );
        offsets.push(4 * words.len() as u64);
        words.extend(&dispatch.uniforms);
    }
    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("kernel parameters"),
        size: 4 * words.len().max(1) as u64,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    gpu.queue
        .write_buffer(&buffer, 0, bytemuck::cast_slice(&words));
    (buffer, offsets)
}

/// Compiles each kernel once, natively on all cores.
fn compile<'p>(
    gpu: &Gpu,
    programs: &[&'p Program],
) -> Result<HashMap<&'p Kernel, Compiled>, GpuError> {
    let mut kernels: Vec<&Kernel> = programs.iter().flat_map(|p| &p.kernels).collect();
    kernels.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.source.cmp(&b.source)));
    kernels.dedup();
    let compiled = compile_all(gpu, &kernels);
    gpu.check()?;
    #[cfg(not(target_arch = "wasm32"))]
    if gpu.description.software() {
        super::warm::warm(gpu, &kernels, &compiled)?;
    }
    Ok(kernels.into_iter().zip(compiled).collect())
}

#[cfg(target_arch = "wasm32")]
fn compile_all(gpu: &Gpu, kernels: &[&Kernel]) -> Vec<Compiled> {
    kernels
        .iter()
        .map(|k| compile_one(&gpu.device, gpu.checks, k, None))
        .collect()
}

#[cfg(not(target_arch = "wasm32"))]
fn compile_all(gpu: &Gpu, kernels: &[&Kernel]) -> Vec<Compiled> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = kernels.len().div_ceil(workers).max(1);
    let cache = gpu.pipelines.get().map(|pipelines| &pipelines.cache);
    std::thread::scope(|scope| {
        let handles: Vec<_> = kernels
            .chunks(share)
            .map(|chunk| {
                scope.spawn(move || {
                    let compiled = chunk
                        .iter()
                        .map(|k| compile_one(&gpu.device, gpu.checks, k, cache));
                    compiled.collect::<Vec<_>>()
                })
            })
            .collect();
        handles
            .into_iter()
            .flat_map(|handle| handle.join().expect("compiling does not panic"))
            .collect()
    })
}

pub(super) fn compile_one(
    device: &wgpu::Device,
    checks: Checks,
    kernel: &Kernel,
    cache: Option<&wgpu::PipelineCache>,
) -> Compiled {
    let label = Some(kernel.name.as_str());
    let descriptor = wgpu::ShaderModuleDescriptor {
        label,
        source: wgpu::ShaderSource::Wgsl(kernel.source.as_str().into()),
    };
    let module = match checks {
        Checks::On => device.create_shader_module(descriptor),
        // SAFETY: all shader text is ours, and its indices stay in range for the parameters
        // that lowering computes; the tests run every kernel with checks as well and compare.
        Checks::Off => unsafe {
            device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        },
    };
    let storage = |access: &Access| wgpu::BufferBindingType::Storage {
        read_only: *access == Access::Read,
    };
    let types = std::iter::once(wgpu::BufferBindingType::Uniform)
        .chain(kernel.bindings.iter().map(storage));
    let entries: Vec<wgpu::BindGroupLayoutEntry> = types
        .enumerate()
        .map(|(number, ty)| wgpu::BindGroupLayoutEntry {
            binding: number as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty,
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label,
        entries: &entries,
    });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label,
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label,
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            // Our kernels write workgroup memory before they read it.
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache,
    });
    Compiled { pipeline, layout }
}
