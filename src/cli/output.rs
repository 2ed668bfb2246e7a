//! Text for the user: results on stdout, messages on stderr.
//!
//! A message that cannot be written is dropped: neither a closed terminal nor one that stops reading
//! may end a run or hold it up. A result that cannot be written is an error.

use std::io::{self, ErrorKind, Write, stderr, stdout};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::background_writer::{BackgroundWriter, Job};
use super::error::CliError;
use crate::text::{printable_json, printable_lines};

/// Messages, and the progress bar.
static STDERR: BackgroundWriter = BackgroundWriter::new();

/// The events of a run, during which a signal may ask to stop. Other results are written directly.
static STDOUT: BackgroundWriter = BackgroundWriter::new();

/// Messages that were dropped since one was last written.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How long a message is waited for, so that results printed after it follow it.
const MESSAGE_WAIT: Duration = Duration::from_millis(100);

/// How long a reader may have stopped reading before the process no longer waits for it.
const STALL_LIMIT: Duration = Duration::from_secs(2);

/// Prints lines of results.
///
/// # Errors
/// If they cannot be written; a closed pipe has an error of its own.
pub(super) fn print_line(text: &str) -> Result<(), CliError> {
    write_result(&printable_lines(text)).map_err(unwritten)
}

/// A field of a CSV file, quoted if it must be (RFC 4180).
pub(super) fn csv_field(text: &str) -> String {
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// Prints one JSON document.
///
/// # Errors
/// As [`print_line`].
pub(super) fn print_json(value: &serde_json::Value) -> Result<(), CliError> {
    write_result(&printable_json(&value.to_string())).map_err(unwritten)
}

/// Prints an event, a JSON document. While its reader stops reading, waits until `stopping`.
///
/// # Errors
/// As [`print_line`], and if the reader stops reading while `stopping`.
pub(super) fn print_event(event: &str, stopping: impl Fn() -> bool) -> Result<(), CliError> {
    let line = printable_json(event);
    let sent = STDOUT.send(Box::new(move || write_result(&line)));
    match sent && STDOUT.wait(|taken| taken > STALL_LIMIT && stopping()) {
        true => STDOUT
            .take_error()
            .map_or(Ok(()), |error| Err(unwritten(error))),
        false => Err(CliError::Failed("nobody reads stdout".to_owned())),
    }
}

/// The error of a result that could not be written to stdout.
pub(super) fn unwritten(error: io::Error) -> CliError {
    match error.kind() {
        ErrorKind::BrokenPipe => CliError::ClosedPipe,
        _ => CliError::Failed(format!("stdout cannot be written: {error}")),
    }
}

fn write_result(line: &str) -> io::Result<()> {
    super::stdout::check()?;
    let mut stdout = stdout().lock();
    write_line(&mut stdout, line)?;
    retry(|| stdout.flush())
}

/// Prints a message on stderr.
pub(super) fn print_message(text: &str) {
    report_dropped();
    if !STDERR.send(message(text)) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
    let start = Instant::now();
    STDERR.wait(|taken| taken.max(start.elapsed()) > MESSAGE_WAIT);
}

fn message(text: &str) -> Job {
    let text = printable_lines(text);
    Box::new(move || write_line(&mut stderr().lock(), &text))
}

/// Says how many messages were dropped, if there is room again.
fn report_dropped() {
    let dropped = DROPPED.swap(0, Ordering::Relaxed);
    let messages = if dropped == 1 {
        "message was"
    } else {
        "messages were"
    };
    let text = format!("warning: {dropped} {messages} dropped, because nothing read stderr");
    if dropped > 0 && !STDERR.send(message(&text)) {
        DROPPED.fetch_add(dropped, Ordering::Relaxed);
    }
}

/// Draws on stderr, after the messages before. Returns whether there was room.
pub(super) fn draw(draw: impl FnOnce() + Send + 'static) -> bool {
    STDERR.send(drawing(draw))
}

/// As [`draw`], even if there is no room: removes what an accepted [`draw`] has drawn.
pub(super) fn erase(draw: impl FnOnce() + Send + 'static) {
    STDERR.send_last(drawing(draw));
}

fn drawing(draw: impl FnOnce() + Send + 'static) -> Job {
    Box::new(|| {
        draw();
        Ok(())
    })
}

/// Whether everything on stderr has been written.
pub(super) fn is_drawn() -> bool {
    STDERR.is_idle()
}

/// Waits until all messages are written, but not for a reader who stops reading.
pub(super) fn finish() {
    report_dropped();
    let start = Instant::now();
    STDERR.wait(|taken| taken > STALL_LIMIT || start.elapsed() > 2 * STALL_LIMIT);
}

/// Writes a line, and waits where a slow reader has made the stream non-blocking.
fn write_line(stream: &mut impl Write, line: &str) -> io::Result<()> {
    let line = format!("{line}\n");
    let mut bytes = line.as_bytes();
    while !bytes.is_empty() {
        match retry(|| stream.write(bytes))? {
            0 => return Err(ErrorKind::WriteZero.into()),
            count => bytes = &bytes[count..],
        }
    }
    Ok(())
}

/// Tries again, after some time, while the error says so.
fn retry<T>(mut action: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match action() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
