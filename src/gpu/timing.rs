//! Timing: of many runs of a program by the clock of the host, and of each dispatch by timestamp
//! queries around a pass of its own.

#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;

use super::{Gpu, GpuError, LoadedPrograms};

/// Time that one dispatch took on the adapter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelTime {
    /// Index of the dispatch in its program.
    pub dispatch: usize,
    /// Start, in seconds after the start of the first dispatch.
    pub start: f64,
    /// Duration in seconds.
    pub seconds: f64,
}

/// Maximum number of queries in a set (WebGPU).
const MAX_QUERIES: usize = 4096;

impl LoadedPrograms {
    /// Seconds from the submission of so many runs of a program, which are recorded before, to
    /// their end. They share a submission, unless their work is too much for one.
    ///
    /// # Errors
    /// If the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn seconds(&self, gpu: &Gpu, program: usize, runs: usize) -> Result<f64, GpuError> {
        let all = 0..self.dispatches(program).len();
        let recorded: Vec<_> = self.record(gpu, program, all, runs).collect();
        let start = Instant::now();
        for (commands, work) in recorded {
            gpu.submit(commands, work)?;
        }
        gpu.finish()?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Runs a program with every dispatch in a pass of its own, and times each.
    ///
    /// Returns `None` if the adapter has no timestamp queries.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn time(
        &self,
        gpu: &Gpu,
        program: usize,
    ) -> Result<Option<Vec<KernelTime>>, GpuError> {
        let features = gpu.device.features();
        if !features.contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Ok(None);
        }
        let period = f64::from(gpu.queue.get_timestamp_period()) * 1e-9;
        let mut times = Vec::new();
        let mut origin = None;
        for chunk in self.dispatches(program).chunks(MAX_QUERIES / 2) {
            let count = 2 * chunk.len() as u32;
            let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("dispatch times"),
                ty: wgpu::QueryType::Timestamp,
                count,
            });
            let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
            let stamps = gpu.buffer("dispatch times", 8 * u64::from(count), usage)?;
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            for (index, dispatch) in chunk.iter().enumerate() {
                let first = 2 * index as u32;
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: None,
                    timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                        query_set: &queries,
                        beginning_of_pass_write_index: Some(first),
                        end_of_pass_write_index: Some(first + 1),
                    }),
                });
                dispatch.record(&mut pass);
            }
            encoder.resolve_query_set(&queries, 0..count, &stamps, 0);
            gpu.submit(encoder.finish(), 0)?;
            let bytes = gpu.read(&[(&stamps, 0, stamps.size())]).await?;
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes[0]);
            for pair in ticks.chunks_exact(2) {
                let origin = *origin.get_or_insert(pair[0]);
                let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 * period;
                times.push(KernelTime {
                    dispatch: times.len(),
                    start: seconds(origin, pair[0]),
                    seconds: seconds(pair[0], pair[1]),
                });
            }
        }
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        self.record_clears(program, &mut encoder);
        gpu.submit(encoder.finish(), 0)?;
        Ok(Some(times))
    }
}
