//! Installs what is missing: inspects the machine, announces what it installs and why, installs
//! it, and inspects the machine again.
//!
//! [`crate::plan`] decides what is needed; this module carries it out. Every command line is
//! printed before it runs. Downloads fail occasionally, so each way is tried three times.
//! When nothing is missing, this takes a fraction of a second and prints nothing.

use std::io::{IsTerminal, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::command::{Failure, cannot_start, exit_code, interrupted, output};
use crate::facts;
use crate::plan::{Goal, Step, Task, plan, software_adapter};

/// Attempts for each way of a task.
const ATTEMPTS: u32 = 3;

/// Wait before the second attempt; it doubles with each further attempt.
const PAUSE: Duration = Duration::from_secs(5);

/// How commands that change the system gain administrator rights.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rights {
    /// The user is the administrator, or the command needs no administrator: no prefix.
    Direct,
    /// With these words before the command.
    Through(Vec<&'static str>),
    /// Not at all.
    Lacking,
}

impl Rights {
    fn prefix(&self) -> &[&'static str] {
        match self {
            Rights::Through(words) => words,
            Rights::Direct | Rights::Lacking => &[],
        }
    }
}

/// Installs what is missing for a goal.
///
/// # Errors
/// If something that is needed cannot be installed; the message has the commands to run.
pub(crate) fn run(goal: Goal) -> Result<(), Failure> {
    let tasks = plan(&facts::gather(), goal).map_err(Failure::new)?;
    if tasks.is_empty() {
        return Ok(());
    }
    for task in &tasks {
        perform(task)?;
    }
    let left = plan(&facts::gather(), goal).map_err(Failure::new)?;
    match left.iter().find(|task| task.required) {
        None => Ok(()),
        Some(task) => Err(Failure::new(format!(
            "the installation succeeded, but this is still missing: {}",
            task.reason
        ))),
    }
}

/// Installs lavapipe on a machine whose drivers offer no adapter.
///
/// # Errors
/// As [`run`]; and on systems other than Linux, which have no such package.
pub(crate) fn install_software_adapter() -> Result<(), Failure> {
    let facts = facts::gather();
    let missing = "The graphics drivers of this machine offer no adapter";
    let Some(release) = &facts.linux else {
        return Err(Failure {
            message: format!("{missing}; install the driver of its GPU"),
            code: 3,
        });
    };
    perform(&software_adapter(&facts, release, missing).map_err(Failure::new)?)
}

/// Prints what a task is for and carries it out.
///
/// # Errors
/// If the task is required and fails.
pub(crate) fn perform(task: &Task) -> Result<(), Failure> {
    let rights = match task.root {
        true => rights(),
        false => Rights::Direct,
    };
    carry_out(task, &rights, PAUSE)
}

fn rights() -> Rights {
    let user = output("id", &["-u"]);
    if user.is_some_and(|id| id.trim() == "0") {
        return Rights::Direct;
    }
    match output("sudo", &["--version"]) {
        // Without a terminal, sudo cannot ask for a password.
        Some(_) if std::io::stdin().is_terminal() => Rights::Through(vec!["sudo"]),
        Some(_) => Rights::Through(vec!["sudo", "--non-interactive"]),
        None => Rights::Lacking,
    }
}

/// Prints what the task is for, then tries its ways in order.
fn carry_out(task: &Task, rights: &Rights, pause: Duration) -> Result<(), Failure> {
    eprintln!("{}", task.reason);
    if *rights == Rights::Lacking {
        return unable(
            task,
            "this needs administrator rights, and there is no sudo",
        );
    }
    for (number, way) in task.ways.iter().enumerate() {
        if number > 0 {
            eprintln!("That did not work. Another way:");
        }
        if attempt(way, rights, pause)? {
            return Ok(());
        }
    }
    unable(task, "the installation failed")
}

/// Tries a way several times; returns whether it succeeded.
fn attempt(way: &[Step], rights: &Rights, pause: Duration) -> Result<bool, Failure> {
    for attempt in 1..=ATTEMPTS {
        if follow(way, rights)? {
            return Ok(true);
        }
        if attempt < ATTEMPTS {
            let pause = pause * (1 << (attempt - 1));
            eprintln!("Trying again in {} s.", pause.as_secs());
            std::thread::sleep(pause);
        }
        if interrupted() {
            return Err(Failure::interrupted());
        }
    }
    Ok(false)
}

fn follow(way: &[Step], rights: &Rights) -> Result<bool, Failure> {
    for step in way {
        eprintln!("  $ {}", step.shell_line(rights.prefix()));
        let code = match execute(step, rights.prefix()) {
            Ok(code) => code,
            Err(failure) => {
                eprintln!("{}", failure.message);
                127
            }
        };
        if interrupted() {
            return Err(Failure::interrupted());
        }
        if code != 0 && !step.may_fail {
            eprintln!("This ended with exit code {code}.");
            return Ok(false);
        }
    }
    Ok(true)
}

fn execute(step: &Step, prefix: &[&str]) -> Result<u8, Failure> {
    let mut words = prefix
        .iter()
        .copied()
        .chain(step.words.iter().map(String::as_str));
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    if step.input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command
        .spawn()
        .map_err(|error| cannot_start(&command, &error))?;
    let pipe = child.stdin.take();
    if let (Some(text), Some(mut pipe)) = (&step.input, pipe) {
        // A program that ends without reading its input reports a failure in its exit code.
        let _ = pipe.write_all(text.as_bytes());
    }
    let status = child
        .wait()
        .map_err(|error| cannot_start(&command, &error))?;
    Ok(exit_code(status))
}

/// Ends a failed task: with an error that names the commands to run, or with a warning.
fn unable(task: &Task, why: &str) -> Result<(), Failure> {
    // Without a prefix: where sudo is missing or refuses, this is for an administrator's shell.
    let commands: Vec<String> = task.ways[0].iter().map(|s| s.shell_line(&[])).collect();
    let place = match task.root {
        true => "as administrator",
        false => "yourself",
    };
    let advice = format!("run {place}, then try again:\n  {}", commands.join("\n  "));
    if task.required {
        return Err(Failure::new(format!("{why}; {advice}")));
    }
    eprintln!("warning: {why}; continuing without it. To have it, {advice}");
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn step(script: &str) -> Step {
        Step {
            words: ["sh", "-c", script].map(str::to_owned).to_vec(),
            input: None,
            may_fail: false,
        }
    }

    fn task(ways: Vec<Vec<Step>>) -> Task {
        Task {
            reason: "A test.".to_owned(),
            root: true,
            required: true,
            ways,
        }
    }

    fn scratch(name: &str) -> String {
        let path = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path.to_string_lossy().into_owned()
    }

    fn direct(task: &Task) -> Result<(), Failure> {
        carry_out(task, &Rights::Direct, Duration::ZERO)
    }

    #[test]
    fn a_transient_failure_is_tried_again() {
        let file = scratch("transient");
        let third_time = format!("echo x >> {file}; test $(wc -l < {file}) -ge 3");
        assert_eq!(direct(&task(vec![vec![step(&third_time)]])), Ok(()));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "x\nx\nx\n");
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn the_next_way_is_for_when_the_first_fails() {
        let file = scratch("ways");
        let ways = vec![
            vec![step("false"), step(&format!("echo wrong > {file}"))],
            vec![step(&format!("echo right > {file}"))],
        ];
        assert_eq!(direct(&task(ways)), Ok(()));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "right\n");
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_step_that_may_fail_does_not_end_the_way() {
        let update = Step {
            may_fail: true,
            ..step("false")
        };
        assert_eq!(direct(&task(vec![vec![update, step("true")]])), Ok(()));
    }

    #[test]
    fn input_reaches_the_command() {
        let file = scratch("input");
        let write = Step {
            input: Some("deb http://m bookworm-backports main\n".to_owned()),
            ..step(&format!("cat > {file}"))
        };
        assert_eq!(direct(&task(vec![vec![write]])), Ok(()));
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "deb http://m bookworm-backports main\n");
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn failure_names_the_commands() {
        let error = direct(&task(vec![vec![step("exit 3")]])).unwrap_err();
        assert!(
            error.message.contains("sh -c 'exit 3'"),
            "{}",
            error.message
        );
        let optional = Task {
            required: false,
            ..task(vec![vec![step("exit 3")]])
        };
        assert_eq!(direct(&optional), Ok(()));
    }

    #[test]
    fn a_missing_package_manager_is_a_failure() {
        let missing = Step {
            words: vec!["no-such-package-manager".to_owned()],
            ..step("")
        };
        let error = direct(&task(vec![vec![missing]])).unwrap_err();
        assert!(
            error.message.contains("no-such-package-manager"),
            "{}",
            error.message
        );
    }

    #[test]
    fn without_rights_nothing_is_run() {
        let file = scratch("rights");
        let task = task(vec![vec![step(&format!("echo x > {file}"))]]);
        let error = carry_out(&task, &Rights::Lacking, Duration::ZERO).unwrap_err();
        assert!(error.message.contains("administrator"), "{}", error.message);
        assert!(!std::path::Path::new(&file).exists());
        let through = Rights::Through(vec!["env", "RIGHTS=given"]);
        let see = format!("test \"$RIGHTS\" = given && echo y > {file}");
        let task = super::tests::task(vec![vec![step(&see)]]);
        assert_eq!(carry_out(&task, &through, Duration::ZERO), Ok(()));
        std::fs::remove_file(&file).unwrap();
    }
}
