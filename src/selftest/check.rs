//! One check of some kernels.

use super::CheckError;
use super::case::{Case, Change, cases};
use super::halves::Halves;
use super::pair::{Pair, pairs};
use crate::engine::Device;
use crate::graph::Graph;
use crate::graph::ops::Sample;
use crate::kernels::{self, Choices};
use crate::program::Kernel;

/// A comparison of kernels with a reference.
pub enum Check<'a> {
    /// One operator alone.
    Case(&'a Sample, Case, Choices),
    /// An operator whose kernel writes partial statistics, and the kernel that merges them.
    Pair(&'a Sample, Pair, Choices),
    /// Rounding to half precision.
    Halves(Halves),
}

impl<'a> Check<'a> {
    /// The checks of a sample on a device.
    pub fn of(sample: &'a Sample, device: &Device) -> Vec<Check<'a>> {
        let cases = cases(device, sample).into_iter();
        let cases = cases.map(|(case, choices)| Check::Case(sample, case, choices));
        let has_variants = matches!(device, Device::Gpu(_));
        let pairs = pairs(sample).into_iter();
        let pairs = pairs.filter(|(_, choices)| has_variants || *choices == Choices::default());
        let pairs = pairs.map(|(pair, choices)| Check::Pair(sample, pair, choices));
        cases.chain(pairs).collect()
    }

    /// All checks of a device.
    pub fn all(samples: &'a [Sample], device: &Device) -> Vec<Check<'a>> {
        let of_samples = samples.iter();
        let of_samples = of_samples.flat_map(|sample| Check::of(sample, device));
        let halves = matches!(device, Device::Gpu(_)).then(|| Check::Halves(Halves::all()));
        of_samples.chain(halves).collect()
    }

    /// The sample, unless the check is of rounding.
    pub fn sample(&self) -> Option<&'a Sample> {
        match self {
            Check::Case(sample, ..) | Check::Pair(sample, ..) => Some(sample),
            Check::Halves(_) => None,
        }
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        match self {
            Check::Case(_, case, _) => case.graph(),
            Check::Pair(_, pair, _) => pair.graph(),
            Check::Halves(halves) => halves.graph(),
        }
    }

    /// The kernels of a GPU that it runs; none if the device cannot run it.
    pub fn kernels(&self, device: &Device) -> Vec<Kernel> {
        let default = Choices::default();
        let choices = match self {
            Check::Case(_, _, choices) | Check::Pair(_, _, choices) => choices,
            Check::Halves(_) => &default,
        };
        let lowered = kernels::lower(self.graph(), &device.target(), choices);
        lowered.map_or_else(|_| Vec::new(), |lowered| lowered.program.kernels)
    }

    /// Runs the kernels, or those of a changed program. Returns the largest difference relative to
    /// its bound; `None` if the device cannot run them.
    ///
    /// # Errors
    /// The first difference beyond the bound, or an error of the device.
    pub async fn run(
        &self,
        device: &Device,
        change: Option<Change<'_>>,
    ) -> Result<Option<f64>, CheckError> {
        match self {
            Check::Case(sample, case, choices) => {
                case.check(device, sample, choices, change).await.map(Some)
            }
            Check::Pair(sample, pair, choices) => pair.check(device, sample, choices, change).await,
            Check::Halves(halves) => halves.check(device, change).await.map(|()| Some(0.0)),
        }
    }
}
