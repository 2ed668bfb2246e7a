//! The report of `bench`, on the plain reference, which runs on every machine.

use pyr_wgpu::bench::{Report, Task, Workload, measure};
use pyr_wgpu::engine::Device;
use pyr_wgpu::graph::Passes;
use pyr_wgpu::kernels::Choices;
use pyr_wgpu::model::{Network, NetworkSpec, Stem};

fn tiny() -> Network {
    let spec = NetworkSpec {
        image_size: 8,
        ..NetworkSpec::pyramid(Stem::Cifar, 8, 3.0)
    };
    Network::new(&spec).expect("a legal network")
}

fn measured(task: Task) -> Report {
    let network = tiny();
    let workload = Workload {
        network: &network,
        batch: 2,
        task,
        passes: Passes::default(),
        seconds: 0.0,
    };
    let mut silent = |_: &str| {};
    let report = measure(
        &Device::Reference,
        &workload,
        |_| Ok(Choices::default()),
        &mut silent,
    );
    pollster::block_on(report).expect("the reference runs everything")
}

#[test]
fn the_reference_counts_operations_but_has_no_limits() {
    let report = measured(Task::Infer);
    assert_eq!(report.samples, 1);
    assert_eq!((report.peak_gflops, report.limit_ratio), (None, None));
    assert_eq!((report.dispatches, report.kernels.len()), (0, 0));
    // Stem of 16 channels, three units of 17, 18 and 19, two convolutions each, at 8, 4
    // and 2 pixels square; the classifier; two operations each; two images.
    let stage = |from: u64, to: u64, pixels: u64| pixels * pixels * 9 * (from * to + to * to);
    let convolutions = 64 * 9 * 3 * 16 + stage(16, 17, 8) + stage(17, 18, 4) + stage(18, 19, 2);
    assert_eq!(report.flops, 2 * 2 * (convolutions + 19 * 10));
}

#[test]
fn training_takes_about_three_times_the_operations() {
    let [train, infer] = [Task::Train, Task::Infer].map(measured);
    let ratio = train.flops as f64 / infer.flops as f64;
    // The stem needs no gradient of its input.
    assert!((2.5..3.0).contains(&ratio), "{ratio}");
}

#[test]
fn the_document_has_the_keys_that_scripts_read() {
    let value = serde_json::to_value(measured(Task::Infer)).expect("plain data");
    for key in [
        "images_per_second",
        "step_ms",
        "peak_gflops",
        "achieved_gflops",
        "fma_share",
        "limit_ratio",
        "adapter",
        "driver",
        "batch_size",
        "mode",
        "network",
        "bandwidth_gb_s",
        "launch_us",
        "kernels",
    ] {
        assert!(value.get(key).is_some(), "{key}");
    }
    assert_eq!(value["mode"], "infer");
    assert!(value["peak_gflops"].is_null());
}
