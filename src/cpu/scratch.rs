//! Memory that is borrowed for a moment and kept for the next one: a step allocates nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Vectors that are not in use.
#[derive(Debug, Default)]
pub(super) struct Scratch(Mutex<Vec<Vec<f32>>>);

impl Scratch {
    /// Calls `work` with so many numbers of any value.
    pub(super) fn lend<T>(&self, len: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
        let mut numbers = self.take();
        if numbers.len() < len {
            numbers.resize(len, 0.0);
        }
        let result = work(&mut numbers[..len]);
        self.give(numbers);
        result
    }

    /// A vector with any contents, to be given back.
    pub(super) fn take(&self) -> Vec<f32> {
        self.lock().pop().unwrap_or_default()
    }

    /// Gives back what [`Scratch::take`] took.
    pub(super) fn give(&self, numbers: Vec<f32>) {
        self.lock().push(numbers);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<f32>>> {
        // A panic leaves at worst fewer vectors behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
