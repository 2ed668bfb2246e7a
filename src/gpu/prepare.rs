//! Compiles what a device has not compiled yet.

use super::compile::compile_all;
use super::compiled::{CompiledKernels, Substitute};
use super::{Gpu, GpuError};
use crate::program::Kernel;

impl Gpu {
    /// Compiles those kernels that the device has not compiled yet, natively on all cores.
    ///
    /// # Errors
    /// If the driver rejects one, after which none of the new ones counts as compiled; and any
    /// error that the device has reported so far.
    pub fn compile(&self, kernels: &[&Kernel]) -> Result<(), GpuError> {
        let mut new: Vec<&Kernel> = kernels.to_vec();
        new.retain(|kernel| self.compiled.get(kernel).is_none());
        new.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.source.cmp(&b.source)));
        new.dedup();
        let texts: Vec<Kernel> = new.iter().map(|k| self.compiled.text_of(k)).collect();
        let texts: Vec<&Kernel> = texts.iter().collect();
        let compiled = compile_all(self, &texts);
        self.check()?;
        #[cfg(not(target_arch = "wasm32"))]
        if self.description.software() {
            super::warm::warm(self, &texts, &compiled)?;
        }
        self.compiled.extend(new.into_iter().cloned().zip(compiled));
        Ok(())
    }

    /// From now on compiles other texts in place of some kernels' own: a fault for the tests of
    /// the checks that must find it.
    pub fn substitute_kernels(&mut self, substitute: Substitute) {
        self.compiled = CompiledKernels::with(substitute);
    }
}
