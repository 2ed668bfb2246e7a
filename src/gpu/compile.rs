//! WGSL to pipelines.

use super::compiled::Compiled;
use super::{Checks, Gpu};
use crate::program::{Access, Kernel};

/// Compiles kernels.
#[cfg(target_arch = "wasm32")]
pub(super) fn compile_all(gpu: &Gpu, kernels: &[&Kernel]) -> Vec<Compiled> {
    kernels
        .iter()
        .map(|k| compile_one(&gpu.device, gpu.checks, k, None))
        .collect()
}

/// Compiles kernels on all cores, or on this one where the system gives no threads.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn compile_all(gpu: &Gpu, kernels: &[&Kernel]) -> Vec<Compiled> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = kernels.len().div_ceil(workers).max(1);
    let cache = gpu.pipelines.get().map(|pipelines| &pipelines.cache);
    std::thread::scope(|scope| {
        let compile = move |chunk: &[&Kernel]| -> Vec<Compiled> {
            let kernels = chunk.iter();
            let compiled = kernels.map(|k| compile_one(&gpu.device, gpu.checks, k, cache));
            compiled.collect()
        };
        let chunks: Vec<_> = kernels
            .chunks(share)
            .map(|chunk| {
                let thread = std::thread::Builder::new();
                let started = thread.spawn_scoped(scope, move || compile(chunk));
                started.map_err(|_| compile(chunk))
            })
            .collect();
        chunks
            .into_iter()
            .flat_map(|started| match started {
                Ok(thread) => thread.join().expect("compiling does not panic"),
                Err(compiled) => compiled,
            })
            .collect()
    })
}

/// Compiles a kernel.
pub(super) fn compile_one(
    device: &wgpu::Device,
    checks: Checks,
    kernel: &Kernel,
    cache: Option<&wgpu::PipelineCache>,
) -> Compiled {
    let label = Some(kernel.name.as_str());
    let descriptor = wgpu::ShaderModuleDescriptor {
        label,
        source: wgpu::ShaderSource::Wgsl((&*kernel.source).into()),
    };
    let module = match checks {
        Checks::On => device.create_shader_module(descriptor),
        // SAFETY: all shaders are our own, and their indices stay in range for the parameters
        // that lowering computes; the tests also run every kernel with checks and compare.
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
            // Every kernel writes workgroup memory before reading it.
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache,
    });
    Compiled { pipeline, layout }
}
