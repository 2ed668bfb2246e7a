//! A pool of scratch buffers, which convolutions reuse from step to step.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Vectors that are not in use.
#[derive(Debug, Default)]
pub(super) struct Scratch(Mutex<Vec<Vec<f32>>>);

impl Scratch {
    /// Calls `work` with `len` elements of unspecified contents.
    pub(super) fn lend<T>(&self, len: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
        let mut numbers = self.lock().pop().unwrap_or_default();
        if numbers.len() < len {
            numbers.resize(len, 0.0);
        }
        let result = work(&mut numbers[..len]);
        self.lock().push(numbers);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<f32>>> {
        // After a panic the pool holds at worst fewer vectors.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
