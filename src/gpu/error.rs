//! Errors of adapters and devices.

use std::fmt;

use crate::text::printable;

/// A buffer that could not be allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The arena or value that the buffer holds; of several, the largest.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Bytes of all buffers that were to be allocated together.
    pub needed: u64,
    /// Bytes of those that had been allocated before this one.
    pub allocated: u64,
}

impl fmt::Display for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Allocation {
            name,
            bytes,
            needed,
            allocated,
        } = self;
        write!(
            f,
            "{name} needs {bytes} bytes, all buffers {needed}, of which {allocated} were allocated"
        )
    }
}

/// Errors of adapters and devices.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// No adapter was found.
    #[error(
        "no GPU adapter was found{looked}; install your GPU's driver, or on Linux the software \
         adapter lavapipe (Debian and Ubuntu: `apt-get install mesa-vulkan-drivers`, Fedora: \
         `dnf install mesa-vulkan-drivers`, Arch: `pacman -S vulkan-swrast`); `pyr-wgpu doctor` \
         says what is missing here; `--device cpu` needs no adapter"
    )]
    NoAdapter {
        /// The restriction on the search, such as ` for the backend metal`, or empty.
        looked: String,
    },
    /// A device name or number that matches no adapter.
    #[error(
        "no adapter fits `{}`; a number or part of a name selects one of: {known}",
        printable(wanted)
    )]
    UnknownAdapter {
        /// The requested name or number.
        wanted: String,
        /// All adapters, one [`super::Description::line`] each, and the CPU.
        known: String,
    },
    /// The driver failed to open the adapter.
    #[error("{adapter} could not be opened: {reason}; `pyr-wgpu devices` lists the others")]
    Open {
        /// Name of the adapter.
        adapter: String,
        /// The driver's message.
        reason: String,
    },
    /// The adapter is out of memory.
    #[error(
        "{adapter} ran out of memory{}; use a smaller --batch-size or --micro-batch",
        .allocation.as_ref().map(|a| format!(": {a}")).unwrap_or_default()
    )]
    OutOfMemory {
        /// Name of the adapter.
        adapter: String,
        /// The allocation that failed; unknown in browsers, which report it later.
        allocation: Option<Allocation>,
    },
    /// A buffer exceeds the adapter's limit.
    #[error(
        "{name} needs a buffer of {bytes} bytes; {adapter} allows at most {limit}; use a smaller \
         network or batch"
    )]
    BufferTooLarge {
        /// What the buffer is for.
        name: String,
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
        /// Name of the adapter.
        adapter: String,
    },
    /// The device was lost: driver reset, unplugged, suspended.
    #[error(
        "the device was lost: {0}; what was saved is intact, and `train --resume` continues a run"
    )]
    Lost(String),
    /// The driver or wgpu rejected a call or a shader.
    #[error(
        "GPU error, a bug in pyr-wgpu or the driver: {0}; please report it, with the output of \
         the same command with --checked; another driver or --device may work (`pyr-wgpu devices` \
         lists them)"
    )]
    Rejected(String),
}

impl GpuError {
    /// Adds what an allocation that failed is part of: the bytes of all buffers, and of those
    /// before it.
    pub(super) fn within(mut self, needed: u64, allocated: u64) -> GpuError {
        if let GpuError::OutOfMemory {
            allocation: Some(allocation),
            ..
        } = &mut self
        {
            allocation.needed = needed;
            allocation.allocated = allocated;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_memory_names_buffer_and_need() {
        let error = GpuError::OutOfMemory {
            adapter: "a card".to_owned(),
            allocation: Some(Allocation {
                name: "d layer1.0.conv2".to_owned(),
                bytes: 300,
                needed: 300,
                allocated: 0,
            }),
        };
        let text = error.within(2000, 1700).to_string();
        for part in [
            "a card",
            "d layer1.0.conv2",
            "300",
            "2000",
            "1700",
            "--batch-size",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let lost = GpuError::Lost("gone".to_owned());
        assert_eq!(lost.clone().within(1, 2), lost);
    }
}
