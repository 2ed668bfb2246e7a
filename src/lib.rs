//! PyramidNet (Han, Kim, Kim: Deep Pyramidal Residual Networks, CVPR 2017) on any GPU: WGSL
//! compute shaders, orchestrated by a graph executor over wgpu.
//!
//! This page is the map: the way of the data, the rooms, and what always holds.
//!
//! # The way of the data
//!
//! ```text
//! bytes on disk ─ data ─▶ images of bytes ─▶ device: gather, crop, flip, normalise ─▶ batch NHWC f32
//! preset or flags ─ model ─▶ layers ─▶ forward graph ─ train: rewrite (fusion), loss, autodiff, rewrite, recompute, update, precision ─▶ graph of a whole step
//! graph + choices of kernels (given, measured, built in) ─ kernels ─▶ program: numbered buffers, dispatches ─ plan ─▶ few physical buffers
//! program + adapter ─ gpu ─▶ pipelines, buffers, bind groups, built once ─▶ one submission a step
//! the same graph ─ cpu ─▶ loops over the same memory, where there is no GPU
//! loss and correct answers gather on the device ─▶ read back rarely ─ train ─▶ events ─▶ progress bar, run directory, page
//! parameters ─ checkpoint ─▶ safetensors with PyTorch's names ─▶ eval, predict, other programs
//! ```
//!
//! # The rooms
//!
//! A room uses rooms of lower layers only; `tests/tidy.rs` holds the table and checks it.
//!
//! | layer | room | what it is |
//! |---|---|---|
//! | 0 | [`shape`] | extents, element types, how a shape lies in memory |
//! | 0 | [`rng`] | counter-based random numbers, the same bits everywhere |
//! | 1 | [`program`] | a GPU program as plain data, and its memory plan |
//! | 1 | [`graph`] | networks as data: operators with their references, autodiff, fusion, recomputation, half precision, interpreter |
//! | 1 | [`data`] | datasets to images and batches |
//! | 1 | [`checkpoint`] | named tensors to and from files |
//! | 2 | [`model`] | PyramidNet from a dozen words: layers, names, counts, initial values, the forward graph |
//! | 2 | [`kernels`] | the host half of each shader, and the lowering of graphs to programs |
//! | 2 | [`gpu`] | the only room that names wgpu: adapters, running programs, timing them |
//! | 2 | [`cpu`] | graphs on the processor: vector instructions, all cores |
//! | 3 | [`engine`] | graphs in, runnable things out; the devices a user can ask for; the tuner; the trial of matrix units |
//! | 4 | [`train`] | recipe, the graph of a step, the session through epochs and its events, evaluation |
//! | 4 | [`trained_model`] | a network with its weights, from and to a checkpoint |
//! | 5 | [`verify`] | recorded arrays of other programs against ours |
//! | 5 | [`mod@bench`] | speed, and what share of the adapter's own limit it is |
//! | 5 | [`predict`] | trained weights and an image to classes |
//! | 5 | [`run`] | the run directory: configuration, metrics, events, state |
//! | 6 | [`cli`] | the command line, one file per subcommand |
//!
//! Beside `src`: `shaders` has one WGSL file per kernel, `shaders/lib` what several import;
//! `datasets` says what is published about each dataset; `tests/golden` holds recordings of
//! PyTorch with the script that made them.
//!
//! # What always holds
//!
//! - Channels are stored padded to a multiple of four and the pads are zero, so that
//!   PyramidNet's odd widths need no scalar tails and the zero-padded shortcut costs
//!   nothing. Files always hold true extents.
//! - Everything is built before the first step; a step allocates nothing on the device.
//! - Same seed, same choices of kernels, same adapter: same bits. No kernel adds floats in an
//!   order that depends on scheduling, and every random number is a function of what it is
//!   for. A run that stops and resumes, also inside an epoch, computes the bits of one that
//!   did not.
//! - A NaN or an infinity is never swallowed: comparisons let it through, and the loss and
//!   every gradient are tested by the bits of their exponents. Where feature maps are halves
//!   and the loss is scaled, a step whose gradients overflow is left out, counted, and tried
//!   with a smaller scale.
//! - `graph`, `program`, `model` and `kernels` perform no input or output and know no device.
//! - Nothing in the library waits for a device except inside [`gpu`], and there only
//!   natively; browsers have their event loop.
//! - Every operator has a plain reference in double precision beside it, which serves as the
//!   oracle of the kernels' tests, as what finite differences check, and as
//!   `--device reference`.
//!
//! # Adding things
//!
//! - An operator: one file in `src/graph/ops`, one in `src/kernels`, one in `shaders`, a loop
//!   in `src/cpu`, and a line in each list (`operators!`, the lowering's match, the
//!   processor's). The tests walk the lists.
//! - A faster kernel: a shader, its host half, and a name in the table of choices.
//! - A fusion: one rule in `src/graph/rewrite.rs`. A reduction that the kernel before it can
//!   do on the way needs none: in lowering that kernel leaves partial results beside what it
//!   makes, if anybody wants them (`Lowering::leave`).
//! - A dataset: a manifest in `datasets`, and a reader if the format is new.
//! - A kind of device: a room of its own, a file in `src/engine/backend` that implements the
//!   interface there, and an arm in [`engine::Device`].
//!
//! # What is awkward
//!
//! - A batch is part of a graph's shapes, so an epoch's smaller last batch has a program of
//!   its own; the programs share all buffers.

#[cfg(not(target_arch = "wasm32"))]
pub mod bench;
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod cpu;
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
pub mod trained_model;
pub mod verify;
