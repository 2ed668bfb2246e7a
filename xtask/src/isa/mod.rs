//! `cargo xtask isa`: what the kernels cost on cards that are not here.
//!
//! Mesa compiles for many cards without having them, if a stand-in takes the place of the kernel's
//! driver. `tests/isa` compiles the kernels of a training step through wgpu with such a driver and
//! writes what it reports; this program runs it for each card, prints tables, and compares them
//! with those of the committed file `xtask/isa.csv`. `xtask/isa-ceilings.txt` limits the figures in
//! `cargo xtask test`.
//!
//! Compilers change, so figures are only compared between runs of the same version of Mesa.

mod cards;
mod ceilings;
mod report;
mod table;
mod totals;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use cards::{CARDS, Card, FIGURES};
use ceilings::Ceilings;
use report::Row;
use serde_json::Value;
use table::Table;

use crate::command::{Failure, cannot_start, cargo, exit_code, interrupted};
use crate::mesa::Mesa;
use crate::plan::Goal;
use crate::test::Outcome;
use crate::{facts, setup, web};

/// The options, as `--help` prints them.
pub(crate) const HELP: &str = "\
Options of isa:
  [CARD]...         Only these cards: turing, ampere, m1, a730, vega20, navi21, navi31
  --update          Writes the figures into the committed table xtask/isa.csv
  --check           What `cargo xtask test` does: without ampere, and with an error for figures
                    above the ceilings of xtask/isa-ceilings.txt
";

/// Processes at a time.
const PROCESSES: usize = 2;

/// Lines of a failed run that are shown.
const SHOWN: usize = 30;

/// The parsed arguments.
struct Options {
    cards: Vec<&'static Card>,
    update: bool,
}

/// A card's kernels.
struct Measured {
    card: &'static Card,
    mesa: String,
    rows: Vec<Row>,
}

/// Prints the tables of the cards, and their differences from the committed one.
///
/// # Errors
/// If an argument is invalid, the system cannot have the drivers, or a kernel does not compile.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    if arguments == ["--check"] {
        return match test()? {
            Outcome::Ended(0) => Ok(()),
            Outcome::Ended(_) => Err(Failure::new("figures are above their ceilings")),
            Outcome::Skipped(reason) => Err(Failure::new(reason)),
        };
    }
    let options = parse(arguments).map_err(|message| Failure { message, code: 2 })?;
    if let Some(reason) = Mesa::unsupported(&facts::gather()) {
        return Err(Failure::new(reason));
    }
    setup::run(Goal::Demo)?;
    let texts = web::target().join("isa");
    let measured = compile(&options.cards, Some(&texts))?;
    for measured in &measured {
        print_rows(measured);
    }
    let mut table = match Table::read() {
        // What cannot be read, such as a table with other columns, is written anew.
        Err(_) if options.update => Table::default(),
        table => table?,
    };
    println!();
    for measured in &measured {
        summarise(measured, &table, usize::MAX);
    }
    println!("The instructions are in {}.", texts.display());
    if options.update {
        update(&mut table, &measured)?;
        println!("The figures are in xtask/isa.csv.");
    }
    Ok(())
}

/// Compiles for the tested cards, and checks the figures against their limits.
///
/// # Errors
/// If the drivers cannot be unpacked, or a kernel does not compile.
pub(crate) fn test() -> Result<Outcome, Failure> {
    if let Some(reason) = Mesa::unsupported(&facts::gather()) {
        return Ok(Outcome::Skipped(reason.to_owned()));
    }
    let tested: Vec<&Card> = CARDS.iter().filter(|card| card.tested).collect();
    let (ceilings, table) = (Ceilings::read()?, Table::read()?);
    let mut failed = false;
    let measured = compile(&tested, None)?;
    for measured in &measured {
        summarise(measured, &table, 3);
        if measured.mesa != table.mesa {
            continue;
        }
        for line in ceilings.exceeded(measured.card, &measured.rows) {
            eprintln!("error: {}: {line}", measured.card.name);
            failed = true;
        }
    }
    match measured.iter().find(|measured| measured.mesa != table.mesa) {
        Some(other) => Ok(Outcome::Skipped(format!(
            "all compile, but by Mesa {}: `cargo xtask isa --update` renews the figures of {}",
            other.mesa, table.mesa
        ))),
        None => Ok(Outcome::Ended(u8::from(failed))),
    }
}

fn update(table: &mut Table, measured: &[Measured]) -> Result<(), Failure> {
    for Measured { card, mesa, rows } in measured {
        if *mesa != table.mesa {
            if measured.len() < CARDS.len() {
                return Err(Failure::new(format!(
                    "the table is of Mesa {}, this is {mesa}: update all cards at once",
                    table.mesa
                )));
            }
            table.mesa.clone_from(mesa);
            table.rows.clear();
        }
        table.replace(card.name, rows);
    }
    table.write()
}

/// Runs the test program for the cards, two at a time; the results are in the order of the cards.
fn compile(cards: &[&'static Card], texts: Option<&Path>) -> Result<Vec<Measured>, Failure> {
    let program = build()?;
    let missing = "the drivers could not be unpacked";
    let mesa = Mesa::unpack()?.ok_or_else(|| Failure::new(missing))?;
    let waiting = Mutex::new(cards.iter());
    let finished = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..PROCESSES.min(cards.len()) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("no thread panics").next();
                    let Some(card) = next.filter(|_| !interrupted()) else {
                        break;
                    };
                    let result = measure(&mesa, &program, card, texts);
                    finished.lock().expect("no thread panics").push(result);
                }
            });
        }
    });
    if interrupted() {
        return Err(Failure::interrupted());
    }
    let finished = finished.into_inner().expect("no thread panics");
    let mut measured = finished.into_iter().collect::<Result<Vec<_>, _>>()?;
    measured.sort_by_key(|m| cards.iter().position(|card| card.name == m.card.name));
    Ok(measured)
}

/// Builds the test program, and returns its path.
fn build() -> Result<PathBuf, Failure> {
    let mut command = cargo(&[
        "test",
        "--workspace",
        "--test",
        "isa",
        "--no-run",
        "--message-format=json",
    ]);
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| cannot_start(&command, &error))?;
    if !output.status.success() {
        let code = exit_code(output.status);
        let message = format!("building the test program failed with exit code {code}");
        return Err(Failure { message, code });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter(|message| message["target"]["name"] == "isa");
    let path = programs.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    path.ok_or_else(|| Failure::new("cargo names no test program `isa`"))
}

/// Compiles all kernels for a card.
fn measure(
    mesa: &Mesa,
    program: &Path,
    card: &'static Card,
    texts: Option<&Path>,
) -> Result<Measured, Failure> {
    let start = std::time::Instant::now();
    let folder = web::target().join("isa").join(card.name);
    let failure = |what: &str| Failure::new(format!("{}: {what}", card.name));
    std::fs::create_dir_all(&folder).map_err(|e| failure(&e.to_string()))?;
    let out = folder.join("report.json");
    let mut command = card.command(mesa, program);
    command.env("PYR_WGPU_ISA", &out);
    if texts.is_some() {
        command.env("PYR_WGPU_ISA_TEXT", &folder);
    }
    let _ = std::fs::remove_file(&out);
    let ended = run_quietly(command)?;
    let text = match ended {
        None => std::fs::read_to_string(&out).map_err(|e| failure(&e.to_string()))?,
        Some(shown) => return Err(failure(&format!("the kernels do not compile\n{shown}"))),
    };
    let (mesa, rows) = report::parse(card.name, &text).map_err(|e| failure(&e))?;
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("{}: {} kernels in {seconds:.0} s", card.name, rows.len());
    Ok(Measured { card, mesa, rows })
}

/// Runs a program; returns the end of what it printed if it fails.
fn run_quietly(mut command: Command) -> Result<Option<String>, Failure> {
    let output = command
        .output()
        .map_err(|error| cannot_start(&command, &error))?;
    if output.status.success() {
        return Ok(None);
    }
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    let lines: Vec<&str> = printed.lines().collect();
    let shown = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
    Ok(Some(format!(
        "{shown}\nexit code {}",
        exit_code(output.status)
    )))
}

/// The table of a card.
fn print_rows(measured: &Measured) {
    let Measured { card, mesa, rows } = measured;
    println!("\n== {}: {}, Mesa {mesa}", card.name, card.what);
    let all: [u64; 2] = [0, 1].map(|step| rows.iter().map(|row| row.flops[step]).sum());
    let given: Vec<usize> = (0..FIGURES.len())
        .filter(|index| rows.iter().any(|row| row.figures[*index].is_some()))
        .collect();
    let names = given.iter().map(|index| format!(" {}", FIGURES[*index].0));
    println!(
        "f32 calls share | f16 calls share |{} | kernel",
        names.collect::<String>()
    );
    for row in rows {
        let [single, half] = [0, 1].map(|step| {
            let share = 100.0 * row.flops[step] as f64 / all[step].max(1) as f64;
            format!("{:>9} {share:>5.1}", row.dispatches[step])
        });
        let figures = given.iter().map(|index| {
            let figure = row.figures[*index].map_or("-".to_owned(), |figure| figure.to_string());
            format!(" {figure:>width$}", width = FIGURES[*index].0.len())
        });
        println!(
            "{single} | {half} |{} | {}",
            figures.collect::<String>(),
            row.kernel
        );
    }
}

/// The totals of a card, and what changed in so many kernels.
fn summarise(measured: &Measured, table: &Table, shown: usize) {
    let Measured { card, mesa, rows } = measured;
    println!("{}, {}", card.name, card.what);
    let rows: Vec<&Row> = rows.iter().collect();
    let before = table.of(card.name);
    let known = *mesa == table.mesa && !before.is_empty();
    let old = if known {
        totals::totals(&before)
    } else {
        Vec::new()
    };
    for (number, line) in totals::totals(&rows).into_iter().enumerate() {
        println!("  {line}");
        if let Some(old) = old.get(number).filter(|old| **old != line) {
            println!("  it was {old}");
        }
    }
    if table.rows.is_empty() {
        return;
    }
    if *mesa != table.mesa {
        println!(
            "  not compared: this is Mesa {mesa}, the committed table is of {}",
            table.mesa
        );
        return;
    }
    let changes = table::changes(&before, &rows);
    for line in changes.iter().take(shown) {
        println!("  {line}");
    }
    if changes.len() > shown {
        let more = changes.len() - shown;
        println!(
            "  and {more} more kernels changed; `cargo xtask isa {}` lists them",
            card.name
        );
    }
}

fn parse(arguments: &[&str]) -> Result<Options, String> {
    let mut cards = Vec::new();
    let mut update = false;
    for word in arguments {
        match (*word, Card::named(word)) {
            ("--update", _) => update = true,
            (_, Some(card)) => cards.push(card),
            _ => {
                let problem = format!("isa has no option or card `{word}`");
                return Err(format!("{problem}\n\n{}", HELP.trim_end()));
            }
        }
    }
    if cards.is_empty() {
        cards.extend(&CARDS);
    }
    Ok(Options { cards, update })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood() {
        let options = parse(&[]).unwrap();
        assert_eq!((options.cards.len(), options.update), (CARDS.len(), false));
        let options = parse(&["m1", "--update"]).unwrap();
        assert_eq!((options.cards[0].name, options.cards.len()), ("m1", 1));
        assert!(options.update);
        let error = parse(&["gtx"]).err().unwrap();
        assert!(
            error.contains("`gtx`") && error.contains("navi31"),
            "{error}"
        );
        assert!(CARDS.iter().all(|card| HELP.contains(card.name)));
    }

    #[cfg(unix)]
    #[test]
    fn a_failed_run_shows_what_it_printed() {
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            run_quietly(command).unwrap()
        };
        assert_eq!(run("echo fine"), None);
        let shown = run("echo rejected >&2; exit 3").unwrap();
        assert_eq!(shown, "rejected\nexit code 3");
    }
}
