//! Progress of long runs: a bar on a terminal, plain lines elsewhere, nothing with `--quiet`.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::{draw, erase, is_drawn, print_message};

/// Shortest time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress of one phase, counted in images.
pub(super) struct Progress {
    kind: Display,
    label: String,
    total: u64,
    done: u64,
    start: Instant,
    /// Images done before the start.
    before: u64,
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
        let kind = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Display::Quiet,
            (false, true) => {
                let label = label.to_owned();
                let begun = draw(on_bar(move |bar| {
                    let style = "{prefix} {bar:24} {pos}/{len} {msg}";
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
            kind,
            label: label.to_owned(),
            total,
            done,
            start: Instant::now(),
            before: done,
        }
    }

    /// Images per second since the start.
    pub(super) fn rate(&self) -> f64 {
        (self.done - self.before) as f64 / self.start.elapsed().as_secs_f64().max(1e-9)
    }

    /// Sets the images done; `text` is called only if something is shown.
    pub(super) fn update(&mut self, done: u64, text: impl FnOnce() -> String) {
        self.done = done;
        let left = (self.total - done) as f64 / self.rate().max(1e-9);
        let rate = format!("{:.0} img/s, {} left", self.rate(), duration(left));
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
                    print_message(&format!("{label} {done}/{total} {rate}{}", text()));
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

/// Seconds as text, in at most two units: `2 min 08 s`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}
