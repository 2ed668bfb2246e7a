//! Compiled pipelines from one process to the next, where the backend can hand them out.
//!
//! Today that is Vulkan. Drivers check themselves whether what they are given is theirs;
//! anything else they compile anew. Where the bytes are kept is the caller's affair.

use std::sync::{Mutex, PoisonError};

use super::Gpu;

/// Receives all pipelines of a device, to be kept.
pub(super) type Keep = Box<dyn Fn(&[u8]) + Send + Sync>;

/// The pipelines of a device, and where they go.
pub(super) struct Pipelines {
    pub(super) cache: wgpu::PipelineCache,
    keep: Keep,
    /// What was kept last: nothing is kept twice.
    kept: Mutex<Vec<u8>>,
}

impl Gpu {
    /// Name under which this device's pipelines can be kept; `None` if they cannot.
    pub fn pipelines_key(&self) -> Option<String> {
        let able = self
            .device
            .features()
            .contains(wgpu::Features::PIPELINE_CACHE);
        let key = wgpu::util::pipeline_cache_key(&self.device.adapter_info());
        key.filter(|_| able)
    }

    /// Compiles from now on with what an earlier process kept under the same name.
    ///
    /// # Safety
    /// `data` must be what [`Gpu::hand_over_pipelines`] once gave to `keep`, or nothing.
    pub unsafe fn keep_pipelines(&self, data: Option<&[u8]>, keep: Keep) {
        if self.pipelines_key().is_none() {
            return;
        }
        // SAFETY: by the caller's promise; what another driver or device left is recognised
        // by its header and not used.
        let cache = unsafe {
            self.device
                .create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                    label: Some("pipelines"),
                    data,
                    fallback: true,
                })
        };
        let kept = Mutex::new(data.unwrap_or_default().to_vec());
        // A second call changes nothing.
        drop(self.pipelines.set(Pipelines { cache, keep, kept }));
    }

    /// Hands over all pipelines if there are new ones and somebody keeps them.
    pub fn hand_over_pipelines(&self) {
        let Some(pipelines) = self.pipelines.get() else {
            return;
        };
        let Some(data) = pipelines.cache.get_data() else {
            return;
        };
        let mut kept = pipelines
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *kept != data {
            (pipelines.keep)(&data);
            *kept = data;
        }
    }
}
