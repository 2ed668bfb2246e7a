//! Several NumPy arrays in one file, as `numpy.savez` writes them: a zip archive of `.npy` files,
//! not compressed.

use std::io::{self, Cursor};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{CheckpointError, StoredTensor, npy, write_atomically};

/// Writes arrays by name.
///
/// # Errors
/// Errors of the file system, with the path; a previous file is then unchanged.
pub fn save_npz(path: &Path, arrays: &[(&str, StoredTensor)]) -> Result<(), CheckpointError> {
    write_atomically(path, |writer| {
        let archive = archive(arrays).map_err(io::Error::other)?;
        writer.write_all(&archive)
    })
}

fn archive(arrays: &[(&str, StoredTensor)]) -> zip::result::ZipResult<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(true);
    for (name, tensor) in arrays {
        archive.start_file(format!("{name}.npy"), options)?;
        npy::write(&mut archive, tensor)?;
    }
    Ok(archive.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::super::read_npy;
    use super::*;

    #[test]
    fn arrays_are_read_back() {
        let sample = StoredTensor::f32(vec![2, 1], vec![1.5, -2.0]);
        let scalar = StoredTensor::i64(vec![3], vec![1, -2, 3]);
        let archive = archive(&[("a", sample.clone()), ("b", scalar.clone())]).unwrap();
        let mut archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
        for (name, expected) in [("a.npy", sample), ("b.npy", scalar)] {
            let mut bytes = Vec::new();
            io::copy(&mut archive.by_name(name).unwrap(), &mut bytes).unwrap();
            assert_eq!(read_npy(&bytes).unwrap(), expected);
        }
    }
}
