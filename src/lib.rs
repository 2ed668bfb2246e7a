//! map
pub mod shape;
pub mod rng;
pub mod program;
pub mod graph;
pub mod kernels;
pub mod gpu;
