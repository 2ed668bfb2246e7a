//! Bindings of `pyr_wgpu` for the browser page: what `web/page/worker.js` calls.
//!
//! Nothing is computed here. A `PageDevice` is a device with a trained network, a `Training` a run
//! of the network `demo` on the drawn shapes; both return JSON and bytes to JavaScript. Errors are
//! `Error` objects with a `code` besides the message.

#![cfg(target_arch = "wasm32")]

mod fault;
mod page_device;
mod training;

pub use page_device::PageDevice;
pub use training::Training;

use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn console_error(text: &str);
}

/// Runs once when the module is loaded: makes panics print their message on the console.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|info| console_error(&info.to_string())));
}
