//! Order, ends, errors and panics, with threads and without.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::data::Images;
use crate::rng::Purpose;

/// Images of one pixel that hold their index, or random bytes if there is a key. Some reads are
/// slow; reading the image `fails` returns an error, and reading the image `panics` panics.
#[derive(Default)]
struct Slow {
    fails: Option<usize>,
    panics: Option<usize>,
    reads: AtomicUsize,
    readers: Mutex<BTreeSet<String>>,
}

impl Source for Slow {
    fn len(&self) -> usize {
        250
    }

    fn label(&self, index: usize) -> u32 {
        index as u32 % 7
    }

    fn size(&self) -> u32 {
        1
    }

    fn read(&self, index: usize, key: Option<EpochKey>, out: &mut [u8]) -> Result<(), DataError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let reader = format!("{:?}", thread::current().id());
        self.readers.lock().unwrap().insert(reader);
        if self.fails == Some(index) {
            return Err(DataError::NotAnImage);
        }
        assert!(self.panics != Some(index), "reading {index} panics");
        thread::sleep(Duration::from_micros(index as u64 % 5 * 300));
        out.fill(index as u8);
        if let Some(key) = key {
            let mut stream = key.stream(Purpose::Augment, index);
            out.fill_with(|| stream.next_u32() as u8);
        }
        Ok(())
    }

    fn resident(&self) -> Option<&[u8]> {
        None
    }
}

fn order(batches: u32, size: u32) -> Vec<Vec<u32>> {
    (0..batches)
        .map(|b| (0..size).map(|i| (b * size + i) * 37 % 250).collect())
        .collect()
}

#[test]
fn batches_come_in_order_whoever_reads_them() {
    let order = order(40, 6);
    for (workers, ahead) in [(0, 0), (1, 1), (1, 8), (4, 2), (4, 16), (9, 100)] {
        let source = Arc::new(Slow::default());
        let shared: Arc<dyn Source> = source.clone();
        let loader = Loader::new(shared, order.clone(), None, workers, ahead);
        let batches: Vec<Batch> = loader.map(Result::unwrap).collect();
        assert_eq!(batches.len(), 40);
        for (batch, indices) in batches.iter().zip(&order) {
            let bytes: Vec<u8> = indices.iter().flat_map(|&i| [i as u8; 3]).collect();
            assert_eq!(batch.images, bytes);
            assert_eq!(batch.indices, *indices);
            let labels: Vec<u32> = indices.iter().map(|i| i % 7).collect();
            assert_eq!(batch.labels, labels);
        }
        let readers = source.readers.lock().unwrap();
        let own = format!("{:?}", thread::current().id());
        assert!(!readers.contains(&own), "the caller reads nothing itself");
        assert!(readers.len() <= workers.max(1));
    }
}

/// Several threads work on the one batch that may be read.
#[test]
fn threads_share_a_batch() {
    let source = Arc::new(Slow::default());
    let shared: Arc<dyn Source> = source.clone();
    let batches = Loader::new(shared, order(2, 100), None, 4, 1).count();
    assert_eq!(batches, 2);
    assert!(source.readers.lock().unwrap().len() > 1);
}

#[test]
fn without_threads_the_caller_reads() {
    let order = order(5, 6);
    let source = Arc::new(Slow::default());
    let mut ahead = ahead::Ahead::new(source, order.clone(), None, 0, 3);
    let batches = std::iter::from_fn(|| ahead.take());
    let indices: Vec<Vec<u32>> = batches.map(|batch| batch.unwrap().indices).collect();
    assert_eq!(indices, order);
}

/// The samples of an epoch from a source with a random stage, in order.
fn drawn(key: EpochKey, batch: u32, workers: usize) -> Vec<(u32, Vec<u8>)> {
    let source = Arc::new(Slow::default());
    let loader = Loader::new(source, order(60 / batch, batch), Some(key), workers, 5);
    let mut samples = Vec::new();
    for batch in loader.map(Result::unwrap) {
        let images = batch.images.chunks(3).map(<[u8]>::to_vec);
        samples.extend(batch.indices.iter().copied().zip(images));
    }
    samples
}

#[test]
fn the_random_stage_depends_on_seed_epoch_and_sample_alone() {
    let key = EpochKey { seed: 7, epoch: 2 };
    let expected = drawn(key, 6, 1);
    for (batch, workers) in [(6, 4), (1, 3), (20, 2), (60, 1)] {
        assert_eq!(drawn(key, batch, workers), expected, "{batch}, {workers}");
    }
    let mut images: Vec<_> = expected.iter().map(|(_, image)| image).collect();
    images.sort();
    images.dedup();
    assert!(images.len() > 50, "samples differ: {}", images.len());
    for other in [EpochKey { epoch: 3, ..key }, EpochKey { seed: 8, ..key }] {
        let same = drawn(other, 6, 1).into_iter().zip(&expected);
        let same = same.filter(|(a, b)| a == *b).count();
        assert!(same < 5, "{other:?}: {same} samples are the same");
    }
}

#[test]
fn a_source_in_memory_needs_no_thread() {
    let source = Images::new(1, (0..30).collect(), (0..10).collect());
    let loader = Loader::new(Arc::new(source), vec![vec![9, 0], vec![4]], None, 4, 4);
    assert!(matches!(loader.batches, Batches::Inline { .. }));
    let images: Vec<_> = loader.map(|batch| batch.unwrap().images).collect();
    assert_eq!(images, [vec![27, 28, 29, 0, 1, 2], vec![12, 13, 14]]);
}

#[test]
fn no_more_is_read_ahead_than_was_asked_for() {
    let source = Arc::new(Slow::default());
    let shared: Arc<dyn Source> = source.clone();
    let mut loader = Loader::new(shared, order(30, 5), None, 3, 4);
    loader.next().unwrap().unwrap();
    // One taken, four ahead: after these the threads wait.
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while source.reads.load(Ordering::SeqCst) < 25 && std::time::Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_millis(50));
    assert_eq!(source.reads.load(Ordering::SeqCst), 25);
}

#[test]
fn dropping_it_half_way_stops_the_threads() {
    for taken in [0, 1, 7] {
        let source = Arc::new(Slow::default());
        let shared: Arc<dyn Source> = source.clone();
        let mut loader = Loader::new(shared, order(40, 6), None, 3, 5);
        for _ in 0..taken {
            loader.next().unwrap().unwrap();
        }
        drop(loader);
        // Every thread has dropped its reference to the source.
        assert_eq!(Arc::strong_count(&source), 1);
    }
}

#[test]
fn an_error_comes_in_its_place_and_ends_the_batches() {
    let failing = Slow {
        fails: Some(37 * 4 * 6 % 250),
        ..Slow::default()
    };
    let mut loader = Loader::new(Arc::new(failing), order(40, 6), None, 3, 8);
    for _ in 0..4 {
        loader.next().unwrap().unwrap();
    }
    assert!(matches!(loader.next(), Some(Err(DataError::NotAnImage))));
    assert!(loader.next().is_none());
}

#[test]
fn a_panic_of_a_thread_is_an_error() {
    let panicking = Slow {
        panics: Some(0),
        ..Slow::default()
    };
    let mut loader = Loader::new(Arc::new(panicking), order(40, 6), None, 2, 8);
    let error = loader.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("reading 0 panics"), "{error}");
    assert!(loader.next().is_none());
}

#[test]
fn waiting_is_measured() {
    let mut loader = Loader::new(Arc::new(Slow::default()), vec![vec![4; 100]], None, 1, 1);
    assert_eq!(loader.waited(), Duration::ZERO);
    loader.next().unwrap().unwrap();
    // A hundred reads of 1.2 ms, less what passed before the call.
    assert!(loader.waited() > Duration::from_millis(5));
}

#[test]
fn no_batches_is_no_batch() {
    let mut loader = Loader::new(Arc::new(Slow::default()), Vec::new(), None, 2, 2);
    assert!(loader.next().is_none());
}
