//! `pyr-wgpu selftest`: every kernel that a device can run against the plain reference of its
//! operator, as a table for bug reports.

use std::time::Instant;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::cache;
use super::device::DeviceArgs;
use super::error::CliError;
use super::progress::Progress;
use super::{print_json, print_line};
use crate::engine::{Device, DeviceKind};
use crate::gpu::adapter;
use crate::gpu::{Adapter, Checks, GpuError, Selection};
use crate::selftest::{Coverage, Outcome, Row, test_device};

/// Arguments of `selftest`.
#[derive(ClapArgs)]
#[command(mut_arg("matrix_units", |flag| flag.hide(true)))]
pub(super) struct Args {
    /// Test every adapter, and the CPU with each of its instruction sets
    #[arg(long, conflicts_with_all = ["device", "backend"])]
    all: bool,
    /// Also the cases that software adapters leave out, since they compile slowly: other tile shapes
    /// and fused forms
    #[arg(long)]
    full: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// A device to test, or why it cannot be opened.
struct Subject {
    name: String,
    device: Result<Device, GpuError>,
}

/// The results of a device.
struct Tested {
    subject: Subject,
    rows: Vec<Row>,
    seconds: f64,
}

/// Tests and prints.
///
/// # Errors
/// If there is no such adapter, a device is lost, or a kernel fails.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    args.device.check()?;
    if args.device.matrix_units {
        return Err(CliError::Usage(
            "selftest always tests matrix units; leave out --matrix-units".to_owned(),
        ));
    }
    if args.device.request().kind() == DeviceKind::Reference {
        return Err(CliError::Usage(
            "--device reference is what kernels are compared with; name an adapter or cpu"
                .to_owned(),
        ));
    }
    let subjects = pollster::block_on(subjects(&args))?;
    let mut tested = Vec::new();
    for subject in subjects {
        let done = test(subject, &args)?;
        if !args.json {
            print_table(&done)?;
        }
        tested.push(done);
    }
    if args.json {
        print_json(&as_json(&tested))?;
    }
    match failures(&tested) {
        failures if failures.is_empty() => Ok(()),
        failures => Err(CliError::Failed(advice(&failures))),
    }
}

/// The devices that the flags name.
async fn subjects(args: &Args) -> Result<Vec<Subject>, CliError> {
    let checks = match args.device.checked {
        true => Checks::On,
        false => Checks::Off,
    };
    let cpus = || {
        let kinds = Device::cpu_kinds().into_iter();
        kinds.map(|device| Subject {
            name: device.name(),
            device: Ok(device),
        })
    };
    let open = async |adapter: Adapter| {
        let name = adapter.description.line();
        let device = Device::on(adapter, checks, true).await;
        Subject { name, device }
    };
    if args.all {
        let mut subjects = Vec::new();
        for adapter in adapter::list(None).await {
            subjects.push(open(adapter).await);
        }
        subjects.extend(cpus());
        return Ok(subjects);
    }
    let request = args.device.request();
    // `auto` prefers the CPU to a software adapter.
    let is_automatic =
        request.kind() == DeviceKind::Auto && request.backend.is_none() && !request.checked;
    if request.kind() == DeviceKind::Cpu {
        return Ok(cpus().collect());
    }
    let selection = Selection {
        device: match request.kind() {
            DeviceKind::Adapter(name) => Some(name.to_owned()),
            _ => None,
        },
        backend: request.backend.clone(),
        ..Selection::default()
    };
    match adapter::select(&selection).await {
        Ok(adapter) if is_automatic && adapter.description.software() => Ok(cpus().collect()),
        Err(GpuError::NoAdapter { .. }) if is_automatic => Ok(cpus().collect()),
        Ok(adapter) => {
            let subject = open(adapter).await;
            match subject.device {
                Err(error) => Err(error.into()),
                Ok(_) => Ok(vec![subject]),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Tests a device.
fn test(subject: Subject, args: &Args) -> Result<Tested, CliError> {
    let start = Instant::now();
    let rows = match &subject.device {
        Err(_) => Vec::new(),
        Ok(device) => {
            if let Device::Gpu(gpu) = device {
                cache::keep_pipelines(gpu);
            }
            args.device.say(&format!("testing {}", device.name()));
            let is_slow = device.description().is_some_and(|d| d.software());
            let coverage = match is_slow && !args.full {
                true => Coverage::Brief,
                false => Coverage::Full,
            };
            let mut progress = None;
            let rows = pollster::block_on(test_device(device, coverage, |done, total| {
                let quiet = args.device.quiet;
                let new = || Progress::of_checks("checks", total as u64, quiet);
                let progress = progress.get_or_insert_with(new);
                progress.update(done as u64, String::new);
            }))?;
            if let Device::Gpu(gpu) = device {
                gpu.hand_over_pipelines();
            }
            rows
        }
    };
    Ok(Tested {
        subject,
        rows,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// What identifies a device in a bug report: label and value.
fn identity(tested: &Tested) -> Vec<(&'static str, String)> {
    let version = ("pyr-wgpu", env!("CARGO_PKG_VERSION").to_owned());
    let description = tested.subject.device.as_ref().ok();
    match description.and_then(|device| device.description()) {
        Some(d) => vec![
            version,
            ("adapter", format!("{} ({})", d.name, d.kind)),
            ("backend", d.backend.clone()),
            ("driver", format!("{} {}", d.driver, d.driver_info)),
        ],
        None => vec![version, ("device", tested.subject.name.clone())],
    }
}

/// The word for an outcome, and the reason.
fn words(outcome: &Outcome) -> (&'static str, Option<&str>) {
    match outcome {
        Outcome::Ok => ("ok", None),
        Outcome::Failed(reason) => ("FAILED", Some(reason)),
        Outcome::Rejected(reason) => ("rejected by the driver", Some(reason)),
        Outcome::NotApplicable(reason) => ("not applicable", Some(reason)),
    }
}

/// The longest reason in a table, in characters; `--json` has all of it.
const REASON: usize = 300;

fn print_table(tested: &Tested) -> Result<(), CliError> {
    for (label, value) in identity(tested) {
        print_line(&format!("{label:9} {value}"))?;
    }
    if let Err(error) = &tested.subject.device {
        return print_line(&format!("FAILED: {error}\n"));
    }
    print_line("")?;
    let kernel = tested.rows.iter().map(|row| row.kernel.len());
    let kernel = kernel.max().unwrap_or(0).max("kernel".len());
    let variant = tested.rows.iter().filter_map(|row| row.variant.as_ref());
    let variant = variant
        .map(String::len)
        .max()
        .unwrap_or(0)
        .max("variant".len());
    let line = |row: [&str; 6]| {
        let [a, b, c, d, e, f] = row;
        format!("{a:kernel$}  {b:variant$}  {c:3}  {d:>5}  {e:>10}  {f}")
    };
    print_line(&line([
        "kernel",
        "variant",
        "",
        "cases",
        "difference",
        "result",
    ]))?;
    for row in &tested.rows {
        let (word, reason) = words(&row.outcome);
        let result = match reason {
            Some(reason) => {
                let first: String = reason.chars().take(REASON).collect();
                format!("{word}: {}", first.replace('\n', " "))
            }
            None => word.to_owned(),
        };
        print_line(&line([
            &row.kernel,
            row.variant.as_deref().unwrap_or("-"),
            &row.precision.to_string(),
            &row.cases.to_string(),
            &row.largest
                .map_or("-".to_owned(), |share| format!("{share:.3}")),
            &result,
        ]))?;
    }
    let cases: usize = tested.rows.iter().map(|row| row.cases).sum();
    print_line(&format!(
        "\n{cases} cases in {:.0} s; differences from the reference are relative to the derived \
         tolerance\n",
        tested.seconds
    ))
}

fn as_json(tested: &[Tested]) -> Value {
    let devices: Vec<Value> = tested
        .iter()
        .map(|one| {
            let device = one.subject.device.as_ref().ok();
            let adapter = device.and_then(|device| device.description());
            json!({
                "name": device.map_or(one.subject.name.clone(), Device::name),
                "adapter": adapter,
                "error": one.subject.device.as_ref().err().map(ToString::to_string),
                "seconds": one.seconds,
                "kernels": one.rows,
                "passed": failures(std::slice::from_ref(one)).is_empty(),
            })
        })
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "devices": devices,
        "passed": failures(tested).is_empty(),
    })
}

/// What failed, by name.
fn failures(tested: &[Tested]) -> Vec<String> {
    let mut found = Vec::new();
    for one in tested {
        let name = &one.subject.name;
        if one.subject.device.is_err() {
            found.push(format!("{name} cannot be opened"));
        }
        let failed = one
            .rows
            .iter()
            .filter(|row| matches!(row.outcome, Outcome::Failed(_) | Outcome::Rejected(_)));
        found.extend(failed.map(|row| {
            let variant = row.variant.as_ref().map(|name| format!(" {name}"));
            let variant = variant.unwrap_or_default();
            let how = match row.outcome {
                Outcome::Rejected(_) => "is rejected by the driver of",
                _ => "computes wrong values on",
            };
            format!("{}{variant} ({}) {how} {name}", row.kernel, row.precision)
        }));
    }
    found
}

/// The most failures that are named in the error; the table has all.
const NAMED: usize = 8;

fn advice(failures: &[String]) -> String {
    let mut named: Vec<&str> = failures.iter().take(NAMED).map(String::as_str).collect();
    let more = format!("and {} more", failures.len().saturating_sub(NAMED));
    if failures.len() > NAMED {
        named.push(&more);
    }
    format!(
        "{}; update the driver; until it is fixed, use the built-in choice of kernels (--tune \
         off), that of an earlier run (train --choices RUN_DIR), or --device cpu; report it with \
         the table above",
        named.join("; ")
    )
}
