//! Host half of the convolutions: which variants there are, and when each may run.
//!
//! - `direct`: plain WGSL, every legal shape, every adapter (file `direct.rs`).
//! - `subgroup`: for processors that pretend to be GPUs (file `subgroup.rs`).

mod direct;

use super::choices::DIRECT;
use super::lower::{LowerError, Lowering};
use crate::graph::ops::{Conv2d, Conv2dGradInput, Conv2dGradWeight, Window};
use crate::graph::{Node, ValueId};
use crate::shape::LANES;

/// Sizes of a convolution, as all its kernels need them.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    /// Rows and columns of x.
    input: [usize; 2],
    /// Rows and columns of y.
    output: [usize; 2],
    /// Rows and columns of the kernel.
    kernel: [usize; 2],
    window: Window,
    /// Channels of x and y.
    channels: [usize; 2],
}

impl Sizes {
    fn new(lowering: &Lowering<'_>, x: ValueId, w: ValueId, y: ValueId, window: Window) -> Sizes {
        let [x, w, y] = [x, w, y].map(|id| &lowering.shape(id).dims);
        Sizes {
            batch: x[0],
            input: [x[1], x[2]],
            output: [y[1], y[2]],
            kernel: [w[0], w[1]],
            window,
            channels: [w[2], w[3]],
        }
    }

    /// Groups of four channels of x and y.
    fn columns(&self) -> [usize; 2] {
        self.channels.map(|c| c.div_ceil(LANES))
    }

    /// Pixels of x and y in the whole batch.
    fn pixels(&self) -> [usize; 2] {
        [self.input, self.output].map(|[rows, columns]| self.batch * rows * columns)
    }

    /// Key in the table of choices.
    fn key(&self, op: &str) -> String {
        let Sizes {
            batch,
            input: [h, w],
            kernel: [kh, kw],
            channels: [i, o],
            window,
            ..
        } = self;
        let stride = window.stride;
        format!("{op} {kh}x{kw}/{stride} {i}>{o} @{h}x{w}x{batch}")
    }
}

/// Variants that can run on the target, the default first.
fn legal(_lowering: &Lowering<'_>) -> Vec<&'static str> {
    vec![DIRECT]
}

pub(super) fn forward(
    lowering: &mut Lowering<'_>,
    op: &Conv2d,
    node: &Node,
) -> Result<(), LowerError> {
    let (x, w, y) = (node.inputs[0], node.inputs[1], node.outputs[0]);
    let sizes = Sizes::new(lowering, x, w, y, op.window);
    let legal = legal(lowering);
    match lowering.choose(sizes.key("conv2d"), &legal)? {
        _ => direct::forward(lowering, &sizes, node),
    }
    Ok(())
}

pub(super) fn grad_input(
    lowering: &mut Lowering<'_>,
    op: &Conv2dGradInput,
    node: &Node,
) -> Result<(), LowerError> {
    let (dy, w, dx) = (node.inputs[0], node.inputs[1], node.outputs[0]);
    let sizes = Sizes::new(lowering, dx, w, dy, op.window);
    let legal = legal(lowering);
    match lowering.choose(sizes.key("conv2d_grad_input"), &legal)? {
        _ => direct::grad_input(lowering, &sizes, node),
    }
    Ok(())
}

pub(super) fn grad_weight(
    lowering: &mut Lowering<'_>,
    op: &Conv2dGradWeight,
    node: &Node,
) -> Result<(), LowerError> {
    let (x, dy, dw) = (node.inputs[0], node.inputs[1], node.outputs[0]);
    let sizes = Sizes::new(lowering, x, dw, dy, op.window);
    let legal = legal(lowering);
    match lowering.choose(sizes.key("conv2d_grad_weight"), &legal)? {
        _ => direct::grad_weight(lowering, &sizes, node),
    }
    Ok(())
}
