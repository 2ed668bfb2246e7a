//! How much memory this process can still use.
//!
//! Linux grants allocations that it cannot hold and ends the process when they are used, so large
//! needs are compared with [`available`] before anything is allocated. Windows refuses such an
//! allocation and macOS swaps; there the system is not asked, and what is large is allocated by
//! functions that return an error.

#[cfg(target_os = "linux")]
mod linux;

use std::fmt;

use bytemuck::Zeroable;

/// A need of memory that cannot be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct OutOfMemory {
    /// Bytes needed.
    pub needed: u64,
    /// Bytes available, if known.
    pub available: Option<u64>,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of memory are needed", bytes(self.needed))?;
        match self.available {
            Some(available) => write!(f, ", {} are available", bytes(available)),
            None => write!(f, ", more than the system gives"),
        }
    }
}

/// Bytes with a binary unit.
pub fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{value:.1} {}", units[unit]),
    }
}

/// Checks that a need can be met.
///
/// # Errors
/// If more is needed than [`available`].
pub fn check(needed: u64) -> Result<(), OutOfMemory> {
    check_per_process(needed, 1)
}

/// Checks that `needed` bytes are available to each of `processes` processes on this machine.
///
/// # Errors
/// If more is needed than [`available_per_process`].
pub fn check_per_process(needed: u64, processes: usize) -> Result<(), OutOfMemory> {
    let available = available_per_process(processes);
    match available.is_some_and(|available| available < needed) {
        true => Err(OutOfMemory { needed, available }),
        false => Ok(()),
    }
}

/// A vector of zeros.
///
/// # Errors
/// If the system does not give the memory.
pub fn zeros<T: Zeroable>(len: usize) -> Result<Vec<T>, OutOfMemory> {
    bytemuck::allocation::try_zeroed_vec(len).map_err(|()| OutOfMemory {
        needed: (len as u64).saturating_mul(size_of::<T>() as u64),
        available: None,
    })
}

/// What limits the memory of this process: the bytes that each limit leaves; `None` where there is
/// no such limit, or the system is not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// All memory of the system, used or not.
    pub total: Option<u64>,
    /// What the system has free.
    pub free: Option<u64>,
    /// What the control groups leave, as of a container.
    pub groups: Option<u64>,
    /// What the limit of address space leaves; in WebAssembly the whole address space.
    pub address_space: Option<u64>,
}

/// The limits on the memory of this process.
pub fn limits() -> Limits {
    #[cfg(target_os = "linux")]
    return linux::limits();
    #[cfg(not(target_os = "linux"))]
    Limits {
        address_space: cfg!(target_arch = "wasm32").then_some(1 << 32),
        ..Limits::default()
    }
}

/// Bytes that this process can still use: the least of its [`limits`]; `None` where the system is
/// not asked.
pub fn available() -> Option<u64> {
    available_per_process(1)
}

/// As [`available`], if `processes` processes divide what the system and the control group have.
pub fn available_per_process(processes: usize) -> Option<u64> {
    limits().per_process(processes)
}

/// Three quarters of the memory that is available: the rest is for what no plan counts, such as stacks
/// of threads and images that are read.
pub fn budget(available: u64) -> u64 {
    available / 4 * 3
}

impl Limits {
    /// The least of the limits, of which `processes` processes divide those of the system and of the
    /// control group.
    fn per_process(&self, processes: usize) -> Option<u64> {
        let common = [self.free, self.groups].into_iter().flatten();
        let own = common.map(|bytes| bytes / processes as u64);
        own.chain(self.address_space).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_divide_what_is_common() {
        let limits = Limits {
            total: Some(100),
            free: Some(80),
            groups: Some(60),
            address_space: Some(25),
        };
        assert_eq!(
            [1, 2, 3].map(|n| limits.per_process(n)),
            [25, 25, 20].map(Some)
        );
        assert_eq!(Limits::default().per_process(2), None);
        assert_eq!(budget(100), 75);
    }
}
