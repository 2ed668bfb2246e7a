//! The kernels of a training step: PyramidNet-110, alpha 48, batch 128, as any device runs it
//! before its tuner has measured.

use std::collections::BTreeMap;

use pyr_wgpu::graph::{Passes, Precision};
use pyr_wgpu::kernels::{self, Choices, Target};
use pyr_wgpu::model::{Network, preset};
use pyr_wgpu::program::Kernel;
use pyr_wgpu::train::{Mode, step_graph};
use serde::Serialize;

use crate::common::networks::images;

/// A kernel, and what a step does with it.
#[derive(Serialize)]
pub(crate) struct StepKernel {
    pub(crate) name: String,
    #[serde(skip)]
    pub(crate) kernel: Kernel,
    /// Dispatches of a step with activations in single and in half precision.
    dispatches: [usize; 2],
    /// Their multiplications and additions.
    flops: [u64; 2],
}

/// The kernels of both steps.
pub(crate) fn kernels() -> Vec<StepKernel> {
    let network = Network::new(&preset("pyramidnet110-a48").unwrap()).unwrap();
    let input = images(&network, 10_000);
    let mut found: BTreeMap<String, StepKernel> = BTreeMap::new();
    for (step, precision) in [Precision::F32, Precision::F16].into_iter().enumerate() {
        let passes = Passes {
            precision,
            ..Passes::default()
        };
        let graph = step_graph(&network, 128, &input, Mode::Train, passes).unwrap();
        let target = Target {
            storage_bindings: 16,
            ..Target::portable()
        };
        let lowered = kernels::lower(&graph, &target, &Choices::default());
        let program = lowered.unwrap().program;
        for dispatch in &program.dispatches {
            let kernel = program.kernel_of(dispatch);
            let entry = found.entry(kernel.name.clone());
            let entry = entry.or_insert_with(|| StepKernel {
                name: kernel.name.clone(),
                kernel: kernel.clone(),
                dispatches: [0; 2],
                flops: [0; 2],
            });
            assert_eq!(entry.kernel, *kernel, "two kernels of one name");
            entry.dispatches[step] += 1;
            entry.flops[step] += dispatch.flops;
        }
    }
    found.into_values().collect()
}
