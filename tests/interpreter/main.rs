//! Runs the kernels without a GPU, in an interpreter of naga's IR that judges every access of
//! shared memory.
//!
//! Found are races within a workgroup and between workgroups, atomic accesses whose order decides
//! the result, barriers and subgroup operations in divergent control flow, reads of memory that
//! nobody has written, and indices out of range. An access is judged by what the barriers order,
//! not by when it happens. So where addresses and control flow depend on shapes only, one run
//! proves a shape for all schedules and all contents of the buffers; the compiler finds the kernels
//! where they depend on more, and `kernels.rs` lists them.
//!
//! A kernel is compiled once to a flat form (`code.rs`): `compile.rs`, `expressions.rs`,
//! `arithmetic.rs`, `accesses.rs` and `invocations.rs`, with the layouts of `layout.rs` and the
//! functions of `scalars.rs`. `execute.rs`, `exchange.rs` and `memory.rs` run it, with the history
//! of `shadow.rs`, and write a report (`report.rs`). `host.rs` runs programs, and `subjects.rs`
//! enumerates them, with shapes of `samples.rs`.
//!
//! The interpreter is tested in three ways: its results are those of the operators' references
//! (`kernels.rs`), it finds each fault in a small shader (`faults.rs`), and it notices changes of
//! the kernels (`mutants.rs`, with the changes of `mutation.rs` and the exceptions of
//! `survivors.rs`).
//!
//! Not modelled: the order of accesses within one subgroup, which needs a barrier here as in WGSL;
//! texture memory; and rounding that differs among devices.

#[path = "../common/mod.rs"]
mod common;

mod accesses;
mod arithmetic;
mod code;
mod compile;
mod exchange;
mod execute;
mod expressions;
mod faults;
mod host;
mod invocations;
mod kernels;
mod layout;
mod memory;
mod mutants;
mod mutation;
mod report;
mod samples;
mod scalars;
mod shadow;
mod subjects;
mod survivors;
