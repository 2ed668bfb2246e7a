//! Checkpoints in files.
//!
//! A file is written under a temporary name in the same directory, synchronised to the disk,
//! and then renamed over the previous one: a reader sees the complete old file or the complete
//! new one, even if the disk was full, the process was killed or the power failed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use ::pytorch_reader::PytorchReader;

use super::{Checkpoint, CheckpointError, StoredTensor, limit_advice, npy};
use crate::files::{self, behind_links, directory};

impl Checkpoint {
    /// Reads a file of any format that can be read.
    ///
    /// # Errors
    /// Errors of the file system and of [`Checkpoint::from_bytes`], with the path.
    pub fn load(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let checkpoint = open(path).and_then(|(mut file, len)| {
            Checkpoint::read(&mut file, len, || PytorchReader::new(path))
        });
        checkpoint.map_err(|error| error.in_file(path))
    }

    /// Writes a safetensors file; see [`write_atomically`].
    ///
    /// # Errors
    /// Errors of the file system, with the path; the previous file is then unchanged.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        write_atomically(path, |writer| self.write(writer))
    }
}

/// Reads a `.npy` file.
///
/// # Errors
/// Errors of the file system and of [`read_npy`](super::read_npy), with the path.
pub fn read_npy_file(path: &Path) -> Result<StoredTensor, CheckpointError> {
    let tensor = open(path).and_then(|(mut file, len)| npy::read(&mut file, len));
    tensor.map_err(|error| error.in_file(path))
}

/// Opens a regular file; also returns its length in bytes.
fn open(path: &Path) -> Result<(BufReader<File>, u64), CheckpointError> {
    let opened = files::open(path).map_err(|source| CheckpointError::Read { source });
    opened.map(|(file, len)| (BufReader::new(file), len))
}

/// Writes a file completely or not at all: the output of `write` appears at `path` only when all
/// of it is on the disk. A symbolic link stays, and the file that it leads to is replaced; a device
/// or pipe is written to.
///
/// # Errors
/// Errors of the file system and of `write`, with the path; the previous file at `path`, if
/// any, is then unchanged and no temporary file remains.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CheckpointError> {
    // A link such as `/dev/stdout` may lead to a pipe without a path.
    let written = match fs::metadata(path) {
        Ok(found) if !found.is_file() && !found.is_dir() => write_through(path, write),
        _ => behind_links(path).and_then(|target| replace(&target, write)),
    };
    written.map_err(not_written(path))
}

/// Writes to a pipe or device.
fn write_through(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut writer = BufWriter::new(OpenOptions::new().write(true).open(path)?);
    write(&mut writer)?;
    writer.flush()
}

/// Appends to a file, creating it if it does not exist; the bytes are then on the disk.
///
/// # Errors
/// Errors of the file system, with the path; the file then has its previous length, as far as the
/// file system allows.
pub fn append(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let append = || {
        let is_new = !path.exists();
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let before = file.metadata()?.len();
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        if written.is_err() {
            // The first error is the one to report.
            let _ = file.set_len(before);
        }
        written?;
        match is_new {
            true => sync_directory(directory(path)),
            false => Ok(()),
        }
    };
    append().map_err(not_written(path))
}

/// The error of writing a file, with advice.
fn not_written(path: &Path) -> impl Fn(io::Error) -> CheckpointError + '_ {
    move |source| {
        let advice = writing_advice(&source);
        CheckpointError::Write { source, advice }.in_file(path)
    }
}

/// What a user can do about a file that cannot be written.
pub fn writing_advice(error: &io::Error) -> &'static str {
    limit_advice(error).unwrap_or(match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space or choose another directory"
        }
        io::ErrorKind::NotFound => "create the directory first",
        io::ErrorKind::PermissionDenied => "check its permissions, or choose another directory",
        _ => "choose another directory",
    })
}

/// Whether this is the name of a temporary file of [`write_atomically`], which a killed process
/// leaves.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

const PREFIX: &str = ".pyr-wgpu-";
const SUFFIX: &str = ".tmp";

fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let directory = directory(path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    #[cfg(unix)]
    {
        // Temporary files are private by default; a checkpoint gets the usual permissions under
        // the user's umask.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    // Every early return drops the temporary file, which removes it.
    let mut temporary = builder.tempfile_in(directory)?;
    {
        let mut writer = BufWriter::with_capacity(1 << 20, temporary.as_file_mut());
        write(&mut writer)?;
        writer.flush()?;
    }
    temporary.as_file().sync_all()?;
    // Windows marks temporary files, and `persist` removes the mark. Elsewhere it would rename by a
    // raw system call, where the tests of crashes cannot make it fail.
    #[cfg(windows)]
    temporary.persist(path).map_err(|error| error.error)?;
    #[cfg(not(windows))]
    {
        let temporary = temporary.into_temp_path();
        fs::rename(&temporary, path)?;
        // The temporary name is free again, so there is nothing to remove.
        let _ = temporary.keep();
    }
    sync_directory(directory)
}

/// Synchronises the new directory entry to the disk, on systems that can open directories.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(directory)?.sync_all() {
        // Some network file systems cannot do this; the file itself is already on the disk.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: f32) -> Checkpoint {
        let mut sample = Checkpoint::default();
        let tensor = StoredTensor::f32(vec![1000], vec![value; 1000]);
        sample.tensors.insert("fc.weight".into(), tensor);
        sample
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries
            .map(name)
            .map(|n| n.into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn saved_files_replace_the_previous_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("last.safetensors");
        sample(1.0).save(&path).unwrap();
        sample(2.0).save(&path).unwrap();
        assert_eq!(Checkpoint::load(&path).unwrap(), sample(2.0));
        assert_eq!(names(directory.path()), ["last.safetensors"]);
    }

    #[test]
    fn a_write_that_fails_midway_leaves_the_previous_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("last.safetensors");
        sample(1.0).save(&path).unwrap();
        let error = write_atomically(&path, |writer| {
            // More than the buffer, so that some of it reaches the disk.
            writer.write_all(&vec![7; 3 << 20])?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("last.safetensors") && text.contains("free some space"),
            "{text}"
        );
        assert_eq!(Checkpoint::load(&path).unwrap(), sample(1.0));
        assert_eq!(names(directory.path()), ["last.safetensors"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("real"), "old").unwrap();
        symlink("real", path("link")).unwrap();
        symlink("new", path("dangling")).unwrap();
        symlink(path("link"), path("second")).unwrap();
        symlink("loop", path("loop")).unwrap();
        let write = |path: &Path, text: &str| {
            write_atomically(path, |writer| writer.write_all(text.as_bytes()))
        };
        for (link, file) in [("link", "real"), ("second", "real"), ("dangling", "new")] {
            write(&path(link), link).unwrap();
            assert!(path(link).is_symlink());
            assert_eq!(fs::read_to_string(path(file)).unwrap(), link);
        }
        let text = write(&path("loop"), "a").unwrap_err().to_string();
        assert!(text.contains("too many symbolic links"), "{text}");
        let null = Path::new("/dev/null");
        write(null, "a").unwrap();
        assert!(fs::metadata(null).unwrap().file_type().is_char_device());
    }

    #[test]
    fn paths_that_cannot_be_written_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("nowhere").join("last.safetensors");
        let text = sample(1.0).save(&missing).unwrap_err().to_string();
        assert!(
            text.contains("nowhere") && text.contains("create"),
            "{text}"
        );
        let occupied = directory.path().join("occupied");
        fs::create_dir_all(occupied.join("inside")).unwrap();
        let text = sample(1.0).save(&occupied).unwrap_err().to_string();
        assert!(text.contains("occupied"), "{text}");
        assert_eq!(names(directory.path()), ["occupied"]);
    }

    #[cfg(unix)]
    #[test]
    fn saved_files_are_as_readable_as_others() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let (saved, plain) = (
            directory.path().join("saved"),
            directory.path().join("plain"),
        );
        sample(1.0).save(&saved).unwrap();
        fs::write(&plain, b"").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&saved), mode(&plain));
    }

    #[test]
    fn errors_of_reading_name_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weights.safetensors");
        let text = Checkpoint::load(&path).unwrap_err().to_string();
        assert!(
            text.contains("weights.safetensors: cannot be read"),
            "{text}"
        );
        fs::write(&path, &sample(1.0).to_bytes()[..100]).unwrap();
        let text = Checkpoint::load(&path).unwrap_err().to_string();
        assert!(
            text.contains("weights.safetensors: damaged or cut short"),
            "{text}"
        );
        let text = Checkpoint::load(directory.path()).unwrap_err().to_string();
        assert!(text.contains("cannot be read"), "{text}");
        let text = read_npy_file(&path).unwrap_err().to_string();
        assert!(text.contains("weights.safetensors: not a usable"), "{text}");
        // A long file without contents, as after a crash, is not read to its end.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let text = Checkpoint::load(&path).unwrap_err().to_string();
        assert!(text.contains("begin with a header"), "{text}");
        let text = read_npy_file(&path).unwrap_err().to_string();
        assert!(text.contains("numpy.save"), "{text}");
        let header = sample(1.0).to_bytes();
        fs::write(&path, &header[..8 + header[0] as usize]).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        let text = Checkpoint::load(&path).unwrap_err().to_string();
        assert!(text.contains("not as many as its header says"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn errors_of_limits_say_which_to_raise() {
        // EFBIG, ENFILE and EMFILE.
        for (code, flag) in [(27, "ulimit -f"), (23, "ulimit -n"), (24, "ulimit -n")] {
            let error = || io::Error::from_raw_os_error(code);
            let path = Path::new("last.safetensors");
            let unwritten = not_written(path)(error()).to_string();
            let unread = CheckpointError::Read { source: error() }.to_string();
            for text in [unwritten, unread] {
                assert!(text.contains(flag), "{text}");
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn devices_are_not_read() {
        let text = Checkpoint::load(Path::new("/dev/zero"))
            .unwrap_err()
            .to_string();
        assert!(text.contains("not a regular file"), "{text}");
    }
}
