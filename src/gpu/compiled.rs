//! The kernels that a device has compiled. It compiles each once: programs that are loaded later,
//! such as those of a network whose kernels were measured, share the pipelines.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::program::Kernel;

/// A compiled kernel.
#[derive(Clone)]
pub(super) struct Compiled {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

/// Gives the text to compile in place of a kernel's own, or `None`.
pub type Substitute = Box<dyn Fn(&Kernel) -> Option<String> + Send + Sync>;

/// The kernels that a device has compiled.
#[derive(Default)]
pub(super) struct CompiledKernels {
    by_kernel: Mutex<HashMap<Kernel, Compiled>>,
    substitute: Option<Substitute>,
}

impl CompiledKernels {
    /// None yet; other texts are compiled in place of some kernels' own.
    pub(super) fn with(substitute: Substitute) -> CompiledKernels {
        CompiledKernels {
            substitute: Some(substitute),
            ..CompiledKernels::default()
        }
    }

    /// What is to be compiled for a kernel.
    pub(super) fn text_of(&self, kernel: &Kernel) -> Kernel {
        let substitute = self.substitute.as_ref();
        let text = substitute.and_then(|substitute| substitute(kernel));
        let mut kernel = kernel.clone();
        if let Some(text) = text {
            kernel.source = text.into();
        }
        kernel
    }

    pub(super) fn extend(&self, compiled: impl Iterator<Item = (Kernel, Compiled)>) {
        let by_kernel = self.by_kernel.lock();
        let mut by_kernel = by_kernel.unwrap_or_else(PoisonError::into_inner);
        by_kernel.extend(compiled);
    }

    pub(super) fn get(&self, kernel: &Kernel) -> Option<Compiled> {
        let by_kernel = self.by_kernel.lock();
        let by_kernel = by_kernel.unwrap_or_else(PoisonError::into_inner);
        by_kernel.get(kernel).cloned()
    }
}
