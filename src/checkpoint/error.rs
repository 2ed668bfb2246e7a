//! Errors of reading and writing tensor files.

use std::io;
use std::path::PathBuf;

use crate::memory::OutOfMemory;
use crate::text::printable_path;

/// A file that cannot be read, written, or used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// An error about a file, with its path.
    #[error("{}: {source}", printable_path(path))]
    File {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<CheckpointError>,
    },

    /// The file cannot be read at all.
    #[error("cannot be read: {source}; {}", reading_advice(.source))]
    Read {
        /// The system's reason.
        source: io::Error,
    },

    /// The file could not be written; a previous file there is unchanged.
    #[error("cannot be written: {source}; a previous file there is unchanged; {advice}")]
    Write {
        /// The system's reason.
        source: io::Error,
        /// The next step.
        advice: &'static str,
    },

    /// The bytes are in another format.
    #[error("{found}, not a checkpoint; {advice}")]
    OtherFormat {
        /// What the bytes look like.
        found: &'static str,
        /// The next step.
        advice: &'static str,
    },

    /// The format is right, but the bytes are incomplete or damaged.
    #[error("damaged or cut short: {reason}; copy or download it again")]
    Damaged {
        /// What is inconsistent.
        reason: String,
    },

    /// A dictionary with several networks.
    #[error(
        "it has several networks, under {keys}, and their names do not say which one to use; save \
         the state_dict of one with torch.save"
    )]
    SeveralNetworks {
        /// The keys of the first few, quoted.
        keys: String,
    },

    /// A file that looks like one of PyTorch and cannot be read.
    #[error(
        "not a usable PyTorch checkpoint: {reason}; copy or download it again, or load it with \
         torch.load and save the state_dict of its network with torch.save"
    )]
    PyTorch {
        /// What is wrong with it.
        reason: String,
    },

    /// The layers are those of no network that is read.
    #[error(
        "the network is not a PyramidNet or PreResNet: it has {reason}; use another checkpoint"
    )]
    Structure {
        /// What is not as it should be.
        reason: String,
    },

    /// A layer with weights that no such network has.
    #[error(
        "the network is not a PyramidNet or PreResNet: it has weights in a layer `{kind}`; use \
         another checkpoint"
    )]
    Layer {
        /// Its class or name.
        kind: String,
    },

    /// A tensor's elements are of a type that cannot be used.
    #[error("tensor `{name}` holds {found}; convert it to {expected}")]
    TensorType {
        /// Name of the tensor.
        name: String,
        /// Its element type.
        found: String,
        /// The type that it should have, and how it gets it.
        expected: &'static str,
    },

    /// Two tensors have the same name without the prefix of the others.
    #[error("tensor `{name}` occurs twice, with and without the prefix `{prefix}`; remove one")]
    DuplicateTensor {
        /// Name without the prefix.
        name: String,
        /// The prefix.
        prefix: String,
    },

    /// A tensor holds NaN or infinity.
    #[error(
        "tensor `{name}` {shape:?} holds {value} at index {index} ({count} values are not \
         finite); training diverged before it was saved, use an earlier checkpoint"
    )]
    NotFinite {
        /// Name of the tensor.
        name: String,
        /// Its extents.
        shape: Vec<usize>,
        /// The first such value.
        value: f32,
        /// Its row-major index.
        index: usize,
        /// How many there are.
        count: usize,
    },

    /// A tensor holds a number that it cannot.
    #[error("tensor `{name}` holds {value:?} at index {index}; {rule}")]
    Impossible {
        /// Name of the tensor.
        name: String,
        /// The number.
        value: f64,
        /// Its row-major index.
        index: usize,
        /// Which numbers are possible, and what to do.
        rule: &'static str,
    },

    /// The tensors do not fit in memory.
    #[error("{0}; free some, or use a machine with more")]
    Memory(#[from] OutOfMemory),

    /// A NumPy array that cannot be used.
    #[error("not a usable NumPy array: {reason}")]
    Npy {
        /// What is wrong and what to do.
        reason: String,
    },
}

/// A type that can be read, for [`CheckpointError::TensorType`].
pub(super) const FLOATS: &str = "F32 (F16, BF16 and F64 are read as well), as tensor.float() does";

/// The type of counters, likewise.
pub(super) const INTEGERS: &str = "I64, as tensor.long() does";

/// What a user can do about an error of a limit of the system; `None` for other errors.
pub fn limit_advice(error: &io::Error) -> Option<&'static str> {
    // ENFILE and EMFILE, for which the standard library has no kind.
    let too_many_files = cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24));
    match error.kind() {
        io::ErrorKind::FileTooLarge => {
            Some("raise the limit of file sizes (`ulimit -f`), or choose another disk")
        }
        _ if too_many_files => Some("raise the limit of open files (`ulimit -n`)"),
        _ => None,
    }
}

/// What a user can do about a file that cannot be read.
fn reading_advice(error: &io::Error) -> &'static str {
    limit_advice(error).unwrap_or(match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "check its permissions",
        io::ErrorKind::IsADirectory => {
            "name a file in it, such as best.safetensors in that of a run"
        }
        _ => "check the path and the disk",
    })
}

impl CheckpointError {
    /// Whether writing failed, as opposed to a file that cannot be used.
    pub fn is_about_writing(&self) -> bool {
        match self {
            CheckpointError::File { source, .. } => source.is_about_writing(),
            other => matches!(other, CheckpointError::Write { .. }),
        }
    }

    /// The same error with the path of the file.
    #[must_use]
    pub fn in_file(self, path: impl Into<PathBuf>) -> CheckpointError {
        CheckpointError::File {
            path: path.into(),
            source: Box::new(self),
        }
    }
}
