//! A pool of scratch buffers, which convolutions reuse from step to step.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Vectors that are not in use.
#[derive(Debug, Default)]
pub(super) struct Scratch(Mutex<Vec<Vec<f32>>>);

impl Scratch {
    /// Calls `work` with `len` elements of unspecified contents.
    pub(super) fn lend<T>(&self, len: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
        let mut numbers = self.take();
        if numbers.len() < len {
            numbers.resize(len, 0.0);
        }
        let result = work(&mut numbers[..len]);
        self.give(numbers);
        result
    }

    /// A vector of unspecified length and contents; [`Scratch::give`] returns it.
    pub(super) fn take(&self) -> Vec<f32> {
        self.lock().pop().unwrap_or_default()
    }

    /// Returns a vector from [`Scratch::take`].
    pub(super) fn give(&self, numbers: Vec<f32>) {
        self.lock().push(numbers);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<f32>>> {
        // After a panic the pool holds at worst fewer vectors.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
