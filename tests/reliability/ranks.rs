//! Several processes under `mpirun`: the bits of one, and one end for all.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::{Place, ended, expect, signal, started, text};

/// A command on several ranks.
fn mpirun(ranks: usize, command: &Command) -> Command {
    together(&[(ranks, command)])
}

/// Commands that run together, each on some ranks.
fn together(commands: &[(usize, &Command)]) -> Command {
    let mut all = Command::new("mpirun");
    // More ranks than processors, in containers.
    for name in ["ALLOW_RUN_AS_ROOT", "ALLOW_RUN_AS_ROOT_CONFIRM"] {
        all.env(format!("OMPI_{name}"), "1");
    }
    all.env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        // Containers may forbid reading the memory of other processes.
        .env("OMPI_MCA_btl_vader_single_copy_mechanism", "none")
        .env("OMPI_MCA_hwloc_base_binding_policy", "none")
        .env("OMPI_MCA_odls_base_sigkill_timeout", "3")
        .stdin(Stdio::null());
    for (number, (ranks, command)) in commands.iter().enumerate() {
        if number > 0 {
            all.arg(":");
        }
        all.args(["-n", &ranks.to_string()]);
        all.arg(command.get_program()).args(command.get_args());
        all.current_dir(command.get_current_dir().unwrap());
        for (name, value) in command.get_envs() {
            all.env(name, value.unwrap());
        }
    }
    all
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// The process of a rank, a child of `mpirun`.
fn process(mpirun: &Child, rank: usize) -> String {
    let listed = Command::new("pgrep")
        .args(["-P", &mpirun.id().to_string(), "pyr-wgpu"])
        .output()
        .unwrap();
    let listed = text(&listed.stdout);
    let mut numbers: Vec<u32> = listed.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers[rank].to_string()
}

fn send(name: &str, process: &str) {
    let sent = Command::new("kill").args(["-s", name, process]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn ranks_compute_the_bits_of_one_process() {
    let place = Place::new();
    let common = ["--sync-batch-norm"];
    for (ranks, more) in [(2, &[][..]), (4, &[]), (2, &common), (4, &common)] {
        let devices = vec!["cpu"; ranks].join(",");
        let flags = "train --depth 8 --alpha 3 --image-size 8 --dataset folder --data data \
                     --batch-size 8 --epochs 2";
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let one = format!("one{ranks}{}", more.concat());
        let place_of = ["--devices", &devices, "--run-dir", &one];
        let alone = place.run(&[&flags[..], &place_of, more].concat());
        expect(&alone, 0, &["finished"]);
        let name = format!("ranks{ranks}{}", more.concat());
        let train = place.train("2", &[&["--run-dir", &name], more].concat());
        let several = output(&mut mpirun(ranks, &train));
        expect(&several, 0, &["finished", &format!("in {ranks} processes")]);
        assert_eq!(text(&several.stderr).matches("finished").count(), 1);
        place.check(&name, &place.state(&one), 2, &name);
    }
    let train = |name| place.train("2", &["--run-dir", name]);
    expect(&output(&mut train("alone")), 0, &[]);
    expect(&output(&mut mpirun(1, &train("rank"))), 0, &[]);
    place.check("rank", &place.state("alone"), 2, "one rank");
}

/// Gradients in half precision: another state than in single precision, the same in every run, also in
/// one that resumes; the flag is recorded.
#[test]
fn gradients_in_half_precision_are_recorded_and_resumed() {
    let place = Place::new();
    let train = |name, epochs, more: &[&str]| {
        let flags = [&["--run-dir", name], more].concat();
        output(&mut mpirun(2, &place.train(epochs, &flags)))
    };
    let halves = ["--gradients", "f16"];
    expect(&train("single", "2", &[]), 0, &["finished"]);
    let words = ["gradients sent in half precision", "finished"];
    expect(&train("half", "2", &halves), 0, &words);
    expect(&train("again", "1", &halves), 0, &["finished"]);
    let resume = ["train", "--resume", "again", "--epochs", "2"];
    let more = |flags: &[&str]| place.command(&[&resume[..], flags].concat());
    let other = more(&["--gradients", "f32"]);
    expect(&output(&mut mpirun(2, &other)), 2, &["--gradients differs"]);
    expect(&output(&mut mpirun(2, &more(&[]))), 0, &words);
    place.check("again", &place.state("half"), 2, "resumed");
    assert!(place.state("half") != place.state("single"));
    let config = std::fs::read_to_string(place.path("half/config.toml")).unwrap();
    assert!(config.contains("gradients = \"f16\""), "{config}");
    let config = std::fs::read_to_string(place.path("single/config.toml")).unwrap();
    assert!(!config.contains("gradients"), "{config}");
}

/// Ranks on machines of their own, which are network namespaces here, speak over TCP.
#[test]
fn ranks_on_two_machines_compute_the_bits_of_one_process() {
    let place = Place::new();
    let script = format!("{}/tests/reliability/hosts.sh", env!("CARGO_MANIFEST_DIR"));
    let isolated = ["--user", "--map-root-user", "--net", "--mount"];
    let can_isolate = Command::new("unshare")
        .args(isolated)
        .args(["ip", "netns", "list"])
        .output();
    if !can_isolate.is_ok_and(|tried| tried.status.success()) {
        eprintln!("skipped: this machine gives no namespaces to users, or lacks iproute2");
        return;
    }
    let on_hosts = |command: &Command| {
        let mut all = Command::new("unshare");
        all.args(isolated).args(["sh", &script]);
        all.arg(command.get_program()).args(command.get_args());
        all.current_dir(place.path(".")).stdin(Stdio::null());
        output(&mut all)
    };
    let train = |name| place.train("2", &["--run-dir", name]);
    expect(&output(&mut mpirun(2, &train("one"))), 0, &[]);
    expect(&on_hosts(&train("two")), 0, &["in 2 processes"]);
    place.check("two", &place.state("one"), 2, "two machines");
    // Only the second machine lacks the data.
    let mut missing = Command::new("sh");
    let lacking = "test \"$(hostname)\" = host1 || cd /; exec \"$@\"";
    let train = train("three");
    missing.args(["-c", lacking, "sh"]).arg(train.get_program());
    missing.args(train.get_args());
    let words = ["error: rank 1 on host2: no directory /data"];
    expect(&on_hosts(&missing), 4, &words);
}

/// A signal to any rank saves and stops all; the run resumes to the same bits, and in other numbers
/// only if that is allowed.
#[test]
fn ranks_stop_and_resume() {
    let place = Place::new();
    expect(
        &output(&mut mpirun(2, &place.train("3", &["--run-dir", "whole"]))),
        0,
        &[],
    );
    let reference = place.state("whole");
    for rank in [0, 1] {
        let name = format!("stopped{rank}");
        let train = place.train("3", &["--run-dir", &name]);
        let (child, _events) = started(&mut mpirun(2, &train), "\"saved\",\"epoch\":2");
        send("TERM", &process(&child, rank));
        let (code, stderr) = ended(child);
        assert_eq!(code, Some(143), "{stderr}");
        assert_eq!(stderr.matches("stopped and saved").count(), 1, "{stderr}");
        let resume = place.command(&["train", "--resume", &name]);
        let words = [
            "started by 2 processes",
            "resumed by one process",
            "--allow ranks",
        ];
        expect(&place.run(&["train", "--resume", &name]), 2, &words);
        expect(
            &output(&mut mpirun(4, &resume)),
            2,
            &["resumed by 4 processes"],
        );
        match rank {
            0 => {
                expect(&output(&mut mpirun(2, &resume)), 0, &["finished"]);
                place.check(&name, &reference, 3, &name);
            }
            _ => {
                let resume = place.command(&["train", "--resume", &name, "--allow", "ranks"]);
                expect(&output(&mut mpirun(4, &resume)), 0, &["finished"]);
                // Other sums, but every epoch and its row.
                place.check(&name, &place.state(&name), 3, &name);
                // From then on it is a run of four.
                let more = ["train", "--resume", &name, "--epochs", "4"];
                let more = place.command(&more);
                expect(
                    &output(&mut mpirun(2, &more)),
                    2,
                    &["started by 4 processes"],
                );
                expect(&output(&mut mpirun(4, &more)), 0, &["finished"]);
            }
        }
    }
}

/// The death of a rank ends the job, which continues from the last save.
#[test]
fn a_killed_rank_ends_the_job() {
    let place = Place::new();
    expect(
        &output(&mut mpirun(2, &place.train("3", &["--run-dir", "whole"]))),
        0,
        &[],
    );
    for rank in [0, 1] {
        let name = format!("killed{rank}");
        let train = place.train("3", &["--run-dir", &name, "--checkpoint-every", "2"]);
        let (child, _events) = started(&mut mpirun(2, &train), "\"saved\",\"epoch\":2");
        send("KILL", &process(&child, rank));
        let begun = Instant::now();
        let (code, stderr) = ended(child);
        assert_ne!(code, Some(0), "{stderr}");
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            begun.elapsed()
        );
        let resume = place.command(&["train", "--resume", &name]);
        expect(&output(&mut mpirun(2, &resume)), 0, &["finished"]);
        place.check(&name, &place.state("whole"), 3, &name);
    }
}

/// A rank that stands still ends the others after the time that they wait.
#[test]
fn a_stopped_rank_is_named() {
    let place = Place::new();
    let train = place.train("300", &["--run-dir", "run", "--rank-timeout", "3"]);
    let (child, _events) = started(&mut mpirun(2, &train), "\"saved\"");
    let stopped = process(&child, 1);
    send("STOP", &stopped);
    let begun = Instant::now();
    let (code, stderr) = ended(child);
    assert_eq!(code, Some(1), "{stderr}");
    let message = "error: rank 1 has not answered for 3 s";
    assert!(stderr.contains(message), "{stderr}");
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "{:?}",
        begun.elapsed()
    );
    // `mpirun` may not have ended it.
    let _ = Command::new("kill").args(["-s", "KILL", &stopped]).status();
}

/// What differs between ranks is named, and so is what fails on one of them alone; nothing is written.
#[test]
fn ranks_that_differ_are_refused() {
    let place = Place::new();
    let first = place.train("1", &["--run-dir", "run"]);
    let check = |other: &Command, code, words: &[&str]| {
        let result = output(&mut together(&[(1, &first), (2, other)]));
        expect(&result, code, words);
        let stderr = text(&result.stderr);
        assert_eq!(stderr.matches("error:").count(), 1, "{stderr}");
        assert!(!place.path("run").exists());
    };
    let faster = place.train("1", &["--run-dir", "run", "--lr", "0.3"]);
    check(
        &faster,
        2,
        &["rank 1 learning_rate = 0.3", "the same flags"],
    );
    let clipped = place.train("1", &["--run-dir", "run", "--clip-grad-norm", "1"]);
    check(
        &clipped,
        2,
        &["rank 1 has clip_grad_norm = 1.0, which rank 0 lacks"],
    );
    for flag in ["--shares", "--micro-batch", "--recompute"] {
        let mut flags = vec!["--run-dir", "run", flag, "auto"];
        if flag != "--shares" {
            flags.extend(["--memory", "1GiB"]);
        }
        let automatic = place.train("1", &flags);
        let words = format!("rank 1 has {flag} auto, which rank 0 lacks");
        check(&automatic, 2, &[&words]);
    }
    let with = |flag: &str, value: &str| {
        let mut replaced = first.get_args().map(|word| word.to_str().unwrap());
        let mut words: Vec<&str> = replaced.by_ref().take_while(|word| *word != flag).collect();
        words.extend([flag, value]);
        words.extend(replaced.skip(1));
        place.command(&words)
    };
    std::fs::rename(place.path("data/train/c0/00.png"), place.path("00.png")).unwrap();
    let copied = Command::new("cp")
        .args(["-r", "data", "other"])
        .current_dir(place.path("."))
        .status();
    assert!(copied.unwrap().success());
    let fewer = with("--data", "other");
    std::fs::rename(place.path("00.png"), place.path("data/train/c0/00.png")).unwrap();
    check(
        &fewer,
        4,
        &["dataset of rank 1 has another number of training images"],
    );
    let nowhere = with("--data", "nowhere");
    check(&nowhere, 4, &["rank 1 on", "no directory"]);
    let none = with("--device", "no such card");
    check(&none, 3, &["rank 1 on", "no adapter"]);
    let many = with("--batch-size", "2");
    let result = output(&mut mpirun(3, &many));
    expect(
        &result,
        2,
        &["a batch of 2 cannot be divided among 3 devices"],
    );
    let resumed = place.command(&["train", "--resume", "elsewhere"]);
    check(
        &resumed,
        2,
        &["rank 0 is pyr-wgpu", "starts a run", "resumes a run"],
    );
    let retried = place.command(&["train", "--retry", "2"]);
    expect(
        &output(&mut mpirun(2, &retried)),
        2,
        &["--retry", "--resume"],
    );
}

/// Processes on a machine divide its memory.
#[test]
fn ranks_divide_the_memory_of_their_machine() {
    let place = Place::new();
    let chosen = ["--run-dir", "run", "--micro-batch", "auto", "--memory"];
    let least = output(&mut mpirun(
        2,
        &place.train("1", &[&chosen[..], &["100KiB"]].concat()),
    ));
    let words = ["the limit of 50.0 KiB for each of 2 processes on this machine"];
    expect(&least, 3, &words);
    let enough = output(&mut mpirun(
        2,
        &place.train("1", &[&chosen[..], &["1GiB"]].concat()),
    ));
    expect(
        &enough,
        0,
        &["of 512.0 MiB for each of 2 processes on this machine"],
    );
}

/// A full disk on rank 0 ends all ranks with its message.
#[test]
fn a_full_disk_ends_all_ranks() {
    let place = Place::new();
    let train = place.train("2", &["--run-dir", "run"]);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -f 8; exec \"$@\"", "sh"])
        .arg(train.get_program())
        .args(train.get_args())
        .current_dir(place.path("."));
    let result = output(&mut together(&[(1, &limited), (1, &train)]));
    expect(&result, 1, &["state.safetensors", "ulimit -f"]);
    assert_eq!(text(&result.stderr).matches("error:").count(), 1);
    let resume = place.command(&["train", "--resume", "run"]);
    expect(&output(&mut mpirun(2, &resume)), 0, &["finished"]);
}

/// Ctrl-C in a terminal reaches `mpirun`, which passes it on as SIGTERM.
#[test]
fn ctrl_c_of_mpirun_saves_and_stops() {
    let place = Place::new();
    let train = place.train("300", &["--run-dir", "run"]);
    let (child, _events) = started(&mut mpirun(2, &train), "\"saved\"");
    signal(&child, "INT");
    let (_, stderr) = ended(child);
    assert!(stderr.contains("stopped and saved"), "{stderr}");
}
