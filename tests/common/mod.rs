//! Helpers shared by the tests that run on devices.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part of this module"
)]

pub mod functions;
pub mod networks;
pub mod ranks;
pub mod runs;
pub mod targets;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use pyr_wgpu::engine::{Device, try_matrices};
use pyr_wgpu::gpu::{Checks, Gpu, GpuError, Selection, adapter};
use pyr_wgpu::program::Kernel;

/// The adapter of the tests, or `None` where there is none.
///
/// `PYR_WGPU_TEST_GPU` decides what happens without one: `auto` (default) skips with a message,
/// `required` fails, `off` does not look for one. `PYR_WGPU_TEST_DEVICE` names an adapter; the
/// default is the first.
pub fn gpu() -> Option<&'static Device> {
    static GPU: OnceLock<Option<Device>> = OnceLock::new();
    GPU.get_or_init(|| open(Checks::Off)).as_ref()
}

/// The same adapter with all shader checks turned on.
pub fn checked_gpu() -> Option<&'static Device> {
    static GPU: OnceLock<Option<Device>> = OnceLock::new();
    GPU.get_or_init(|| open(Checks::On)).as_ref()
}

fn open(checks: Checks) -> Option<Device> {
    let mode = std::env::var("PYR_WGPU_TEST_GPU").unwrap_or_else(|_| "auto".to_owned());
    if mode == "off" {
        eprintln!("skipped: PYR_WGPU_TEST_GPU=off");
        return None;
    }
    let selection = Selection {
        device: std::env::var("PYR_WGPU_TEST_DEVICE").ok(),
        ..Selection::default()
    };
    let opened = pollster::block_on(async {
        let adapter = adapter::select(&selection).await?;
        let mut gpu = Gpu::open(&adapter, checks).await?;
        try_matrices(&mut gpu).await;
        // On the adapters of the tests, all matrix units that the driver offers must work.
        assert_eq!(gpu.matrices, gpu.description.matrices);
        Ok::<Gpu, GpuError>(gpu)
    });
    match opened {
        Ok(gpu) => Some(Device::Gpu(Arc::new(gpu))),
        Err(error) if mode == "required" => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// Another device on the same adapter, which a test may destroy.
pub fn separate_gpu() -> Option<Device> {
    open(Checks::Off)
}

/// Another device on the same adapter, which compiles wrong kernels: in those that `selects`
/// selects, a text is replaced by another.
pub fn faulty_gpu(
    selects: impl Fn(&Kernel) -> bool + Send + Sync + 'static,
    [right, wrong]: [&'static str; 2],
) -> Option<Device> {
    let mut device = separate_gpu()?;
    if let Device::Gpu(gpu) = &mut device {
        let gpu = Arc::get_mut(gpu).expect("the device is not shared yet");
        gpu.substitute_kernels(Box::new(move |kernel| {
            selects(kernel).then(|| {
                let text = kernel.source.replace(right, wrong);
                assert_ne!(*kernel.source, text, "{} lacks {right}", kernel.name);
                text
            })
        }));
    }
    Some(device)
}

/// A fault of the kernels that compute a convolution or its gradient by the input, for
/// [`faulty_gpu`].
pub const WRONG_SUM: [&str; 2] = ["    return sum;\n}", "    return 1.01 * sum;\n}"];

/// Destroys a device, as after a driver reset.
pub fn destroy(device: &Device) {
    if let Device::Gpu(gpu) = device {
        gpu.destroy();
    }
}

/// A check, for loops that only an error ends, that two minutes have not passed.
pub fn deadline(awaited: &str) -> impl Fn() {
    let start = Instant::now();
    move || {
        let elapsed = start.elapsed();
        assert!(
            elapsed < Duration::from_secs(120),
            "no {awaited} within two minutes"
        );
    }
}

/// The processor, once for each vector instruction set that it has.
pub fn processors() -> &'static [Device] {
    static KINDS: OnceLock<Vec<Device>> = OnceLock::new();
    KINDS.get_or_init(Device::cpu_kinds)
}

/// The adapter, if there is one, and the processor.
pub fn fast_devices() -> impl Iterator<Item = &'static Device> {
    gpu().into_iter().chain(processors())
}

/// Compares a text with the snapshot of this name, line by line.
pub fn snapshot(name: &str, text: &str) {
    let path = format!("{}/tests/snapshots/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("UPDATE_SNAPSHOTS").is_ok_and(|value| value == "1") {
        std::fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    for (number, (new, old)) in text.lines().zip(kept.lines()).enumerate() {
        assert!(
            new == old,
            "{path}, line {}:\nis  {new}\nwas {old}\nIf this is intended, run the tests with \
             UPDATE_SNAPSHOTS=1 and review the difference",
            number + 1
        );
    }
    let [new, old] = [text, &kept].map(|text| text.lines().count());
    assert_eq!(new, old, "{path}: number of lines");
}
