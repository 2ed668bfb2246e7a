//! The devices a user can ask for.

use crate::gpu::{self, Checks, Description, Gpu, GpuError, Selection};
use crate::kernels::Target;

/// Where graphs run.
pub enum Device {
    /// An adapter.
    Gpu(Box<Gpu>),
    /// The plain reference beside each operator: one thread, double precision, slow.
    Reference,
}

/// What the user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceRequest {
    /// `auto`, `cpu`, a number, or part of a name.
    pub device: Option<String>,
    /// A backend's name.
    pub backend: Option<String>,
    /// Turn on every check of shaders.
    pub checked: bool,
}

impl Device {
    /// Opens the device that was asked for; `auto` takes a hardware GPU, else a software
    /// adapter, never the reference.
    ///
    /// # Errors
    /// If there is no such device.
    pub async fn open(request: &DeviceRequest) -> Result<Device, GpuError> {
        let wanted = request.device.as_deref().filter(|name| *name != "auto");
        if wanted == Some("cpu") {
            return Ok(Device::Reference);
        }
        let selection = Selection {
            device: wanted.map(str::to_owned),
            backend: request.backend.clone(),
        };
        let adapter = gpu::adapter::select(&selection).await?;
        let checks = match request.checked {
            true => Checks::On,
            false => Checks::Off,
        };
        let gpu = Gpu::open(&adapter, checks).await?;
        Ok(Device::Gpu(Box::new(gpu)))
    }

    /// Facts about the adapter; `None` for the reference.
    pub fn description(&self) -> Option<&Description> {
        match self {
            Device::Gpu(gpu) => Some(&gpu.description),
            Device::Reference => None,
        }
    }

    /// One line for people.
    pub fn name(&self) -> String {
        match self {
            Device::Gpu(gpu) => {
                let d = &gpu.description;
                format!("{} ({}, {}, {})", d.name, d.kind, d.backend, d.driver_info)
            }
            Device::Reference => {
                "the plain CPU reference (double precision, one thread, slow)".to_owned()
            }
        }
    }

    /// What lowering needs to know.
    pub fn target(&self) -> Target {
        match self {
            Device::Gpu(gpu) => Target {
                max_binding: gpu.description.max_binding,
                subgroup_size: gpu.subgroup_size(),
                int64: gpu.int64(),
                software: gpu.description.software(),
            },
            Device::Reference => Target::portable(),
        }
    }
}
