//! The self-test on the processor, and its flags; `tests/selftest.rs` has adapters.

use crate::{fails, json, run};

#[test]
fn the_processor_passes() {
    let document = json(&["selftest", "--device", "cpu", "--quiet", "--json"]);
    assert_eq!(document["passed"], true);
    let devices = document["devices"].as_array().unwrap();
    for device in devices {
        assert_eq!(
            (&device["passed"], &device["error"]),
            (&true.into(), &().into())
        );
        let rows = device["kernels"].as_array().unwrap();
        let named = |name: &str| rows.iter().find(|row| row["kernel"] == name);
        let conv = named("conv2d").unwrap();
        assert_eq!(conv["result"], "ok");
        let largest = conv["largest"].as_f64().unwrap();
        assert!(largest > 0.0 && largest <= 1.0, "{largest}");
        assert_eq!(named("all").unwrap()["result"], "not-applicable");
    }
    let text = run(&["selftest", "--device", "cpu", "--quiet"]);
    assert!(text.status.success() && text.stderr.is_empty());
    let text = String::from_utf8(text.stdout).unwrap();
    let count = text.matches("kernel ").count();
    assert_eq!(count, devices.len(), "{text}");
    for words in [
        "pyr-wgpu  ",
        "conv2d_grad_weight",
        "not applicable",
        "cases in",
    ] {
        assert!(text.contains(words), "{text} lacks {words}");
    }
}

#[test]
fn flags_are_checked() {
    fails(
        &["selftest", "--device", "reference"],
        2,
        &["adapter or cpu"],
    );
    fails(
        &["selftest", "--matrix-units"],
        2,
        &["leave out --matrix-units"],
    );
    fails(&["selftest", "--all", "--device", "cpu"], 2, &["--device"]);
    fails(&["selftest", "--device", "no such adapter"], 3, &["no"]);
}
