//! One node of a graph with the memory of its operands and results.

use std::ops::Deref;

use crate::graph::step::Step;
use crate::graph::{Graph, Node};
use crate::shape::Shape;

/// What a node computes from, and into. Numbers lie as in [`Shape::stored_dims`].
pub(super) struct Call<'a> {
    graph: &'a Graph,
    node: &'a Node,
    /// Empty for a value that the node updates: it is among the results.
    inputs: Vec<&'a [u32]>,
    results: Vec<&'a mut [u32]>,
}

/// Images, rows and columns, stored channels.
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

/// Convolution weights [kernel rows, kernel columns, inputs, outputs], as stored.
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
    ) -> Call<'a> {
        Call {
            graph,
            node,
            inputs,
            results,
        }
    }

    /// The numbers of all operands, for an operator to name.
    pub(super) fn operands(&self) -> Vec<usize> {
        (0..self.inputs.len()).collect()
    }

    /// The numbers of all results, likewise.
    pub(super) fn results(&self) -> Vec<usize> {
        (0..self.results.len()).collect()
    }

    /// Shape of an operand.
    pub(super) fn shape(&self, operand: usize) -> &'a Shape {
        self.graph.shape(self.node.inputs[operand])
    }

    /// An operand's words.
    pub(super) fn words(&self, operand: usize) -> &'a [u32] {
        self.inputs[operand]
    }

    /// An operand's numbers.
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

    /// An operand that is weights.
    pub(super) fn weights(&self, operand: usize) -> Weights<'a> {
        let stored = self.shape(operand).stored_dims();
        Weights {
            kernel: [stored[0], stored[1]],
            inputs: stored[2],
            outputs: stored[3],
            numbers: self.numbers(operand),
        }
    }

    /// An operand that is the step's hyper-parameters.
    pub(super) fn step(&self, operand: usize) -> Step {
        Step::from_words(self.words(operand))
    }

    /// Extents of a result that is an activation.
    pub(super) fn result_extent(&self, result: usize) -> Extent {
        Extent::new(self.graph.shape(self.node.outputs[result]))
    }

    /// A result's words; each can be taken once.
    pub(super) fn result_words(&mut self, result: usize) -> &'a mut [u32] {
        std::mem::take(&mut self.results[result])
    }

    /// A result's numbers; each can be taken once.
    pub(super) fn result(&mut self, result: usize) -> &'a mut [f32] {
        bytemuck::cast_slice_mut(self.result_words(result))
    }
}

impl Extent {
    /// Of an activation [N, H, W, C]; with other axes, all but the last count as images.
    fn new(shape: &Shape) -> Extent {
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

    /// Numbers of one image.
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
    /// The numbers of one image.
    pub(super) fn image(&self, image: usize) -> &'a [f32] {
        let len = self.image_len();
        &self.numbers[image * len..(image + 1) * len]
    }
}
