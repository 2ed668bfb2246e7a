//! The kernel tests in a browser: kernels against the plain references of their operators, under
//! the browser's limits.

#![cfg(target_arch = "wasm32")]

#[allow(
    dead_code,
    clippy::new_without_default,
    unreachable_pub,
    reason = "the native tests use the rest of this module"
)]
#[path = "../../../tests/common/halves.rs"]
mod halves;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the native tests use the rest of this module"
)]
#[path = "../../../tests/common/kernel.rs"]
mod kernel;
#[allow(unreachable_pub, reason = "the native tests use it too")]
#[path = "../../../tests/common/tolerance.rs"]
mod tolerance;

use pyr_wgpu::engine::{Device, DeviceRequest};
use pyr_wgpu::graph::Op;
use wasm_bindgen::prelude::*;

/// Checks every sample of every operator on the browser's adapter; returns the number of
/// samples.
///
/// # Errors
/// The first kernel that differs from its reference, with the difference.
#[wasm_bindgen]
pub async fn check_kernels() -> Result<usize, String> {
    let request = DeviceRequest {
        device: Some("0".to_owned()),
        ..DeviceRequest::default()
    };
    let device = Device::open(&request).await.map_err(|e| e.to_string())?;
    let samples = Op::samples();
    for sample in &samples {
        kernel::check(&device, sample, kernel::stands).await?;
    }
    halves::Halves::new().check(&device, None).await?;
    Ok(samples.len())
}
