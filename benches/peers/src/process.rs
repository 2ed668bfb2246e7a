//! A peer as a process that stays alive for all rounds of a row.
//!
//! It prints one line when it is ready, `ready NAME VERSION DEVICE, warm-up T s`, and then
//! answers each number of seconds on its standard input with images per second on its standard
//! output. Its standard error goes to a file, whose last line explains why the peer ended.
//!
//! Libraries keep idle threads busy for a while, in expectation of more work. On Unix a peer is
//! therefore stopped by a signal whenever no answer is expected from it, so that it takes no time
//! from the program that is measured.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, anyhow};
#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};

/// A peer that is ready, and stopped until it is measured.
pub(crate) struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
}

/// A peer's report that it is ready.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Name and version.
    pub(crate) version: String,
    /// The device it runs on.
    pub(crate) device: String,
}

impl Process {
    /// Starts a peer, waits until it is ready, and stops it.
    ///
    /// # Errors
    /// If it cannot be started or stopped, or ends before it is ready.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<(Process, Ready)> {
        let stderr = File::create(log).with_context(|| log.display().to_string())?;
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("`{program}` cannot be started"))?;
        let stdout = child.stdout.take().context("its output is not piped")?;
        let mut process = Process {
            child,
            stdout: BufReader::new(stdout),
            log: log.to_owned(),
        };
        // Libraries may print other lines first.
        loop {
            let line = process.read_line()?;
            if let Some(ready) = parse_ready(&line) {
                process.stop()?;
                eprintln!("  {line}");
                return Ok((process, ready));
            }
        }
    }

    /// Continues the peer, measures images per second over some seconds, and stops it again.
    ///
    /// # Errors
    /// If the peer ended or cannot be stopped, or its answer is not a positive number.
    pub(crate) fn measure(&mut self, seconds: f64) -> Result<f64> {
        self.resume()?;
        if let Some(stdin) = &mut self.child.stdin {
            // Writing fails if the peer has ended; reading its answer then reports the cause.
            let _ = writeln!(stdin, "{seconds}");
        }
        let line = self.read_line()?;
        self.stop()?;
        parse_speed(&line).with_context(|| format!("it answered `{line}`, which is not a speed"))
    }

    /// Stops all threads of the peer.
    #[cfg(unix)]
    fn stop(&self) -> Result<()> {
        self.signal(Signal::STOP)
            .context("the peer cannot be stopped")
    }

    /// Lets the threads of the peer run.
    #[cfg(unix)]
    fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
            .context("the peer cannot be continued")
    }

    /// Sends a signal, which has no effect on a peer that has ended.
    #[cfg(unix)]
    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Does nothing: other systems have no such signal.
    #[cfg(not(unix))]
    fn stop(&self) -> Result<()> {
        Ok(())
    }

    /// Does nothing, as the peer is never stopped.
    #[cfg(not(unix))]
    fn resume(&self) -> Result<()> {
        Ok(())
    }

    /// The next line of its standard output.
    fn read_line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.stdout.read_line(&mut line) {
            Ok(length) if length > 0 => Ok(line.trim().to_owned()),
            _ => Err(self.exit_error()),
        }
    }

    /// The error of a peer that has ended: its exit status and the last line of its log.
    fn exit_error(&mut self) -> anyhow::Error {
        let status = match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let log = std::fs::read(&self.log).unwrap_or_default();
        match last_line(&String::from_utf8_lossy(&log)) {
            Some(line) => anyhow!("{status}: {line}"),
            None => anyhow!("{status}, without an error message"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // No further answer is needed, so how it ends does not matter.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Parses `ready NAME VERSION DEVICE, warm-up T s`; the device may contain spaces and commas.
fn parse_ready(line: &str) -> Option<Ready> {
    let (report, _) = line.strip_prefix("ready ")?.rsplit_once(", warm-up ")?;
    let mut words = report.splitn(3, ' ');
    let (name, version, device) = (words.next()?, words.next()?, words.next()?);
    Some(Ready {
        version: format!("{name} {version}"),
        device: device.to_owned(),
    })
}

fn parse_speed(text: &str) -> Option<f64> {
    let speed: f64 = text.parse().ok()?;
    (speed > 0.0 && speed.is_finite()).then_some(speed)
}

/// The last line of an error message, without the hint about backtraces that Rust appends.
pub(crate) fn last_line(text: &str) -> Option<String> {
    let is_message =
        |line: &&str| !line.is_empty() && !line.starts_with("note: run with `RUST_BACK");
    let mut lines = text.lines().map(str::trim);
    lines.rfind(is_message).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    use std::time::{Duration, Instant};

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
        assert_eq!(parse_speed("459.25"), Some(459.25));
        for text in ["", "NaN", "inf", "0", "-1", "fast"] {
            assert_eq!(parse_speed(text), None, "{text}");
        }
    }

    #[test]
    fn the_last_line_is_the_message() {
        let panic = "thread 'main' panicked at src/main.rs:1:2:\nno adapter\n\
                     note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n\n";
        assert_eq!(last_line(panic).as_deref(), Some("no adapter"));
        assert_eq!(last_line("\n"), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_peer_answers_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("peer.log");
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
        assert_eq!(process.measure(0.5).unwrap(), 20.5);
        let error = process.measure(0.5).unwrap_err().to_string();
        assert_eq!(error, "exit status: 7: so it goes");
        let error = start("exit 3").map(|_| ()).unwrap_err().to_string();
        assert_eq!(error, "exit status: 3, without an error message");
    }

    #[cfg(unix)]
    #[test]
    fn a_peer_runs_only_while_it_is_measured() {
        use rustix::process::{WaitOptions, waitpid};

        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let script = "echo 'ready sh 1 a, warm-up 0 s'; while read x; do echo $x; done";
        command.args(["-c", script]);
        let (mut process, _) = Process::start(command, &folder.path().join("peer.log")).unwrap();
        let pid = Pid::from_child(&process.child);
        // Waits until the peer has been stopped once more.
        let expect_stop = || {
            let deadline = Instant::now() + Duration::from_secs(10);
            let options = WaitOptions::UNTRACED | WaitOptions::NOHANG;
            let status = loop {
                if let Some((_, status)) = waitpid(Some(pid), options).unwrap() {
                    break status;
                }
                assert!(Instant::now() < deadline, "the peer has not been stopped");
                std::thread::sleep(Duration::from_millis(5));
            };
            assert!(status.stopped(), "{status:?}");
        };
        expect_stop();
        for seconds in [1.0, 2.0] {
            assert_eq!(process.measure(seconds).unwrap(), seconds);
            expect_stop();
        }
    }
}
