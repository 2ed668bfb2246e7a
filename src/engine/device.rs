//! The devices that a user can select.

use std::sync::Arc;

use super::try_matrices;
use crate::cpu::Cpu;
use crate::gpu::{self, Adapter, Checks, Description, Gpu, GpuError, Selection};
use crate::kernels::Target;

/// Where graphs run. Clones share the device.
#[derive(Clone)]
pub enum Device {
    /// A GPU or software adapter.
    Gpu(Arc<Gpu>),
    /// The CPU: all cores, vector instructions.
    Cpu(Arc<Cpu>),
    /// The operators' plain references: one thread, double precision, slow.
    Reference,
}

/// The device requested by the user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceRequest {
    /// `auto`, `cpu`, `reference`, an adapter's number, or part of its name; `None` is `auto`.
    pub device: Option<String>,
    /// Which of the adapters with exactly this name, from 0.
    pub ordinal: usize,
    /// A backend's name; `None` allows all.
    pub backend: Option<String>,
    /// Whether shaders check their bounds ([`Checks::On`]).
    pub checked: bool,
    /// Whether matrix units that pass their self-check are used.
    ///
    /// The SPIR-V of naga 30 for cooperative matrices makes their loads and stores neither available
    /// nor visible as Vulkan's memory model asks
    /// ([wgpu #8805](https://github.com/gfx-rs/wgpu/issues/8805)): by its rules the kernels race.
    pub matrices: bool,
}

/// What [`DeviceRequest::device`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind<'a> {
    /// The best device.
    Auto,
    /// [`Device::Cpu`].
    Cpu,
    /// [`Device::Reference`].
    Reference,
    /// An adapter's number, or part of its name.
    Adapter(&'a str),
}

impl DeviceRequest {
    /// What the request names; case does not matter.
    pub fn kind(&self) -> DeviceKind<'_> {
        let Some(name) = self.device.as_deref() else {
            return DeviceKind::Auto;
        };
        match name.to_lowercase().as_str() {
            "auto" => DeviceKind::Auto,
            "cpu" => DeviceKind::Cpu,
            "reference" => DeviceKind::Reference,
            _ => DeviceKind::Adapter(name),
        }
    }
}

impl Device {
    /// The CPU.
    pub fn cpu() -> Device {
        Device::Cpu(Arc::new(Cpu::detect()))
    }

    /// Opens the requested device.
    ///
    /// `auto` selects a hardware GPU, else the CPU, which is several times faster than a software
    /// adapter on the same processor. With a backend named or checked shaders, it selects the
    /// first adapter.
    ///
    /// # Errors
    /// If there is no such device, or the driver fails to open it.
    pub async fn open(request: &DeviceRequest) -> Result<Device, GpuError> {
        let device = match request.kind() {
            DeviceKind::Cpu => return Ok(Device::cpu()),
            DeviceKind::Reference => return Ok(Device::Reference),
            DeviceKind::Auto => None,
            DeviceKind::Adapter(name) => Some(name.to_owned()),
        };
        let automatic = device.is_none() && request.backend.is_none() && !request.checked;
        let selection = Selection {
            device,
            ordinal: request.ordinal,
            backend: request.backend.clone(),
        };
        let adapter = match gpu::adapter::select(&selection).await {
            Ok(adapter) if automatic && adapter.description.software() => {
                return Ok(Device::cpu());
            }
            Err(GpuError::NoAdapter { .. }) if automatic => {
                return Ok(Device::cpu());
            }
            selected => selected?,
        };
        let checks = match request.checked {
            true => Checks::On,
            false => Checks::Off,
        };
        // Software adapters gain nothing from matrix units.
        let matrices = request.matrices && !adapter.description.software();
        Device::on(adapter, checks, matrices).await
    }

    /// Opens an adapter, with its matrix units if they are asked for and pass the self-check.
    ///
    /// # Errors
    /// If the driver fails to open it.
    #[cfg_attr(
        target_arch = "wasm32",
        expect(clippy::arc_with_non_send_sync, reason = "browsers have one thread")
    )]
    pub async fn on(adapter: Adapter, checks: Checks, matrices: bool) -> Result<Device, GpuError> {
        let gpu = open(adapter, checks, matrices).await?;
        Ok(Device::Gpu(Arc::new(gpu)))
    }

    /// The CPU once for each vector instruction set that it has, the fastest first.
    pub fn cpu_kinds() -> Vec<Device> {
        let kinds = Cpu::kinds().into_iter();
        kinds.map(|cpu| Device::Cpu(Arc::new(cpu))).collect()
    }

    /// Resolves when everything submitted to the device is done.
    ///
    /// # Errors
    /// Any error that the device has reported so far.
    pub async fn idle(&self) -> Result<(), GpuError> {
        match self {
            Device::Gpu(gpu) => gpu.idle().await,
            Device::Cpu(_) | Device::Reference => Ok(()),
        }
    }

    /// Properties of the adapter; `None` for a device that is not an adapter.
    pub fn description(&self) -> Option<&Description> {
        match self {
            Device::Gpu(gpu) => Some(&gpu.description),
            Device::Cpu(_) | Device::Reference => None,
        }
    }

    /// Display name, one line.
    pub fn name(&self) -> String {
        match self {
            Device::Gpu(gpu) => {
                let d = &gpu.description;
                format!("{} ({}, {}, {})", d.name, d.kind, d.backend, d.driver_info)
            }
            Device::Cpu(cpu) => {
                let threads = match cpu.threads() {
                    1 => "one thread".to_owned(),
                    threads => format!("{threads} threads"),
                };
                format!("CPU ({threads}, {})", cpu.instructions())
            }
            Device::Reference => {
                "the plain CPU reference (double precision, one thread, slow)".to_owned()
            }
        }
    }

    /// The [`DeviceRequest::device`] that selects this device again.
    pub fn selector(&self) -> String {
        match self {
            Device::Gpu(gpu) => gpu.description.name.clone(),
            Device::Cpu(_) => "cpu".to_owned(),
            Device::Reference => "reference".to_owned(),
        }
    }

    /// Whether its memory is that of the process.
    pub fn uses_host_memory(&self) -> bool {
        self.description().is_none_or(Description::software)
    }

    /// The properties that lowering depends on.
    pub fn target(&self) -> Target {
        match self {
            Device::Gpu(gpu) => Target {
                max_binding: gpu.description.max_binding,
                storage_bindings: gpu.description.storage_bindings as usize,
                subgroup_size: gpu.subgroup_size(),
                int64: gpu.int64(),
                matrices: gpu.matrices.clone(),
                software: gpu.description.software(),
            },
            Device::Cpu(_) | Device::Reference => Target::portable(),
        }
    }
}

async fn open(mut adapter: Adapter, checks: Checks, matrices: bool) -> Result<Gpu, GpuError> {
    if !matrices {
        adapter.description.matrices.clear();
    }
    let opened = Gpu::open(&adapter, checks).await;
    let offered = std::mem::take(&mut adapter.description.matrices);
    if offered.is_empty() {
        return opened;
    }
    let failure = match opened {
        Err(error) => error,
        Ok(mut gpu) => {
            try_matrices(&mut gpu).await;
            match gpu.check() {
                Ok(()) => return Ok(gpu),
                Err(error) => error,
            }
        }
    };
    // A driver whose matrix units make it fail may work without them.
    let mut gpu = Gpu::open(&adapter, checks).await?;
    let refuse = |unit| (unit, failure.to_string());
    gpu.refused = offered.into_iter().map(refuse).collect();
    Ok(gpu)
}
