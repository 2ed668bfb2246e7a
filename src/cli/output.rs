//! Text for the user: results on stdout, messages on stderr.
//!
//! A message that cannot be written is dropped: a closed terminal must not end a run. A result that
//! cannot be written is an error.

use std::io::{self, ErrorKind, Write, stderr, stdout};
use std::path::Path;
use std::time::Duration;

use super::error::CliError;

/// Prints a line of results.
///
/// # Errors
/// If it cannot be written; a closed pipe has an error of its own.
pub(super) fn print_line(text: &str) -> Result<(), CliError> {
    let written = write_all(format!("{text}\n").as_bytes());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => CliError::ClosedPipe,
        _ => CliError::Failed(format!("stdout cannot be written: {error}")),
    })
}

/// Writes to stdout, and waits where a slow reader has made it non-blocking.
fn write_all(mut bytes: &[u8]) -> io::Result<()> {
    let mut stdout = stdout().lock();
    while !bytes.is_empty() {
        match stdout.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) => wait(error)?,
        }
    }
    loop {
        match stdout.flush() {
            Ok(()) => return Ok(()),
            Err(error) => wait(error)?,
        }
    }
}

/// Waits before the next try if the error says so.
fn wait(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::WouldBlock => {
            std::thread::sleep(Duration::from_millis(10));
            Ok(())
        }
        ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}

/// Prints one JSON document.
///
/// # Errors
/// As [`print_line`].
pub(super) fn print_json(value: &serde_json::Value) -> Result<(), CliError> {
    print_line(&value.to_string())
}

/// Prints a message on stderr.
pub(super) fn print_message(text: &str) {
    let _ = writeln!(stderr().lock(), "{text}");
}

/// A path as an argument of a command that the user can paste into a shell.
pub(super) fn quoted(path: &Path) -> String {
    let mut text = path.display().to_string();
    if text.starts_with('-') {
        // Not a flag.
        text.insert_str(0, "./");
    }
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%~".contains(c);
    match !text.is_empty() && !text.starts_with('~') && text.chars().all(plain) {
        true => text,
        false if cfg!(windows) => format!("\"{text}\""),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn paths_are_quoted_for_the_shell() {
        for (path, expected) in [
            ("runs/demo-1", "runs/demo-1"),
            ("my runs/a", "'my runs/a'"),
            ("it's; rm -rf $HOME", r"'it'\''s; rm -rf $HOME'"),
            ("bücher", "bücher"),
            ("", "''"),
            ("-dash", "./-dash"),
            ("~home", "'~home'"),
        ] {
            assert_eq!(quoted(Path::new(path)), expected);
        }
    }
}
