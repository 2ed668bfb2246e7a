//! `summary --card`: the estimated speed and memory of a step on a card that need not be here.

use serde::Serialize;

use super::super::error::CliError;
use super::super::figures::Figures;
use super::super::output::print_line;
use crate::bench::Estimate;
use crate::engine::MemoryPlan;
use crate::memory::bytes;
use crate::program::Program;

/// What a step takes on a card.
#[derive(Serialize)]
struct Step {
    #[serde(flatten)]
    estimate: Estimate,
    /// If nothing overlaps, and if the bounds of each dispatch overlap.
    images_per_second: [f64; 2],
    /// Of all buffers.
    memory_bytes: u64,
    /// Whether they fit the card's memory, if that is known.
    fits: Option<bool>,
}

/// The estimates for a card.
#[derive(Serialize)]
pub(super) struct CardEstimate {
    #[serde(flatten)]
    figures: Figures,
    train: Step,
    infer: Step,
}

impl CardEstimate {
    /// Estimates the programs of a training and an inference step.
    pub(super) fn new(figures: Figures, batch: usize, steps: [&Program; 2]) -> CardEstimate {
        let limits = figures.limits();
        let [train, infer] = steps.map(|program| {
            let estimate = Estimate::new(program, &limits);
            let [low, high] = estimate.step_ms;
            let memory_bytes = MemoryPlan::new(&[program]).total();
            Step {
                estimate,
                images_per_second: [high, low].map(|ms| 1e3 * batch as f64 / ms),
                memory_bytes,
                fits: figures.memory_bytes.map(|own| memory_bytes <= own),
            }
        });
        CardEstimate {
            figures,
            train,
            infer,
        }
    }

    /// Prints the estimates.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub(super) fn print(&self, batch: usize) -> Result<(), CliError> {
        let Figures {
            name,
            peak_gflops,
            bandwidth_gb_s,
            launch_us,
            latency_us,
            ..
        } = &self.figures;
        print_line(&format!(
            "estimate of a step with {batch} images on {}; nothing is measured:",
            name.unwrap_or("a card with these figures")
        ))?;
        print_line(&format!(
            "  {peak_gflops} GFLOP/s, {bandwidth_gb_s} GB/s; assumed: {launch_us} µs for a launch, \
             {latency_us} µs for a wait for memory"
        ))?;
        if let Some(note) = self.figures.note {
            print_line(&format!("  {note}"))?;
        }
        let steps = [&self.train, &self.infer];
        print_row("", ["training", "inference"].map(str::to_owned))?;
        let row = |name: &str, text: fn(&Step) -> String| print_row(name, steps.map(text));
        row("dispatches", |s| s.estimate.totals.dispatches.to_string())?;
        row("GFLOP", |s| {
            format!("{:.1}", 1e-9 * s.estimate.totals.flops as f64)
        })?;
        row("GB moved", |s| {
            format!("{:.2}", 1e-9 * s.estimate.totals.bytes as f64)
        })?;
        row("waits in series", |s| {
            s.estimate.totals.serial_steps.to_string()
        })?;
        row("ms of arithmetic", |s| {
            milliseconds(s.estimate.arithmetic_ms)
        })?;
        row("ms of memory", |s| milliseconds(s.estimate.memory_ms))?;
        row("ms of launches", |s| milliseconds(s.estimate.launch_ms))?;
        row("ms of latency", |s| milliseconds(s.estimate.latency_ms))?;
        row("ms of the step", |s| {
            range(s.estimate.step_ms.map(milliseconds))
        })?;
        row("images per second", |s| {
            range(s.images_per_second.map(|rate| format!("{rate:.0}")))
        })?;
        row("memory", |s| bytes(s.memory_bytes))?;
        if let Some(own) = self.figures.memory_bytes {
            let own = bytes(own);
            print_line(&match (self.train.fits, self.infer.fits) {
                (Some(true), _) => format!("  The card has {own}: both steps fit."),
                (_, Some(true)) => format!(
                    "  The card has {own}: training does not fit; use a smaller --batch-size, \
                     --recompute or --precision f16."
                ),
                _ => format!("  The card has {own}: neither fits; use a smaller --batch-size."),
            })?;
        }
        self.print_kernels()?;
        print_line("")?;
        print_line(
            "The lower time is that of dispatches whose arithmetic, memory traffic, launch and waits \
             overlap,\nthe higher one their sum. Caches make a step faster; kernels below the peak \
             rate, and dispatches too\nsmall for the card, make it slower. `bench` measures.",
        )
    }

    fn print_kernels(&self) -> Result<(), CliError> {
        let kernels = &self.train.estimate.kernels;
        let width = kernels.iter().map(|row| row.kernel.len()).max();
        let width = width.unwrap_or(0);
        print_line("")?;
        print_line(&format!(
            "  {:<width$} {:>8} {:>9} {:>7}  bound by",
            "kernel (training)", "launches", "ms", "share"
        ))?;
        for row in kernels {
            print_line(&format!(
                "  {:<width$} {:>8} {:>9.3} {:>5.1} %  {}",
                row.kernel,
                row.launches,
                row.ms,
                100.0 * row.share,
                row.bound
            ))?;
        }
        Ok(())
    }
}

fn print_row(name: &str, values: [String; 2]) -> Result<(), CliError> {
    let [train, infer] = values;
    print_line(&format!("  {name:<18} {train:>18} {infer:>18}"))
}

fn milliseconds(ms: f64) -> String {
    match ms < 10.0 {
        true => format!("{ms:.2}"),
        false => format!("{ms:.1}"),
    }
}

fn range([low, high]: [String; 2]) -> String {
    format!("{low} to {high}")
}
