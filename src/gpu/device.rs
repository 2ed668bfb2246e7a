//! An opened adapter: device, queue, its errors, and reading buffers back.

use std::collections::VecDeque;
#[cfg(not(target_arch = "wasm32"))]
use std::sync::OnceLock;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

#[cfg(not(target_arch = "wasm32"))]
use super::pipelines::{Keep, Pipelines};
use super::{Adapter, Description, GpuError};
use crate::program::MatrixUnit;

/// Whether shaders check their own indices.
///
/// Our kernels prove their indices in range, so the checks cost time and find nothing; the
/// tests run both ways and compare. Browsers always check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// Every access is checked.
    On,
    /// No access is checked.
    Off,
}

/// Submissions that may wait for the adapter before the host waits for it.
const MAX_IN_FLIGHT: usize = 3;

/// Devices of a software adapter beside the main one, at most.
#[cfg(not(target_arch = "wasm32"))]
const SPARE: usize = 3;

/// An opened adapter.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) checks: Checks,
    /// Further devices of a software adapter, which compile beside the main one.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) spare: Vec<(wgpu::Device, wgpu::Queue)>,
    /// Facts about the adapter.
    pub description: Description,
    /// Its matrix units that have proved to work: none before the self-check.
    pub matrices: Vec<MatrixUnit>,
    /// Those that have not, and why.
    pub refused: Vec<(MatrixUnit, String)>,
    /// Where compiled pipelines come from and go to.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) pipelines: OnceLock<Pipelines>,
    failure: Arc<Mutex<Option<GpuError>>>,
    in_flight: Mutex<VecDeque<wgpu::SubmissionIndex>>,
}

impl Gpu {
    /// Opens an adapter with all its limits and the features that our kernels can use.
    ///
    /// # Errors
    /// If the driver refuses.
    pub async fn open(adapter: &Adapter, checks: Checks) -> Result<Gpu, GpuError> {
        let mut wanted = wgpu::Features::SUBGROUP
            | wgpu::Features::SHADER_INT64
            | wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::PIPELINE_CACHE;
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if !adapter.description.matrices.is_empty() {
            wanted |= wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16;
            // SAFETY: kernels with matrices load them from and store them to workgroup memory
            // of their own, within its bounds and by whole subgroups.
            experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("pyr-wgpu"),
            required_features: adapter.raw.features() & wanted,
            required_limits: adapter.raw.limits(),
            experimental_features,
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let description = adapter.description.clone();
        let (device, queue) =
            adapter
                .raw
                .request_device(&descriptor)
                .await
                .map_err(|e| GpuError::Open {
                    adapter: description.name.clone(),
                    reason: e.to_string(),
                })?;
        #[cfg(not(target_arch = "wasm32"))]
        let spare = {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let wanted = match description.software() {
                true => SPARE.min(cores - 1),
                false => 0,
            };
            let mut spare = Vec::new();
            for _ in 0..wanted {
                // One that cannot be had leaves more work to the others.
                spare.extend(adapter.raw.request_device(&descriptor).await.ok());
            }
            spare
        };
        let failure = Arc::new(Mutex::new(None));
        let gpu = Gpu {
            device,
            queue,
            checks,
            #[cfg(not(target_arch = "wasm32"))]
            spare,
            description,
            matrices: Vec::new(),
            refused: Vec::new(),
            #[cfg(not(target_arch = "wasm32"))]
            pipelines: OnceLock::new(),
            failure,
            in_flight: Mutex::new(VecDeque::new()),
        };
        gpu.listen();
        Ok(gpu)
    }

    /// Keeps the first error that arrives outside a call.
    fn listen(&self) {
        let failure = Arc::clone(&self.failure);
        let adapter = self.description.name.clone();
        self.device.on_uncaptured_error(Arc::new(move |error| {
            let error = match error {
                wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory {
                    adapter: adapter.clone(),
                },
                wgpu::Error::Validation { description, .. }
                | wgpu::Error::Internal { description, .. } => GpuError::Rejected(description),
            };
            let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error);
        }));
        let failure = Arc::clone(&self.failure);
        self.device.set_device_lost_callback(move |reason, text| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                // What follows from a lost device must not hide the cause.
                *failure = Some(GpuError::Lost(text));
            }
        });
    }

    /// The first error since the device was opened.
    ///
    /// # Errors
    /// That error.
    pub fn check(&self) -> Result<(), GpuError> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match &*failure {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    /// Forgets that something was rejected, after which the device can still be used: what
    /// asks for a kernel that may be rejected, does this if it is. Other failures stay.
    pub fn forget_rejection(&self) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*failure, Some(GpuError::Rejected(_))) {
            *failure = None;
        }
    }

    /// Invocations of a subgroup, where that number is fixed and subgroups can be used; our
    /// kernels want at least four.
    pub fn subgroup_size(&self) -> Option<u32> {
        let [smallest, largest] = self.description.subgroup_size;
        let usable = self.device.features().contains(wgpu::Features::SUBGROUP);
        (usable && smallest == largest && largest >= 4).then_some(largest)
    }

    /// Whether shaders have 64-bit integers.
    pub fn int64(&self) -> bool {
        self.device
            .features()
            .contains(wgpu::Features::SHADER_INT64)
    }

    /// Name under which this device's pipelines can be kept; `None` if they cannot.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn pipelines_key(&self) -> Option<String> {
        let features = self.device.features();
        let key = wgpu::util::pipeline_cache_key(&self.device.adapter_info());
        key.filter(|_| features.contains(wgpu::Features::PIPELINE_CACHE))
    }

    /// Compiles from now on with what an earlier process kept under the same name.
    ///
    /// # Safety
    /// `data` must be what [`Gpu::hand_over_pipelines`] once gave to `keep`, or nothing.
    #[cfg(not(target_arch = "wasm32"))]
    pub unsafe fn keep_pipelines(&self, data: Option<&[u8]>, keep: Keep) {
        if self.pipelines_key().is_some() {
            // SAFETY: by the caller's promise.
            let pipelines = unsafe { Pipelines::new(&self.device, data, keep) };
            // A second call changes nothing.
            drop(self.pipelines.set(pipelines));
        }
    }

    /// Hands over all pipelines if there are new ones and a store for them.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn hand_over_pipelines(&self) {
        if let Some(pipelines) = self.pipelines.get() {
            pipelines.hand_over();
        }
    }

    /// Submits commands; natively waits for the adapter when it is too far behind.
    pub(super) fn submit(&self, commands: wgpu::CommandBuffer) -> Result<(), GpuError> {
        let submission = self.queue.submit([commands]);
        let mut in_flight = self
            .in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        in_flight.push_back(submission);
        if in_flight.len() > MAX_IN_FLIGHT {
            let oldest = in_flight.pop_front();
            self.wait(oldest);
        }
        drop(in_flight);
        self.check()
    }

    /// Natively blocks until a submission (all, if `None`) is done; browsers have an event
    /// loop for that.
    fn wait(&self, submission: Option<wgpu::SubmissionIndex>) {
        if cfg!(target_arch = "wasm32") {
            return;
        }
        let wait = wgpu::PollType::Wait {
            submission_index: submission,
            timeout: None,
        };
        if let Err(error) = self.device.poll(wait) {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(GpuError::Lost(error.to_string()));
        }
    }

    /// Gives the adapter up, as a driver's reset does: whatever follows fails.
    pub fn destroy(&self) {
        self.device.destroy();
    }

    /// Blocks until everything submitted is done; browsers have an event loop instead.
    ///
    /// # Errors
    /// What went wrong on the way.
    pub fn finish(&self) -> Result<(), GpuError> {
        self.wait(None);
        self.check()
    }

    /// Gives way until everything submitted is done: [`Gpu::finish`] for event loops.
    ///
    /// # Errors
    /// What went wrong on the way.
    pub async fn finished(&self) -> Result<(), GpuError> {
        let done = Arrival::default();
        let signal = done.clone();
        self.queue.on_submitted_work_done(move || signal.arrive(()));
        // A device that failed may never answer.
        self.finish()?;
        done.arrived().await;
        self.check()
    }

    /// Reads parts (buffer, first byte, bytes) after everything submitted so far.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) async fn read(
        &self,
        parts: &[(&wgpu::Buffer, u64, u64)],
    ) -> Result<Vec<Vec<u8>>, GpuError> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size: parts.iter().map(|(_, _, bytes)| bytes).sum(),
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut at = 0;
        for (buffer, offset, bytes) in parts {
            encoder.copy_buffer_to_buffer(buffer, *offset, &staging, at, *bytes);
            at += bytes;
        }
        self.queue.submit([encoder.finish()]);
        self.map(&staging).await?;
        let view = staging
            .get_mapped_range(..)
            .map_err(|e| GpuError::Rejected(e.to_string()))?;
        let mut rest = &view[..];
        let split = parts.iter().map(|(_, _, bytes)| {
            let (part, behind) = rest.split_at(*bytes as usize);
            rest = behind;
            part.to_vec()
        });
        Ok(split.collect())
    }

    /// Waits until a staging buffer can be read.
    async fn map(&self, staging: &wgpu::Buffer) -> Result<(), GpuError> {
        let mapped = Arrival::default();
        let signal = mapped.clone();
        staging.map_async(wgpu::MapMode::Read, .., move |result| signal.arrive(result));
        self.wait(None);
        let mapped = mapped.arrived().await;
        self.check()?;
        mapped.map_err(|e| GpuError::Lost(e.to_string()))
    }
}

/// Hand-over between a callback and the future that waits for it.
struct Arrival<T>(Arc<Mutex<(Option<T>, Option<Waker>)>>);

impl<T> Clone for Arrival<T> {
    fn clone(&self) -> Arrival<T> {
        Arrival(Arc::clone(&self.0))
    }
}

impl<T> Default for Arrival<T> {
    fn default() -> Arrival<T> {
        Arrival(Arc::default())
    }
}

impl<T> Arrival<T> {
    fn arrive(&self, result: T) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0 = Some(result);
        if let Some(waker) = inner.1.take() {
            waker.wake();
        }
    }

    async fn arrived(&self) -> T {
        std::future::poll_fn(|context| {
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match inner.0.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    inner.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
