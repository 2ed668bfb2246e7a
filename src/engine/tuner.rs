//! The tuner: measures, on the adapter itself, which kernel computes a node fastest, and
//! remembers it.
//!
//! No table made elsewhere knows an adapter, so every node that several kernels can compute
//! is run alone, on random numbers, by each of the few that may be the fastest
//! ([`crate::kernels::Offer`]). A kernel whose results differ from the default's is struck
//! out: drivers have faults. What does not fit the time that tuning may take keeps its
//! default.
//!
//! What is remembered goes by adapter, driver and text of the kernels, and within by node: a
//! driver or a kernel that changes is measured again. Where it is kept is the caller's
//! affair.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::kernel_check::{KernelCheck, agree};
use super::{Device, EngineError};
use crate::gpu::{Gpu, GpuError, LoadedPrograms};
use crate::graph::{Graph, Node, ValueId};
use crate::kernels::{self, Choices, Offer, Target};

/// How kernels are chosen where no choice was given.
#[derive(Clone, Debug, Default)]
pub struct Tuner {
    /// What was measured before.
    pub memory: TuningCache,
    /// Whether to measure what is not remembered.
    pub measure: bool,
}

/// Choices by adapter, driver and kernels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TuningCache(BTreeMap<String, Choices>);

/// What a [`Tuner`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuned {
    /// What was given, and what was found.
    pub choices: Choices,
    /// Nodes that were measured.
    pub measured: usize,
    /// Nodes for which time was up.
    pub skipped: usize,
    /// Seconds that measuring took.
    pub seconds: f64,
}

/// Seconds that tuning may take: on hardware, and on software adapters, which compile slowly.
const SECONDS: [f64; 2] = [3.0, 10.0];

/// Seconds of a sample, and samples of which the fastest counts.
const SAMPLE: f64 = 0.002;
const SAMPLES: usize = 3;

/// A kernel whose first run takes this much longer than the best is dropped.
const DROP: f64 = 1.5;

impl Tuner {
    /// Adds to some choices those for all nodes of the graphs that they do not cover, as far
    /// as they are to be lowered for a target: the device's own, but for tests.
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

/// What measurements are valid for.
fn identity(gpu: &Gpu) -> String {
    let d = &gpu.description;
    format!(
        "{}, {}, {} {}, kernels {:016x}",
        d.name,
        d.backend,
        d.driver,
        d.driver_info,
        kernels::fingerprint()
    )
}

/// The fastest kernel of an offer.
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
            // A kernel that the driver rejects is no reason to give up.
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

/// What the result of a node alone is called.
const RESULT: &str = "result";

/// A graph of one node, with everything from outside.
fn alone(graph: &Graph, node: &Node) -> Graph {
    let mut alone = Graph::new();
    let operand = |(number, id): (usize, &ValueId)| {
        alone.external(&format!("operand {number}"), graph.shape(*id).clone())
    };
    let inputs: Vec<ValueId> = node.inputs.iter().enumerate().map(operand).collect();
    let outputs = alone.push(node.op.clone(), &inputs, RESULT);
    let outputs = outputs.expect("the node is legal in its own graph");
    for (own, original) in outputs.iter().zip(&node.outputs) {
        // Inferred shapes do not know of halves.
        alone.values[own.0].shape = graph.shape(*original).clone();
    }
    alone.output(outputs[0], RESULT);
    alone
}

/// Seconds of a run, the fastest of a few samples, or of the first if it exceeds the limit.
fn time(gpu: &Gpu, loaded: &LoadedPrograms, limit: f64) -> Result<f64, EngineError> {
    let watch = |runs: usize| -> Result<f64, EngineError> {
        let start = Instant::now();
        for _ in 0..runs {
            loaded.run(gpu, 0)?;
        }
        gpu.finish()?;
        Ok(start.elapsed().as_secs_f64() / runs as f64)
    };
    // The first run compiles what drivers left for later.
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
