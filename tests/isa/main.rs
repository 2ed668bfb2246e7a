//! The kernels of a training step, compiled by the driver of a card that need not be here.
//!
//! `cargo xtask isa` runs this for each of its cards, with drivers that take a stand-in of the
//! kernel's interface for the card: they compile, and nothing runs. The file named by
//! `PYR_WGPU_ISA` receives what the driver reports of each kernel, and the folder named by
//! `PYR_WGPU_ISA_TEXT` its instructions, where the driver prints them. Without the former the test
//! is skipped: on a real card it would tell nothing that the other tests do not.
#![cfg(target_os = "linux")]

mod amd;
#[path = "../common/mod.rs"]
mod common;
mod driver;
mod step;

use std::collections::BTreeMap;
use std::path::Path;

use amd::Mix;
use driver::Driver;
use pyr_wgpu::gpu::adapter;
use pyr_wgpu::program::{Access, Kernel, Needs};
use serde::Serialize;
use step::StepKernel;

/// What the driver reports of a kernel.
#[derive(Serialize)]
struct Compiled {
    #[serde(flatten)]
    kernel: StepKernel,
    /// The driver's own figures.
    statistics: BTreeMap<String, f64>,
    /// What the instructions are, on AMD.
    mix: Option<Mix>,
}

/// All kernels on one card.
#[derive(Serialize)]
struct Report {
    /// Name of the card.
    adapter: String,
    /// Name and version of the driver.
    driver: String,
    kernels: Vec<Compiled>,
}

/// AMD's compiler rounds towards zero where WGSL leaves the rounding to the adapter, and the count
/// of such instructions finds it.
fn check_rounding(driver: &Driver) {
    let source = "@group(0) @binding(0) var<uniform> pair: vec4<f32>;
        @group(0) @binding(1) var<storage, read_write> packed: array<u32>;
        @compute @workgroup_size(1) fn main() { packed[0] = pack2x16float(pair.xy); }";
    let compiled = driver.compile(&Kernel {
        name: "pack".to_owned(),
        source: source.into(),
        bindings: vec![Access::Write],
        workgroup: 1,
        needs: Needs::default(),
    });
    for text in compiled.texts.iter().filter(|text| amd::is_assembly(text)) {
        assert_eq!(Mix::of(text).rounds_to_zero, 1, "{text}");
    }
}

#[test]
fn every_kernel_of_a_training_step_compiles() {
    let Ok(out) = std::env::var("PYR_WGPU_ISA") else {
        eprintln!("skipped: `cargo xtask isa` runs this with the drivers of several cards");
        return;
    };
    let adapters = pollster::block_on(adapter::list(Some("vulkan")));
    let [adapter] = &adapters[..] else {
        panic!("expected one adapter, found {}", adapters.len());
    };
    let driver = Driver::open(adapter);
    check_rounding(&driver);
    let texts = std::env::var("PYR_WGPU_ISA_TEXT").ok();
    let mut kernels = Vec::new();
    for (number, kernel) in step::kernels().into_iter().enumerate() {
        let name = &kernel.name;
        let compiled = driver.compile(&kernel.kernel);
        if let Some(folder) = &texts {
            let path = Path::new(folder).join(format!("{number:03}.txt"));
            let text = format!("{name}\n\n{}", compiled.texts.join("\n"));
            std::fs::write(path, text).unwrap();
        }
        let assembly = compiled.texts.iter().find(|text| amd::is_assembly(text));
        kernels.push(Compiled {
            statistics: compiled.statistics,
            mix: assembly.map(|text| Mix::of(text)),
            kernel,
        });
    }
    let report = Report {
        adapter: adapter.description.name.clone(),
        driver: adapter.description.driver_info.clone(),
        kernels,
    };
    std::fs::write(out, serde_json::to_string(&report).unwrap()).unwrap();
    // Nothing completes on these devices, so wgpu must not wait for them.
    std::mem::forget(driver);
}
