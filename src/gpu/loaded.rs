//! Programs ready to run: pipelines, buffers and bind groups built once.
//!
//! Programs that are loaded together share kept buffers by name (parameters, metrics, …) and,
//! since they run one after another, one set of physical buffers for temporaries.

use std::collections::HashMap;
use std::ops::Range;

use super::compiled::Compiled;
use super::readback::Readback;
use super::{Gpu, GpuError, pace};
use crate::program::plan::{self, Plan};
use crate::program::{Kernel, Lifetime, OFFSET_ALIGNMENT, Program, span};

/// A set of programs on a device.
pub struct LoadedPrograms {
    kept: Vec<wgpu::Buffer>,
    kept_of: HashMap<String, KeptBuffer>,
    programs: Vec<BoundProgram>,
    bytes: u64,
}

/// Handle of a kept buffer of some loaded programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptBuffer(usize);

/// A range of a kept buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferRange {
    /// The buffer.
    pub buffer: KeptBuffer,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// A program with its pipelines and bind groups.
struct BoundProgram {
    dispatches: Vec<BoundDispatch>,
    /// [`Program::parts`].
    parts: Vec<Range<usize>>,
    clears: Vec<KeptBuffer>,
}

/// A dispatch with its pipeline and bind group.
pub(super) struct BoundDispatch {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) bind_group: wgpu::BindGroup,
    pub(super) grid: [u32; 3],
    /// See [`super::pace`].
    work: u64,
}

impl LoadedPrograms {
    /// Compiles the kernels, allocates the buffers and builds the bind groups of programs. Kept
    /// buffers start as zeros.
    ///
    /// # Errors
    /// If a buffer exceeds the adapter's limits, or the driver rejects a kernel.
    pub fn new(gpu: &Gpu, programs: &[&Program]) -> Result<LoadedPrograms, GpuError> {
        let plans: Vec<Plan> = programs.iter().map(|p| Plan::new(p)).collect();
        let compiled = compile(gpu, programs)?;
        let Buffers {
            kept,
            kept_of,
            slots,
            bytes,
        } = Buffers::new(gpu, programs, &plans)?;
        let mut loaded = LoadedPrograms {
            bytes,
            kept,
            kept_of,
            programs: Vec::new(),
        };
        for (index, program) in programs.iter().enumerate() {
            let slot_of = |buffer: usize| {
                let slot = plans[index].slot_of[buffer].expect("bound buffers have slots");
                &slots[slot]
            };
            let clears = program.clears.iter();
            let bound = BoundProgram {
                dispatches: loaded.bind(gpu, program, &compiled, slot_of)?,
                parts: program.parts(),
                clears: clears
                    .map(|buffer| loaded.buffer(&program.buffers[buffer.0].name))
                    .collect(),
            };
            loaded.programs.push(bound);
        }
        gpu.check()?;
        Ok(loaded)
    }

    /// Bytes of all kept and temporary buffers on the adapter.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The kept buffer with a name.
    ///
    /// # Panics
    /// If no program has such a buffer, which is a bug.
    pub fn buffer(&self, name: &str) -> KeptBuffer {
        let buffer = self.kept_of.get(name);
        *buffer.unwrap_or_else(|| panic!("no program names a buffer {name}"))
    }

    /// Writes bytes into a kept buffer before the next run.
    pub fn write(&self, gpu: &Gpu, buffer: KeptBuffer, offset: u64, bytes: &[u8]) {
        gpu.queue.write_buffer(self.raw(buffer), offset, bytes);
    }

    /// Fills the first bytes of a kept buffer with repetitions of a pattern before the next run.
    ///
    /// # Errors
    /// If the device cannot allocate a buffer for the pattern.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn fill(&self, gpu: &Gpu, range: BufferRange, pattern: &[u8]) -> Result<(), GpuError> {
        let length = pattern.len() as u64;
        if range.bytes <= length {
            let part = &pattern[..range.bytes as usize];
            self.write(gpu, range.buffer, range.offset, part);
            return Ok(());
        }
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let source = gpu.buffer("a pattern", length, usage)?;
        gpu.queue.write_buffer(&source, 0, pattern);
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut at = 0;
        while at < range.bytes {
            let bytes = length.min(range.bytes - at);
            let buffer = self.raw(range.buffer);
            encoder.copy_buffer_to_buffer(&source, 0, buffer, range.offset + at, bytes);
            at += bytes;
        }
        gpu.queue.submit([encoder.finish()]);
        Ok(())
    }

    /// Fills a range of a kept buffer with zeros before the next run.
    pub fn clear(&self, gpu: &Gpu, range: BufferRange) {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        encoder.clear_buffer(self.raw(range.buffer), range.offset, Some(range.bytes));
        gpu.queue.submit([encoder.finish()]);
    }

    /// Reads ranges of kept buffers as the last run left them.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn read(&self, gpu: &Gpu, ranges: &[BufferRange]) -> Result<Vec<Vec<u8>>, GpuError> {
        let parts: Vec<_> = ranges
            .iter()
            .map(|range| (self.raw(range.buffer), range.offset, range.bytes))
            .collect();
        gpu.read(&parts).await
    }

    /// Memory of the host for copies of a range.
    ///
    /// # Errors
    /// If there is not as much.
    pub fn readback(&self, gpu: &Gpu, range: BufferRange) -> Result<Readback, GpuError> {
        gpu.readback(range.bytes)
    }

    /// Starts copying a range as the last run leaves it.
    pub fn start_reading(&self, gpu: &Gpu, range: BufferRange, readback: &mut Readback) {
        let part = (self.raw(range.buffer), range.offset, range.bytes);
        readback.start(gpu, &[part]);
    }

    /// Waits for the copy that was started, and calls a function with its bytes.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If none was started, which is a bug.
    pub async fn finish_reading(
        &self,
        gpu: &Gpu,
        readback: &mut Readback,
        take: impl FnOnce(&[u8]),
    ) -> Result<(), GpuError> {
        readback.finish(gpu, take).await
    }

    /// Submits a whole program, in as many submissions as its work needs.
    ///
    /// # Errors
    /// Any error that the device has reported so far.
    pub fn run(&self, gpu: &Gpu, program: usize) -> Result<(), GpuError> {
        self.run_parts(gpu, program, 0..self.programs[program].parts.len())
    }

    /// Submits some parts of a program ([`Program::parts`]).
    ///
    /// # Errors
    /// As [`LoadedPrograms::run`].
    pub fn run_parts(
        &self,
        gpu: &Gpu,
        program: usize,
        parts: Range<usize>,
    ) -> Result<(), GpuError> {
        let range = span(&self.programs[program].parts[parts]);
        for (commands, work) in self.record(gpu, program, range, 1) {
            gpu.submit(commands, work)?;
        }
        Ok(())
    }

    /// Records a range of a program's dispatches so many times, in as many submissions as their work
    /// needs, with the work of each. Buffers are cleared once, after the program's last dispatch.
    pub(super) fn record(
        &self,
        gpu: &Gpu,
        program: usize,
        range: Range<usize>,
        runs: usize,
    ) -> impl Iterator<Item = (wgpu::CommandBuffer, u64)> {
        let is_last = range.end == self.dispatches(program).len();
        let dispatches = &self.dispatches(program)[range];
        let count = runs * dispatches.len();
        let at = move |index: usize| &dispatches[index % dispatches.len()];
        let submissions = gpu.submissions((0..count).map(|index| at(index).work));
        submissions.into_iter().map(move |range| {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for index in range.clone() {
                at(index).record(&mut pass);
            }
            drop(pass);
            if range.end == count && is_last {
                self.record_clears(program, &mut encoder);
            }
            let work = range.map(|index| at(index).work).sum();
            (encoder.finish(), work)
        })
    }

    pub(super) fn dispatches(&self, program: usize) -> &[BoundDispatch] {
        &self.programs[program].dispatches
    }

    /// Records the clears at the end of a program.
    pub(super) fn record_clears(&self, program: usize, encoder: &mut wgpu::CommandEncoder) {
        for buffer in &self.programs[program].clears {
            encoder.clear_buffer(self.raw(*buffer), 0, None);
        }
    }

    fn raw(&self, buffer: KeptBuffer) -> &wgpu::Buffer {
        &self.kept[buffer.0]
    }

    /// Builds the bind groups, with the parameters of all dispatches in one uniform buffer.
    fn bind<'a>(
        &'a self,
        gpu: &Gpu,
        program: &Program,
        compiled: &HashMap<&Kernel, Compiled>,
        slot_of: impl Fn(usize) -> &'a wgpu::Buffer,
    ) -> Result<Vec<BoundDispatch>, GpuError> {
        let (uniforms, offsets) = uniform_buffer(gpu, program)?;
        let dispatches = program.dispatches.iter().zip(offsets);
        let bound = dispatches
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
                        Lifetime::Kept => self.raw(self.buffer(&buffer.name)),
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
                    work: pace::work(dispatch.flops, Program::bytes(dispatch)),
                }
            })
            .collect();
        Ok(bound)
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

/// The buffers of programs that are loaded together.
struct Buffers {
    kept: Vec<wgpu::Buffer>,
    kept_of: HashMap<String, KeptBuffer>,
    slots: Vec<wgpu::Buffer>,
    bytes: u64,
}

impl Buffers {
    /// One buffer for each name of a kept one, and one for each slot of temporaries, as large as any
    /// program needs.
    fn new(gpu: &Gpu, programs: &[&Program], plans: &[Plan]) -> Result<Buffers, GpuError> {
        let kept_sizes = plan::kept_buffers(programs);
        let slot_sizes = plan::shared_slots(plans);
        let needed = kept_sizes.values().chain(&slot_sizes).sum();
        let mut buffers = Buffers {
            kept: Vec::new(),
            kept_of: HashMap::new(),
            slots: Vec::new(),
            bytes: 0,
        };
        let mut allocate = |name: &str, bytes: u64, usage| {
            let allocated = gpu.buffer(name, bytes, usage);
            let before = buffers.bytes;
            buffers.bytes += bytes;
            allocated.map_err(|error| error.within(needed, before))
        };
        let temporary = wgpu::BufferUsages::STORAGE;
        let kept = temporary | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        for (name, bytes) in kept_sizes {
            let number = KeptBuffer(buffers.kept.len());
            buffers.kept_of.insert(name.to_owned(), number);
            buffers.kept.push(allocate(name, bytes, kept)?);
        }
        for (slot, bytes) in slot_sizes.into_iter().enumerate() {
            let name = largest_in_slot(programs, plans, slot);
            buffers.slots.push(allocate(name, bytes, temporary)?);
        }
        Ok(buffers)
    }
}

/// Name of the largest temporary buffer that shares a slot.
fn largest_in_slot<'p>(programs: &[&'p Program], plans: &[Plan], slot: usize) -> &'p str {
    let pairs = programs.iter().zip(plans);
    let all = pairs.flat_map(|(program, plan)| program.buffers.iter().zip(&plan.slot_of));
    let sharing = all.filter(|(_, slot_of)| **slot_of == Some(slot));
    let largest = sharing.max_by_key(|(buffer, _)| buffer.bytes);
    largest.map_or("temporary values", |(buffer, _)| &buffer.name)
}

/// The parameters of all dispatches, each at an aligned offset.
fn uniform_buffer(gpu: &Gpu, program: &Program) -> Result<(wgpu::Buffer, Vec<u64>), GpuError> {
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
    let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
    let buffer = gpu.buffer("kernel parameters", 4 * words.len().max(1) as u64, usage)?;
    gpu.queue
        .write_buffer(&buffer, 0, bytemuck::cast_slice(&words));
    Ok((buffer, offsets))
}

/// The compiled kernels of programs.
fn compile<'p>(
    gpu: &Gpu,
    programs: &[&'p Program],
) -> Result<HashMap<&'p Kernel, Compiled>, GpuError> {
    let kernels: Vec<&Kernel> = programs.iter().flat_map(|p| &p.kernels).collect();
    gpu.compile(&kernels)?;
    let compiled = |kernel| gpu.compiled.get(kernel).expect("it was compiled");
    let pairs = kernels.into_iter().map(|kernel| (kernel, compiled(kernel)));
    Ok(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_named_after_its_largest_buffer() {
        let program = |sizes: [u64; 2]| {
            let mut program = Program::new();
            for (name, bytes) in ["a", "b"].into_iter().zip(sizes) {
                program.buffer(&format!("{name} {bytes}"), bytes, Lifetime::Temporary);
            }
            program
        };
        let programs = [&program([16, 32]), &program([48, 8])];
        let plan = |slot_of: [usize; 2]| Plan {
            slot_of: slot_of.map(Some).into(),
            ..Plan::default()
        };
        let plans = [plan([0, 1]), plan([1, 0])];
        assert_eq!(largest_in_slot(&programs, &plans, 0), "a 16");
        assert_eq!(largest_in_slot(&programs, &plans, 1), "a 48");
    }
}
