//! Limits of the system, and a stdout that is closed from the start.

use std::process::Command;

use crate::{Place, expect};

/// A limit of the system is an error that names the file and the limit, whatever meets it first.
#[test]
fn limits_of_the_system_are_named() {
    let place = Place::new();
    let limited = |limit: &str, command: &Command| {
        Command::new("sh")
            .args(["-c", &format!("ulimit {limit}; exec \"$0\" \"$@\"")])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(place.root.path())
            .output()
            .unwrap()
    };
    let begin = place.train("1", &["--run-dir", "run", "--quiet"]);
    expect(&limited("-f 0", &begin), 1, &["run/lock", "ulimit -f"]);
    assert!({ begin }.status().unwrap().success());
    let resume = place.command(&["train", "--resume", "run"]);
    expect(&limited("-n 4", &resume), 1, &["run", "ulimit -n"]);
}

/// A stdout that was closed before the start loses no result silently.
#[cfg(target_os = "linux")]
#[test]
fn a_closed_stdout_is_noticed() {
    let place = Place::new();
    for arguments in ["summary", "devices", "--help", "summary --json"] {
        let output = Command::new("sh")
            .args(["-c", &format!("exec \"$0\" {arguments} >&-")])
            .arg(env!("CARGO_BIN_EXE_pyr-wgpu"))
            .current_dir(place.root.path())
            .output();
        expect(&output.unwrap(), 1, &["stdout cannot be written", "closed"]);
    }
}
