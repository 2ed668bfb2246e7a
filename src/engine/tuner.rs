//! The tuner: measures on the adapter which kernel computes a node fastest, and caches the
//! result.
//!
//! A built-in table cannot cover every adapter. Each node with several candidates
//! ([`crate::kernels::Offer`]) is therefore run alone, on random operands, with each of them. A
//! candidate whose results differ from those of the first is dropped, because drivers have bugs.
//! Nodes that exceed the time limit of tuning keep their default.
//!
//! The cache is keyed by adapter, driver and kernel sources, then by node, so a change of driver
//! or kernels triggers a new measurement. The caller stores the cache.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::kernel_check::{KernelCheck, agree};
use super::{Device, EngineError};
use crate::gpu::{Gpu, GpuError, LoadedPrograms};
use crate::graph::{Graph, Node, ValueId};
use crate::kernels::{self, Choices, Offer, Target};

/// Completes a table of kernel choices.
#[derive(Clone, Debug, Default)]
pub struct Tuner {
    /// Earlier measurements.
    pub memory: TuningCache,
    /// Whether to measure nodes that are not cached.
    pub measure: bool,
}

/// Measured choices, by adapter, driver and kernel sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TuningCache(BTreeMap<String, Choices>);

/// The result of [`Tuner::complete`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuned {
    /// The given choices, completed with cached and measured ones.
    pub choices: Choices,
    /// Number of nodes that were measured.
    pub measured: usize,
    /// Number of nodes skipped after the time limit.
    pub skipped: usize,
    /// Duration of the call in seconds.
    pub seconds: f64,
}

/// Time limit of tuning in seconds: on hardware, and on software adapters, which compile slowly.
const SECONDS: [f64; 2] = [3.0, 10.0];

/// Length of a sample in seconds, and number of samples, of which the fastest counts.
const SAMPLE: f64 = 0.002;
const SAMPLES: usize = 3;

/// A candidate is not sampled further if its first timed run takes this many times the best time.
const DROP: f64 = 1.5;

impl Tuner {
    /// Adds choices for the nodes of `graphs` that `choices` does not cover. The graphs are lowered
    /// for `target`, which is the device's own except in tests. Other devices than GPUs have no
    /// choices.
    ///
    /// # Errors
    /// If the device fails, or a graph cannot be lowered.
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
        let known = self.memory.0.entry(identity(gpu)).or_default();
        let start = Instant::now();
        let limit = SECONDS[usize::from(gpu.description.software())];
        for graph in graphs {
            for offer in kernels::lower(graph, target, &tuned.choices)?.offers {
                if tuned.choices.get(&offer.key).is_some() {
                    continue;
                }
                let remembered = known.get(&offer.key);
                let remembered = remembered.filter(|name| offer.candidates.contains(name));
                if let Some(name) = remembered {
                    tuned.choices.set(offer.key, name);
                } else if self.measure && offer.candidates.len() > 1 {
                    if start.elapsed().as_secs_f64() > limit {
                        tuned.skipped += 1;
                        continue;
                    }
                    let fastest = fastest(gpu, target, graph, &offer).await?;
                    known.set(offer.key.clone(), fastest);
                    tuned.choices.set(offer.key, fastest);
                    tuned.measured += 1;
                }
            }
        }
        tuned.seconds = start.elapsed().as_secs_f64();
        Ok(tuned)
    }
}

/// The cache key: what measurements are valid for.
fn identity(gpu: &Gpu) -> String {
    let d = &gpu.description;
    let matrices = match gpu.matrices.is_empty() {
        true => "",
        false => ", matrix units",
    };
    format!(
        "{}, {}, {} {}, kernels {:016x}{matrices}",
        d.name,
        d.backend,
        d.driver,
        d.driver_info,
        kernels::fingerprint()
    )
}

/// The fastest candidate of an offer.
async fn fastest(
    gpu: &Gpu,
    target: &Target,
    graph: &Graph,
    offer: &Offer,
) -> Result<&'static str, EngineError> {
    let alone = alone(graph, &graph.nodes[offer.node]);
    let mut best: Option<(f64, &'static str)> = None;
    let mut expected: Option<Vec<f64>> = None;
    for name in &offer.candidates {
        let mut choices = Choices::default();
        choices.set(offer.key.clone(), name);
        let check = match KernelCheck::new(gpu, target, &alone, &choices) {
            // A rejected kernel only loses its candidacy.
            Err(EngineError::Gpu(GpuError::Rejected(_))) => {
                gpu.forget_rejection();
                continue;
            }
            check => check?,
        };
        let limit = best.map_or(f64::INFINITY, |(seconds, _)| DROP * seconds);
        let seconds = time(gpu, &check.loaded, limit)?;
        let found = check.read(RESULT).await?;
        match &expected {
            Some(expected) if !agree(&alone, expected, &found) => continue,
            Some(_) => {}
            None => expected = Some(found),
        }
        if best.is_none_or(|(least, _)| seconds < least) {
            best = Some((seconds, name));
        }
    }
    Ok(best.map_or(offer.candidates[0], |(_, name)| name))
}

/// Name of the result in the graph of [`alone`].
const RESULT: &str = "result";

/// A graph of one node, whose operands are external.
fn alone(graph: &Graph, node: &Node) -> Graph {
    let mut alone = Graph::new();
    let operand = |(number, id): (usize, &ValueId)| {
        alone.external(&format!("operand {number}"), graph.shape(*id).clone())
    };
    let inputs: Vec<ValueId> = node.inputs.iter().enumerate().map(operand).collect();
    let outputs = alone.push(node.op.clone(), &inputs, RESULT);
    let outputs = outputs.expect("the node is valid in its own graph");
    for (own, original) in outputs.iter().zip(&node.outputs) {
        // Inferred shapes have f32 storage even where the original has f16.
        alone.values[own.0].shape = graph.shape(*original).clone();
    }
    alone.output(outputs[0], RESULT);
    alone
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
