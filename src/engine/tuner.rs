//! The tuner: measures on the adapter which kernel computes a node fastest, checks the kernels,
//! and caches the result.
//!
//! A built-in table cannot cover every adapter. Nodes with several candidates
//! ([`crate::kernels::Offer`]) are therefore grouped into classes of shape
//! ([`crate::kernels::ShapeClass`]), and of each class one node is run alone, on random operands,
//! with each of them ([`super::measure`]). Classes with most of the step's operations come first.
//! Nodes of classes that exceed the time limit of tuning take the choice for the nearest class that
//! was measured, if it is near, or keep their default.
//!
//! Drivers have bugs, so no kernel is trusted. A kernel that is chosen by measuring has been
//! compared with the CPU device; one whose results differ is excluded from then on, as is one that
//! the driver rejects. Before an adapter is used with a precision for the first time, the chosen
//! kernels also run a golden network ([`Golden`]); one that fails there is excluded, and others are
//! chosen.

use std::collections::BTreeSet;
use std::time::Instant;

use super::golden::{Fault, Golden};
use super::layer::{Layer, classes, layers, nearest};
use super::measure::{Measure, WRONG, faulty};
use super::tuning_cache::TuningCache;
use super::{Device, EngineError};
use crate::graph::{Graph, Precision, precision};
use crate::kernels::{self, Choices, Target};

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
    /// Number of classes of shape that were measured.
    pub classes: usize,
    /// Number of layers (keys in the table of choices) in these classes.
    pub measured: usize,
    /// Number of layers that remain to be measured.
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
        let Device::Gpu(gpu) = device else {
            return Ok(Tuned {
                choices: choices.clone(),
                ..Tuned::default()
            });
        };
        let limit = SECONDS[usize::from(gpu.description.software())];
        let start = Instant::now();
        let mut tuning = Tuning {
            measure: Measure {
                gpu,
                cpu: Device::cpu(),
                target,
                known: self.memory.of(gpu),
                measured: BTreeSet::new(),
                excluded: Vec::new(),
                start,
                limit,
            },
            given: choices,
            layers: layers(graphs, target, choices)?,
        };
        let half = graphs.iter().any(precision::is_half);
        let precision = if half { Precision::F16 } else { Precision::F32 };
        let is_due = self.measure && !tuning.measure.known.is_checked(precision);
        let golden = self.golden.filter(|_| is_due);
        let golden = golden.map(|build| build(precision));
        let mut check_seconds = None;
        loop {
            let mut tuned = tuning.choose(self.measure).await?;
            tuned.seconds = start.elapsed().as_secs_f64() - check_seconds.unwrap_or(0.0);
            tuned.check_seconds = check_seconds;
            let Some(golden) = &golden else {
                return Ok(tuned);
            };
            let used = tuning.compile(graphs, &tuned.choices)?;
            let check = Instant::now();
            let known = &tuning.measure.known;
            let allowed = |key: &str, variant: &str| known.allows(key, variant);
            let devices = (&**gpu, &tuning.measure.cpu);
            let fault = golden.fault(devices, target, &used, allowed).await?;
            let before = check_seconds.unwrap_or(0.0);
            check_seconds = Some(before + check.elapsed().as_secs_f64());
            match fault {
                None => {
                    tuning.measure.known.checked.insert(precision.to_string());
                    tuned.check_seconds = check_seconds;
                    return Ok(tuned);
                }
                Some(Fault { kernel, has_others }) if has_others && !tuning.is_given(&kernel) => {
                    tuning.measure.exclude(&kernel, WRONG);
                }
                Some(Fault { kernel, .. }) => return Err(faulty(gpu, kernel)),
            }
        }
    }
}

/// A call of [`Tuner::complete`].
struct Tuning<'a> {
    measure: Measure<'a>,
    /// The choices of the caller, which stay.
    given: &'a Choices,
    /// The nodes without one.
    layers: Vec<Layer<'a>>,
}

impl Tuning<'_> {
    /// Chooses kernels for all layers; first measures classes without a choice if `measure`.
    async fn choose(&mut self, measure: bool) -> Result<Tuned, EngineError> {
        loop {
            let excluded = self.measure.excluded.len();
            if measure {
                self.measure.all(&classes(&self.layers)).await?;
            }
            let mut tuned = self.assign(measure)?;
            if measure {
                self.compare(&mut tuned).await?;
            }
            // An excluded kernel may have been chosen before.
            if self.measure.excluded.len() == excluded {
                tuned.classes = self.measure.measured.len();
                tuned.excluded.clone_from(&self.measure.excluded);
                return Ok(tuned);
            }
        }
    }

    /// Choices for all layers from what is known of their classes.
    fn assign(&self, measure: bool) -> Result<Tuned, EngineError> {
        let known = &self.measure.known;
        let choice = |layer: &Layer<'_>| known.classes.get(&layer.offer.class.to_string());
        let chosen = self.layers.iter();
        let chosen = chosen.filter_map(|layer| Some((&layer.offer.class, choice(layer)?)));
        let chosen: Vec<_> = chosen.collect();
        let mut tuned = Tuned {
            choices: self.given.clone(),
            ..Tuned::default()
        };
        for layer in &self.layers {
            let offer = &layer.offer;
            let suits = |name: &str| offer.legal.contains(&name) && known.allows(&offer.key, name);
            let Some(first) = offer.legal.iter().copied().find(|name| suits(name)) else {
                let kernel = kernels::kernel_name(&offer.key, "with every method");
                return Err(faulty(self.measure.gpu, kernel));
            };
            let own = choice(layer).filter(|name| suits(name));
            if own.is_some() {
                let class = offer.class.to_string();
                tuned.measured += usize::from(self.measure.measured.contains(&class));
            } else if measure && self.measure.candidates(offer).len() > 1 {
                tuned.skipped += 1;
            }
            let default = (first != offer.legal[0]).then_some(first);
            let name = own
                .or_else(|| nearest(&offer.class, &chosen, suits))
                .or(default);
            if let Some(name) = name {
                tuned.choices.set(offer.key.clone(), name);
            }
        }
        Ok(tuned)
    }

    /// Compares the chosen kernels that have not been compared: a few depend on more than the class.
    async fn compare(&mut self, tuned: &mut Tuned) -> Result<(), EngineError> {
        for layer in &self.layers {
            let offer = &layer.offer;
            let chosen = tuned.choices.get(&offer.key);
            let chosen = chosen.and_then(|name| offer.legal.iter().find(|legal| **legal == name));
            let Some(name) = chosen else { continue };
            if !self.measure.compare(layer, name).await? {
                // If the processor has not the memory for it.
                tuned.choices.set(offer.key.clone(), offer.legal[0]);
            }
        }
        Ok(())
    }

    /// Compiles what the graphs need, which their engine shares, and returns the kernels that they
    /// use where there is a choice.
    fn compile(&self, graphs: &[Graph], choices: &Choices) -> Result<Choices, EngineError> {
        let mut used = Choices::default();
        let mut all = Vec::new();
        for graph in graphs {
            let lowered = kernels::lower(graph, self.measure.target, choices)?;
            used.extend(&lowered.choices);
            all.extend(lowered.program.kernels);
        }
        self.measure.gpu.compile(&all.iter().collect::<Vec<_>>())?;
        Ok(used)
    }

    /// Whether the caller has chosen a kernel.
    fn is_given(&self, kernel: &str) -> bool {
        let mut given = self.given.iter();
        given.any(|(key, variant)| kernels::kernel_name(key, variant) == kernel)
    }
}
