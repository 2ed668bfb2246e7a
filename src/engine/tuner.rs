//! The tuner: measures on the adapter which kernel computes a node fastest, checks the kernels,
//! and caches the result.
//!
//! A built-in table cannot cover every adapter. Each node with several candidates
//! ([`crate::kernels::Offer`]) is therefore run alone, on random operands, with each of them.
//!
//! Drivers have bugs, so no kernel is trusted. A candidate whose results differ from those of the
//! CPU device is excluded from then on, as is one that the driver rejects. Before an adapter is
//! used with a precision for the first time, the chosen kernels also run a golden network
//! ([`Golden`]); one that fails there is excluded, and others are chosen.
//! Nodes that exceed the time limit of tuning keep their default.

use std::time::Instant;

use super::alone::Alone;
use super::golden::{Fault, Golden};
use super::kernel_check::{KernelCheck, Words, agree, operands, words};
use super::on_cpu::on_cpu;
use super::tuning_cache::{Known, TuningCache};
use super::{Device, EngineError};
use crate::gpu::{Gpu, GpuError, LoadedPrograms};
use crate::graph::{Graph, Precision, Tensor, precision};
use crate::kernels::{self, Choices, Offer, Target};

/// Completes a table of kernel choices.
#[derive(Clone, Debug, Default)]
pub struct Tuner {
    /// Earlier measurements and checks.
    pub memory: TuningCache,
    /// Whether to measure nodes that are not cached, and to check adapters that are not.
    pub measure: bool,
    /// Builds the golden network in a precision, if adapters are to be checked.
    pub golden: Option<fn(Precision) -> Golden>,
}

/// The result of [`Tuner::complete`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuned {
    /// The given choices, completed with cached and measured ones.
    pub choices: Choices,
    /// Number of nodes that were measured.
    pub measured: usize,
    /// Number of nodes that remain to be measured.
    pub skipped: usize,
    /// Duration of measuring in seconds.
    pub seconds: f64,
    /// Duration of the check with the golden network in seconds, if there was one.
    pub check_seconds: Option<f64>,
    /// Kernels that this call has excluded ([`kernels::kernel_name`]), with the reasons.
    pub excluded: Vec<(String, String)>,
}

/// Time limit of tuning in seconds: on hardware, and on software adapters, which compile slowly.
const SECONDS: [f64; 2] = [3.0, 10.0];

/// Length of a sample in seconds, and number of samples, of which the fastest counts.
const SAMPLE: f64 = 0.002;
const SAMPLES: usize = 3;

/// A candidate is not sampled further if its first timed run takes this many times the best time.
const DROP: f64 = 1.5;

/// The reason for which a kernel with wrong results is excluded.
const WRONG: &str = "it computes wrong values";

impl Tuner {
    /// Adds choices for the nodes of `graphs` that `choices` does not cover. The graphs are lowered
    /// for `target`, which is the device's own except in tests. Other devices than GPUs have no
    /// choices.
    ///
    /// # Errors
    /// If the device fails, a graph cannot be lowered, or an operator has no kernel that computes
    /// correct values on the adapter.
    pub async fn complete(
        &mut self,
        device: &Device,
        target: &Target,
        graphs: &[Graph],
        choices: &Choices,
    ) -> Result<Tuned, EngineError> {
        let mut tuned = Tuned {
            choices: choices.clone(),
            ..Tuned::default()
        };
        let Device::Gpu(gpu) = device else {
            return Ok(tuned);
        };
        let mut tuning = Tuning {
            gpu,
            cpu: Device::cpu(),
            target,
            known: self.memory.of(gpu),
            given: choices,
            start: Instant::now(),
        };
        let half = graphs.iter().any(precision::is_half);
        let precision = if half { Precision::F16 } else { Precision::F32 };
        let is_due = self.measure && !tuning.known.is_checked(precision);
        let golden = self.golden.filter(|_| is_due);
        let golden = golden.map(|build| build(precision));
        loop {
            // An excluded kernel may have been chosen for nodes before.
            while !tuning.choose(graphs, self.measure, &mut tuned).await? {}
            tuned.seconds = tuning.start.elapsed().as_secs_f64();
            let Some(golden) = &golden else {
                return Ok(tuned);
            };
            let used = tuning.compile(graphs, &tuned.choices)?;
            let start = Instant::now();
            let allowed = |key: &str, variant: &str| tuning.known.allows(key, variant);
            let devices = (tuning.gpu, &tuning.cpu);
            let fault = golden.fault(devices, target, &used, allowed).await?;
            let before = tuned.check_seconds.unwrap_or(0.0);
            tuned.check_seconds = Some(before + start.elapsed().as_secs_f64());
            match fault {
                None => {
                    tuning.known.checked.insert(precision.to_string());
                    return Ok(tuned);
                }
                Some(Fault { kernel, has_others }) if has_others && !tuning.is_given(&kernel) => {
                    tuning.exclude(&kernel, WRONG, &mut tuned);
                }
                Some(Fault { kernel, .. }) => return Err(tuning.faulty(kernel)),
            }
        }
    }
}

/// A call of [`Tuner::complete`].
struct Tuning<'a> {
    gpu: &'a Gpu,
    cpu: Device,
    target: &'a Target,
    known: &'a mut Known,
    /// The choices of the caller, which stay.
    given: &'a Choices,
    start: Instant,
}

impl Tuning<'_> {
    /// Chooses kernels for the nodes without a choice. Returns whether all choices stand: no kernel
    /// was excluded.
    async fn choose(
        &mut self,
        graphs: &[Graph],
        measure: bool,
        tuned: &mut Tuned,
    ) -> Result<bool, EngineError> {
        let limit = SECONDS[usize::from(self.gpu.description.software())];
        let before = tuned.excluded.len();
        tuned.skipped = 0;
        for graph in graphs {
            for offer in kernels::lower(graph, self.target, &tuned.choices)?.offers {
                if tuned.choices.get(&offer.key).is_some() {
                    continue;
                }
                let allowed = |name: &&&'static str| self.known.allows(&offer.key, name);
                let Some(first) = offer.legal.iter().find(allowed).copied() else {
                    let kernel = kernels::kernel_name(&offer.key, "with every method");
                    return Err(self.faulty(kernel));
                };
                let candidates = offer.candidates().iter();
                let candidates: Vec<&str> = candidates.filter(allowed).copied().collect();
                let remembered = self.known.choices.get(&offer.key);
                let remembered = remembered.and_then(|n| candidates.iter().find(|c| **c == n));
                if let Some(name) = remembered {
                    tuned.choices.set(offer.key, name);
                } else if measure && candidates.len() > 1 {
                    let has_time = self.start.elapsed().as_secs_f64() <= limit;
                    let measured = match has_time {
                        true => self.measure(graph, &offer, &candidates, tuned).await?,
                        false => None,
                    };
                    match measured {
                        Some(fastest) => {
                            self.known.choices.set(offer.key.clone(), fastest);
                            tuned.choices.set(offer.key, fastest);
                            tuned.measured += 1;
                        }
                        None => tuned.skipped += 1,
                    }
                } else if first != offer.legal[0] {
                    tuned.choices.set(offer.key, first);
                }
            }
        }
        Ok(tuned.excluded.len() == before)
    }

    /// The fastest candidate of an offer; those that fail are excluded. `None` if all do, or the
    /// processor has not the memory to check them.
    async fn measure(
        &mut self,
        graph: &Graph,
        offer: &Offer,
        candidates: &[&'static str],
        tuned: &mut Tuned,
    ) -> Result<Option<&'static str>, EngineError> {
        let alone = Alone::new(graph, offer.node);
        let store = operands(&alone.graph);
        // Values that are updated in place change with every run.
        let is_read = |id| alone.operands.iter().any(|(_, operand)| *operand == id);
        let results = alone.results.iter().filter(|(_, id, _)| !is_read(*id));
        let names: Vec<String> = results.map(|(name, ..)| name.clone()).collect();
        let expected = match on_cpu(&self.cpu, &alone.graph, &store, &names).await {
            Err(EngineError::Memory(_)) => return Ok(None),
            expected => expected?,
        };
        let sample = Sample {
            alone,
            operands: words(&store),
            names,
            expected,
        };
        drop(store);
        let mut best: Option<(f64, &'static str)> = None;
        for name in candidates {
            let mut choices = Choices::default();
            choices.set(offer.key.clone(), name);
            let limit = best.map_or(f64::INFINITY, |(seconds, _)| DROP * seconds);
            match sample.time(self.gpu, self.target, &choices, limit).await {
                Ok(Some(seconds)) if best.is_none_or(|(least, _)| seconds < least) => {
                    best = Some((seconds, name));
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    let kernel = kernels::kernel_name(&offer.key, name);
                    self.exclude(&kernel, WRONG, tuned);
                }
                Err(EngineError::Gpu(GpuError::Rejected(reason))) => {
                    self.gpu.forget_rejection();
                    let kernel = kernels::kernel_name(&offer.key, name);
                    let reason = reason.lines().next().unwrap_or_default();
                    let reason = format!("the driver rejects it: {reason}");
                    self.exclude(&kernel, &reason, tuned);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(best.map(|(_, name)| name))
    }

    /// Compiles what the graphs need, which their engine shares, and returns the kernels that they
    /// use where there is a choice.
    fn compile(&self, graphs: &[Graph], choices: &Choices) -> Result<Choices, EngineError> {
        let mut used = Choices::default();
        let mut all = Vec::new();
        for graph in graphs {
            let lowered = kernels::lower(graph, self.target, choices)?;
            used.extend(&lowered.choices);
            all.extend(lowered.program.kernels);
        }
        self.gpu.compile(&all.iter().collect::<Vec<_>>())?;
        Ok(used)
    }

    /// Excludes a kernel from now on, and forgets the choices of it that are not given.
    fn exclude(&mut self, kernel: &str, reason: &str, tuned: &mut Tuned) {
        self.known.exclude(kernel, reason);
        tuned.choices.remove_kernel(kernel);
        tuned.choices.extend(self.given);
        tuned.excluded.push((kernel.to_owned(), reason.to_owned()));
    }

    /// Whether the caller has chosen a kernel.
    fn is_given(&self, kernel: &str) -> bool {
        let mut given = self.given.iter();
        given.any(|(key, variant)| kernels::kernel_name(key, variant) == kernel)
    }

    fn faulty(&self, kernel: String) -> EngineError {
        EngineError::Faulty {
            kernel,
            adapter: self.gpu.description.name.clone(),
        }
    }
}

/// A node with its operands and its results on the CPU device.
struct Sample {
    alone: Alone,
    operands: Words,
    names: Vec<String>,
    expected: Vec<Tensor>,
}

impl Sample {
    /// Seconds per run with some choices; `None` if the results are wrong.
    ///
    /// # Errors
    /// If the device fails, or rejects a kernel.
    async fn time(
        &self,
        gpu: &Gpu,
        target: &Target,
        choices: &Choices,
        limit: f64,
    ) -> Result<Option<f64>, EngineError> {
        let graph = &self.alone.graph;
        let check = KernelCheck::new(gpu, target, graph, choices, &self.operands)?;
        let seconds = time(gpu, &check.loaded, limit)?;
        for (name, expected) in self.names.iter().zip(&self.expected) {
            let found = check.read(name).await?;
            if !agree(graph, expected.values(), found.values()) {
                return Ok(None);
            }
        }
        Ok(Some(seconds))
    }
}

/// Seconds per run: the fastest of a few samples, or the first run if it exceeds `limit`.
fn time(gpu: &Gpu, loaded: &LoadedPrograms, limit: f64) -> Result<f64, EngineError> {
    let watch = |runs: usize| -> Result<f64, EngineError> {
        let start = Instant::now();
        for _ in 0..runs {
            loaded.run(gpu, 0)?;
        }
        gpu.finish()?;
        Ok(start.elapsed().as_secs_f64() / runs as f64)
    };
    // Not counted: the first run may include compilation by the driver.
    watch(1)?;
    let first = watch(1)?;
    if first > limit {
        return Ok(first);
    }
    let runs = (SAMPLE / first.max(1e-6)).ceil() as usize;
    let mut least = first;
    for _ in 0..SAMPLES {
        least = least.min(watch(runs)?);
    }
    Ok(least)
}
