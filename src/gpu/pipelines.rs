//! Compiled pipelines from one process to the next, where the backend can hand them out.
//!
//! Today that is Vulkan. Drivers check themselves whether what they are given is theirs;
//! anything else they compile anew. Where the bytes are kept is the caller's affair.

use std::sync::{Mutex, PoisonError};

/// Receives all pipelines of a device, to be kept.
pub(super) type Keep = Box<dyn Fn(&[u8]) + Send + Sync>;

/// The pipelines of a device, and where they go.
pub(super) struct Pipelines {
    pub(super) cache: wgpu::PipelineCache,
    keep: Keep,
    /// What was kept last: nothing is kept twice.
    kept: Mutex<Vec<u8>>,
}

impl Pipelines {
    /// Pipelines of a device that begins with what an earlier process kept.
    ///
    /// # Safety
    /// `data` must be what [`Pipelines::hand_over`] once gave to `keep`, or nothing.
    pub(super) unsafe fn new(device: &wgpu::Device, data: Option<&[u8]>, keep: Keep) -> Pipelines {
        // SAFETY: by the caller's promise; what another driver or device left is recognised
        // by its header and not used.
        let cache = unsafe {
            device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                label: Some("pipelines"),
                data,
                fallback: true,
            })
        };
        let kept = Mutex::new(data.unwrap_or_default().to_vec());
        Pipelines { cache, keep, kept }
    }

    /// Hands over all pipelines if there are new ones.
    pub(super) fn hand_over(&self) {
        let Some(data) = self.cache.get_data() else {
            return;
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if *kept != data {
            (self.keep)(&data);
            *kept = data;
        }
    }
}
