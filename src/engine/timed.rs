//! The candidates of some nodes on an adapter, loaded together, timed and compared with each other.
//!
//! Buffers of the same name are shared, so all nodes together need hardly more memory than the
//! largest. Results stay on the device: a kernel adds up their differences.

use half::f16;

use super::EngineError;
use super::kernel_check::{external, is_within, numbers, tolerance};
use super::sampling::seconds_per_run;
use super::trial::Trial;
use crate::gpu::{BufferRange, Gpu, GpuError, LoadedPrograms};
use crate::kernels::probe::{DIFFERENCE_SUMS, difference};
use crate::program::Program;
use crate::shape::{DType, Shape};

/// Before the names of the first candidate's results, which the others' are compared with.
const FIRST: &str = "first ";

/// The buffer of the differences.
const SUMS: &str = "differences";

/// The candidates of some trials.
pub(super) struct Timed {
    loaded: LoadedPrograms,
    /// Seconds of an empty submission.
    latency: f64,
    /// For each trial, its first program; the last is that which compares results.
    first_program: Vec<usize>,
    /// Of each program.
    dispatches: Vec<usize>,
}

impl Timed {
    /// Loads the candidates of some trials.
    ///
    /// # Errors
    /// If the device has not the memory, fails, or rejects a kernel.
    pub(super) fn new(gpu: &Gpu, trials: &[Trial]) -> Result<Timed, GpuError> {
        let mut programs: Vec<Program> = Vec::new();
        let mut first_program = Vec::new();
        for trial in trials {
            first_program.push(programs.len());
            let own = trial.candidates.iter().enumerate();
            programs.extend(own.map(|(number, candidate)| match number {
                0 => renamed(&candidate.program, &trial.alone.new_results()),
                _ => candidate.program.clone(),
            }));
            programs.push(comparison(trial));
        }
        let dispatches = programs.iter().map(|p| p.dispatches.len()).collect();
        let programs: Vec<&Program> = programs.iter().collect();
        let loaded = LoadedPrograms::new(gpu, &programs)?;
        let mut latency = f64::INFINITY;
        for _ in 0..3 {
            latency = latency.min(loaded.seconds(gpu, 0, 0)?);
        }
        Ok(Timed {
            loaded,
            latency,
            first_program,
            dispatches,
        })
    }

    /// Fills the operands of a trial with random numbers, for the runs that follow.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn fill(&self, gpu: &Gpu, trial: &Trial) -> Result<(), GpuError> {
        for value in external(&trial.alone.graph) {
            let range = BufferRange {
                buffer: self.loaded.buffer(&value.name),
                offset: 0,
                bytes: value.shape.bytes(),
            };
            self.loaded.fill(gpu, range, &pattern(&value.shape))?;
        }
        Ok(())
    }

    /// Seconds per run of a candidate; roughly, if it takes much longer than `best`.
    ///
    /// # Errors
    /// If the device fails, or rejects the kernel.
    pub(super) fn seconds(
        &self,
        gpu: &Gpu,
        trial: usize,
        candidate: usize,
        best: f64,
    ) -> Result<f64, GpuError> {
        let program = self.first_program[trial] + candidate;
        let dispatches = self.dispatches[program];
        let watch = |runs| self.loaded.seconds(gpu, program, runs);
        seconds_per_run(dispatches, self.latency, best, watch)
    }

    /// Whether the candidate that has run last has the results of the first one.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) async fn agrees_with_first(
        &self,
        gpu: &Gpu,
        number: usize,
        trial: &Trial,
    ) -> Result<bool, EngineError> {
        let program = self.first_program[number] + trial.candidates.len();
        self.loaded.run(gpu, program)?;
        let results = trial.alone.new_results().len();
        let range = BufferRange {
            buffer: self.loaded.buffer(SUMS),
            offset: 0,
            bytes: (8 * DIFFERENCE_SUMS * results) as u64,
        };
        let read = self.loaded.read(gpu, &[range]).await?;
        let sums: Vec<[f32; 2]> = bytemuck::pod_collect_to_vec(&read[0]);
        let total = |sums: &[[f32; 2]], at: usize| sums.iter().map(|s| f64::from(s[at])).sum();
        let limit = tolerance(&trial.alone.graph);
        let agree = |sums| is_within(limit, [0, 1].map(|at| total(sums, at)));
        Ok(sums.chunks(DIFFERENCE_SUMS).all(agree))
    }
}

/// Contents of memory that an operand repeats; they fill the padding of channels too.
fn pattern(shape: &Shape) -> Vec<u8> {
    let numbers = numbers(shape);
    match shape.dtype {
        DType::F16 => {
            let halves: Vec<u16> = numbers.map(|n| f16::from_f32(n).to_bits()).collect();
            bytemuck::cast_slice(&halves).to_vec()
        }
        DType::F32 | DType::U32 => {
            let numbers: Vec<f32> = numbers.collect();
            bytemuck::cast_slice(&numbers).to_vec()
        }
    }
}

/// The program that compares the results of a trial's candidates with the first one's.
fn comparison(trial: &Trial) -> Program {
    let graph = &trial.alone.graph;
    let names = trial.alone.new_results();
    let firsts: Vec<String> = names.iter().map(|name| format!("{FIRST}{name}")).collect();
    let pairs = firsts.iter().zip(&names);
    let pairs: Vec<_> = pairs
        .map(|(first, name)| {
            let id = graph.find(name).expect("the graph has its results");
            (first.as_str(), name.as_str(), graph.shape(id))
        })
        .collect();
    difference(&pairs, SUMS)
}

/// The program with other names for the buffers of its results.
fn renamed(program: &Program, results: &[String]) -> Program {
    let mut program = program.clone();
    for buffer in &mut program.buffers {
        if results.contains(&buffer.name) {
            buffer.name.insert_str(0, FIRST);
        }
    }
    program
}
