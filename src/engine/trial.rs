//! The candidates for a node, each lowered alone, and their comparison with the CPU device.

use super::alone::Alone;
use super::kernel_check::{KernelCheck, Words, agree, operands, words};
use super::on_cpu::on_cpu;
use super::tuning_cache::Known;
use super::{Device, EngineError};
use crate::gpu::Gpu;
use crate::graph::ops::{Conv2d, Window};
use crate::graph::{Graph, Tensor};
use crate::kernels::{Choices, Target, lower, variants};
use crate::program::{Kernel, Program};
use crate::shape::Shape;

/// Pixels of the feature maps on which kernels are compared with the CPU device: a few tiles. More,
/// if lowering uses other kernels for so few.
const PIXELS: usize = 320;

/// A node with some of the kernels that can compute it.
pub(super) struct Trial {
    pub(super) alone: Alone,
    pub(super) candidates: Vec<Candidate>,
    references: Vec<Reference>,
}

/// A variant and the program of the node alone.
pub(super) struct Candidate {
    pub(super) name: &'static str,
    pub(super) program: Program,
}

/// The node on some images, with operands, and its results on the CPU device.
struct Reference {
    alone: Alone,
    images: usize,
    operands: Words,
    names: Vec<String>,
    expected: Vec<Tensor>,
}

impl Trial {
    /// # Errors
    /// If a variant cannot compute the node.
    pub(super) fn new(
        alone: Alone,
        names: impl IntoIterator<Item = &'static str>,
        target: &Target,
    ) -> Result<Trial, EngineError> {
        let candidates = names.into_iter().map(|name| {
            let program = program(&alone, name, target)?;
            Ok(Candidate { name, program })
        });
        let candidates: Result<_, EngineError> = candidates.collect();
        Ok(Trial {
            candidates: candidates?,
            alone,
            references: Vec::new(),
        })
    }

    /// Whether a candidate computes what the CPU device computes, on as few images as take all of its
    /// kernels that have not been compared.
    ///
    /// # Errors
    /// If the device fails or rejects a kernel, or the processor has not the memory.
    pub(super) async fn is_right(
        &mut self,
        devices: (&Gpu, &Device),
        target: &Target,
        candidate: usize,
        known: &Known,
    ) -> Result<bool, EngineError> {
        let Candidate { name, program: own } = &self.candidates[candidate];
        let new = own
            .kernels
            .iter()
            .filter(|kernel| !known.has_compared(kernel));
        let new: Vec<&Kernel> = new.collect();
        let most = self.alone.images();
        let mut images = self.alone.images_with(PIXELS);
        let mut others = Vec::new();
        while images < most {
            let few = program(&self.alone.with_images(images), name, target)?;
            let missing = new.iter().filter(|kernel| !few.kernels.contains(kernel));
            let plain: Option<Vec<_>> = missing.map(|kernel| plain(kernel, target)).collect();
            if let Some(plain) = plain {
                others = plain;
                break;
            }
            images = most.min(2 * images);
        }
        for (alone, name) in others {
            let reference = Reference::new(alone, 1, devices.1).await?;
            if !reference.agrees(devices.0, target, name).await? {
                return Ok(false);
            }
        }
        self.is_right_on(images, devices, target, name).await
    }

    /// Whether a candidate computes what the CPU device computes, on all images.
    ///
    /// # Errors
    /// As those of [`Trial::is_right`].
    pub(super) async fn is_right_on_all(
        &mut self,
        devices: (&Gpu, &Device),
        target: &Target,
        candidate: usize,
    ) -> Result<bool, EngineError> {
        let name = self.candidates[candidate].name;
        let images = self.alone.images();
        self.is_right_on(images, devices, target, name).await
    }

    async fn is_right_on(
        &mut self,
        images: usize,
        (gpu, cpu): (&Gpu, &Device),
        target: &Target,
        name: &str,
    ) -> Result<bool, EngineError> {
        let known = self.references.iter().position(|r| r.images == images);
        let reference = match known {
            Some(known) => &self.references[known],
            None => {
                let alone = self.alone.with_images(images);
                self.references
                    .push(Reference::new(alone, images, cpu).await?);
                &self.references[self.references.len() - 1]
            }
        };
        reference.agrees(gpu, target, name).await
    }
}

/// A convolution of one tap with nothing fused, and the variant that computes it with a kernel, if
/// one does: as the matrix products of Winograd's convolution, whose tile depends on their rows.
fn plain(kernel: &Kernel, target: &Target) -> Option<(Alone, &'static str)> {
    let mut graph = Graph::new();
    let x = graph.external("x", Shape::channels(&[1, 24, 24, 16]));
    let w = graph.external("w", Shape::weights([1, 1, 16, 40]));
    let window = Window {
        stride: 1,
        padding: 0,
    };
    let y = graph.push_one(Conv2d::new(window), &[x, w], "y");
    graph.output(y.expect("the shapes agree"), "y");
    let alone = Alone::new(&graph, 0);
    let has_kernel = |name: &&'static str| {
        let program = program(&alone, name, target);
        program.is_ok_and(|program| program.kernels.contains(kernel))
    };
    let name = variants().into_iter().find(has_kernel)?;
    Some((alone, name))
}

/// The program of a node alone with a variant.
fn program(alone: &Alone, name: &str, target: &Target) -> Result<Program, EngineError> {
    let lowered = lower(&alone.graph, target, &Choices::everywhere(name))?;
    Ok(lowered.program)
}

impl Reference {
    async fn new(alone: Alone, images: usize, cpu: &Device) -> Result<Reference, EngineError> {
        let store = operands(&alone.graph);
        let names = alone.new_results();
        let expected = on_cpu(cpu, &alone.graph, &store, &names).await?;
        Ok(Reference {
            alone,
            images,
            operands: words(&store),
            names,
            expected,
        })
    }

    async fn agrees(&self, gpu: &Gpu, target: &Target, name: &str) -> Result<bool, EngineError> {
        let graph = &self.alone.graph;
        let choices = Choices::everywhere(name);
        let check = KernelCheck::new(gpu, target, graph, &choices, &self.operands)?;
        check.loaded.run(gpu, 0)?;
        for (name, expected) in self.names.iter().zip(&self.expected) {
            let found = check.read(name).await?;
            if !agree(graph, expected.values(), found.values()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
