//! Work on many items with all cores, for opening datasets.
//!
//! The caller works too, so that nothing is spawned where there is one core, or where there
//! are no threads at all (the browser).

use std::sync::{Mutex, PoisonError};
use std::thread;

/// Calls `work` on every item, on as many threads as there are cores, and returns the first
/// error that any call gave. After an error the threads end with the item they are at.
///
/// # Panics
/// If `work` panics.
pub(super) fn try_for_each<T: Send, E: Send>(
    items: impl Iterator<Item = T> + Send,
    work: impl Fn(T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let items = Mutex::new(items.fuse());
    let failure = Mutex::new(None);
    let run = || {
        loop {
            // The lock is poisoned only if the iterator panics, which ends its own thread.
            let item = items.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(item) = item else { return };
            let done = work(item);
            let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = done {
                failure.get_or_insert(error);
            }
            if failure.is_some() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        let sum = AtomicUsize::new(0);
        let result: Result<(), ()> = try_for_each(1..=1000, |item| {
            sum.fetch_add(item, Ordering::Relaxed);
            Ok(())
        });
        assert_eq!((result, sum.into_inner()), (Ok(()), 500_500));
    }

    #[test]
    fn an_error_ends_the_work() {
        let calls = AtomicUsize::new(0);
        let result = try_for_each(0.., |item| {
            calls.fetch_add(1, Ordering::Relaxed);
            if item == 10 { Err(item) } else { Ok(()) }
        });
        assert_eq!(result, Err(10));
        assert!(calls.into_inner() >= 11);
    }
}
