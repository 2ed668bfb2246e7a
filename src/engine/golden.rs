//! The check of an adapter's kernels on a golden network: a training step of a small network must
//! give what the CPU device computes.
//!
//! If it does not, each node is run alone, on the operands that the CPU device computes for it,
//! and the first that differs names the kernel.

use super::alone::{Alone, value_name};
use super::kernel_check::{KernelCheck, Words, agree, near, words};
use super::on_cpu::on_cpu;
use super::{Device, EngineError};
use crate::gpu::Gpu;
use crate::graph::{Graph, Precision, Role, Tensor, ValueId, interp, ops, precision};
use crate::kernels::{self, Choices, Target};
use crate::model::names;
use crate::shape::{DType, Layout};

/// A small graph with the kernels that training needs, and values for its operands.
#[derive(Clone, Debug)]
pub struct Golden {
    /// The graph.
    pub graph: Graph,
    /// Its external and kept values.
    pub operands: interp::Store,
}

/// A kernel that computes wrong values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Its [`kernels::kernel_name`], or that of its operator if there is no other.
    pub(super) kernel: String,
    /// Whether there are others for its operator.
    pub(super) has_others: bool,
}

/// Largest relative difference (in the Euclidean norm) of a value after the step. Rounding adds up
/// through the layers, and batch normalisation over a few values enlarges it.
const STEP: f64 = 1e-3;
const STEP_HALF: f64 = 1e-1;

impl Golden {
    /// The precision of its feature maps.
    pub fn precision(&self) -> Precision {
        match precision::is_half(&self.graph) {
            true => Precision::F16,
            false => Precision::F32,
        }
    }

    /// Runs the step with each of the kernels in `used` and compares it; returns the first kernel
    /// that computes wrong values. Where a node can use none of them, its first kernel that is
    /// `allowed` takes part.
    ///
    /// # Errors
    /// If the device fails, or rejects a kernel.
    pub(super) async fn fault(
        &self,
        (gpu, cpu): (&Gpu, &Device),
        target: &Target,
        used: &Choices,
        allowed: impl Fn(&str, &str) -> bool,
    ) -> Result<Option<Fault>, EngineError> {
        let lasting = self.graph.values.iter();
        let lasting = lasting.filter(|value| value.role != Role::Temporary);
        let lasting = lasting.filter(|v| v.shape.dtype != DType::U32 || v.name == names::METRICS);
        let names: Vec<String> = lasting.map(|value| value.name.clone()).collect();
        let expected = on_cpu(cpu, &self.graph, &self.operands, &names).await?;
        let operands = words(&self.operands);
        for choices in self.rounds(target, used, allowed)? {
            let check = KernelCheck::new(gpu, target, &self.graph, &choices, &operands)?;
            check.loaded.run(gpu, 0)?;
            for (name, expected) in names.iter().zip(&expected) {
                if !self.is_near(expected, &check.read(name).await?) {
                    return Ok(Some(self.culprit((gpu, cpu), target, &choices).await?));
                }
            }
        }
        Ok(None)
    }

    /// Tables of choices so that each node runs with each of the kernels in `used` that can
    /// compute it.
    fn rounds(
        &self,
        target: &Target,
        used: &Choices,
        allowed: impl Fn(&str, &str) -> bool,
    ) -> Result<Vec<Choices>, EngineError> {
        let offers = kernels::lower(&self.graph, target, &Choices::default())?.offers;
        let of_node = |offer: &kernels::Offer| -> Vec<&'static str> {
            let is_used = |variant: &&&'static str| {
                let kernel = kernels::kernel_name(&offer.key, variant);
                let mut all = used.iter();
                all.any(|(key, variant)| kernels::kernel_name(key, variant) == kernel)
            };
            let used: Vec<&str> = offer.legal.iter().filter(is_used).copied().collect();
            let mut legal = offer.legal.iter().copied();
            match used.is_empty() {
                true => legal
                    .find(|name| allowed(&offer.key, name))
                    .into_iter()
                    .collect(),
                false => used,
            }
        };
        let variants: Vec<Vec<&str>> = offers.iter().map(of_node).collect();
        let count = variants.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let round = |round: usize| {
            let mut choices = Choices::default();
            for (number, (offer, variants)) in offers.iter().zip(&variants).enumerate() {
                // Neighbouring nodes run different kernels.
                if !variants.is_empty() {
                    let variant = variants[(round + number) % variants.len()];
                    choices.set(offer.key.clone(), variant);
                }
            }
            choices
        };
        Ok((0..count).map(round).collect())
    }

    fn is_near(&self, expected: &Tensor, found: &Tensor) -> bool {
        let limit = match self.precision() {
            Precision::F32 => STEP,
            Precision::F16 => STEP_HALF,
        };
        match expected.shape.dtype {
            DType::U32 => {
                let loss = |tensor: &Tensor| {
                    let metrics = ops::Metrics::from_words(tensor.indices());
                    [f64::from(metrics.loss)]
                };
                near(&loss(expected), &loss(found), limit)
            }
            DType::F32 | DType::F16 => near(expected.values(), found.values(), limit),
        }
    }

    /// The kernel of the first node, in order of execution, that gives other results than the CPU
    /// device from the same operands.
    async fn culprit(
        &self,
        (gpu, cpu): (&Gpu, &Device),
        target: &Target,
        choices: &Choices,
    ) -> Result<Fault, EngineError> {
        let values = self.values(cpu).await?;
        let operator = |at: usize| self.graph.nodes[at].op.name().to_owned();
        // A node that reads partial statistics runs with the one that computes them.
        let is_partial = |id: &ValueId| self.graph.shape(*id).layout == Layout::Slices;
        for (index, node) in self.graph.nodes.iter().enumerate() {
            if node.inputs.iter().any(is_partial) {
                continue;
            }
            let alone = Alone::new(&self.graph, index);
            let compared = Compared::new(cpu, &alone, &values).await?;
            let Some(wrong) = compared.first_wrong(gpu, target, choices).await? else {
                continue;
            };
            let Some(offer) = alone.offer(target)? else {
                return Ok(Fault {
                    kernel: operator(wrong),
                    has_others: false,
                });
            };
            let lowered = kernels::lower(&alone.graph, target, choices)?;
            let chosen = lowered.choices.get(&offer.key).unwrap_or_default();
            if wrong != index {
                // The partial statistics are wrong, or what merges them, which another kernel for
                // the node tells apart.
                let mut others = offer.legal.iter().filter(|other| **other != chosen);
                if let Some(other) = others.next_back() {
                    let mut choices = choices.clone();
                    choices.set(offer.key.clone(), other);
                    if compared.first_wrong(gpu, target, &choices).await? == Some(wrong) {
                        return Ok(Fault {
                            kernel: operator(wrong),
                            has_others: false,
                        });
                    }
                }
            }
            return Ok(Fault {
                kernel: kernels::kernel_name(&offer.key, chosen),
                has_others: true,
            });
        }
        Ok(Fault {
            kernel: "a whole training step, but none of its kernels alone".to_owned(),
            has_others: false,
        })
    }

    /// What each node reads ([`value_name`]), as the CPU device computes it: results of other
    /// nodes, and lasting values as they are before the step updates them.
    async fn values(&self, cpu: &Device) -> Result<interp::Store, EngineError> {
        let mut exposed = self.graph.clone();
        let mut names = Vec::new();
        let mut ids = Vec::new();
        for node in &self.graph.nodes {
            for id in node.outputs.iter().filter(|id| !node.inputs.contains(id)) {
                let value = self.graph.value(*id);
                if value.shape.layout == Layout::Slices {
                    continue;
                }
                if value.role == Role::Temporary {
                    exposed.output(*id, &value_name(*id));
                }
                names.push(exposed.value(*id).name.clone());
                ids.push(*id);
            }
        }
        let mut values = interp::Store::new();
        for (at, value) in self.graph.values.iter().enumerate() {
            if let Some(tensor) = self.operands.get(&value.name) {
                values.insert(value_name(ValueId(at)), tensor.clone());
            }
        }
        let computed = on_cpu(cpu, &exposed, &self.operands, &names).await?;
        let computed = ids.into_iter().map(value_name).zip(computed);
        values.extend(computed);
        Ok(values)
    }
}

/// A node alone with its operands, and its results on the CPU device.
struct Compared<'a> {
    alone: &'a Alone,
    operands: Words,
    expected: Vec<Tensor>,
}

impl<'a> Compared<'a> {
    async fn new(
        cpu: &Device,
        alone: &'a Alone,
        values: &interp::Store,
    ) -> Result<Compared<'a>, EngineError> {
        let operands = alone.operands_from(values);
        let names: Vec<String> = alone.results.iter().map(|r| r.0.clone()).collect();
        Ok(Compared {
            alone,
            expected: on_cpu(cpu, &alone.graph, &operands, &names).await?,
            operands: words(&operands),
        })
    }

    /// The node that computes the first wrong result; `None` if all are right.
    async fn first_wrong(
        &self,
        gpu: &Gpu,
        target: &Target,
        choices: &Choices,
    ) -> Result<Option<usize>, EngineError> {
        let graph = &self.alone.graph;
        let check = KernelCheck::new(gpu, target, graph, choices, &self.operands)?;
        check.loaded.run(gpu, 0)?;
        for ((name, _, node), expected) in self.alone.results.iter().zip(&self.expected) {
            let found = check.read(name).await?;
            if !agree(graph, expected.values(), found.values()) {
                return Ok(Some(*node));
            }
        }
        Ok(None)
    }
}
