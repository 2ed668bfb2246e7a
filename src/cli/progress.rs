//! Progress of long runs: a bar on a terminal, plain lines elsewhere, nothing with `--quiet`.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::memory::bytes;

use super::output::{draw, erase, is_drawn, print_message};

/// Shortest time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress of one phase, counted in images, bytes or checks.
pub(super) struct Progress {
    unit: Unit,
    kind: Display,
    label: String,
    total: u64,
    done: u64,
    start: Instant,
    /// Done before the start.
    before: u64,
}

/// What is counted.
#[derive(Clone, Copy)]
enum Unit {
    Images,
    Bytes,
    Checks,
}

enum Display {
    /// That of [`BAR`].
    Bar,
    Lines {
        last: Instant,
    },
    Quiet,
}

impl Progress {
    /// Starts at `done` of `total` images.
    pub(super) fn new(label: &str, done: u64, total: u64, quiet: bool) -> Progress {
        Progress::of(Unit::Images, label, done, total, quiet)
    }

    /// Starts at `done` of `total` bytes.
    pub(super) fn of_bytes(label: &str, done: u64, total: u64, quiet: bool) -> Progress {
        Progress::of(Unit::Bytes, label, done, total, quiet)
    }

    /// Starts at none of `total` checks.
    pub(super) fn of_checks(label: &str, total: u64, quiet: bool) -> Progress {
        Progress::of(Unit::Checks, label, 0, total, quiet)
    }

    fn of(unit: Unit, label: &str, done: u64, total: u64, quiet: bool) -> Progress {
        let kind = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Display::Quiet,
            (false, true) => {
                let label = label.to_owned();
                let begun = draw(on_bar(move |bar| {
                    let style = match unit {
                        Unit::Images | Unit::Checks => "{prefix} {bar:24} {pos}/{len} {msg}",
                        Unit::Bytes => "{prefix} {bar:24} {bytes}/{total_bytes} {msg}",
                    };
                    let style = ProgressStyle::with_template(style).expect("a fixed template");
                    let new = ProgressBar::new(total).with_position(done);
                    *bar = Some(new.with_style(style).with_prefix(label));
                }));
                match begun {
                    true => Display::Bar,
                    // Nothing has read stderr for long.
                    false => Display::Quiet,
                }
            }
            (false, false) => Display::Lines {
                last: Instant::now(),
            },
        };
        Progress {
            unit,
            kind,
            label: label.to_owned(),
            total,
            done,
            start: Instant::now(),
            before: done,
        }
    }

    /// Images or bytes per second since the start.
    pub(super) fn rate(&self) -> f64 {
        self.done.saturating_sub(self.before) as f64 / self.start.elapsed().as_secs_f64().max(1e-9)
    }

    /// Sets what is done; `text` is called only if something is shown.
    pub(super) fn update(&mut self, done: u64, text: impl FnOnce() -> String) {
        if done < self.done {
            // What was downloaded could not be used.
            self.before = done;
            self.start = Instant::now();
        }
        self.done = done;
        let left = (self.total - done) as f64 / self.rate().max(1e-9);
        let rate = match self.unit {
            Unit::Images => format!("{}, ", images_per_second(self.rate())),
            Unit::Bytes => format!("{}/s, ", bytes(self.rate() as u64)),
            Unit::Checks => String::new(),
        };
        let rate = format!("{rate}{} left", duration(left));
        match &mut self.kind {
            Display::Quiet => {}
            // While the terminal is stopped, a later state replaces this one.
            Display::Bar if !is_drawn() => {}
            Display::Bar => {
                let message = format!("{rate}{}", text());
                draw(on_bar(move |bar| {
                    if let Some(bar) = bar {
                        bar.set_position(done);
                        bar.set_message(message);
                    }
                }));
            }
            Display::Lines { last } => {
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    let (label, total) = (&self.label, self.total);
                    let state = match self.unit {
                        Unit::Images | Unit::Checks => format!("{done}/{total}"),
                        Unit::Bytes => format!("{} of {}", bytes(done), bytes(total)),
                    };
                    print_message(&format!("{label} {state} {rate}{}", text()));
                }
            }
        }
    }
}

/// Removes the bar, if there is one.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Display::Bar = self.kind {
            erase(on_bar(|bar| {
                if let Some(bar) = bar.take() {
                    bar.finish_and_clear();
                }
            }));
        }
    }
}

/// The bar on the terminal. Only [`on_bar`] uses it: drawing may wait for the terminal.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn on_bar(change: impl FnOnce(&mut Option<ProgressBar>)) -> impl FnOnce() {
    move || change(&mut BAR.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A speed, with decimals only where it is low.
pub(super) fn images_per_second(rate: f64) -> String {
    match rate < 9.95 {
        true => format!("{rate:.2} img/s"),
        false => format!("{rate:.0} img/s"),
    }
}

/// Seconds as text, in at most two units: `2 min 08 s`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}
