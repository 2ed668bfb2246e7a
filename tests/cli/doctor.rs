//! What this system lacks: there is always a device that can train.

use crate::{command, json, run};

#[test]
fn the_best_device_is_named() {
    let document = json(&["doctor", "--json"]);
    let findings = document["findings"].as_array().unwrap();
    let best = findings[0]["text"].as_str().unwrap();
    assert!(best.starts_with("best available: "), "{best}");
    let text = run(&["doctor"]);
    assert!(text.status.success());
    let text = String::from_utf8(text.stdout).unwrap();
    for words in ["ok\n", best, "processor: CPU", "folder for cache: "] {
        assert!(text.contains(words), "{text} lacks {words}");
    }
}

/// A variable that hides all drivers is found, and the CPU device can still train.
#[cfg(target_os = "linux")]
#[test]
fn hidden_drivers_are_found() {
    let output = command(&["doctor", "--json"])
        .env("VK_DRIVER_FILES", "/nonexistent.json")
        .output()
        .unwrap();
    assert!(output.status.success());
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = document["findings"].as_array().unwrap();
    let hidden = findings.iter().find(|finding| {
        let text = finding["text"].as_str().unwrap();
        text.contains("VK_DRIVER_FILES names no Vulkan driver")
    });
    assert_eq!(hidden.unwrap()["command"], "unset VK_DRIVER_FILES");
}
