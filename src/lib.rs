//! map
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub mod engine;
pub mod gpu;
pub mod graph;
pub mod kernels;
pub mod model;
pub mod predict;
pub mod program;
pub mod rng;
#[cfg(not(target_arch = "wasm32"))]
pub mod run;
pub mod shape;
pub mod train;
pub mod verify;
