//! Ahead-of-time compilation for drivers that compile lazily.
//!
//! Software adapters compile a shader to machine code at its first dispatch, one after another,
//! most of a second each. An empty dispatch triggers the compilation without running anything,
//! and several devices compile concurrently: each takes the next kernel and leaves the result in
//! the driver's cache on disk, where the main device finds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::compile::compile_one;
use super::compiled::Compiled;
use super::wait::wait;
use super::{Gpu, GpuError};
use crate::program::Kernel;

/// Bytes of the placeholder buffer bound for each operand.
const OPERAND: u64 = 4096;

/// Makes the driver compile `kernels`, whose pipelines on the main device are `compiled`.
///
/// # Errors
/// Any error that the device has reported.
pub(super) fn warm(gpu: &Gpu, kernels: &[&Kernel], compiled: &[Compiled]) -> Result<(), GpuError> {
    // The longest source first; each device takes the next kernel when it is idle.
    let mut order: Vec<usize> = (0..kernels.len()).collect();
    order.sort_by_key(|kernel| std::cmp::Reverse(kernels[*kernel].source.len()));
    let taken = AtomicUsize::new(0);
    let next = || order.get(taken.fetch_add(1, Ordering::Relaxed)).copied();
    std::thread::scope(|scope| {
        for (device, queue, lost) in &gpu.spare {
            let warm = || {
                while let Some(kernel) = next() {
                    let kernel = kernels[kernel];
                    let compiled = compile_one(device, gpu.checks, kernel, None);
                    dispatch_empty(device, queue, lost, kernel, &compiled);
                }
            };
            // Without the thread, the main device takes its kernels.
            drop(std::thread::Builder::new().spawn_scoped(scope, warm));
        }
        while let Some(kernel) = next() {
            let (kernel, compiled) = (kernels[kernel], &compiled[kernel]);
            dispatch_empty(&gpu.device, &gpu.queue, &gpu.lost, kernel, compiled);
        }
    });
    gpu.check()
}

/// Dispatches zero workgroups of a kernel, and waits.
fn dispatch_empty(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    lost: &Arc<AtomicBool>,
    kernel: &Kernel,
    compiled: &Compiled,
) {
    let buffers: Vec<wgpu::Buffer> = (0..=kernel.bindings.len())
        .map(|_| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("placeholder"),
                size: OPERAND,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::UNIFORM,
                mapped_at_creation: false,
            })
        })
        .collect();
    let entries: Vec<wgpu::BindGroupEntry<'_>> = (0u32..)
        .zip(&buffers)
        .map(|(binding, buffer)| wgpu::BindGroupEntry {
            binding,
            resource: buffer.as_entire_binding(),
        })
        .collect();
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &compiled.layout,
        entries: &entries,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(&compiled.pipeline);
    pass.set_bind_group(0, &bind_group, &[]);
    pass.dispatch_workgroups(0, 0, 0);
    drop(pass);
    queue.submit([encoder.finish()]);
    // A failure here recurs at the first real dispatch.
    drop(wait(device, None, lost));
}
