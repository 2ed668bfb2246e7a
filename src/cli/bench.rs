//! `pyr-wgpu bench`: the speed of a network on a device, and its share of the device's limits; or
//! the speed of reading images (`loading`), or a model of several devices (`scaling`).

mod loading;
mod scaling;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::slice::from_ref;

use clap::{Args as ClapArgs, ValueEnum};

use super::device::DeviceArgs;
use super::error::CliError;
use super::figures::CardArgs;
use super::fitting::{SMALLER, fitting};
use super::network::NetworkArgs;
use super::step::StepArgs;
use super::tuning::{Tune, TuneArgs, complete};
use super::{positive, print_json, print_line, processors, workers};
use crate::bench::{KernelRow, Report, Task, Workload, by_shader, measure, trace_events};
use crate::checkpoint::writing_advice;
use crate::engine::Device;
use crate::graph::{Graph, Precision};
use crate::kernels::Choices;
use crate::memory::bytes;
use crate::model::Network;
use crate::text::printable_path;
use loading::Loading;

/// Values of `--mode`.
#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Train,
    Infer,
}

/// Arguments of `bench`.
#[derive(ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// Images per step
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive)]
    batch_size: usize,
    /// What a step computes: train (forward, backward, update) or infer (logits only)
    #[arg(long, value_name = "WORD", default_value = "train")]
    mode: Mode,
    #[command(flatten)]
    step: StepArgs,
    /// Seconds to measure for, after a warm-up of at most as long
    #[arg(long, value_name = "X", default_value_t = 10.0)]
    seconds: f64,
    /// Write a trace of one step, dispatch by dispatch, for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Measure no network, but how fast training images of a folder as for --dataset imagenet are
    /// read and augmented
    #[arg(long, value_name = "DIR", conflicts_with_all = NETWORK_ONLY)]
    data: Option<PathBuf>,
    /// With --data: threads that decode images [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = workers)]
    workers: Option<usize>,
    /// Measure no device, but estimate a training step on several cards and machines, with what it
    /// exchanges [default card: RTX 4090]
    #[arg(long, conflicts_with_all = DEVICE_ONLY)]
    scaling: bool,
    /// With --scaling: how machines send each other gradients, as train's --gradients [default: f32]
    #[arg(long, value_name = "f32|f16")]
    gradients: Option<Precision>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    card: CardArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    tune: TuneArgs,
}

/// The flags without an effect on reading images.
const NETWORK_ONLY: [&str; 20] = [
    "preset",
    "depth",
    "alpha",
    "growth",
    "block",
    "stem",
    "classes",
    "dropout",
    "shakedrop",
    "stochastic_depth",
    "rounding",
    "mode",
    "recompute",
    "precision",
    "profile",
    "device",
    "backend",
    "checked",
    "matrix_units",
    "tune",
];

/// The flags without an effect on a model.
const DEVICE_ONLY: [&str; 9] = [
    "data",
    "mode",
    "seconds",
    "profile",
    "device",
    "backend",
    "checked",
    "matrix_units",
    "tune",
];

/// The longest measurement, an hour.
const MAX_SECONDS: f64 = 3600.0;

/// Measures and prints.
///
/// # Errors
/// If the flags describe no network, or no device can run it.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    args.device.check()?;
    args.tune.check(&args.device)?;
    if let Mode::Infer = args.mode {
        args.network.check_inference(None)?;
        args.step.check_inference()?;
    }
    // NaN lies in no range and is refused too.
    if !(f64::MIN_POSITIVE..=MAX_SECONDS).contains(&args.seconds) {
        return Err(CliError::Usage(format!(
            "--seconds must be above 0 and at most {MAX_SECONDS}, not {:?}; the default is 10",
            args.seconds
        )));
    }
    if !args.scaling && args.card.figures()?.is_some() {
        return Err(CliError::Usage(
            "--card and its figures are for --scaling; `summary --card` estimates a single card"
                .to_owned(),
        ));
    }
    if !args.scaling && args.gradients.is_some() {
        return Err(CliError::Usage(
            "--gradients is for --scaling; leave it out".to_owned(),
        ));
    }
    // The parser's `requires` is waived beside a flag that conflicts with --data.
    if args.workers.is_some() && args.data.is_none() {
        return Err(CliError::Usage(
            "--workers is for --data; leave it out".to_owned(),
        ));
    }
    if let Some(directory) = args.data {
        let loading = Loading {
            directory,
            image_size: args.network.image_size.unwrap_or(224),
            batch_size: args.batch_size,
            workers: args.workers.unwrap_or_else(processors),
            seconds: args.seconds,
        };
        return loading::run(loading, args.json);
    }
    let network = Network::new(&args.network.resolve(None)?)?;
    if args.scaling {
        let card = args.card.figures_or("RTX 4090")?;
        return scaling::run(
            &network,
            args.batch_size,
            args.step.passes(),
            args.gradients.unwrap_or_default(),
            card,
            args.json,
        );
    }
    let device = args.device.open()?;
    args.tune.check(&args.device.opened(&device))?;
    let workload = Workload {
        network: &network,
        batch: args.batch_size,
        task: match args.mode {
            Mode::Train => Task::Train,
            Mode::Infer => Task::Infer,
        },
        passes: args.step.passes(),
        seconds: args.seconds,
    };
    let mut say = |text: &str| args.device.say(text);
    let mut tuner = args.tune.tuner(Tune::On);
    let choose = |graphs: &[Graph]| {
        complete(
            &mut tuner,
            &device,
            graphs,
            &Choices::default(),
            &args.device,
        )
    };
    if let Some(path) = &args.profile {
        // An unwritable path fails before minutes of measuring, not after.
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path);
        file.map_err(|error| unwritable(path, &error))?;
    }
    let report = pollster::block_on(measure(&device, &workload, choose, &mut say));
    let report = report.map_err(|error| {
        let batches = 1..args.batch_size;
        fitting(
            error,
            (from_ref(&device), 1),
            ("--batch-size", SMALLER),
            batches,
            |batch| {
                let smaller = Workload {
                    batch,
                    ..workload.clone()
                };
                Some(vec![smaller.graph().ok()?])
            },
        )
    })?;
    match args.json {
        true => print_json(&serde_json::to_value(&report).expect("reports are plain data"))?,
        false => print_text(&report, &device)?,
    }
    match &args.profile {
        Some(path) => write_trace(path, &report, &args.device),
        None => Ok(()),
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::Failed(format!(
        "cannot write {}: {error}; {}",
        printable_path(path),
        writing_advice(error)
    ))
}

fn write_trace(path: &Path, report: &Report, log: &DeviceArgs) -> Result<(), CliError> {
    let adapter = &report.adapter;
    if report.timeline.is_empty() {
        return Err(CliError::Device(format!(
            "no trace: {adapter} cannot time single dispatches; `pyr-wgpu devices` shows which \
             adapters have timestamps"
        )));
    }
    let trace = trace_events(adapter, &title(report), &report.timeline);
    std::fs::write(path, trace.to_string()).map_err(|error| unwritable(path, &error))?;
    log.say(&format!(
        "trace of one step: {}; open it in https://ui.perfetto.dev",
        printable_path(path)
    ));
    Ok(())
}

fn title(report: &Report) -> String {
    let task = match report.task {
        Task::Train => "training",
        Task::Infer => "inference",
    };
    let (network, batch) = (&report.network, report.batch_size);
    let precision = match report.precision {
        Precision::F32 => "",
        Precision::F16 => ", feature maps in f16",
    };
    format!("{task} of {network}, {batch} images per step{precision}")
}

fn print_text(report: &Report, device: &Device) -> Result<(), CliError> {
    print_line(&title(report))?;
    for (name, text) in summary(report, device) {
        print_line(&format!("  {name:<13}{text}"))?;
    }
    if report.kernels.is_empty() {
        return match device {
            Device::Gpu(_) => print_line("  no table of kernels: the adapter has no timestamps"),
            Device::Cpu(_) | Device::Reference => Ok(()),
        };
    }
    print_line("")?;
    print_table(&by_shader(&report.kernels))?;
    print_line("")?;
    let sum: f64 = report.kernels.iter().map(|row| row.ms).sum();
    let how = match device {
        Device::Gpu(_) => "timestamps around one pass per dispatch, the fastest of five",
        _ => "from the end of one node to the end of the next, the fastest of five",
    };
    print_line(&format!(
        "Kernel times: {how}. They add up to {sum:.1} ms; the fastest step took {:.1} ms. --json \
         lists every variant.\n\
         Operations and limits count unpadded channels; bytes count each binding once.\n\
         A kernel can exceed 100 % of its limit: its time excludes the launch, its data may be \
         cached, Winograd's convolution does fewer operations than are counted, and matrix units \
         are faster than multiply-adds.",
        report.step_ms_min
    ))
}

/// The lines above the table: name and text.
fn summary(report: &Report, device: &Device) -> Vec<(&'static str, String)> {
    let mut lines = vec![("device", device.name())];
    if let Some(driver) = &report.driver {
        lines.push(("driver", driver.clone()));
    }
    let [first, third] = report.step_ms_quartiles;
    let per_sample = match report.steps_per_sample {
        1 => "one step".to_owned(),
        steps => format!("{steps} steps submitted together"),
    };
    let unsettled = match report.settled {
        true => "",
        false => "; times did not settle, repeat with a larger --seconds",
    };
    lines.extend([
        ("speed", format!("{:.1} images/s", report.images_per_second)),
        (
            "step",
            format!(
                "{:.2} ms (median of {} samples of {per_sample}; fastest {:.2}, quartiles {first:.2} \
                 and {third:.2}{unsettled})",
                report.step_ms, report.samples, report.step_ms_min
            ),
        ),
        ("memory", bytes(report.memory_bytes)),
    ]);
    let choices = choices(report);
    if !choices.is_empty() {
        lines.push(("choices", format!("distinct layers by kernel: {choices}")));
    }
    let operations = format!(
        "{:.2} GFLOP per step at {:.1} GFLOP/s",
        1e-9 * report.flops as f64,
        report.achieved_gflops
    );
    let (Some(peak), Some(share)) = (report.peak_gflops, report.fma_share) else {
        lines.push(("arithmetic", operations));
        lines.push((
            "note",
            "the reference runs on one thread in double precision to check results: its speed \
             says nothing about this processor, and it has no limits to compare with"
                .to_owned(),
        ));
        return lines;
    };
    lines.push((
        "arithmetic",
        format!(
            "{operations}: {:.1} % of the {peak:.0} GFLOP/s measured for multiply-adds alone",
            100.0 * share
        ),
    ));
    let curve: Vec<String> = report
        .bandwidths
        .iter()
        .map(|point| {
            let size = bytes(point.working_set_bytes);
            format!("{:.1} GB/s over {size}", point.gb_s)
        })
        .collect();
    lines.push((
        "bandwidth",
        format!("copying reaches {} (read and written)", curve.join(", ")),
    ));
    if let (Some(launch), Some(limit_ms), Some(ratio)) =
        (report.launch_us, report.limit_ms, report.limit_ratio)
    {
        lines.push((
            "launches",
            format!(
                "{} per step; each dependent dispatch costs {launch:.1} µs",
                report.dispatches
            ),
        ));
        lines.push((
            "limit",
            format!(
                "at these rates the dispatches of a step would take {limit_ms:.2} ms: the step \
                 reaches {:.1} % of that",
                100.0 * ratio
            ),
        ));
    }
    if third - first > 0.1 * report.step_ms {
        lines.push((
            "note",
            "step times vary by more than 10 %, because of other load or changing clock rates; \
             limits are best cases and the step is a median, so shares are lower than on an idle \
             machine"
                .to_owned(),
        ));
    }
    lines
}

/// For each operator with a choice of kernels: how many distinct layers each kernel computes.
fn choices(report: &Report) -> String {
    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (layer, kernel) in report.choices.iter() {
        let op = layer.split(' ').next().unwrap_or(layer);
        *counts.entry(op).or_default().entry(kernel).or_default() += 1;
    }
    let op = |(op, kernels): (&str, BTreeMap<&str, usize>)| {
        let kernels = kernels
            .iter()
            .map(|(name, count)| format!("{count} {name}"));
        format!("{op} {}", kernels.collect::<Vec<_>>().join(", "))
    };
    let ops: Vec<String> = counts.into_iter().map(op).collect();
    ops.join("; ")
}

fn print_table(rows: &[KernelRow]) -> Result<(), CliError> {
    let width = rows.iter().map(|row| row.kernel.len()).max().unwrap_or(0);
    print_line(&format!(
        "{:<width$} {:>8} {:>10} {:>7} {:>9} {:>9} {:>9}  {}",
        "kernel", "launches", "ms", "share", "GFLOP/s", "GB/s", "of limit", "bound by"
    ))?;
    for row in rows {
        let gflops = match row.gflops > 0.0 {
            true => format!("{:.1}", row.gflops),
            false => "-".to_owned(),
        };
        print_line(&format!(
            "{:<width$} {:>8} {:>10.3} {:>5.1} % {gflops:>9} {:>9.2} {:>7.1} %  {}",
            row.kernel,
            row.launches,
            row.ms,
            100.0 * row.share,
            row.gb_s,
            100.0 * row.limit_ratio,
            row.bound,
        ))?;
    }
    Ok(())
}
