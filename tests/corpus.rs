//! Files that once were a problem for a reader, and files that cover its code: the corpora of the
//! fuzz targets in `fuzz`, without the fuzzer.

#[path = "../fuzz/readers.rs"]
mod readers;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// A reader of bytes that must not panic.
type Reader = fn(&[u8]);

/// Longest time for a file; the slowest takes a few milliseconds.
const LONGEST: Duration = Duration::from_secs(5);

#[test]
fn every_file_of_the_corpora_is_read_or_refused() {
    let targets: [(&str, Reader); 10] = [
        ("safetensors", readers::safetensors),
        ("npy", readers::npy),
        ("image", readers::image),
        ("cifar", readers::cifar),
        ("config", readers::config),
        ("events", readers::events),
        ("choices", readers::choices),
        ("position", readers::position),
        ("description", readers::description),
        ("canvas", readers::canvas),
    ];
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, read) in targets {
        let files = fs::read_dir(corpora.join(name)).unwrap();
        let mut count = 0;
        for file in files {
            let path = file.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let start = Instant::now();
            read(&bytes);
            let took = start.elapsed();
            assert!(took < LONGEST, "{} took {took:?}", path.display());
            count += 1;
        }
        assert!(count > 3, "{name}: {count} files");
    }
}
