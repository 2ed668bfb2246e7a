//! A device of wgpu whose driver keeps statistics of the pipelines that it compiles.
//!
//! The device is opened as [`Gpu::open`] opens it, except that one function of Vulkan,
//! `vkCreateComputePipelines`, asks for the statistics on its way to the driver and reads them.
//! What is compiled is therefore what wgpu compiles, without a copy of its options.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::sync::{Mutex, OnceLock};

use ash::khr::pipeline_executable_properties as executables;
use ash::vk;
use pyr_wgpu::gpu::{Adapter, Checks, Gpu};
use pyr_wgpu::program::Kernel;
use wgpu::hal::OpenDevice;
use wgpu::hal::api::Vulkan;

/// What the driver reports of a pipeline.
#[derive(Default)]
pub(crate) struct Reported {
    /// By the driver's names.
    pub(crate) statistics: BTreeMap<String, f64>,
    /// Instructions, in the driver's formats.
    pub(crate) texts: Vec<String>,
}

/// An open device.
pub(crate) struct Driver(Gpu);

impl Driver {
    pub(crate) fn open(adapter: &Adapter) -> Driver {
        let gpu = pollster::block_on(Gpu::open_by(
            adapter,
            Checks::Off,
            async |raw, descriptor| {
                // SAFETY: the device is opened from this adapter with these features and limits.
                unsafe { raw.create_device_from_hal(open(raw, descriptor), descriptor) }
            },
        ));
        Driver(gpu.unwrap_or_else(|e| panic!("{e}")))
    }

    /// Compiles a kernel, which the driver must accept.
    pub(crate) fn compile(&self, kernel: &Kernel) -> Reported {
        let compiled = self.0.compile(&[kernel]);
        compiled.unwrap_or_else(|e| panic!("{}: {e}", kernel.name));
        let reported = hook().reported.lock().unwrap().take();
        reported.unwrap_or_else(|| panic!("{}: no statistics", kernel.name))
    }
}

/// The driver's functions behind [`create_compute_pipelines`].
struct Hook {
    create: vk::PFN_vkCreateComputePipelines,
    executables: executables::Device,
    /// Of the pipeline compiled last.
    reported: Mutex<Option<Reported>>,
}

static HOOK: OnceLock<Hook> = OnceLock::new();

fn hook() -> &'static Hook {
    HOOK.get().expect("the device is opened first")
}

/// Opens a device with [`create_compute_pipelines`] in place of the driver's function.
///
/// # Safety
/// As `open` of wgpu's adapters.
unsafe fn open(
    adapter: &wgpu::Adapter,
    descriptor: &wgpu::DeviceDescriptor<'_>,
) -> OpenDevice<Vulkan> {
    let (features, limits) = (descriptor.required_features, &descriptor.required_limits);
    // SAFETY: the adapter outlives the guard.
    let adapter = unsafe { adapter.as_hal::<Vulkan>() }.expect("an adapter of Vulkan");
    let instance = adapter.shared_instance().raw_instance();
    let mut extensions = adapter.required_device_extensions(features);
    let mut known = adapter.physical_device_features(&extensions, features);
    extensions.push(executables::NAME);
    let names: Vec<*const c_char> = extensions.iter().map(|name| name.as_ptr()).collect();
    let queue = vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0]);
    let queues = [queue];
    let mut feature = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
        .pipeline_executable_info(true);
    let info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&names)
        .push_next(&mut feature);
    let info = known.add_to_device_create(info);
    // SAFETY: the extensions and features are those that wgpu asks for, and one more that all
    // drivers of Mesa have.
    let device = unsafe { instance.create_device(adapter.raw_physical_device(), &info, None) };
    let device = device.unwrap_or_else(|e| panic!("vkCreateDevice: {e:?}"));
    let mut functions = device.fp_v1_0().clone();
    let hook = Hook {
        create: functions.create_compute_pipelines,
        executables: executables::Device::new(instance, &device),
        reported: Mutex::default(),
    };
    assert!(HOOK.set(hook).is_ok(), "one device is opened");
    functions.create_compute_pipelines = create_compute_pipelines;
    let device = ash::Device::from_parts_1_3(
        device.handle(),
        functions,
        device.fp_v1_1().clone(),
        device.fp_v1_2().clone(),
        device.fp_v1_3().clone(),
    );
    // SAFETY: the device was created for this with the first queue of the first family.
    let opened = unsafe {
        let hints = &descriptor.memory_hints;
        adapter.device_from_raw(device, None, &extensions, features, limits, hints, 0, 0)
    };
    opened.unwrap_or_else(|e| panic!("{e}"))
}

/// Compiles with statistics, and keeps them.
unsafe extern "system" fn create_compute_pipelines(
    device: vk::Device,
    cache: vk::PipelineCache,
    count: u32,
    infos: *const vk::ComputePipelineCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    pipelines: *mut vk::Pipeline,
) -> vk::Result {
    assert_eq!(count, 1, "wgpu creates pipelines one at a time");
    // SAFETY: the caller passes as many descriptions and places for pipelines.
    let mut info = unsafe { *infos };
    info.flags |= vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
        | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
    let hook = hook();
    // SAFETY: the arguments are the caller's, and the device has the flags' feature.
    let result = unsafe { (hook.create)(device, cache, 1, &info, allocator, pipelines) };
    if result == vk::Result::SUCCESS {
        // SAFETY: the driver has just created the pipeline.
        let reported = unsafe { report(&hook.executables, *pipelines) };
        *hook.reported.lock().unwrap() = Some(reported.expect("statistics"));
    }
    result
}

/// What the driver tells of a pipeline.
///
/// # Safety
/// The pipeline must have been created with both flags.
unsafe fn report(
    functions: &executables::Device,
    pipeline: vk::Pipeline,
) -> Result<Reported, vk::Result> {
    let mut reported = Reported::default();
    let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
    // SAFETY: guaranteed by the caller, here and below.
    let found = unsafe { functions.get_pipeline_executable_properties(&info) }?;
    assert_eq!(found.len(), 1, "a kernel is one program");
    let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
    let statistics = &mut reported.statistics;
    statistics.insert("Subgroup".to_owned(), f64::from(found[0].subgroup_size));
    for statistic in unsafe { functions.get_pipeline_executable_statistics(&info) }? {
        use vk::PipelineExecutableStatisticFormatKHR as Format;
        // SAFETY: the format says which field is set.
        let value = unsafe {
            match statistic.format {
                Format::BOOL32 => f64::from(statistic.value.b32),
                Format::INT64 => statistic.value.i64 as f64,
                Format::UINT64 => statistic.value.u64 as f64,
                _ => statistic.value.f64,
            }
        };
        statistics.insert(text(&statistic.name), value);
    }
    reported.texts = unsafe { texts(functions, &info) }?;
    Ok(reported)
}

/// The driver's texts of a pipeline; the sizes are asked for first.
///
/// # Safety
/// As [`report`].
unsafe fn texts(
    functions: &executables::Device,
    info: &vk::PipelineExecutableInfoKHR<'_>,
) -> Result<Vec<String>, vk::Result> {
    // SAFETY: guaranteed by the caller.
    let mut all = unsafe { functions.get_pipeline_executable_internal_representations(info) }?;
    let mut buffers: Vec<Vec<u8>> = all.iter().map(|each| vec![0; each.data_size]).collect();
    for (each, buffer) in all.iter_mut().zip(&mut buffers) {
        each.p_data = buffer.as_mut_ptr().cast();
    }
    let mut count = all.len() as u32;
    let get = functions
        .fp()
        .get_pipeline_executable_internal_representations_khr;
    // SAFETY: as above; each buffer has the size that the driver asked for.
    unsafe { get(functions.device(), info, &mut count, all.as_mut_ptr()) }.result()?;
    let texts = all.iter().zip(&buffers).map(|(each, buffer)| {
        let end = buffer.iter().position(|byte| *byte == 0);
        let bytes = &buffer[..end.unwrap_or(buffer.len())];
        format!(
            "== {}\n{}",
            text(&each.name),
            String::from_utf8_lossy(bytes)
        )
    });
    Ok(texts.collect())
}

fn text(name: &[c_char]) -> String {
    // SAFETY: Vulkan terminates its names.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    name.to_string_lossy().into_owned()
}
