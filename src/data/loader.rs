//! Reads batches ahead of their use.
//!
//! Threads claim batches in order and put them into a reorder buffer; the caller takes them out in
//! order. A thread claims a batch only if it is among the next `ahead`, which bounds the memory.
//! The batches therefore depend only on the source, the order and the key, not on the number of
//! threads.
//! A source in memory needs no threads, and the browser has none: in both cases a batch is read
//! on request.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::images::sample_bytes;
use super::{DataError, EpochKey, Source};

/// Images with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The images back to back, as [`Source::read`] writes them.
    pub images: Vec<u8>,
    /// The class of each.
    pub labels: Vec<u32>,
    /// The index of each in the source.
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
    /// Read by the caller on request.
    Inline {
        source: Arc<dyn Source>,
        order: VecDeque<Vec<u32>>,
        key: Option<EpochKey>,
    },
    /// Read ahead by threads.
    #[cfg(not(target_arch = "wasm32"))]
    Ahead(ahead::Ahead),
}

impl Loader {
    /// Reads `order`, batches of indices into `source`, on `workers` threads, at most `ahead`
    /// batches before the one the caller asks for next. Both count as 1 if 0.
    ///
    /// `key` is the key of the source's random stage in training; evaluation has none. Sources in
    /// memory, and all sources in the browser, are read without threads. If the system
    /// refuses threads, the loader uses those it got; without any, the caller reads.
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
    let length = sample_bytes(source);
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

/// The threads that read ahead.
#[cfg(not(target_arch = "wasm32"))]
mod ahead {
    use std::any::Any;
    use std::collections::BTreeMap;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
    use std::thread::{self, JoinHandle};

    use super::{Batch, gather};
    use crate::data::{DataError, EpochKey, Source};

    /// Threads that fill the buffer. Dropping this stops and joins them.
    pub(super) struct Ahead {
        shared: Arc<Shared>,
        threads: Vec<JoinHandle<()>>,
    }

    struct Shared {
        source: Arc<dyn Source>,
        order: Vec<Vec<u32>>,
        key: Option<EpochKey>,
        ahead: usize,
        buffer: Mutex<Buffer>,
        /// Notified when a batch may be claimed, or when the threads should stop.
        space: Condvar,
        /// Notified when a batch was added.
        arrival: Condvar,
    }

    #[derive(Default)]
    struct Buffer {
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
                buffer: Mutex::new(Buffer::default()),
                space: Condvar::new(),
                arrival: Condvar::new(),
            });
            let threads = (0..workers).map_while(|_| {
                let shared = Arc::clone(&shared);
                let started = thread::Builder::new().spawn(move || shared.fill());
                started.ok()
            });
            Ahead {
                threads: threads.collect(),
                shared,
            }
        }

        /// The next batch, after waiting for it; nothing after the last one or an error.
        pub(super) fn take(&mut self) -> Option<Result<Batch, DataError>> {
            if self.threads.is_empty()
                && let Some(number) = self.shared.claim()
            {
                self.shared.read(number);
            }
            let mut buffer = self.shared.buffer();
            if buffer.stopped || buffer.taken == self.shared.order.len() {
                return None;
            }
            let next = buffer.taken;
            let batch = loop {
                match buffer.ready.remove(&next) {
                    Some(batch) => break batch,
                    None => {
                        let woken = self.shared.arrival.wait(buffer);
                        buffer = woken.unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            buffer.taken += 1;
            buffer.stopped = batch.is_err();
            self.shared.space.notify_all();
            Some(batch)
        }
    }

    impl Drop for Ahead {
        fn drop(&mut self) {
            self.shared.buffer().stopped = true;
            self.shared.space.notify_all();
            for thread in self.threads.drain(..) {
                // Panics were caught and passed on as errors.
                let _ = thread.join();
            }
        }
    }

    impl Shared {
        fn buffer(&self) -> MutexGuard<'_, Buffer> {
            // Nothing that could panic runs under the lock, so the buffer is consistent.
            self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// The loop of a thread: claims and reads batches until none is left.
        fn fill(&self) {
            while let Some(number) = self.claim() {
                self.read(number);
            }
        }

        /// Reads a claimed batch.
        fn read(&self, number: usize) {
            let indices = self.order[number].clone();
            let gather = || gather(&*self.source, indices, self.key);
            let batch = catch_unwind(AssertUnwindSafe(gather));
            let batch = batch.unwrap_or_else(|panic| {
                Err(DataError::Worker {
                    message: message(&*panic),
                })
            });
            self.buffer().ready.insert(number, batch);
            self.arrival.notify_all();
        }

        /// The next batch to read, after waiting until it is among the next `ahead`.
        fn claim(&self) -> Option<usize> {
            let mut buffer = self.buffer();
            loop {
                if buffer.stopped || buffer.claimed == self.order.len() {
                    return None;
                }
                if buffer.claimed < buffer.taken + self.ahead {
                    buffer.claimed += 1;
                    return Some(buffer.claimed - 1);
                }
                let woken = self.space.wait(buffer);
                buffer = woken.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// The message of a panic.
    fn message(panic: &(dyn Any + Send)) -> String {
        let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
        text.or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "without a message".to_string())
    }
}

#[cfg(test)]
mod tests;
