//! The pipeline cache, kept across processes where the backend supports it (today: Vulkan).
//!
//! Drivers validate the cache data themselves and recompile what they do not recognise. The
//! caller decides where the bytes are stored.

use std::sync::{Mutex, PoisonError};

/// Stores the cache data of a device.
pub(super) type Keep = Box<dyn Fn(&[u8]) + Send + Sync>;

/// The pipeline cache of a device, and where it is stored.
pub(super) struct Pipelines {
    pub(super) cache: wgpu::PipelineCache,
    keep: Keep,
    /// The data stored last, to skip storing it again.
    kept: Mutex<Vec<u8>>,
}

impl Pipelines {
    /// A cache that starts with the data stored by an earlier process.
    ///
    /// # Safety
    /// `data` must be `None`, or bytes that [`Pipelines::hand_over`] passed to `keep`.
    pub(super) unsafe fn new(device: &wgpu::Device, data: Option<&[u8]>, keep: Keep) -> Pipelines {
        // SAFETY: guaranteed by the caller; the driver recognises data of another driver or
        // device by its header and ignores it.
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

    /// Stores the cache data if it has changed.
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
