//! The kernel tests in a browser: kernels against the plain references of their operators, under
//! the browser's limits.

#![cfg(target_arch = "wasm32")]

use pyr_wgpu::engine::{Device, DeviceRequest};
use pyr_wgpu::graph::Op;
use pyr_wgpu::selftest::{Halves, check, stands};
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
        let checked = check(&device, sample, stands).await;
        checked.map_err(|e| e.to_string())?;
    }
    let rounded = Halves::all().check(&device, None).await;
    rounded.map_err(|e| e.to_string())?;
    Ok(samples.len())
}
