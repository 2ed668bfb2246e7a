//! Benchmark of a network on a device: speed, and its share of the device's own limits.
//!
//! Absolute speed depends on the adapter and says little about the shaders. The benchmark
//! therefore measures the adapter's limits first ([`Limits`]), then runs steps on random images
//! and compares them with a roofline: the sum, over the dispatches of a step, of the lower bound
//! that arithmetic, memory traffic or the launch sets.
//! The roofline is that of the given program: every dispatch counts as necessary, and operations
//! on pad channels do not count.
//!
//! An [`Estimate`] is the roofline of a program on a card that is not there, and [`Scaled`] a step on
//! several of them.
//!
//! The input pipeline is excluded: images are on the device, nothing is decoded or augmented.
//! It is native only, because it needs a clock and blocks on the device.

pub mod cards;
mod clock;
mod estimate;
mod kernel_table;
mod limits;
mod scaling;
mod trace;
mod work;

use std::time::Instant;

use serde::Serialize;

pub use estimate::Estimate;
pub use kernel_table::{KernelRow, by_shader};
pub use limits::{Bandwidth, Bound, Limits};
pub use scaling::{Bucket, Costs, Exchange, Scaled, Topology};
pub use trace::{Span, trace_events};

use crate::engine::{Device, Engine, EngineError, TensorKind};
use crate::gpu::KernelTime;
use crate::graph::ops::LossScale;
use crate::graph::step::Step;
use crate::graph::{Graph, GraphError, Passes, Precision};
use crate::kernels::{self, Choices};
use crate::model::{Input, Network, NetworkSpec, initial_values, names};
use crate::rng::{Purpose, Stream};
use crate::train;
use clock::{median, quantile, runs_for};
use work::Work;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Forward, backward and the update of all parameters.
    Train,
    /// Logits, with running statistics.
    Infer,
}

impl Task {
    /// The graph of a step on a batch of images in single precision.
    ///
    /// # Errors
    /// If the network cannot take such a batch.
    pub fn graph(
        self,
        network: &Network,
        batch: usize,
        passes: Passes,
    ) -> Result<Graph, GraphError> {
        match self {
            Task::Train => {
                train::step_graph(network, batch, &Input::Tensor, train::Mode::Train, passes)
            }
            Task::Infer => network.prediction_graph(batch, &Input::Tensor, passes),
        }
    }
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Workload<'a> {
    /// The network, with the initial weights of training.
    pub network: &'a Network,
    /// Batch size.
    pub batch: usize,
    /// What a step does.
    pub task: Task,
    /// The passes over the graph.
    pub passes: Passes,
    /// Seconds to measure steps, and time limit of the warm-up.
    pub seconds: f64,
}

impl Workload<'_> {
    /// The graph of a step.
    ///
    /// # Errors
    /// If the network cannot take such a batch.
    pub fn graph(&self) -> Result<Graph, GraphError> {
        self.task.graph(self.network, self.batch, self.passes)
    }
}

/// The results of a benchmark.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The network.
    pub network: NetworkSpec,
    /// What a step did.
    #[serde(rename = "mode")]
    pub task: Task,
    /// Storage precision of activations.
    pub precision: Precision,
    /// Batch size.
    pub batch_size: usize,
    /// Name of the adapter, the CPU or the reference.
    pub adapter: String,
    /// Name and version of the adapter's driver; `None` for other devices.
    pub driver: Option<String>,
    /// Batch size / median step time.
    pub images_per_second: f64,
    /// Median step time in milliseconds.
    pub step_ms: f64,
    /// Minimum step time in milliseconds.
    pub step_ms_min: f64,
    /// First and third quartile of the step time in milliseconds.
    pub step_ms_quartiles: [f64; 2],
    /// Number of samples.
    pub samples: usize,
    /// Steps per sample, submitted together before waiting.
    pub steps_per_sample: u32,
    /// Whether the medians of two windows of samples agreed within 3 % before measuring; always
    /// true for the reference, which is not warmed up.
    pub settled: bool,
    /// Operations of a step without pad channels; a multiply-add counts as two.
    pub flops: u64,
    /// Memory traffic of a step in bytes: every binding of every dispatch, once; 0 for the
    /// reference.
    pub bytes: u64,
    /// Dispatches of a step, or nodes on the CPU; 0 for the reference.
    pub dispatches: usize,
    /// Bytes of all buffers on the device.
    pub memory_bytes: u64,
    /// Operations of a step / median step time, 10⁹ per second.
    pub achieved_gflops: f64,
    /// [`Limits::peak_gflops`].
    pub peak_gflops: Option<f64>,
    /// Achieved / peak.
    pub fma_share: Option<f64>,
    /// Bandwidth of a copy over the largest working set, read and written, 10⁹ bytes per second.
    pub bandwidth_gb_s: Option<f64>,
    /// Both buffers of that copy together.
    pub bandwidth_working_set_bytes: Option<u64>,
    /// [`Limits::copies`].
    pub bandwidths: Vec<Bandwidth>,
    /// [`Limits::launch_us`].
    pub launch_us: Option<f64>,
    /// Roofline of the step in milliseconds: sum of the lower bounds of its dispatches.
    pub limit_ms: Option<f64>,
    /// [`Report::limit_ms`] / [`Report::step_ms`].
    pub limit_ratio: Option<f64>,
    /// The kernels in use, where there was a choice.
    pub choices: Choices,
    /// Time by kernel; on a GPU from timestamps around each dispatch, empty without them.
    pub kernels: Vec<KernelRow>,
    /// The fastest timed step, dispatch by dispatch.
    #[serde(skip)]
    pub timeline: Vec<Span>,
}

/// Runs the benchmark. `choose` selects the kernels of the graph; `say` receives progress messages.
///
/// On the reference, a step may take minutes: there is no warm-up, and a single sample if the time
/// is spent after it.
///
/// # Errors
/// If the device cannot run the network.
pub async fn measure(
    device: &Device,
    workload: &Workload<'_>,
    choose: impl FnOnce(&[Graph]) -> Result<Choices, EngineError>,
    say: &mut dyn FnMut(&str),
) -> Result<Report, EngineError> {
    let graphs = vec![workload.graph()?];
    // Before anything slow: this fails if the batch is too large.
    Engine::check(device, &graphs)?;
    let limits = match device {
        Device::Gpu(gpu) => {
            say("measuring the adapter's limits");
            Some(Limits::of_gpu(gpu)?)
        }
        Device::Cpu(cpu) => {
            say("measuring the processor's limits");
            Some(Limits::of_cpu(cpu)?)
        }
        Device::Reference => None,
    };
    say("choosing kernels and building the network");
    let choices = choose(&graphs)?;
    let work = work(&graphs[0], device, &choices)?;
    let mut engine = Engine::new(device, graphs, &choices)?;
    load(&mut engine, workload);
    let steps = Steps::measure(&mut engine, workload.seconds, say)?;
    let (kernels, timeline) = match &limits {
        Some(limits) => {
            say("timing each kernel");
            time_kernels(&mut engine, &work, limits).await?
        }
        None => Default::default(),
    };
    let memory_bytes = engine.bytes();
    let report = steps.report(workload, device, &work, limits.as_ref());
    Ok(Report {
        choices: engine.choices().clone(),
        memory_bytes,
        kernels,
        timeline,
        ..report
    })
}

/// The work of a step on a device.
fn work(graph: &Graph, device: &Device, choices: &Choices) -> Result<Work, EngineError> {
    Ok(match device {
        Device::Gpu(_) => {
            let lowered = kernels::lower(graph, &device.target(), choices)?;
            Work::of_program(&lowered.program)
        }
        Device::Cpu(_) | Device::Reference => Work::of_graph(graph),
    })
}

/// Writes random weights, images and labels.
fn load(engine: &mut Engine, workload: &Workload<'_>) {
    let Workload { network, batch, .. } = *workload;
    let weights = initial_values(network, 0).into_iter().collect();
    engine.write_tensors(network, TensorKind::Weights, &weights);
    let size = network.spec().image_size as usize;
    let mut stream = Stream::new(0, Purpose::Shapes, 0, 0);
    let images: Vec<f32> = (0..batch * size * size * 3)
        .map(|_| stream.normal() as f32)
        .collect();
    engine.write_values(engine.value(names::INPUT), &images);
    if workload.task == Task::Train {
        let classes = network.spec().classes;
        let labels: Vec<u32> = (0..batch).map(|_| stream.below(classes)).collect();
        engine.write(engine.value(names::LABELS), &labels);
        let weight = (1.0 / batch as f32).to_bits();
        let weights = vec![weight; batch];
        engine.write(engine.value(names::LOSS_WEIGHTS), &weights);
        // Training on noise diverges. With a learning rate of zero the weights stay in their
        // usual range, at the same cost.
        let step = Step {
            epoch: 1,
            momentum: 0.9,
            weight_decay: 1e-4,
            ..Step::default()
        };
        engine.write(engine.value(names::STEP), &step.to_words());
        if workload.passes.precision == Precision::F16 {
            let scale = engine.value(names::LOSS_SCALE);
            engine.write(scale, &LossScale::initial().to_words());
        }
    }
}

/// Step times.
struct Steps {
    /// Seconds per step, for each sample.
    samples: Vec<f64>,
    steps_per_sample: u32,
    settled: bool,
}

/// Samples per window; the warm-up ends when two windows agree.
const WINDOW: usize = 3;

/// Minimum and maximum number of samples.
const SAMPLES: [usize; 2] = [5, 1000];

impl Steps {
    fn measure(
        engine: &mut Engine,
        seconds: f64,
        say: &mut dyn FnMut(&str),
    ) -> Result<Steps, EngineError> {
        let slow = matches!(engine.device(), Device::Reference);
        let mut watch = |runs: u32| -> Result<f64, EngineError> {
            let start = Instant::now();
            for _ in 0..runs {
                engine.run(0)?;
            }
            engine.finish()?;
            Ok(start.elapsed().as_secs_f64() / f64::from(runs))
        };
        if slow {
            say("running steps on the reference; each may take minutes");
            let start = Instant::now();
            let mut samples = vec![watch(1)?];
            while samples.len() < SAMPLES[0] && start.elapsed().as_secs_f64() < seconds {
                samples.push(watch(1)?);
            }
            return Ok(Steps {
                samples,
                steps_per_sample: 1,
                settled: true,
            });
        }
        say("warming up");
        let start = Instant::now();
        let steps_per_sample = runs_for(0.02, &mut watch)?;
        let mut samples = Vec::new();
        while !settled(&samples) && start.elapsed().as_secs_f64() < seconds {
            samples.push(watch(steps_per_sample)?);
        }
        let settled = settled(&samples);
        say("measuring steps");
        let start = Instant::now();
        samples.clear();
        let [least, most] = SAMPLES;
        while samples.len() < least
            || samples.len() < most && start.elapsed().as_secs_f64() < seconds
        {
            samples.push(watch(steps_per_sample)?);
        }
        Ok(Steps {
            samples,
            steps_per_sample,
            settled,
        })
    }

    /// The report, without the fields that need the engine.
    fn report(
        &self,
        workload: &Workload<'_>,
        device: &Device,
        work: &Work,
        limits: Option<&Limits>,
    ) -> Report {
        let step = median(&self.samples);
        let achieved_gflops = 1e-9 * work.flops() as f64 / step;
        let on_device = limits.map(|_| work);
        let bound = limits.map(|limits| {
            let seconds = work.tasks.iter().map(|task| limits.least(task).0);
            seconds.sum::<f64>()
        });
        let description = device.description();
        Report {
            network: workload.network.spec().clone(),
            task: workload.task,
            precision: workload.passes.precision,
            batch_size: workload.batch,
            adapter: description.map_or_else(|| device.name(), |d| d.name.clone()),
            driver: description.map(|d| format!("{} {}", d.driver, d.driver_info)),
            images_per_second: workload.batch as f64 / step,
            step_ms: 1e3 * step,
            step_ms_min: 1e3 * quantile(&self.samples, 0.0),
            step_ms_quartiles: [0.25, 0.75].map(|share| 1e3 * quantile(&self.samples, share)),
            samples: self.samples.len(),
            steps_per_sample: self.steps_per_sample,
            settled: self.settled,
            flops: work.flops(),
            bytes: on_device.map_or(0, |work| work.tasks.iter().map(|task| task.bytes).sum()),
            dispatches: on_device.map_or(0, |work| work.tasks.len()),
            memory_bytes: 0,
            achieved_gflops,
            peak_gflops: limits.map(|l| l.peak_gflops),
            fma_share: limits.map(|l| achieved_gflops / l.peak_gflops),
            bandwidth_gb_s: limits.map(|l| l.bandwidth().gb_s),
            bandwidth_working_set_bytes: limits.map(|l| l.bandwidth().working_set_bytes),
            bandwidths: limits.map_or_else(Vec::new, |l| l.copies.clone()),
            launch_us: limits.map(|l| l.launch_us),
            limit_ms: bound.map(|seconds| 1e3 * seconds),
            limit_ratio: bound.map(|seconds| seconds / step),
            choices: Choices::default(),
            kernels: Vec::new(),
            timeline: Vec::new(),
        }
    }
}

/// Whether the medians of the last two windows agree within 3 %.
fn settled(samples: &[f64]) -> bool {
    let Some(start) = samples.len().checked_sub(2 * WINDOW) else {
        return false;
    };
    let (before, now) = samples[start..].split_at(WINDOW);
    let (before, now) = (median(before), median(now));
    (before - now).abs() <= 0.03 * before
}

/// Number of timings of each dispatch, of which the fastest counts.
const TIMINGS: usize = 5;

/// Times every dispatch a few times: returns the table of kernels, from the fastest time of each
/// dispatch, and the fastest step. Both are empty if the device has no timestamps.
async fn time_kernels(
    engine: &mut Engine,
    work: &Work,
    limits: &Limits,
) -> Result<(Vec<KernelRow>, Vec<Span>), EngineError> {
    let mut timings = Vec::new();
    for _ in 0..TIMINGS {
        match engine.time(0).await? {
            Some(timing) => timings.push(timing),
            None => return Ok(Default::default()),
        }
    }
    let seconds = kernel_table::fastest(&timings);
    let rows = kernel_table::rows(work, &seconds, limits);
    let length = |times: &[KernelTime]| -> f64 { times.iter().map(|time| time.seconds).sum() };
    let fastest = timings
        .iter()
        .min_by(|a, b| length(a).total_cmp(&length(b)));
    let timeline = fastest.map(|times| trace::spans(work, times, limits));
    Ok((rows, timeline.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_ends_when_two_windows_agree() {
        assert!(!settled(&[1.0; 5]));
        assert!(settled(&[9.0, 1.0, 1.0, 1.0, 1.02, 1.02, 1.02]));
        assert!(!settled(&[1.0, 1.0, 1.0, 1.04, 1.04, 1.04]));
    }
}
