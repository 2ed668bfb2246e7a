//! An open adapter: device, queue, error handling and readback.

use std::collections::VecDeque;
use std::ops::Range;
#[cfg(not(target_arch = "wasm32"))]
use std::sync::OnceLock;
#[cfg(not(target_arch = "wasm32"))]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
#[cfg(not(target_arch = "wasm32"))]
use std::time::{Duration, Instant};

use super::arrival::Arrival;
use super::compiled::CompiledKernels;
use super::pace::Pace;
#[cfg(not(target_arch = "wasm32"))]
use super::pipelines::{Keep, Pipelines};
#[cfg(not(target_arch = "wasm32"))]
use super::wait::wait;
use super::{Adapter, Allocation, Description, GpuError};
use crate::program::MatrixUnit;

/// Whether the driver adds bounds checks to shaders.
///
/// Our kernels keep their indices in range, so the checks only cost time; the tests run both ways
/// and compare. Browsers always check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// Every access is checked.
    On,
    /// No access is checked.
    Off,
}

/// Maximum number of submissions in flight before the host waits for the oldest.
pub const MAX_IN_FLIGHT: usize = 3;

/// A wait for a submission that was pending takes longer.
#[cfg(not(target_arch = "wasm32"))]
const AT_ONCE: Duration = Duration::from_micros(100);

/// Maximum number of spare devices of a software adapter.
#[cfg(not(target_arch = "wasm32"))]
const SPARE: usize = 3;

/// An open adapter.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) checks: Checks,
    /// Spare devices of a software adapter, which compile concurrently with the main one, and
    /// whether each is lost.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) spare: Vec<(wgpu::Device, wgpu::Queue, Arc<AtomicBool>)>,
    /// Properties of the adapter.
    pub description: Description,
    /// Matrix units that passed the kernel self-check; none before it.
    pub matrices: Vec<MatrixUnit>,
    /// Matrix units that failed it, with the reason.
    pub refused: Vec<(MatrixUnit, String)>,
    /// The pipeline cache, if one is kept.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) pipelines: OnceLock<Pipelines>,
    /// The kernels compiled so far.
    pub(super) compiled: CompiledKernels,
    failure: Arc<Mutex<Option<GpuError>>>,
    /// Whether the failure is [`GpuError::Lost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) lost: Arc<AtomicBool>,
    in_flight: Mutex<InFlight>,
}

/// Submissions that may be pending.
#[derive(Default)]
struct InFlight {
    /// Each with its work.
    pending: VecDeque<(wgpu::SubmissionIndex, u64)>,
    pace: Pace,
    /// When the last wait for one of them ended.
    #[cfg(not(target_arch = "wasm32"))]
    last: Option<Instant>,
}

impl InFlight {
    /// Waits for the oldest submission, which has so much work; its time decides how much later ones
    /// get.
    #[cfg(not(target_arch = "wasm32"))]
    fn wait_for(&mut self, work: u64, wait: impl FnOnce()) {
        let start = Instant::now();
        wait();
        let end = Instant::now();
        // It was the only one that ran since the one before it ended.
        if let Some(last) = self.last.filter(|_| work > 0 && end - start > AT_ONCE) {
            self.pace.measured(work, end - last);
        }
        self.last = Some(end);
    }

    /// Browsers cannot wait, and submissions keep their first size.
    #[cfg(target_arch = "wasm32")]
    fn wait_for(&mut self, _: u64, wait: impl FnOnce()) {
        wait();
    }
}

impl Gpu {
    /// Opens an adapter with all its limits and the features that our kernels can use.
    ///
    /// # Errors
    /// If the driver fails to open it.
    pub async fn open(adapter: &Adapter, checks: Checks) -> Result<Gpu, GpuError> {
        let request = async |adapter: &wgpu::Adapter, descriptor: &wgpu::DeviceDescriptor<'_>| {
            adapter.request_device(descriptor).await
        };
        Gpu::open_by(adapter, checks, request).await
    }

    /// Opens an adapter as [`Gpu::open`] does, by a given way from a descriptor to a device.
    ///
    /// # Errors
    /// If that fails.
    pub async fn open_by(
        adapter: &Adapter,
        checks: Checks,
        request: impl AsyncFn(
            &wgpu::Adapter,
            &wgpu::DeviceDescriptor<'_>,
        ) -> Result<(wgpu::Device, wgpu::Queue), wgpu::RequestDeviceError>,
    ) -> Result<Gpu, GpuError> {
        let mut wanted = wgpu::Features::SUBGROUP
            | wgpu::Features::SHADER_INT64
            | wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::PIPELINE_CACHE;
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if !adapter.description.matrices.is_empty() {
            wanted |= wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16;
            // SAFETY: kernels load and store matrices only in their own workgroup memory, within
            // its bounds and by whole subgroups.
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
        let opened = request(&adapter.raw, &descriptor).await;
        let (device, queue) = opened.map_err(|e| GpuError::Open {
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
                // If one cannot be opened, the others take over its work.
                let Ok((device, queue)) = request(&adapter.raw, &descriptor).await else {
                    continue;
                };
                let lost = Arc::new(AtomicBool::new(false));
                let is_lost = Arc::clone(&lost);
                device.set_device_lost_callback(move |_, _| is_lost.store(true, Ordering::Relaxed));
                spare.push((device, queue, lost));
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
            compiled: CompiledKernels::default(),
            failure,
            #[cfg(not(target_arch = "wasm32"))]
            lost: Arc::default(),
            in_flight: Mutex::default(),
        };
        gpu.listen();
        Ok(gpu)
    }

    /// Registers callbacks that record the first asynchronous error.
    fn listen(&self) {
        let failure = Arc::clone(&self.failure);
        let adapter = self.description.name.clone();
        self.device.on_uncaptured_error(Arc::new(move |error| {
            let error = match error {
                wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory {
                    adapter: adapter.clone(),
                    allocation: None,
                },
                wgpu::Error::Validation { description, .. }
                | wgpu::Error::Internal { description, .. } => GpuError::Rejected(description),
            };
            let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error);
        }));
        let failure = Arc::clone(&self.failure);
        #[cfg(not(target_arch = "wasm32"))]
        let lost = Arc::clone(&self.lost);
        self.device.set_device_lost_callback(move |reason, text| {
            let reason = match reason {
                wgpu::DeviceLostReason::Destroyed => "it was destroyed",
                wgpu::DeviceLostReason::Unknown if text.is_empty() => "the driver gives no reason",
                wgpu::DeviceLostReason::Unknown => &text,
            };
            let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
            // Errors that result from the loss must not hide it.
            *failure = Some(GpuError::Lost(reason.to_owned()));
            #[cfg(not(target_arch = "wasm32"))]
            lost.store(true, Ordering::Relaxed);
        });
    }

    pub(super) fn failure(&self) -> Option<GpuError> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone()
    }

    /// Reports the first error since the device was opened, if any.
    ///
    /// # Errors
    /// That error.
    pub fn check(&self) -> Result<(), GpuError> {
        if matches!(self.failure(), Some(error) if !matches!(error, GpuError::Lost(_))) {
            // It may result from a loss, which wgpu reports only to those who wait.
            self.wait(None);
        }
        self.failure().map_or(Ok(()), Err)
    }

    /// Clears a recorded [`GpuError::Rejected`], after which the device is still usable. For
    /// callers that try a kernel which the driver may reject. Other errors stay.
    pub fn forget_rejection(&self) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*failure, Some(GpuError::Rejected(_))) {
            *failure = None;
        }
    }

    /// Invocations of a subgroup, if subgroup operations are available and the number is fixed
    /// and at least four, as our kernels require.
    pub fn subgroup_size(&self) -> Option<u32> {
        let [smallest, largest] = self.description.subgroup_size;
        let usable = self.device.features().contains(wgpu::Features::SUBGROUP);
        (usable && smallest == largest && largest >= 4).then_some(largest)
    }

    /// Whether shaders support 64-bit integers.
    pub fn int64(&self) -> bool {
        self.device
            .features()
            .contains(wgpu::Features::SHADER_INT64)
    }

    /// Key under which this device's pipeline cache can be stored; `None` if it has none.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn pipelines_key(&self) -> Option<String> {
        let features = self.device.features();
        let key = wgpu::util::pipeline_cache_key(&self.device.adapter_info());
        key.filter(|_| features.contains(wgpu::Features::PIPELINE_CACHE))
    }

    /// From now on compiles with the pipeline cache that an earlier process stored under the
    /// same key. A second call has no effect.
    ///
    /// # Safety
    /// `data` must be `None`, or bytes that [`Gpu::hand_over_pipelines`] passed to `keep`.
    #[cfg(not(target_arch = "wasm32"))]
    pub unsafe fn keep_pipelines(&self, data: Option<&[u8]>, keep: Keep) {
        if self.pipelines_key().is_some() {
            // SAFETY: guaranteed by the caller.
            let pipelines = unsafe { Pipelines::new(&self.device, data, keep) };
            drop(self.pipelines.set(pipelines));
        }
    }

    /// Stores the pipeline cache if one is kept and it has changed.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn hand_over_pipelines(&self) {
        if let Some(pipelines) = self.pipelines.get() {
            pipelines.hand_over();
        }
    }

    /// Divides dispatches of so much work each into submissions.
    pub(super) fn submissions(&self, work: impl IntoIterator<Item = u64>) -> Vec<Range<usize>> {
        let in_flight = self.in_flight.lock();
        let in_flight = in_flight.unwrap_or_else(PoisonError::into_inner);
        in_flight.pace.submissions(work)
    }

    /// Submits commands of so much work; natively blocks while more than [`MAX_IN_FLIGHT`]
    /// submissions are pending.
    pub(super) fn submit(&self, commands: wgpu::CommandBuffer, work: u64) -> Result<(), GpuError> {
        let submission = self.queue.submit([commands]);
        let mut in_flight = self
            .in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        in_flight.pending.push_back((submission, work));
        if in_flight.pending.len() > MAX_IN_FLIGHT
            && let Some((oldest, work)) = in_flight.pending.pop_front()
        {
            in_flight.wait_for(work, || self.wait(Some(oldest)));
        }
        drop(in_flight);
        self.check()
    }

    /// Blocks until a submission (all, if `None`) is done.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn wait(&self, submission: Option<wgpu::SubmissionIndex>) {
        if let Err(error) = wait(&self.device, submission, &self.lost) {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(GpuError::Rejected(error.to_string()));
        }
    }

    /// Returns at once: browsers cannot block.
    #[cfg(target_arch = "wasm32")]
    pub(super) fn wait(&self, _: Option<wgpu::SubmissionIndex>) {}

    /// Allocates a buffer that holds `name`.
    ///
    /// # Errors
    /// If it exceeds the adapter's limit or memory, and any error that the device has reported so
    /// far.
    pub(super) fn buffer(
        &self,
        name: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, GpuError> {
        let limit = self.description.max_buffer;
        if bytes > limit {
            return Err(GpuError::BufferTooLarge {
                name: name.to_owned(),
                bytes,
                limit,
                adapter: self.description.name.clone(),
            });
        }
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(name),
            size: bytes,
            usage,
            mapped_at_creation: false,
        });
        match self.check() {
            Ok(()) => Ok(buffer),
            // In browsers the error may be that of an earlier buffer.
            Err(GpuError::OutOfMemory { adapter, .. }) if cfg!(not(target_arch = "wasm32")) => {
                let allocation = Allocation {
                    name: name.to_owned(),
                    bytes,
                    needed: bytes,
                    allocated: 0,
                };
                Err(GpuError::OutOfMemory {
                    adapter,
                    allocation: Some(allocation),
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Destroys the device; later calls fail as after a driver reset.
    pub fn destroy(&self) {
        self.device.destroy();
    }

    /// Natively blocks until everything submitted is done; in browsers, only checks for errors.
    ///
    /// # Errors
    /// Any error that the device has reported so far.
    pub fn finish(&self) -> Result<(), GpuError> {
        self.wait(None);
        self.check()
    }

    /// Resolves when everything submitted is done: [`Gpu::finish`] for event loops.
    ///
    /// # Errors
    /// Any error that the device has reported so far.
    pub async fn idle(&self) -> Result<(), GpuError> {
        let done = Arrival::default();
        let signal = done.clone();
        self.queue.on_submitted_work_done(move || signal.arrive(()));
        // A failed device may never call back.
        self.finish()?;
        done.arrived().await;
        self.check()
    }
}
