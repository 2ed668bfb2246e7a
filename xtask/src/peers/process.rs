//! A peer as a process that stays alive over all rounds of a row.
//!
//! It says one line when it is ready, `ready NAME VERSION DEVICE, warm-up T s`, and then
//! answers each number of seconds on its standard input with images per second on its standard
//! output. What it writes to its standard error goes to a file, whose last line tells why a
//! peer ended.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::command::{cannot_start, exit_code};

/// A running peer.
pub(super) struct Process {
    child: Child,
    answers: BufReader<ChildStdout>,
    log: PathBuf,
}

/// What a peer says when it is ready.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ready {
    /// Name and version.
    pub(super) version: String,
    /// What it runs on.
    pub(super) device: String,
}

impl Process {
    /// Starts a peer and waits until it is ready.
    ///
    /// # Errors
    /// If it cannot be started, or ends before.
    pub(super) fn start(mut command: Command, log: &Path) -> Result<(Process, Ready), String> {
        let file = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file);
        let mut child = command
            .spawn()
            .map_err(|error| cannot_start(&command, &error).message)?;
        let Some(stdout) = child.stdout.take() else {
            unreachable!("the pipe was asked for");
        };
        let mut process = Process {
            child,
            answers: BufReader::new(stdout),
            log: log.to_owned(),
        };
        // Libraries may greet before.
        loop {
            let line = process.answer()?;
            if let Some(ready) = parse_ready(&line) {
                eprintln!("  {line}");
                return Ok((process, ready));
            }
        }
    }

    /// Images per second over some seconds.
    ///
    /// # Errors
    /// If the peer ended, or answers something else than a speed.
    pub(super) fn measure(&mut self, seconds: f64) -> Result<f64, String> {
        let sent = match &mut self.child.stdin {
            Some(pipe) => writeln!(pipe, "{seconds}"),
            None => Ok(()),
        };
        // A peer that cannot be written to has ended, and reading tells why.
        let _ = sent;
        let line = self.answer()?;
        parse_speed(&line).ok_or_else(|| format!("it answered `{line}`, which is no speed"))
    }

    /// The next line of its standard output.
    fn answer(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(length) if length > 0 => Ok(line.trim().to_owned()),
            _ => Err(self.obituary()),
        }
    }

    /// Why it ended: how, and the last line that it wrote to its standard error.
    fn obituary(&mut self) -> String {
        let code = self.child.wait().map_or(1, exit_code);
        let log = std::fs::read(&self.log).unwrap_or_default();
        match last_line(&String::from_utf8_lossy(&log)) {
            Some(line) => format!("exit code {code}: {line}"),
            None => format!("exit code {code}, and it did not say why"),
        }
    }

    /// Lets it end.
    pub(super) fn end(mut self) {
        drop(self.child.stdin.take());
        // It has given all its answers: how it ends does not matter.
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After `end` there is nothing left to kill; otherwise nobody wants its answers.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads `ready NAME VERSION DEVICE, warm-up T s`; the device may hold spaces and commas.
fn parse_ready(line: &str) -> Option<Ready> {
    let (said, _) = line.strip_prefix("ready ")?.rsplit_once(", warm-up ")?;
    let mut words = said.splitn(3, ' ');
    let (name, version, device) = (words.next()?, words.next()?, words.next()?);
    Some(Ready {
        version: format!("{name} {version}"),
        device: device.to_owned(),
    })
}

pub(super) fn parse_speed(text: &str) -> Option<f64> {
    let speed: f64 = text.trim().parse().ok()?;
    (speed > 0.0 && speed.is_finite()).then_some(speed)
}

/// The last line that says something: Rust's hint at backtraces comes after the reason.
pub(super) fn last_line(text: &str) -> Option<String> {
    let says = |line: &&str| !line.is_empty() && !line.starts_with("note: run with `RUST_BACK");
    text.lines().map(str::trim).rfind(says).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_may_hold_commas() {
        let line = "ready burn 0.22.0 llvmpipe (LLVM 15.0.6, 256 bits), warm-up 512 s";
        let expected = Ready {
            version: "burn 0.22.0".to_owned(),
            device: "llvmpipe (LLVM 15.0.6, 256 bits)".to_owned(),
        };
        assert_eq!(parse_ready(line), Some(expected));
        assert_eq!(parse_ready("ready burn, warm-up 1 s"), None);
        assert_eq!(parse_ready("Welcome"), None);
    }

    #[test]
    fn speeds_are_above_zero() {
        assert_eq!(parse_speed("459.25\n"), Some(459.25));
        for text in ["", "NaN", "inf", "0", "-1", "fast"] {
            assert_eq!(parse_speed(text), None, "{text}");
        }
    }

    #[test]
    fn the_last_line_is_the_reason() {
        let panic = "thread 'main' panicked at src/main.rs:1:2:\nno adapter\n\
                     note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n\n";
        assert_eq!(last_line(panic).as_deref(), Some("no adapter"));
        assert_eq!(last_line("\n"), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_peer_answers_until_it_ends() {
        let log = std::env::temp_dir().join(format!("xtask-peer-{}", std::process::id()));
        let start = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            Process::start(command, &log)
        };
        let script = "echo hello; echo 'ready sh 1 a, b, warm-up 0 s'; read x; echo 2$x; \
                      read x; echo so it goes >&2; exit 7";
        let (mut process, ready) = start(script).unwrap();
        assert_eq!(
            (ready.version.as_str(), ready.device.as_str()),
            ("sh 1", "a, b")
        );
        assert_eq!(process.measure(0.5), Ok(20.5));
        assert_eq!(
            process.measure(0.5),
            Err("exit code 7: so it goes".to_owned())
        );
        let error = start("exit 3").map(|_| ()).unwrap_err();
        assert_eq!(error, "exit code 3, and it did not say why");
        std::fs::remove_file(&log).unwrap();
    }
}
