//! Measures which kernel is the fastest for classes of layers, and excludes those that fail.
//!
//! The time limit is for the host as well as for the device, so work is shared: a kernel is compiled
//! once, on all cores with those of other classes, and compared with the CPU device once, on few
//! images. On all images, candidates are compared with each other, on the device.

use std::collections::BTreeSet;
use std::time::Instant;

use super::alone::Alone;
use super::layer::{Layer, LayerClass};
use super::timed::Timed;
use super::trial::{Candidate, Trial};
use super::tuning_cache::Known;
use super::{Device, EngineError};
use crate::gpu::{Gpu, GpuError};
use crate::kernels::{Offer, Target, kernel_name};
use crate::program::Kernel;

/// The reason for which a kernel with wrong results is excluded.
pub(super) const WRONG: &str = "it computes wrong values";

/// Maximum number of classes that are compiled and loaded together.
const MOST: usize = 8;

/// Measurements on an adapter.
pub(super) struct Measure<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) cpu: Device,
    pub(super) target: &'a Target,
    pub(super) known: &'a mut Known,
    /// Keys of the classes that were measured.
    pub(super) measured: BTreeSet<String>,
    /// Kernels that were excluded, with the reasons.
    pub(super) excluded: Vec<(String, String)>,
    pub(super) start: Instant,
    /// Seconds after the start at which no further measurement begins.
    pub(super) limit: f64,
}

impl Measure<'_> {
    /// Measures those of some classes that have no choice yet, in order, within the time limit.
    ///
    /// # Errors
    /// If the device fails, or a node cannot be lowered.
    pub(super) async fn all(&mut self, classes: &[LayerClass<'_, '_>]) -> Result<(), EngineError> {
        let classes = classes.iter().filter(|class| {
            let remembered = self.known.classes.get(&class.class.to_string());
            let candidates = self.candidates(&class.largest.offer);
            remembered.is_none_or(|name| !candidates.contains(&name)) && candidates.len() > 1
        });
        let layers: Vec<&Layer<'_>> = classes.map(|class| class.largest).collect();
        let mut rest = layers.as_slice();
        let mut count = 1;
        while !rest.is_empty() && self.left() > 0.0 {
            let (together, later) = rest.split_at(count.min(rest.len()));
            let before = self.left();
            self.together(together).await?;
            rest = later;
            // Where compilation is slow, few at a time, lest the limit is passed by much.
            let spent = before - self.left();
            count = match 8.0 * spent < self.left() {
                true => MOST.min(2 * count),
                false => (count / 2).max(1),
            };
        }
        Ok(())
    }

    /// Seconds that are left.
    fn left(&self) -> f64 {
        self.limit - self.start.elapsed().as_secs_f64()
    }

    /// Variants that may be the fastest for a node.
    pub(super) fn candidates(&self, offer: &Offer) -> Vec<&'static str> {
        let candidates = offer.candidates().iter().copied();
        let allowed = candidates.filter(|name| self.known.allows(&offer.key, name));
        allowed.collect()
    }

    /// Measures some layers, whose candidates are compiled and loaded together.
    async fn together(&mut self, layers: &[&Layer<'_>]) -> Result<(), EngineError> {
        let mut trials = Vec::new();
        for layer in layers {
            let alone = Alone::new(layer.graph, layer.offer.node);
            let names = self.candidates(&layer.offer);
            trials.push(Trial::new(alone, names, self.target)?);
        }
        self.compile(layers, &mut trials)?;
        for (layer, trial) in layers.iter().zip(&mut trials) {
            self.compare_candidates(&layer.offer, trial).await?;
        }
        let (layers, trials): (Vec<&Layer<'_>>, Vec<Trial>) = layers
            .iter()
            .zip(trials)
            .filter(|(_, trial)| !trial.candidates.is_empty())
            .unzip();
        if trials.is_empty() {
            return Ok(());
        }
        let timed = Timed::new(self.gpu, &trials)?;
        let mut trials = trials;
        for (number, layer) in layers.iter().enumerate() {
            if number > 0 && self.left() <= 0.0 {
                break;
            }
            let fastest = self
                .time(&timed, number, layer, &mut trials[number])
                .await?;
            if let Some(fastest) = fastest {
                let class = layer.offer.class.to_string();
                self.known.classes.set(class.clone(), fastest);
                self.measured.insert(class);
            }
        }
        Ok(())
    }

    /// Compiles all candidates; excludes those that the driver rejects.
    fn compile(&mut self, layers: &[&Layer<'_>], trials: &mut [Trial]) -> Result<(), EngineError> {
        let candidates = trials.iter().flat_map(|trial| &trial.candidates);
        let kernels: Vec<&Kernel> = candidates.flat_map(|c| &c.program.kernels).collect();
        match self.gpu.compile(&kernels) {
            Err(GpuError::Rejected(_)) => self.gpu.forget_rejection(),
            compiled => return Ok(compiled?),
        }
        for (layer, trial) in layers.iter().zip(trials) {
            for candidate in std::mem::take(&mut trial.candidates) {
                let kernels: Vec<&Kernel> = candidate.program.kernels.iter().collect();
                match self.gpu.compile(&kernels) {
                    Ok(()) => trial.candidates.push(candidate),
                    Err(GpuError::Rejected(reason)) => {
                        let kernel = kernel_name(&layer.offer.key, candidate.name);
                        self.exclude_rejected(&kernel, &reason);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Compares a kernel for a layer with the CPU device, unless it has been compared; returns
    /// whether it can be used.
    ///
    /// # Errors
    /// If the device fails, or the node cannot be lowered.
    pub(super) async fn compare(
        &mut self,
        layer: &Layer<'_>,
        name: &'static str,
    ) -> Result<bool, EngineError> {
        let alone = Alone::new(layer.graph, layer.offer.node);
        let mut trial = Trial::new(alone, [name], self.target)?;
        self.compare_candidates(&layer.offer, &mut trial).await?;
        Ok(!trial.candidates.is_empty())
    }

    /// Compares the candidates that have not been compared, and excludes those that fail. Those that
    /// the processor has not the memory to compare are no longer candidates.
    async fn compare_candidates(
        &mut self,
        offer: &Offer,
        trial: &mut Trial,
    ) -> Result<(), EngineError> {
        let mut number = 0;
        while number < trial.candidates.len() {
            let Candidate { name, program } = &trial.candidates[number];
            let kernel = kernel_name(&offer.key, name);
            let is_right = if !self.known.allows(&offer.key, name) {
                // Another trial has excluded it.
                false
            } else if program.kernels.iter().all(|k| self.known.has_compared(k)) {
                true
            } else {
                let devices = (self.gpu, &self.cpu);
                let compared = trial.is_right(devices, self.target, number, self.known);
                let compared = compared.await;
                self.verdict(&kernel, compared)?
            };
            if is_right {
                let program = &trial.candidates[number].program;
                self.known.record_compared(program);
                number += 1;
            } else {
                trial.candidates.remove(number);
            }
        }
        Ok(())
    }

    /// Whether a kernel can be used, from a comparison; excludes it if it is wrong or rejected.
    fn verdict(
        &mut self,
        kernel: &str,
        compared: Result<bool, EngineError>,
    ) -> Result<bool, EngineError> {
        match compared {
            Ok(true) => return Ok(true),
            Ok(false) => self.exclude(kernel, WRONG),
            Err(EngineError::Memory(_)) => {}
            Err(EngineError::Gpu(GpuError::Rejected(reason))) => {
                self.gpu.forget_rejection();
                self.exclude_rejected(kernel, &reason);
            }
            Err(error) => return Err(error),
        }
        Ok(false)
    }

    /// The fastest candidate of a trial; those whose results on all images are wrong are excluded.
    /// `None` if the first, with which the others are compared, is one of them.
    async fn time(
        &mut self,
        timed: &Timed,
        number: usize,
        layer: &Layer<'_>,
        trial: &mut Trial,
    ) -> Result<Option<&'static str>, EngineError> {
        timed.fill(self.gpu, trial)?;
        let mut best: Option<(f64, &'static str)> = None;
        for candidate in 0..trial.candidates.len() {
            let name = trial.candidates[candidate].name;
            let least = best.map_or(f64::INFINITY, |(seconds, _)| seconds);
            let seconds = match timed.seconds(self.gpu, number, candidate, least) {
                Err(GpuError::Rejected(reason)) => {
                    self.gpu.forget_rejection();
                    self.exclude_rejected(&kernel_name(&layer.offer.key, name), &reason);
                    match candidate {
                        0 => return Ok(None),
                        _ => continue,
                    }
                }
                seconds => seconds?,
            };
            let mut is_right = true;
            if candidate > 0 && !timed.agrees_with_first(self.gpu, number, trial).await? {
                for suspect in [0, candidate] {
                    let kernel = kernel_name(&layer.offer.key, trial.candidates[suspect].name);
                    let devices = (self.gpu, &self.cpu);
                    let compared = trial.is_right_on_all(devices, self.target, suspect).await;
                    is_right = self.verdict(&kernel, compared)?;
                    if !is_right && suspect == 0 {
                        return Ok(None);
                    }
                }
            }
            if is_right && seconds < least {
                best = Some((seconds, name));
            }
        }
        Ok(best.map(|(_, name)| name))
    }

    fn exclude_rejected(&mut self, kernel: &str, reason: &str) {
        let reason = reason.lines().next().unwrap_or_default();
        self.exclude(kernel, &format!("the driver rejects it: {reason}"));
    }

    /// Excludes a kernel from now on.
    pub(super) fn exclude(&mut self, kernel: &str, reason: &str) {
        self.known.exclude(kernel, reason);
        self.excluded.push((kernel.to_owned(), reason.to_owned()));
    }
}

/// The error of a kernel that cannot be replaced.
pub(super) fn faulty(gpu: &Gpu, kernel: String) -> EngineError {
    EngineError::Faulty {
        kernel,
        adapter: gpu.description.name.clone(),
    }
}
