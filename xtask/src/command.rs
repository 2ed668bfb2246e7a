//! Running other programs in the user's terminal, and surviving Ctrl-C.
//!
//! The terminal sends Ctrl-C to both this program and its child. The child decides what to do
//! (training saves and ends), so this program only records the signal and keeps waiting; otherwise
//! the shell would show its prompt while the child still writes.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::SIGINT;

/// Exit code of a task that Ctrl-C stopped.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a task failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What failed, where, and the next step.
    pub(crate) message: String,
    /// Exit code of this program.
    pub(crate) code: u8,
}

impl Failure {
    /// A failure with exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            code: 1,
        }
    }

    /// The failure of a task that Ctrl-C stopped.
    pub(crate) fn interrupted() -> Failure {
        Failure {
            message: "stopped by Ctrl-C".to_owned(),
            code: INTERRUPTED,
        }
    }
}

/// The repository's root.
///
/// Cargo passes the package's folder at run time; a binary started by hand uses the folder it was
/// built in.
pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or(package.clone(), Path::to_owned)
}

/// Whether two files exist and are equal.
pub(crate) fn same_contents(wanted: &Path, installed: &Path) -> bool {
    let [wanted, installed] = [wanted, installed].map(|path| std::fs::read(path).ok());
    wanted.is_some() && wanted == installed
}

/// The cargo that runs this task, in the repository's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// Runs a program in the user's terminal and returns its exit code.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn run(command: &mut Command) -> Result<u8, Failure> {
    match command.status() {
        Ok(status) => Ok(exit_code(status)),
        Err(error) => Err(cannot_start(command, &error)),
    }
}

/// Runs a program that has to succeed in the user's terminal.
///
/// # Errors
/// If it cannot be started, fails, or is interrupted; `what` names it in the message.
pub(crate) fn succeed(command: &mut Command, what: &str) -> Result<(), Failure> {
    match (run(command)?, interrupted()) {
        (0, _) => Ok(()),
        (_, true) => Err(Failure::interrupted()),
        (code, _) => Err(Failure::new(format!("{what} failed with exit code {code}"))),
    }
}

/// Runs a program quietly and returns its standard output, or `None` if it is missing or fails.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

pub(crate) fn cannot_start(command: &Command, error: &std::io::Error) -> Failure {
    let program = command.get_program().to_string_lossy();
    Failure::new(format!("`{program}` cannot be started: {error}"))
}

/// The exit code as a shell reports it: 128 plus the signal for a process that a signal ended.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128_u8.saturating_add(u8::try_from(signal).unwrap_or(127));
    }
    status
        .code()
        .map_or(1, |code| u8::try_from(code).unwrap_or(1))
}

/// A command line as one would type it.
pub(crate) fn shell_line<S: AsRef<str>>(words: &[S]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    let quote = |word: &str| match word.chars().all(plain) && !word.is_empty() {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    let quoted: Vec<String> = words.iter().map(|word| quote(word.as_ref())).collect();
    quoted.join(" ")
}

static INTERRUPTED_BY_USER: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on, Ctrl-C is recorded and left to the child processes.
///
/// A handler rather than ignoring the signal: child processes start with the default action,
/// whereas they would inherit an ignored signal.
///
/// # Errors
/// If the system refuses the handler.
pub(crate) fn catch_interrupts() -> Result<(), Failure> {
    match signal_hook::flag::register(SIGINT, Arc::clone(&INTERRUPTED_BY_USER)) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(format!("Ctrl-C cannot be handled: {error}"))),
    }
}

/// Whether Ctrl-C was pressed.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED_BY_USER.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_lines_can_be_typed() {
        assert_eq!(shell_line(&["apt-get", "update"]), "apt-get update");
        assert_eq!(
            shell_line(&["tee", "a b", "", "it's"]),
            r"tee 'a b' '' 'it'\''s'"
        );
    }

    #[cfg(unix)]
    #[test]
    fn exit_codes_are_those_of_a_shell() {
        let code = |script: &str| run(Command::new("sh").args(["-c", script]));
        assert_eq!(code("exit 0"), Ok(0));
        assert_eq!(code("exit 6"), Ok(6));
        assert_eq!(code("kill -INT $$"), Ok(130));
        let missing = run(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(
            missing.message.contains("no-such-program-here"),
            "{}",
            missing.message
        );
    }

    #[test]
    fn the_root_holds_the_manifest() {
        assert!(root().join("Cargo.toml").is_file());
        assert!(root().join("xtask").is_dir());
    }
}
