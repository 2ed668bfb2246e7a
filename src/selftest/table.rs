//! All checks of a device, as rows of a table.

use std::collections::HashSet;

use serde::Serialize;

use super::check::Check;
use super::{CheckError, Pair};
use crate::engine::{Device, EngineError};
use crate::gpu::GpuError;
use crate::graph::{Op, Precision};
use crate::kernels::{self, Choices, MATRIX_NAMES, Target};
use crate::program::Kernel;
use crate::shape::DType;

/// The checks of one kernel in one variant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The operator, or an operator and the reduction in its epilogue.
    pub kernel: String,
    /// The variant, where there are several.
    pub variant: Option<String>,
    /// How feature maps are stored.
    pub precision: Precision,
    /// Number of cases that were run.
    pub cases: usize,
    /// The largest difference from the reference, relative to the derived tolerance of its case;
    /// `None` if no case gave a result within it.
    pub largest: Option<f64>,
    /// The result.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The result of the checks of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", content = "reason", rename_all = "kebab-case")]
pub enum Outcome {
    /// All cases agree with the reference.
    Ok,
    /// A case does not: the first difference.
    Failed(String),
    /// The driver rejects the kernel: what it says.
    Rejected(String),
    /// The device cannot run the kernel: why.
    NotApplicable(String),
}

/// Checks whose kernels are compiled at once, on all cores.
const AHEAD: usize = 16;

/// What a self-test covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Every case of every variant.
    Full,
    /// Every operator and family of kernels, without the cases that would compile more: other tile
    /// shapes, other fused forms of a variant.
    Brief,
}

/// Does the checks of a device, and names what it cannot run or what is left out. `progress` is told
/// how many of how many checks are done.
///
/// # Errors
/// As [`run_checks`].
pub async fn test_device(
    device: &Device,
    coverage: Coverage,
    progress: impl FnMut(usize, usize),
) -> Result<Vec<Row>, EngineError> {
    let samples = Op::samples();
    let mut checks = Check::all(&samples, device);
    let left_out = match coverage {
        Coverage::Full => Vec::new(),
        Coverage::Brief => leave_out(device, &mut checks),
    };
    let rows = run_checks(device, &checks, progress).await?;
    let others = left_out.into_iter().chain(missing(device));
    Ok(rows.into_iter().chain(others).collect())
}

/// Does some checks on a device.
///
/// # Errors
/// If the device is lost or cannot hold the operands. A kernel that fails its check or is rejected
/// by the driver is a row.
pub async fn run_checks(
    device: &Device,
    checks: &[Check<'_>],
    mut progress: impl FnMut(usize, usize),
) -> Result<Vec<Row>, EngineError> {
    let mut table = Table(Vec::new());
    for (done, check) in checks.iter().enumerate() {
        progress(done, checks.len());
        if done % AHEAD == 0 {
            let next = checks[done..].iter().take(AHEAD);
            compile(
                device,
                next.flat_map(|check| check.kernels(device)).collect(),
            )?;
        }
        table.add(device, check).await?;
    }
    progress(checks.len(), checks.len());
    // Pairs that the device cannot run leave rows without cases.
    table.0.retain(|row| row.cases > 0);
    Ok(table.0)
}

/// Compiles kernels on all cores, before checks run them one by one. A rejection is left to the
/// check of the kernel.
fn compile(device: &Device, kernels: Vec<Kernel>) -> Result<(), EngineError> {
    let Device::Gpu(gpu) = device else {
        return Ok(());
    };
    match gpu.compile(&kernels.iter().collect::<Vec<_>>()) {
        Err(GpuError::Rejected(_)) => gpu.forget_rejection(),
        compiled => compiled?,
    }
    Ok(())
}

struct Table(Vec<Row>);

impl Table {
    /// Runs a check and adds it to its row.
    async fn add(&mut self, device: &Device, check: &Check<'_>) -> Result<(), EngineError> {
        let row = self.row_of(device, check);
        if matches!(row.outcome, Outcome::Rejected(_)) {
            return Ok(());
        }
        let error = match check.run(device, None).await {
            Ok(None) => return Ok(()),
            Ok(Some(largest)) => {
                row.cases += 1;
                row.largest = Some(row.largest.map_or(largest, |before| before.max(largest)));
                return Ok(());
            }
            Err(error) => error,
        };
        row.cases += 1;
        if let Some(reason) = error.rejection() {
            row.outcome = Outcome::Rejected(reason.to_owned());
            if let Device::Gpu(gpu) = device {
                gpu.forget_rejection();
            }
            return Ok(());
        }
        match error {
            CheckError::Device { error, .. } => return Err(error),
            CheckError::Differs(_) if matches!(row.outcome, Outcome::Failed(_)) => {}
            CheckError::Differs(text) => row.outcome = Outcome::Failed(text),
        }
        Ok(())
    }

    /// The row of a check: a new one for the first.
    fn row_of(&mut self, device: &Device, check: &Check<'_>) -> &mut Row {
        let key = key(device, check);
        let is_its =
            |row: &Row| (&row.kernel, &row.variant, row.precision) == (&key.0, &key.1, key.2);
        let at = self.0.iter().position(is_its).unwrap_or_else(|| {
            let (kernel, variant, precision) = key;
            self.0.push(Row {
                kernel,
                variant,
                precision,
                cases: 0,
                largest: None,
                outcome: Outcome::Ok,
            });
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

/// Kernel, variant and precision of the row of a check.
fn key(device: &Device, check: &Check<'_>) -> (String, Option<String>, Precision) {
    let (kernel, choices, half) = match check {
        Check::Case(sample, case, choices) => {
            (sample.op.name().to_owned(), choices, case.is_half())
        }
        Check::Pair(sample, pair, choices) => {
            let name = format!("{} and {}", sample.op.name(), reduction(pair));
            (name, choices, pair.is_half())
        }
        Check::Halves(_) => ("rounding to f16".to_owned(), &Choices::default(), true),
    };
    let variant = match (device, choices.get("")) {
        (Device::Gpu(_), Some(variant)) => Some(variant.to_owned()),
        (Device::Gpu(_), None) if matches!(check, Check::Pair(..)) => Some(DEFAULT.to_owned()),
        _ => None,
    };
    let precision = if half { Precision::F16 } else { Precision::F32 };
    (kernel, variant, precision)
}

/// Keeps the checks that need no kernel beyond those of checks before; the first of each row, where
/// one tile of a family stands for all; and, of operators without variants, the first of each form of
/// a kernel. Returns the rows that are left out.
fn leave_out(device: &Device, checks: &mut Vec<Check<'_>>) -> Vec<Row> {
    let mut rows = HashSet::new();
    let mut forms = HashSet::new();
    let mut kernels = HashSet::new();
    let mut left_out: Vec<Row> = Vec::new();
    checks.retain(|check| {
        let own = check.kernels(device);
        let key = key(device, check);
        let stands = key.1.as_deref().is_none_or(|variant| {
            let is_of_card = ["tiled", "matrix"]
                .iter()
                .any(|family| variant.starts_with(family));
            !is_of_card || STANDING.contains(&variant)
        });
        let is_new_row = stands && !rows.contains(&key);
        let is_new = |kernel: &Kernel| !forms.contains(&form(kernel));
        let is_new_form = key.1.is_none() && own.iter().any(is_new);
        let is_known = own.iter().all(|kernel| kernels.contains(kernel));
        let is_kept = is_new_row || is_new_form || is_known;
        let (kernel, variant, precision) = key.clone();
        if is_kept {
            forms.extend(own.iter().map(form));
            kernels.extend(own);
            rows.insert(key);
        } else if !left_out
            .iter()
            .any(|row| (&row.kernel, &row.variant, row.precision) == (&kernel, &variant, precision))
        {
            let reason = "left out, since software adapters compile it slowly; --full runs it";
            left_out.push(Row {
                kernel,
                variant,
                precision,
                cases: 0,
                largest: None,
                outcome: Outcome::NotApplicable(reason.to_owned()),
            });
        }
        is_kept
    });
    let was_run =
        |row: &Row| rows.contains(&(row.kernel.clone(), row.variant.clone(), row.precision));
    left_out.retain(|row| !was_run(row));
    left_out
}

/// The tiles that stand for their families.
const STANDING: [&str; 2] = ["tiled 128x64", "matrix 128x48"];

/// A kernel's name without the numbers of its tiles: with those of its constants that are flags.
fn form(kernel: &Kernel) -> String {
    let is_kept = |word: &&str| !word.contains('=') || word.ends_with("=0") || word.ends_with("=1");
    let words: Vec<&str> = kernel.name.split(' ').filter(is_kept).collect();
    words.join(" ")
}

/// Rows for the kernels that a device cannot run, with the reasons.
fn missing(device: &Device) -> Vec<Row> {
    let row = |kernel: &str, variant: Option<&str>, precision, reason: String| Row {
        kernel: kernel.to_owned(),
        variant: variant.map(str::to_owned),
        precision,
        cases: 0,
        largest: None,
        outcome: Outcome::NotApplicable(reason),
    };
    if !matches!(device, Device::Gpu(_)) {
        let reason = "activations are stored in single precision only".to_owned();
        return vec![row("all", None, Precision::F16, reason)];
    }
    let target = device.target();
    let mut rows = Vec::new();
    for kernel in CONVOLUTIONS {
        for precision in [Precision::F32, Precision::F16] {
            for variant in kernels::variants() {
                if let Some(reason) = lacking(device, &target, variant, precision) {
                    rows.push(row(kernel, Some(variant), precision, reason));
                }
            }
        }
    }
    rows
}

/// The variant of a pair without choices.
const DEFAULT: &str = "default";

/// The operators that have variants.
const CONVOLUTIONS: [&str; 3] = ["conv2d", "conv2d_grad_input", "conv2d_grad_weight"];

/// The name of the second operator of a pair.
fn reduction(pair: &Pair) -> &'static str {
    let last = pair.graph().nodes.iter().rev();
    let names = last.map(|node| node.op.name());
    let found = names.into_iter().find(|name| REDUCTIONS.contains(name));
    found.expect("a pair has a reduction")
}

const REDUCTIONS: [&str; 2] = ["merge_moments", "sum_slices"];

/// What a device lacks for a variant of the convolutions.
fn lacking(
    device: &Device,
    target: &Target,
    variant: &str,
    precision: Precision,
) -> Option<String> {
    let operands = match precision {
        Precision::F32 => DType::F32,
        Precision::F16 => DType::F16,
    };
    if MATRIX_NAMES.contains(&variant) {
        if target.matrices.iter().any(|unit| unit.operands == operands) {
            return None;
        }
        let Device::Gpu(gpu) = device else {
            return None;
        };
        let refused = gpu
            .refused
            .iter()
            .find(|(unit, _)| unit.operands == operands);
        return Some(match refused {
            Some((unit, reason)) => {
                format!("the driver's matrix units ({unit}) fail their self-check: {reason}")
            }
            None => format!("no matrix units for {precision} operands"),
        });
    }
    let no_subgroups = variant == kernels::SUBGROUP && target.subgroup_size.is_none();
    no_subgroups.then(|| "no subgroups of a fixed size of at least 4".to_owned())
}
