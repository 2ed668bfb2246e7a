//! Reads batches ahead of their use.
//!
//! Threads claim images in order and put them into a reorder buffer; the caller takes whole batches
//! out in order. A thread claims an image only if its batch is among the next `ahead`, which bounds
//! the memory; so many threads share a batch, and all of them work on the one that is needed first.
//! The batches depend only on the source, the order and the key, not on the number of threads.
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
    /// The images back to back, as [`Source::read`] writes them, in the format of
    /// [`Source::pixels`].
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
    /// Number of batches that training and evaluation prepare ahead.
    pub const AHEAD: usize = 4;

    /// Reads `order`, batches of indices into `source`, on `workers` threads, at most `ahead`
    /// batches before the one the caller asks for next. Both count as 1 if 0; no batch is empty.
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
    let length = sample_bytes(source, key.is_some());
    let mut images = vec![0; indices.len() * length];
    for (out, &index) in images.chunks_exact_mut(length).zip(&indices) {
        source.read(index as usize, key, out)?;
    }
    Ok(batch(source, images, indices))
}

/// The batch of images that were read.
fn batch(source: &dyn Source, images: Vec<u8>, indices: Vec<u32>) -> Batch {
    let labels = indices.iter().map(|&i| source.label(i as usize)).collect();
    Batch {
        images,
        labels,
        indices,
    }
}

/// The threads that read ahead.
#[cfg(not(target_arch = "wasm32"))]
mod ahead {
    use std::any::Any;
    use std::collections::BTreeMap;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
    use std::thread::{self, JoinHandle};

    use super::{Batch, batch, sample_bytes};
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
        /// Notified when further images may be claimed, or when the threads should stop.
        space: Condvar,
        /// Notified when a batch is complete.
        arrival: Condvar,
    }

    #[derive(Default)]
    struct Buffer {
        /// The batch of the next image that a thread will claim, and its position there.
        claimed: (usize, usize),
        /// The next batch that the caller will take.
        taken: usize,
        /// The images of batches that are not complete.
        partial: BTreeMap<usize, Partial>,
        ready: BTreeMap<usize, Result<Batch, DataError>>,
        stopped: bool,
    }

    /// A batch of which images are missing.
    struct Partial {
        images: Vec<Option<Result<Vec<u8>, DataError>>>,
        missing: usize,
    }

    impl Ahead {
        pub(super) fn new(
            source: Arc<dyn Source>,
            order: Vec<Vec<u32>>,
            key: Option<EpochKey>,
            workers: usize,
            ahead: usize,
        ) -> Ahead {
            let images = order.iter().map(Vec::len).sum();
            let workers = workers.min(images);
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
            if self.threads.is_empty() {
                self.shared.fill_batch();
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

        /// The loop of a thread: claims and reads images until none is left.
        fn fill(&self) {
            while let Some((number, position)) = self.claim() {
                self.read(number, position);
            }
        }

        /// Reads a whole batch.
        fn fill_batch(&self) {
            while let Some((number, position)) = self.claim() {
                self.read(number, position);
                if position + 1 == self.order[number].len() {
                    break;
                }
            }
        }

        /// Reads a claimed image and, if it was the last one of its batch to be read, completes
        /// the batch.
        fn read(&self, number: usize, position: usize) {
            let read = || {
                let mut image = vec![0; sample_bytes(&*self.source, self.key.is_some())];
                let index = self.order[number][position] as usize;
                self.source.read(index, self.key, &mut image)?;
                Ok(image)
            };
            let image = catch_unwind(AssertUnwindSafe(read));
            let image = image.unwrap_or_else(|panic| {
                Err(DataError::Worker {
                    message: message(&*panic),
                })
            });
            let images = {
                let mut buffer = self.buffer();
                let partial = buffer.partial.get_mut(&number);
                let partial = partial.expect("it was added when its first image was claimed");
                partial.images[position] = Some(image);
                partial.missing -= 1;
                if partial.missing > 0 {
                    return;
                }
                let partial = buffer.partial.remove(&number);
                partial.expect("found above").images
            };
            // The first error in the order of the images, whichever came first.
            let images = images.into_iter().flatten();
            let images: Result<Vec<Vec<u8>>, DataError> = images.collect();
            let complete = images.map(|images| {
                let indices = self.order[number].clone();
                batch(&*self.source, images.concat(), indices)
            });
            self.buffer().ready.insert(number, complete);
            self.arrival.notify_all();
        }

        /// The batch and the position of the next image to read, after waiting until the batch is
        /// among the next `ahead`.
        fn claim(&self) -> Option<(usize, usize)> {
            let mut buffer = self.buffer();
            loop {
                let (number, position) = buffer.claimed;
                if buffer.stopped || number == self.order.len() {
                    return None;
                }
                if number < buffer.taken + self.ahead {
                    let size = self.order[number].len();
                    buffer.claimed = match position + 1 < size {
                        true => (number, position + 1),
                        false => (number + 1, 0),
                    };
                    if position == 0 {
                        let partial = Partial {
                            images: (0..size).map(|_| None).collect(),
                            missing: size,
                        };
                        buffer.partial.insert(number, partial);
                    }
                    return Some((number, position));
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
