//! Bindings of `pyr_wgpu` for the browser page.
