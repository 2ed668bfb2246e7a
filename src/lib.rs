//! map
pub mod checkpoint;
pub mod engine;
pub mod gpu;
pub mod graph;
pub mod kernels;
pub mod model;
pub mod program;
pub mod rng;
pub mod shape;
pub mod verify;
