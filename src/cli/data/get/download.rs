//! Downloads a file of known length and check sum from one of several addresses.
//!
//! The bytes are appended to a partial file, from which a later attempt continues, at whatever
//! address. An address is left when it does not offer the file, or has ended the transfer
//! [`FRUITLESS`] times in a row without a byte. Whatever addresses claim, no byte beyond the known
//! length is kept, and the check sum decides.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::http::{Response, StatusCode, header};

/// What is downloaded.
pub(super) struct Wanted<'a> {
    /// Addresses, in the order in which they are tried.
    pub(super) addresses: &'a [String],
    /// Length in bytes.
    pub(super) bytes: u64,
    /// SHA-256 sum in hexadecimal digits.
    pub(super) sha256: &'a str,
}

/// How long to wait.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// For a connection, an answer, and each part of one.
    pub(super) silence: Duration,
    /// Before an address that has ended a transfer is asked again.
    pub(super) pause: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            silence: Duration::from_secs(30),
            pause: Duration::from_secs(2),
        }
    }
}

/// Why a file could not be downloaded.
#[derive(Debug)]
pub(super) enum DownloadError {
    /// The partial file cannot be read or written.
    File(io::Error),
    /// Another process downloads it.
    Busy,
    /// No address delivered the file; why, of each.
    Addresses(Vec<String>),
}

impl From<io::Error> for DownloadError {
    fn from(error: io::Error) -> DownloadError {
        DownloadError::File(error)
    }
}

/// Attempts without a byte after which an address is left.
const FRUITLESS: u32 = 3;

/// Attempts after which an address is left in any case.
const ATTEMPTS: u32 = 1000;

/// Completes the partial file `part`, which stays locked until it is dropped; `progress` is called
/// with the bytes it has.
///
/// # Errors
/// See [`DownloadError`]; the partial file keeps the bytes that may be right.
pub(super) fn download(
    wanted: &Wanted<'_>,
    part: &Path,
    patience: Patience,
    mut progress: impl FnMut(u64),
) -> Result<File, DownloadError> {
    let options = &mut File::options();
    let file = options.read(true).write(true).create(true).truncate(false);
    let file = file.open(part)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(DownloadError::Busy),
        // Some file systems have no locks.
        Err(TryLockError::Error(_)) | Ok(()) => {}
    }
    let agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_resolve(Some(patience.silence))
        .timeout_connect(Some(patience.silence))
        .timeout_recv_response(Some(patience.silence))
        .timeout_per_read(Some(patience.silence))
        .user_agent(concat!("pyr-wgpu/", env!("CARGO_PKG_VERSION")))
        .build();
    let mut download = Download {
        wanted,
        agent: agent.into(),
        file,
        patience,
        progress: &mut progress,
    };
    let mut failures = Vec::new();
    for address in wanted.addresses {
        match download.complete(address) {
            Ok(()) => return Ok(download.file),
            Err(Failure::File(error)) => return Err(error.into()),
            Err(Failure::Ended(reason) | Failure::Useless(reason)) => {
                failures.push(format!("{address}: {reason}"));
            }
        }
    }
    Err(DownloadError::Addresses(failures))
}

/// Why an attempt failed.
enum Failure {
    /// The partial file cannot be read or written.
    File(io::Error),
    /// The transfer ended early; another attempt may continue.
    Ended(String),
    /// The address does not have the file.
    Useless(String),
}

struct Download<'a> {
    wanted: &'a Wanted<'a>,
    agent: Agent,
    file: File,
    patience: Patience,
    progress: &'a mut dyn FnMut(u64),
}

impl Download<'_> {
    /// Completes the file from one address, in several attempts.
    fn complete(&mut self, address: &str) -> Result<(), Failure> {
        // Whether all bytes are from this address.
        let mut own = self.length()? == 0;
        let mut fruitless = 0;
        for _ in 0..ATTEMPTS {
            let before = self.length()?;
            own |= before == 0;
            if before >= self.wanted.bytes {
                if before == self.wanted.bytes && self.sum()? == self.wanted.sha256 {
                    return Ok(());
                }
                self.restart()?;
                if own {
                    return Err(Failure::Useless(
                        "its file has another SHA-256 sum than the published one".to_owned(),
                    ));
                }
                own = true;
                continue;
            }
            match self.fetch(address, before) {
                Ok(()) => continue,
                Err(Failure::Ended(reason)) => {
                    if self.length()? > before {
                        fruitless = 0;
                    } else {
                        fruitless += 1;
                    }
                    if fruitless == FRUITLESS {
                        return Err(Failure::Ended(reason));
                    }
                }
                Err(failure) => return Err(failure),
            }
            thread::sleep(self.patience.pause);
        }
        Err(Failure::Ended(
            "it delivers only a few bytes at a time".to_owned(),
        ))
    }

    /// Appends what an address delivers after the first `start` bytes.
    fn fetch(&mut self, address: &str, start: u64) -> Result<(), Failure> {
        let mut request = self.agent.get(address);
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        let mut response = request.call().map_err(unanswered)?;
        let status = response.status();
        let mut length = match status {
            StatusCode::PARTIAL_CONTENT if start > 0 => {
                let range = text(&response, header::CONTENT_RANGE);
                let last = self.wanted.bytes - 1;
                if range != format!("bytes {start}-{last}/{}", self.wanted.bytes) {
                    return Err(Failure::Useless(format!(
                        "asked for the bytes from {start} on, it offers `{}`",
                        range.escape_debug()
                    )));
                }
                start
            }
            StatusCode::OK => {
                let announced = text(&response, header::CONTENT_LENGTH);
                let bytes = self.wanted.bytes;
                if !announced.is_empty() && announced != bytes.to_string() {
                    return Err(Failure::Useless(format!(
                        "its file has {} bytes, not {bytes}",
                        announced.escape_debug()
                    )));
                }
                // Such as a page that asks for a password.
                if announced.is_empty() && start > 0 {
                    return Err(Failure::Useless(
                        "it does not continue, nor says how long its file is".to_owned(),
                    ));
                }
                self.restart()?;
                0
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                return Err(Failure::Ended(format!("it answers {status}")));
            }
            status if status.is_server_error() => {
                return Err(Failure::Ended(format!("it answers {status}")));
            }
            status => return Err(Failure::Useless(format!("it answers {status}"))),
        };
        self.file.seek(SeekFrom::Start(length))?;
        let mut body = response.body_mut().as_reader();
        let mut chunk = vec![0; 64 << 10];
        while length < self.wanted.bytes {
            let read = match body.read(&mut chunk) {
                Ok(0) => {
                    let bytes = self.wanted.bytes;
                    let ended = format!("it ended after {length} of {bytes} bytes");
                    return Err(Failure::Ended(ended));
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let bytes = self.wanted.bytes;
                    let broken = format!("after {length} of {bytes} bytes, {error}");
                    return Err(Failure::Ended(broken));
                }
            };
            let left = usize::try_from(self.wanted.bytes - length).unwrap_or(usize::MAX);
            let kept = &chunk[..read.min(left)];
            self.file.write_all(kept)?;
            length += kept.len() as u64;
            (self.progress)(length);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Forgets all bytes.
    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        (self.progress)(0);
        Ok(())
    }

    /// The SHA-256 sum of the file.
    fn sum(&mut self) -> io::Result<String> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut sum = Sha256::new();
        let mut chunk = vec![0; 1 << 20];
        loop {
            match self.file.read(&mut chunk)? {
                0 => break,
                read => sum.update(&chunk[..read]),
            }
        }
        let digits = sum.finalize().into_iter().map(|byte| format!("{byte:02x}"));
        Ok(digits.collect())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::File(error)
    }
}

/// A header as text; empty if it is missing or no text.
fn text<T>(response: &Response<T>, name: header::HeaderName) -> String {
    let value = response.headers().get(name);
    let value = value.and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// Why there is no answer.
fn unanswered(error: ureq::Error) -> Failure {
    let reason = error.to_string();
    match error {
        ureq::Error::BadUri(_)
        | ureq::Error::Http(_)
        | ureq::Error::HostNotFound
        | ureq::Error::TooManyRedirects
        | ureq::Error::RedirectFailed => Failure::Useless(reason),
        _ => Failure::Ended(reason),
    }
}

#[cfg(test)]
mod tests;
