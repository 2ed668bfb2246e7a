//! One node of a graph with the memory of its operands and results.

use std::ops::{Deref, Range};

use crate::graph::step::Step;
use crate::graph::{Graph, Node};
use crate::shape::Shape;

/// A node's operands and results, laid out as [`Shape::stored_dims`] describes.
pub(super) struct Call<'a> {
    graph: &'a Graph,
    node: &'a Node,
    /// Empty for a value that the node updates in place: it is a result only.
    inputs: Vec<&'a [u32]>,
    results: Vec<&'a mut [u32]>,
    /// Present if the node's packed weights are kept from run to run.
    packed: Option<PackedWeights<'a>>,
}

/// Packed weights from an earlier run.
pub(super) struct PackedWeights<'a> {
    pub(super) numbers: &'a mut [f32],
    /// Whether the weights are still the same.
    pub(super) current: bool,
}

/// Stored extents of an activation: images, rows and columns, channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) batch: usize,
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
}

/// An activation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plane<'a> {
    extent: Extent,
    pub(super) numbers: &'a [f32],
}

/// Convolution weights [kernel rows, kernel columns, input channels, output channels], as
/// stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights<'a> {
    pub(super) kernel: [usize; 2],
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) numbers: &'a [f32],
}

impl<'a> Call<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        node: &'a Node,
        inputs: Vec<&'a [u32]>,
        results: Vec<&'a mut [u32]>,
        packed: Option<PackedWeights<'a>>,
    ) -> Call<'a> {
        Call {
            graph,
            node,
            inputs,
            results,
            packed,
        }
    }

    /// Packed weights, which `pack` computes if they have changed since an earlier run; `None` if
    /// they are not kept.
    pub(super) fn packed(&mut self, pack: impl FnOnce(&mut [f32])) -> Option<&'a [f32]> {
        let packed = self.packed.take()?;
        if !packed.current {
            pack(packed.numbers);
        }
        Some(packed.numbers)
    }

    /// The indices of all operands, for the operator's named inputs.
    pub(super) fn operands(&self) -> Vec<usize> {
        (0..self.inputs.len()).collect()
    }

    /// The indices of all results, for the operator's named outputs.
    pub(super) fn results(&self) -> Vec<usize> {
        (0..self.results.len()).collect()
    }

    /// Shape of an operand.
    pub(super) fn shape(&self, operand: usize) -> &'a Shape {
        self.graph.shape(self.node.inputs[operand])
    }

    /// An operand as 32-bit words.
    pub(super) fn words(&self, operand: usize) -> &'a [u32] {
        self.inputs[operand]
    }

    /// An operand as f32.
    pub(super) fn numbers(&self, operand: usize) -> &'a [f32] {
        bytemuck::cast_slice(self.inputs[operand])
    }

    /// An operand that is an activation.
    pub(super) fn plane(&self, operand: usize) -> Plane<'a> {
        Plane {
            extent: Extent::new(self.shape(operand)),
            numbers: self.numbers(operand),
        }
    }

    /// An operand that holds convolution weights.
    pub(super) fn weights(&self, operand: usize) -> Weights<'a> {
        let stored = self.shape(operand).stored_dims();
        Weights {
            kernel: [stored[0], stored[1]],
            inputs: stored[2],
            outputs: stored[3],
            numbers: self.numbers(operand),
        }
    }

    /// An operand that holds the step's hyper-parameters.
    pub(super) fn step(&self, operand: usize) -> Step {
        Step::from_words(self.words(operand))
    }

    /// Extents of a result that is an activation.
    pub(super) fn result_extent(&self, result: usize) -> Extent {
        Extent::new(self.graph.shape(self.node.outputs[result]))
    }

    /// A result as 32-bit words; each can be taken once.
    pub(super) fn result_words(&mut self, result: usize) -> &'a mut [u32] {
        std::mem::take(&mut self.results[result])
    }

    /// A result as f32; each can be taken once.
    pub(super) fn result(&mut self, result: usize) -> &'a mut [f32] {
        bytemuck::cast_slice_mut(self.result_words(result))
    }
}

impl Extent {
    /// Extents of an activation [N, H, W, C]; of any other shape, all axes but the last count as
    /// images.
    pub(super) fn new(shape: &Shape) -> Extent {
        let stored = shape.stored_dims();
        match stored[..] {
            [batch, height, width, channels] => Extent {
                batch,
                size: [height, width],
                channels,
            },
            _ => Extent {
                batch: shape.rows(),
                size: [1, 1],
                channels: *stored.last().expect("a tensor has at least one axis"),
            },
        }
    }

    /// Pixels of all images.
    pub(super) fn rows(&self) -> usize {
        self.batch * self.size[0] * self.size[1]
    }

    /// Elements of one image.
    pub(super) fn image_len(&self) -> usize {
        self.size[0] * self.size[1] * self.channels
    }
}

impl Deref for Plane<'_> {
    type Target = Extent;

    fn deref(&self) -> &Extent {
        &self.extent
    }
}

impl<'a> Plane<'a> {
    /// The elements of one image.
    pub(super) fn image(&self, image: usize) -> &'a [f32] {
        self.images(image..image + 1)
    }

    /// The numbers of consecutive images.
    pub(super) fn images(&self, images: Range<usize>) -> &'a [f32] {
        let len = self.image_len();
        &self.numbers[images.start * len..images.end * len]
    }
}
