//! Listing and selecting adapters.

use serde::{Deserialize, Serialize};

use super::GpuError;
use crate::program::MatrixUnit;
use crate::shape::DType;

/// An adapter as wgpu found it.
#[derive(Clone, Debug)]
pub struct Adapter {
    pub(super) raw: wgpu::Adapter,
    /// Properties, for display and for records.
    pub description: Description,
}

/// Properties of an adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Number in the list, for `--device`.
    pub index: usize,
    /// Name, as the driver reports it.
    pub name: String,
    /// Which of the adapters with this name and backend it is, from 0: cards of one model have one
    /// name.
    pub ordinal: usize,
    /// `discrete-gpu`, `integrated-gpu`, `virtual-gpu`, `cpu` or `other`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `vulkan`, `metal`, `dx12`, `gl` or `webgpu`.
    pub backend: String,
    /// Driver name.
    pub driver: String,
    /// Driver version.
    pub driver_info: String,
    /// Half-precision arithmetic in shaders.
    pub f16: bool,
    /// Matrix units that our kernels can use, before the kernel self-check.
    pub matrices: Vec<MatrixUnit>,
    /// Subgroup operations in shaders.
    pub subgroups: bool,
    /// Smallest and largest number of invocations in a subgroup.
    pub subgroup_size: [u32; 2],
    /// Timestamp queries.
    pub timestamps: bool,
    /// Largest buffer, bytes.
    pub max_buffer: u64,
    /// Largest storage buffer binding, bytes.
    pub max_binding: u64,
    /// Storage buffers that a kernel may bind.
    pub storage_bindings: u32,
    /// Largest workgroup memory, bytes.
    pub max_workgroup_storage: u32,
    /// Largest number of invocations of a workgroup.
    pub max_workgroup_invocations: u32,
}

impl Description {
    /// Whether this is a software adapter, which runs on the CPU.
    pub fn software(&self) -> bool {
        self.kind == "cpu"
    }

    /// One line: number, name, type, backend, driver.
    pub fn line(&self) -> String {
        let Description {
            index,
            name,
            kind,
            backend,
            ..
        } = self;
        format!("{index}: {name} ({kind}, {backend})")
    }
}

/// The adapter requested by the user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// A number in the list or part of a name; `None` selects the first adapter.
    pub device: Option<String>,
    /// Which of the adapters with exactly this name, from 0.
    pub ordinal: usize,
    /// A backend's name; `None` allows all.
    pub backend: Option<String>,
}

/// Names of the backends that `--backend` takes.
pub const BACKENDS: [&str; 4] = ["vulkan", "metal", "dx12", "gl"];

fn backend_name(backend: wgpu::Backend) -> &'static str {
    match backend {
        wgpu::Backend::Vulkan => "vulkan",
        wgpu::Backend::Metal => "metal",
        wgpu::Backend::Dx12 => "dx12",
        wgpu::Backend::Gl => "gl",
        wgpu::Backend::BrowserWebGpu => "webgpu",
        wgpu::Backend::Noop => "noop",
    }
}

fn kind_name(kind: wgpu::DeviceType) -> &'static str {
    match kind {
        wgpu::DeviceType::DiscreteGpu => "discrete-gpu",
        wgpu::DeviceType::IntegratedGpu => "integrated-gpu",
        wgpu::DeviceType::VirtualGpu => "virtual-gpu",
        wgpu::DeviceType::Cpu => "cpu",
        wgpu::DeviceType::Other => "other",
    }
}

/// All adapters that can compute, hardware first, in a stable order.
pub async fn list(backend: Option<&str>) -> Vec<Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    // Unless WGPU_DEBUG asks for it, no debug information in shaders: naga computes it in time
    // that grows with the square of their length, and debug builds would include it by default.
    let flags = wgpu::InstanceFlags::from_build_config() - wgpu::InstanceFlags::DEBUG;
    descriptor.flags = flags.with_env();
    if let Some(name) = backend {
        descriptor.backends = match name {
            "vulkan" => wgpu::Backends::VULKAN,
            "metal" => wgpu::Backends::METAL,
            "dx12" => wgpu::Backends::DX12,
            "gl" => wgpu::Backends::GL,
            _ => wgpu::Backends::empty(),
        };
    }
    let backends = descriptor.backends;
    let instance = wgpu::Instance::new(descriptor);
    let mut found = instance.enumerate_adapters(backends).await;
    found.retain(|raw| {
        let capabilities = raw.get_downlevel_capabilities();
        capabilities
            .flags
            .contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
    });
    found.sort_by_key(|raw| rank(&raw.get_info()));
    let mut adapters: Vec<Adapter> = Vec::new();
    for (index, raw) in found.into_iter().enumerate() {
        let mut description = describe(index, &raw);
        let is_equal = |other: &&Adapter| {
            let other = &other.description;
            (&other.name, &other.backend) == (&description.name, &description.backend)
        };
        description.ordinal = adapters.iter().filter(is_equal).count();
        adapters.push(Adapter { raw, description });
    }
    adapters
}

/// Order of preference: hardware before software, native backends before OpenGL.
fn rank(info: &wgpu::AdapterInfo) -> (u8, bool) {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    (kind, info.backend == wgpu::Backend::Gl)
}

fn describe(index: usize, raw: &wgpu::Adapter) -> Description {
    let (info, limits, features) = (raw.get_info(), raw.limits(), raw.features());
    Description {
        index,
        name: info.name,
        ordinal: 0,
        kind: kind_name(info.device_type).to_owned(),
        backend: backend_name(info.backend).to_owned(),
        driver: info.driver,
        driver_info: info.driver_info,
        f16: features.contains(wgpu::Features::SHADER_F16),
        matrices: matrix_units(raw),
        subgroups: features.contains(wgpu::Features::SUBGROUP),
        subgroup_size: [info.subgroup_min_size, info.subgroup_max_size],
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        max_buffer: limits.max_buffer_size,
        max_binding: limits.max_storage_buffer_binding_size,
        storage_bindings: limits.max_storage_buffers_per_shader_stage,
        max_workgroup_storage: limits.max_compute_workgroup_storage_size,
        max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
    }
}

/// The adapter's matrix units that our kernels can use.
fn matrix_units(raw: &wgpu::Adapter) -> Vec<MatrixUnit> {
    use wgpu::{CooperativeScalarType as Scalar, Features};
    let (info, limits, features) = (raw.get_info(), raw.limits(), raw.features());
    let fits = limits.max_compute_workgroup_storage_size >= MatrixUnit::STORAGE
        && limits.max_compute_invocations_per_workgroup >= MatrixUnit::INVOCATIONS;
    let needed = Features::EXPERIMENTAL_COOPERATIVE_MATRIX | Features::SUBGROUP;
    if !fits || !features.contains(needed) {
        return Vec::new();
    }
    let subgroup = match info.backend {
        // wgpu does not query Metal; devices with these matrices have subgroups of 32 there.
        wgpu::Backend::Metal => [32, 32],
        _ => [info.subgroup_min_size, info.subgroup_max_size],
    };
    let offered = raw.cooperative_matrix_properties().into_iter();
    let units = offered.filter_map(|offer| {
        let operands = match offer.ab_type {
            Scalar::F16 if features.contains(Features::SHADER_F16) => DType::F16,
            Scalar::F32 => DType::F32,
            _ => return None,
        };
        let size = offer.m_size;
        let square = offer.n_size == size && offer.k_size == size;
        let unit = MatrixUnit {
            size,
            operands,
            subgroup,
        };
        (square && offer.cr_type == Scalar::F32 && unit.usable()).then_some(unit)
    });
    units.collect()
}

/// Selects an adapter: the requested one, else the first of [`list`].
///
/// # Errors
/// If there is no adapter, or none matches the request.
pub async fn select(selection: &Selection) -> Result<Adapter, GpuError> {
    let mut adapters = list(selection.backend.as_deref()).await;
    if adapters.is_empty() {
        let looked = selection
            .backend
            .as_ref()
            .map(|b| format!(" for the backend {b}"));
        return Err(GpuError::NoAdapter {
            looked: looked.unwrap_or_default(),
        });
    }
    let descriptions: Vec<&Description> = adapters.iter().map(|a| &a.description).collect();
    let index = match &selection.device {
        None => 0,
        Some(wanted) => find(&descriptions, wanted, selection.ordinal)?,
    };
    Ok(adapters.swap_remove(index))
}

/// The adapter with a number, or one of those of a name, or the first whose name or driver contains
/// `wanted`.
fn find(adapters: &[&Description], wanted: &str, ordinal: usize) -> Result<usize, GpuError> {
    let text = wanted.trim().to_lowercase();
    let is_number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let named = |d: &&Description| d.name.to_lowercase() == text;
    let contains = |d: &&Description| {
        d.name.to_lowercase().contains(&text) || d.driver.to_lowercase().contains(&text)
    };
    let found = match is_number {
        true => text.parse().ok().filter(|i| *i < adapters.len()),
        false if text.is_empty() => None,
        false => {
            let mut exact = (0..adapters.len()).filter(|at| named(&adapters[*at]));
            exact.nth(ordinal).or_else(|| match ordinal {
                0 => adapters.iter().position(contains),
                _ => None,
            })
        }
    };
    found.ok_or_else(|| {
        let known = adapters.iter().map(|d| d.line());
        let known: Vec<String> = known.chain(["cpu".to_owned()]).collect();
        GpuError::UnknownAdapter {
            wanted: wanted.to_owned(),
            known: known.join(", "),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(index: usize, name: &str, driver: &str) -> Description {
        Description {
            index,
            name: name.to_owned(),
            ordinal: 0,
            kind: "cpu".to_owned(),
            backend: "vulkan".to_owned(),
            driver: driver.to_owned(),
            driver_info: String::new(),
            f16: false,
            matrices: Vec::new(),
            subgroups: false,
            subgroup_size: [8, 8],
            timestamps: false,
            max_buffer: 0,
            max_binding: 0,
            storage_bindings: 0,
            max_workgroup_storage: 0,
            max_workgroup_invocations: 0,
        }
    }

    #[test]
    fn finds_by_number_and_by_part_of_a_name() {
        let (a, b) = (
            named(0, "Radeon", "RADV"),
            named(1, "llvmpipe (LLVM)", "Mesa"),
        );
        let all = [&a, &b];
        let find = |all: &[&Description], wanted: &str| find(all, wanted, 0);
        assert_eq!(find(&all, "1"), Ok(1));
        assert_eq!(find(&all, "LLVMPIPE"), Ok(1));
        assert_eq!(find(&all, "radv"), Ok(0));
        let error = find(&all, "geforce").unwrap_err().to_string();
        assert!(
            error.contains("geforce") && error.contains("0: Radeon"),
            "{error}"
        );
        // A number is an index, also if a name contains it.
        let (c, d) = (named(0, "RTX 3080 Ti", ""), named(1, "RTX 3080", ""));
        let all = [&c, &d];
        assert_eq!(find(&all, "rtx 3080"), Ok(1), "the whole name wins");
        assert_eq!(find(&all, "3080 t"), Ok(0));
        for wanted in ["2", "3080", "99999999999999999999", "", " "] {
            let error = find(&all, wanted).unwrap_err().to_string();
            assert!(
                error.contains("0: RTX 3080 Ti") && error.contains("cpu"),
                "{error}"
            );
        }
    }

    #[test]
    fn finds_one_of_several_cards_of_a_model() {
        let (a, b) = (named(0, "RTX 3080", ""), named(1, "RTX 3080", ""));
        let all = [&a, &b];
        assert_eq!(find(&all, "rtx 3080", 0), Ok(0));
        assert_eq!(find(&all, "rtx 3080", 1), Ok(1));
        assert!(find(&all, "rtx 3080", 2).is_err());
    }
}
