//! The records of a run: `metrics.csv` and `events.jsonl`, and their events read back.
//!
//! A line is on the disk before the next state is saved, so no state lacks the rows of its epochs.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;

use super::state::{Progress, STATE};
use super::{LARGEST_RECORD, RunDirectory, RunError};
use crate::checkpoint::append;
use crate::files;
use crate::rng::hash;
use crate::text::{first_few, printable};
use crate::train::{EpochMetrics, Event, SCHEMA};

/// Name of the table of epochs.
pub(super) const METRICS: &str = "metrics.csv";

/// Name of the record of events.
pub(super) const EVENTS: &str = "events.jsonl";

/// The first line of [`METRICS`].
pub(super) const CSV_HEADER: &str = "epoch,learning_rate,train_loss,train_top1_error,test_loss,\
test_top1_error,test_top5_error,images_per_second,data_wait_seconds,epoch_seconds,device_bytes";

/// A row of `metrics.csv`.
fn csv(row: &EpochMetrics) -> String {
    let top5 = row.test_top5_error.map(|e| format!("{e:.4}"));
    format!(
        "{},{},{:.6},{:.4},{:.6},{:.4},{},{:.1},{:.3},{:.3},{}",
        row.epoch,
        row.learning_rate,
        row.train_loss,
        row.train_top1_error,
        row.test_loss,
        row.test_top1_error,
        top5.unwrap_or_default(),
        row.images_per_second,
        row.data_wait_seconds,
        row.epoch_seconds,
        row.device_bytes
    )
}

/// The first columns, up to `test_top1_error`: what is the same if the epoch is repeated.
const RESULTS: usize = 6;

/// The numbers of these columns.
fn results(row: &str) -> Vec<Option<f64>> {
    let cells = row.split(',').take(RESULTS);
    cells.map(|cell| cell.parse().ok()).collect()
}

/// A hash of these numbers.
fn fingerprint(row: &str) -> u64 {
    let numbers = results(row).into_iter().map(Option::unwrap_or_default);
    hash(numbers.flat_map(f64::to_le_bytes))
}

/// The epoch of a row of `metrics.csv`; `None` if it is not a row of numbers.
fn epoch_of(line: &str) -> Option<u32> {
    let cells: Vec<&str> = line.split(',').collect();
    let columns: Vec<&str> = CSV_HEADER.split(',').collect();
    let is_number = |(cell, column): (&&str, &&str)| match *column {
        "test_top5_error" if cell.is_empty() => true,
        _ => cell.parse().is_ok_and(f64::is_finite),
    };
    let is_row = cells.len() == columns.len() && cells.iter().zip(&columns).all(is_number);
    cells[0].parse().ok().filter(|epoch| is_row && *epoch > 0)
}

/// The events of a run over all its sessions, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The recorded events, without epochs that a later session repeated.
    pub events: Vec<Event>,
}

impl History {
    /// The epochs of the run, each once.
    pub fn epochs(&self) -> impl Iterator<Item = &EpochMetrics> {
        self.events.iter().filter_map(|event| match event {
            Event::Epoch(metrics) => Some(metrics),
            _ => None,
        })
    }

    fn add(&mut self, event: Event) {
        if let Event::Started(beginning) | Event::Resumed(beginning) = &event {
            let repeated =
                |e: &Event| matches!(e, Event::Epoch(row) if row.epoch >= beginning.epoch);
            self.events.retain(|e| !repeated(e));
        }
        self.events.push(event);
    }
}

impl RunDirectory {
    /// Appends an event to `events.jsonl`, unless it is for display only, and an epoch to
    /// `metrics.csv`; both are then on the disk.
    ///
    /// # Errors
    /// If writing fails; the file then keeps its previous lines. If another process writes into the
    /// directory.
    pub fn record(&self, event: &Event) -> Result<(), RunError> {
        if let Event::Epoch(metrics) = event {
            let row = csv(metrics);
            self.put(METRICS, |path| append(path, format!("{row}\n").as_bytes()))?;
            self.results.set(Some(fingerprint(&row)));
        }
        match event.is_lasting() {
            true => {
                let line = format!("{}\n", event.to_json());
                self.put(EVENTS, |path| append(path, line.as_bytes()))
            }
            false => Ok(()),
        }
    }

    /// The events that [`RunDirectory::record`] wrote, in this version or an older one. An
    /// incomplete last line is ignored; without the file there are no events.
    ///
    /// # Errors
    /// If the file is damaged, or of a later version.
    pub fn history(&self) -> Result<History, RunError> {
        let text = match self.file(EVENTS).exists() {
            true => self.read(EVENTS)?,
            false => String::new(),
        };
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut history = History::default();
        for (index, line) in complete.lines().enumerate() {
            let event: Event = serde_json::from_str(line).map_err(|e| {
                let cause = printable(&e.to_string());
                self.damaged(format!(
                    "{EVENTS}, line {}, is damaged: {cause}; restore the file, or remove that line",
                    index + 1
                ))
            })?;
            if let Event::Started(beginning) | Event::Resumed(beginning) = &event
                && beginning.schema > SCHEMA
            {
                return Err(self.damaged(format!(
                    "{EVENTS} has schema {}, but this version reads {SCHEMA} at most; use a newer \
                     pyr-wgpu",
                    beginning.schema
                )));
            }
            history.add(event);
        }
        Ok(history)
    }

    /// Prepares the records for a session that resumes: removes incomplete last lines, and from
    /// `metrics.csv` the rows from an epoch on, which the session repeats. Rows that the table lacks
    /// are those of `events.jsonl`. Returns notes on what was missing.
    ///
    /// # Errors
    /// If reading or writing fails, or a file is damaged.
    pub fn forget_from(&self, epoch: u32) -> Result<Vec<String>, RunError> {
        let mut notes = Vec::new();
        if !self.file(EVENTS).exists() {
            notes.push(format!(
                "{EVENTS} was missing and begins again; earlier events are lost"
            ));
        }
        if !self.file(METRICS).exists() {
            notes.push(format!("{METRICS} was missing and is written again"));
        }
        self.remove_incomplete_line(METRICS)?;
        self.remove_incomplete_line(EVENTS)?;
        let (text, mut rows) = self.table()?;
        for row in self.history()?.epochs() {
            rows.entry(row.epoch).or_insert_with(|| csv(row));
        }
        rows.retain(|number, _| (1..epoch).contains(number));
        let lost = (1..epoch).len() - rows.len();
        if lost > 0 {
            let named = (1..epoch).filter(|number| !rows.contains_key(number));
            let named: Vec<String> = named.take(5).map(|number| number.to_string()).collect();
            notes.push(format!(
                "{METRICS} lacks epochs whose rows are lost: {}",
                first_few(&named, lost)
            ));
        }
        let lines = std::iter::once(CSV_HEADER).chain(rows.values().map(String::as_str));
        let table: String = lines.flat_map(|line| [line, "\n"]).collect();
        if table != text {
            self.write(METRICS, &table)?;
        }
        Ok(notes)
    }

    /// Checks that the records are those of the run whose state has this progress.
    ///
    /// # Errors
    /// If a file cannot be read, or has other results for an epoch.
    pub fn check_records(&self, progress: &Progress) -> Result<(), RunError> {
        let (_, rows) = self.table()?;
        let mut recorded = BTreeMap::new();
        for row in self.history()?.epochs() {
            recorded.insert(row.epoch, csv(row));
        }
        let before = 1..progress.position.epoch;
        let differs = |(epoch, row): &(&u32, &String)| {
            let own = recorded.get(epoch);
            before.contains(epoch) && own.is_some_and(|own| results(own) != results(row))
        };
        if let Some((epoch, _)) = rows.iter().find(differs) {
            return Err(self.damaged(format!(
                "{METRICS} and {EVENTS} have different results for epoch {epoch}, so one of them \
                 is that of another run; restore it, or remove {METRICS} to have it written again \
                 from {EVENTS}"
            )));
        }
        let last = progress.position.epoch - 1;
        let row = recorded.get(&last).or(rows.get(&last));
        match (progress.results, row) {
            (Some(saved), Some(row)) if saved != fingerprint(row) => Err(self.damaged(format!(
                "{METRICS} and {EVENTS} are those of another run: they have other results for \
                 epoch {last} than {STATE}; restore them"
            ))),
            _ => Ok(()),
        }
    }

    /// The complete lines of `metrics.csv` and its rows, by epoch; nothing if there is no such file.
    fn table(&self) -> Result<(String, BTreeMap<u32, String>), RunError> {
        let mut text = match self.file(METRICS).exists() {
            true => self.read(METRICS)?,
            false => String::new(),
        };
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        let rows = self.rows(&text)?;
        Ok((text, rows))
    }

    /// The rows of a table, by epoch.
    ///
    /// # Errors
    /// The first line that is not of the table.
    fn rows(&self, text: &str) -> Result<BTreeMap<u32, String>, RunError> {
        let mut rows = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            match epoch_of(line) {
                None if index == 0 && line == CSV_HEADER => {}
                Some(number) if index > 0 => {
                    rows.insert(number, line.to_owned());
                }
                _ => {
                    return Err(self.damaged(format!(
                        "{METRICS}, line {}, is not a row of the table; restore the file, or remove \
                         it to have it written again from {EVENTS}",
                        index + 1
                    )));
                }
            }
        }
        Ok(rows)
    }

    /// Cuts off what follows the last line break of a file, if the file exists.
    fn remove_incomplete_line(&self, name: &str) -> Result<(), RunError> {
        let path = self.file(name);
        let bytes = match files::read(&path, LARGEST_RECORD) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read.map_err(|error| self.unreadable(name, &error))?,
        };
        let complete = bytes.iter().rposition(|byte| *byte == b'\n');
        let complete = complete.map_or(0, |end| end + 1);
        if complete == bytes.len() {
            return Ok(());
        }
        let is_begun = bytes.starts_with(b"{") || CSV_HEADER.as_bytes().starts_with(&bytes);
        if complete == 0 && !is_begun {
            return Err(self.damaged(format!(
                "{name} is another file than that of a run; restore it, or remove it"
            )));
        }
        self.keep_lock()?;
        let file = OpenOptions::new().write(true).open(&path);
        file.and_then(|file| {
            file.set_len(complete as u64)?;
            file.sync_all()
        })
        .map_err(|source| RunError::Directory { path, source })
    }
}
