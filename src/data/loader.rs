//! Reads batches ahead of their use.
//!
//! Threads claim batches in order and put them on a shelf; the caller takes them off in order.
//! A thread claims a batch only if it is among the next `ahead`, which bounds the memory. The
//! caller's batches thus depend on the source, the order and the key only, not on the number of
//! threads.
//! A source in memory needs no threads, and the browser has none: there a batch is read on
//! request.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::images::image_bytes;
use super::{DataError, EpochKey, Source};

/// Images and labels, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The images back to back, as [`Source::read`] gives them.
    pub images: Vec<u8>,
    /// The class of each.
    pub labels: Vec<u32>,
    /// Which images of the source they are.
    pub indices: Vec<u32>,
}

/// Batches of a source in a given order, prepared in the background.
///
/// ```
/// use std::sync::Arc;
/// use pyr_wgpu::data::{Loader, Images};
///
/// // Four images of one pixel.
/// let source = Images::new(1, (0..12).collect(), vec![0, 1, 0, 1]);
/// let mut loader = Loader::new(Arc::new(source), vec![vec![3, 0], vec![2]], None, 2, 4);
/// let batch = loader.next().unwrap().unwrap();
/// assert_eq!(batch.images, [9, 10, 11, 0, 1, 2]);
/// assert_eq!(batch.labels, [1, 0]);
/// assert_eq!(loader.next().unwrap().unwrap().indices, [2]);
/// assert!(loader.next().is_none());
/// ```
pub struct Loader {
    batches: Batches,
    waited: Duration,
}

enum Batches {
    /// Read by the caller when it asks.
    Inline {
        source: Arc<dyn Source>,
        order: VecDeque<Vec<u32>>,
        key: Option<EpochKey>,
    },
    /// Read by threads beforehand.
    #[cfg(not(target_arch = "wasm32"))]
    Ahead(ahead::Ahead),
}

impl Loader {
    /// Reads `order`, batches of indices into `source`, on `workers` threads, at most `ahead`
    /// batches before the one the caller asks for next. Both count as 1 if 0.
    ///
    /// In training, `key` is what the source's random stage draws from; in evaluation there is
    /// none. Sources in memory, and all sources in the browser, are read without threads.
    pub fn new(
        source: Arc<dyn Source>,
        order: Vec<Vec<u32>>,
        key: Option<EpochKey>,
        workers: usize,
        ahead: usize,
    ) -> Loader {
        let batches = Loader::choose(source, order, key, workers.max(1), ahead.max(1));
        Loader {
            batches,
            waited: Duration::ZERO,
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn choose(
        source: Arc<dyn Source>,
        order: Vec<Vec<u32>>,
        key: Option<EpochKey>,
        workers: usize,
        ahead: usize,
    ) -> Batches {
        match source.resident() {
            Some(_) => Batches::Inline {
                source,
                order: order.into(),
                key,
            },
            None => Batches::Ahead(ahead::Ahead::new(source, order, key, workers, ahead)),
        }
    }

    #[cfg(target_arch = "wasm32")]
    fn choose(
        source: Arc<dyn Source>,
        order: Vec<Vec<u32>>,
        key: Option<EpochKey>,
        _: usize,
        _: usize,
    ) -> Batches {
        Batches::Inline {
            source,
            order: order.into(),
            key,
        }
    }

    /// The total time the caller has waited in [`Loader::next`]. Zero in the browser, where this
    /// room has no clock.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn timed(&mut self) -> Option<Result<Batch, DataError>> {
        let start = std::time::Instant::now();
        let batch = self.take();
        self.waited += start.elapsed();
        batch
    }

    #[cfg(target_arch = "wasm32")]
    fn timed(&mut self) -> Option<Result<Batch, DataError>> {
        self.take()
    }

    fn take(&mut self) -> Option<Result<Batch, DataError>> {
        match &mut self.batches {
            Batches::Inline { source, order, key } => {
                let batch = gather(source.as_ref(), order.pop_front()?, *key);
                if batch.is_err() {
                    order.clear();
                }
                Some(batch)
            }
            #[cfg(not(target_arch = "wasm32"))]
            Batches::Ahead(ahead) => ahead.take(),
        }
    }
}

/// The next batch, after waiting for it if necessary; nothing after the last batch or an error.
impl Iterator for Loader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Result<Batch, DataError>> {
        self.timed()
    }
}

/// Reads one batch.
fn gather(
    source: &dyn Source,
    indices: Vec<u32>,
    key: Option<EpochKey>,
) -> Result<Batch, DataError> {
    let length = image_bytes(source.size());
    let mut images = vec![0; indices.len() * length];
    for (out, &index) in images.chunks_exact_mut(length).zip(&indices) {
        source.read(index as usize, key, out)?;
    }
    let labels = indices.iter().map(|&i| source.label(i as usize)).collect();
    Ok(Batch {
        images,
        labels,
        indices,
    })
}

/// The threads.
#[cfg(not(target_arch = "wasm32"))]
mod ahead {
    use std::any::Any;
    use std::collections::BTreeMap;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
    use std::thread::{self, JoinHandle};

    use super::{Batch, gather};
    use crate::data::{DataError, EpochKey, Source};

    /// Threads that fill the shelf. Dropping it stops and joins them.
    pub(super) struct Ahead {
        shared: Arc<Shared>,
        threads: Vec<JoinHandle<()>>,
    }

    struct Shared {
        source: Arc<dyn Source>,
        order: Vec<Vec<u32>>,
        key: Option<EpochKey>,
        ahead: usize,
        shelf: Mutex<Shelf>,
        /// Notified when a batch may be claimed, or when the threads should stop.
        room: Condvar,
        /// Notified when a batch was put on the shelf.
        arrival: Condvar,
    }

    #[derive(Default)]
    struct Shelf {
        /// The next batch that a thread will claim.
        claimed: usize,
        /// The next batch that the caller will take.
        taken: usize,
        ready: BTreeMap<usize, Result<Batch, DataError>>,
        stopped: bool,
    }

    impl Ahead {
        pub(super) fn new(
            source: Arc<dyn Source>,
            order: Vec<Vec<u32>>,
            key: Option<EpochKey>,
            workers: usize,
            ahead: usize,
        ) -> Ahead {
            let workers = workers.min(ahead).min(order.len());
            let shared = Arc::new(Shared {
                source,
                order,
                key,
                ahead,
                shelf: Mutex::new(Shelf::default()),
                room: Condvar::new(),
                arrival: Condvar::new(),
            });
            let threads = (0..workers)
                .map(|_| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || shared.fill())
                })
                .collect();
            Ahead { shared, threads }
        }

        /// The next batch, after waiting for it; nothing after the last one or an error.
        pub(super) fn take(&mut self) -> Option<Result<Batch, DataError>> {
            let mut shelf = self.shared.shelf();
            if shelf.stopped || shelf.taken == self.shared.order.len() {
                return None;
            }
            let next = shelf.taken;
            let batch = loop {
                match shelf.ready.remove(&next) {
                    Some(batch) => break batch,
                    None => {
                        let woken = self.shared.arrival.wait(shelf);
                        shelf = woken.unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            shelf.taken += 1;
            shelf.stopped = batch.is_err();
            self.shared.room.notify_all();
            Some(batch)
        }
    }

    impl Drop for Ahead {
        fn drop(&mut self) {
            self.shared.shelf().stopped = true;
            self.shared.room.notify_all();
            for thread in self.threads.drain(..) {
                // Panics were caught and passed on as errors.
                let _ = thread.join();
            }
        }
    }

    impl Shared {
        fn shelf(&self) -> MutexGuard<'_, Shelf> {
            // Nothing that could panic runs under the lock, so the shelf is consistent.
            self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// What a thread does: claims batch after batch until none is left.
        fn fill(&self) {
            while let Some(number) = self.claim() {
                let indices = self.order[number].clone();
                let gather = || gather(&*self.source, indices, self.key);
                let batch = catch_unwind(AssertUnwindSafe(gather));
                let batch = batch.unwrap_or_else(|panic| {
                    Err(DataError::Worker {
                        message: message(&*panic),
                    })
                });
                self.shelf().ready.insert(number, batch);
                self.arrival.notify_all();
            }
        }

        /// The next batch to read, after waiting until it is among the next `ahead`.
        fn claim(&self) -> Option<usize> {
            let mut shelf = self.shelf();
            loop {
                if shelf.stopped || shelf.claimed == self.order.len() {
                    return None;
                }
                if shelf.claimed < shelf.taken + self.ahead {
                    shelf.claimed += 1;
                    return Some(shelf.claimed - 1);
                }
                let woken = self.room.wait(shelf);
                shelf = woken.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// What a panic said.
    fn message(panic: &(dyn Any + Send)) -> String {
        let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
        text.or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "without a message".to_string())
    }
}

#[cfg(test)]
mod tests;
