//! Copies of device memory for the host.

use super::arrival::Arrival;
use super::{Gpu, GpuError};

/// Memory of the host for copies of device memory, of which there is one at a time.
pub struct Readback {
    staging: wgpu::Buffer,
    /// While a copy is on its way.
    copy: Option<PendingCopy>,
}

/// A copy on its way.
struct PendingCopy {
    submission: wgpu::SubmissionIndex,
    mapped: Arrival<Result<(), wgpu::BufferAsyncError>>,
}

impl Gpu {
    /// Memory for copies of so many bytes.
    ///
    /// # Errors
    /// If there is not as much.
    pub(super) fn readback(&self, bytes: u64) -> Result<Readback, GpuError> {
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
        Ok(Readback {
            staging: self.buffer("the copy of results for the host", bytes, usage)?,
            copy: None,
        })
    }

    /// Reads ranges (buffer, offset, length in bytes) after everything submitted so far.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) async fn read(
        &self,
        parts: &[(&wgpu::Buffer, u64, u64)],
    ) -> Result<Vec<Vec<u8>>, GpuError> {
        let bytes = parts.iter().map(|(_, _, bytes)| bytes).sum();
        let mut readback = self.readback(bytes)?;
        readback.start(self, parts);
        let mut split = Vec::new();
        let take = |mut rest: &[u8]| {
            for (_, _, bytes) in parts {
                let (part, after) = rest.split_at(*bytes as usize);
                split.push(part.to_vec());
                rest = after;
            }
        };
        readback.finish(self, take).await?;
        Ok(split)
    }
}

impl Readback {
    /// Starts copying ranges (buffer, offset, length in bytes) after everything submitted so far. A
    /// copy that is still on its way is dropped.
    pub(super) fn start(&mut self, gpu: &Gpu, parts: &[(&wgpu::Buffer, u64, u64)]) {
        if self.copy.take().is_some() {
            self.staging.unmap();
        }
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut at = 0;
        for (buffer, offset, bytes) in parts {
            encoder.copy_buffer_to_buffer(buffer, *offset, &self.staging, at, *bytes);
            at += bytes;
        }
        let submission = gpu.queue.submit([encoder.finish()]);
        let mapped = Arrival::default();
        let signal = mapped.clone();
        let arrive = move |result| signal.arrive(result);
        self.staging.map_async(wgpu::MapMode::Read, .., arrive);
        self.copy = Some(PendingCopy { submission, mapped });
    }

    /// Waits for the copy that was started, and calls a function with its bytes.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If none was started, which is a bug.
    pub(super) async fn finish(
        &mut self,
        gpu: &Gpu,
        take: impl FnOnce(&[u8]),
    ) -> Result<(), GpuError> {
        let PendingCopy { submission, mapped } = self.copy.take().expect("a copy was started");
        // A failed device may never call back. Later submissions need not be done.
        gpu.wait(Some(submission));
        gpu.check()?;
        let mapped = mapped.arrived().await;
        gpu.check()?;
        mapped.map_err(|e| GpuError::Lost(e.to_string()))?;
        let view = self.staging.get_mapped_range(..);
        let view = view.map_err(|e| gpu.failure().unwrap_or(GpuError::Rejected(e.to_string())))?;
        take(&view);
        drop(view);
        self.staging.unmap();
        Ok(())
    }
}
