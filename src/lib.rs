//! PyramidNet (Han, Kim, Kim: Deep Pyramidal Residual Networks, CVPR 2017) on any GPU: WGSL
//! compute shaders, orchestrated by a graph executor over wgpu.
//!
//! This page is the map of the code: how data flows, what each room (top-level module) contains,
//! and the invariants.
//!
//! # Data flow
//!
//! ```text
//! files ─ data ─▶ u8 images ─▶ device: gather, transform, crop, flip, normalise, erase, mix ─▶ batch NHWC f32
//! image files, ImageNet ─ data: decode, crop, colours ─▶ f32 images ─▶ device: flip, normalise, erase, mix ─▶ batch
//! preset or flags ─ model ─▶ layers ─▶ forward graph
//! forward graph ─ train::step_graph ─▶ synchronise batch norm, fuse, loss, autodiff, fuse, checkpoint activations, update, fuse reductions, halve ─▶ graph of a step
//! graph + choices of kernels (given, measured and checked, built in) ─ kernels ─▶ program: numbered buffers, dispatches ─ plan ─▶ few physical buffers
//! program + adapter ─ gpu ─▶ pipelines, buffers, bind groups, built once ─▶ submissions of bounded work
//! the same graph ─ cpu ─▶ loops over the same memory layout, where there is no GPU
//! loss and correct answers accumulate on the device ─ train::Session ─▶ events ─▶ progress bar, run directory, page
//! parameters ─ checkpoint ─▶ safetensors with PyTorch's names ─▶ eval, predict, other programs
//! files of PyTorch, Torch 7, Caffe ─ checkpoint ─▶ PyTorch's names ─▶ eval, predict, onnx
//! ```
//!
//! A batch passes `src/train/input_pipeline.rs`, `src/train/trainer.rs` and the operator
//! `assemble_batch`, and with the options of the recipe `transform_images`, `erase` and
//! `mix_batch`, whose random numbers come from `src/train/auto_augment.rs`,
//! `src/train/erasing.rs` and `src/train/mixing.rs`; where the images do not fit
//! the device or are augmented as they are decoded, `src/data/loader.rs` comes first.
//!
//! A convolution is `src/graph/ops/conv2d.rs` (meaning), `src/graph/rewrite.rs` (what is fused
//! into it), `src/kernels/conv2d.rs` and `src/kernels/convolution` (which kernel, with what
//! grid), `shaders/conv2d_*.wgsl`, or `src/cpu/conv2d.rs` and `src/cpu/convolution`.
//!
//! A checkpoint passes `src/checkpoint` (files of several programs), `src/trained_model.rs` (names
//! and shapes against the network) and `src/engine/weights.rs` (layout in memory).
//!
//! # The rooms
//!
//! A room uses rooms of lower layers only, and no two files use each other unless one is the
//! parent module of the other; `tests/tidy` checks both.
//!
//! | layer | room | contents |
//! |---|---|---|
//! | 0 | [`shape`] | extents, element types, layout in memory |
//! | 0 | [`rng`] | counter-based random numbers and a hash, the same bits everywhere |
//! | 0 | [`mod@files`] | regular files read up to a limit, and where a path leads |
//! | 0 | [`memory`] | how much memory the process can still use |
//! | 0 | [`text`] | untrusted text in messages: escaping, shell quoting, shortened lists |
//! | 1 | [`ranks`] | processes that train together: agreements, sums over all of them, MPI |
//! | 1 | [`program`] | a GPU program as plain data, the work of its dispatches, and its memory plan |
//! | 1 | [`graph`] | networks as data: operators with their references, autodiff, fusion, activation checkpointing, half precision, batch norm over several replicas, interpreter |
//! | 1 | [`data`] | datasets to images and batches; inspection of folders; each dataset's default recipe |
//! | 1 | [`checkpoint`] | named tensors to and from files |
//! | 2 | [`model`] | PyramidNet from a short specification: layers, names, counts, published errors, initial values, frozen layers, forward graph |
//! | 2 | [`kernels`] | the host half of each shader, and the lowering of graphs to programs |
//! | 2 | [`gpu`] | the only room that names wgpu: adapters, running programs, timing them |
//! | 2 | [`cpu`] | graphs on the processor: vector instructions, all cores |
//! | 3 | [`engine`] | graphs in, runnable things out: the devices, one interface to them, the tuner, the checks of kernels before they are used |
//! | 4 | [`train`] | recipe, graph of a step, replicas of the network on several devices, the session over epochs with its events, evaluation, calibration |
//! | 4 | [`trained_model`] | a network with its weights, from and to a checkpoint |
//! | 5 | [`mod@onnx`] | a trained model as an ONNX file |
//! | 5 | [`verify`] | arrays recorded from other programs against ours |
//! | 5 | [`selftest`] | every kernel that a device can run against the reference of its operator |
//! | 5 | [`mod@bench`] | speed, and the share of the adapter's own limit; estimates for other cards, and for several |
//! | 5 | [`predict`] | a trained model and an image to classes |
//! | 5 | [`run`] | the run directory: configuration, metrics, events, state |
//! | 6 | [`cli`] | the command line: a file or folder per subcommand, and what they share |
//!
//! Beside `src`: `shaders` has the WGSL files, `shaders/lib` what several of them import;
//! `datasets` says what is published about each dataset; `tests/golden` holds recordings of
//! PyTorch, `tests/foreign` files of other programs, and `tests/images` image files, each with the
//! scripts that made them; `fuzz` has fuzz targets for readers of files and their corpora;
//! `docs/reliability.md` lists what is promised about runs and files; `benches` compares this
//! program with others.
//!
//! # Invariants
//!
//! - Channels are stored padded to a multiple of four and the pads are zero, so that
//!   PyramidNet's odd widths need no scalar tails and the zero-padded shortcut costs
//!   nothing. Files hold true extents.
//! - Everything is built before the first step; a step on one device allocates nothing there. With
//!   several, gradients are read into memory that is kept, and written through that of wgpu.
//! - Same seed, same choices of kernels, same devices in the same order: same bits. No kernel adds
//!   floats in an order that depends on scheduling, nor does the host, which adds the gradients of
//!   several devices in the order of their list, and then those of several ranks in theirs; and every random number is a function of what it is
//!   for. A run that stops and resumes, also inside an epoch, computes the bits of one that did not.
//! - A NaN or an infinity is never hidden: comparisons propagate it, a variance that overflows is
//!   NaN, and the loss and every gradient are tested by the bits of their exponents. The device
//!   records where the first one is and changes no weight from then on, so the host need not look
//!   after every step. With half-precision activations the loss is scaled; a step whose gradients
//!   overflow is skipped, counted, and followed by a smaller scale.
//! - `graph`, `program`, `model` and `kernels` perform no input or output and know no device.
//! - Only [`gpu`] (natively) and [`cli`] block on a device; everything between them is
//!   asynchronous, because browsers have their event loop. A step of several ranks, which no browser
//!   has, waits in [`ranks`].
//! - Every operator has a plain reference in double precision beside it: the oracle of
//!   [`selftest`] and of the kernels' tests, what finite differences check, and `--device reference`.
//! - No adapter's kernels are trusted: those that the tuner measures, and a training step of a small
//!   network ([`train::golden`]), are compared with [`cpu`] before the first run with a driver.
//! - A rule of [`graph::rewrite`] never changes what is computed, and what is fused shows in the
//!   printed graph: lowering fuses nothing by itself.
//!
//! # Adding things
//!
//! - An operator `x`: four files of its stem, in the rooms `graph::ops`, `kernels` and `cpu` and
//!   in `shaders`, except where the host computes it ([`graph::ops::AllReduce`]); and its module and its row in the lists of four others: `src/graph/ops/mod.rs`
//!   (`operators!`), `src/kernels/mod.rs` (shaders), `src/kernels/lower.rs` and `src/cpu/mod.rs`
//!   (dispatch). The compiler or a test names each list that lacks it. The operator declares its
//!   half precision ([`graph::ops::HalfMaps`]) and the names of its operands (`inputs!`), and
//!   tests walk the lists. `tests/gradients.rs` lists the operators with a gradient, and
//!   [`graph::ActivationCheckpointing`] those that are recomputed.
//! - A faster kernel: a shader, its host half, its row in the table of shaders, and a variant
//!   that [`kernels::Choices`] can select; for convolutions, a family in
//!   `src/kernels/convolution/mod.rs`.
//! - A fusion: one rule in `src/graph/rewrite.rs`, and its case in `tests/fusion.rs`. A reduction
//!   that a kernel can do in its epilogue is a second result of the operator, its partial
//!   statistics, which the rule asks for; a kernel that cannot do it gets a dispatch after it.
//! - A dataset: a manifest in `datasets`, a row in the table of [`data`], and a reader if the
//!   format is new.
//! - A flag of a run: a field of the arguments, a field of [`run::Config`], and a row in the
//!   table of `src/cli/train/config.rs`.
//! - A kind of device: a room of its own, a file in `src/engine/backend` that implements the
//!   interface there, and an arm in [`engine::Device`]; the compiler names the other matches.
//!
//! # What is awkward
//!
//! - A batch is part of a graph's shapes, so an epoch's smaller last batch has a program of
//!   its own; the programs share all buffers.
//! - How many slices of partial statistics there are is known only when a kernel is chosen, so
//!   their shape in the graph is that of one slice ([`shape::Layout::Slices`]).

#[cfg(not(target_arch = "wasm32"))]
pub mod bench;
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod cpu;
pub mod data;
pub mod engine;
#[cfg(not(target_arch = "wasm32"))]
pub mod files;
pub mod gpu;
pub mod graph;
pub mod kernels;
pub mod memory;
pub mod model;
#[cfg(not(target_arch = "wasm32"))]
pub mod onnx;
pub mod predict;
pub mod program;
pub mod ranks;
pub mod rng;
#[cfg(not(target_arch = "wasm32"))]
pub mod run;
pub mod selftest;
pub mod shape;
pub mod text;
pub mod train;
pub mod trained_model;
pub mod verify;
