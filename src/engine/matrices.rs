//! Kernel self-check of matrix units: drivers offer some that do not work.

use super::EngineError;
use super::kernel_check::{KernelCheck, agree, operands, words};
use crate::gpu::Gpu;
use crate::graph::ops::{Conv2d, Conv2dGradInput, Conv2dGradWeight, Window};
use crate::graph::{Graph, GraphError, interp};
use crate::kernels::{Choices, MATRIX_NAMES, Target};
use crate::program::MatrixUnit;
use crate::shape::Shape;

/// Checks the matrix units that an adapter offers. Those that compute convolutions and their gradients
/// like the operators' references are enabled ([`Gpu::matrices`]).
///
/// A unit that computes wrong values, or whose kernels the driver rejects, is recorded with the
/// reason ([`Gpu::refused`]). A device error other than a rejection stays recorded: the next call
/// on the device returns it.
pub async fn try_matrices(gpu: &mut Gpu) {
    for unit in gpu.description.matrices.clone() {
        match works(gpu, unit).await {
            Ok(()) => gpu.matrices.push(unit),
            Err(reason) => {
                gpu.forget_rejection();
                gpu.refused.push((unit, reason));
            }
        }
    }
}

/// Checks a unit.
///
/// # Errors
/// Why it cannot be used.
async fn works(gpu: &Gpu, unit: MatrixUnit) -> Result<(), String> {
    for sample in SAMPLES {
        agrees(gpu, unit, sample).await?;
    }
    Ok(())
}

/// Checks a unit on one convolution.
async fn agrees(gpu: &Gpu, unit: MatrixUnit, sample: Sample) -> Result<(), String> {
    let graph = sample.graph(unit).expect("the sample is valid");
    let target = Target {
        matrices: vec![unit],
        ..Target::portable()
    };
    let mut expected = operands(&graph);
    let operands = words(&expected);
    interp::run(&graph, &mut expected).expect("the sample has its operands");
    let choices = Choices::everywhere(MATRIX_NAMES[1]);
    let failed = |error: EngineError| match error {
        EngineError::Gpu(error) => error.to_string(),
        other => panic!("the sample can be lowered: {other}"),
    };
    let check = KernelCheck::new(gpu, &target, &graph, &choices, &operands).map_err(failed)?;
    check
        .loaded
        .run(gpu, 0)
        .map_err(|error| error.to_string())?;
    for name in RESULTS {
        let found = check.read(name).await.map_err(failed)?;
        if !agree(&graph, expected[name].values(), found.values()) {
            let [rows, columns] = sample.size;
            return Err(format!(
                "wrong {name} of a convolution from {} to {} channels at {rows}x{columns}",
                sample.inputs, sample.outputs
            ));
        }
    }
    Ok(())
}

const RESULTS: [&str; 3] = ["y", "dx", "dw"];

/// A convolution with kernels of 3x3 on two images.
#[derive(Clone, Copy)]
struct Sample {
    /// Rows and columns of the input.
    size: [usize; 2],
    /// Channels.
    inputs: usize,
    outputs: usize,
    stride: usize,
}

/// Several tiles of pixels, the last one partial, with numbers of channels that are no multiple of a
/// tile; and the shapes of a network's second stage, whose sums are long.
const SAMPLES: [Sample; 3] = [
    Sample {
        size: [9, 11],
        inputs: 20,
        outputs: 36,
        stride: 1,
    },
    Sample {
        size: [16, 16],
        inputs: 92,
        outputs: 104,
        stride: 1,
    },
    Sample {
        size: [32, 32],
        inputs: 48,
        outputs: 56,
        stride: 2,
    },
];

impl Sample {
    /// The convolution and its gradients, with activations in the unit's precision.
    fn graph(self, unit: MatrixUnit) -> Result<Graph, GraphError> {
        let map = |size: [usize; 2], channels| Shape {
            dtype: unit.operands,
            ..Shape::channels(&[2, size[0], size[1], channels])
        };
        let window = Window {
            stride: self.stride,
            padding: 1,
        };
        let mut graph = Graph::new();
        let x = graph.external("x", map(self.size, self.inputs));
        let weights = Shape::weights([3, 3, self.inputs, self.outputs]);
        let w = graph.external("w", weights);
        let size = self.size.map(|extent| extent.div_ceil(self.stride));
        let dy = graph.external("dy", map(size, self.outputs));
        let forward = Conv2d::new(window);
        let grad_input = Conv2dGradInput {
            window,
            input: self.size,
            partial_affine: None,
        };
        let grad_weight = Conv2dGradWeight {
            window,
            normalize_input: None,
            kernel: [3, 3],
        };
        let y = graph.push_one(forward, &[x, w], "y")?;
        let dx = graph.push_one(grad_input, &[dy, w], "dx")?;
        let dw = graph.push_one(grad_weight, &[x, dy], "dw")?;
        for map in [y, dx] {
            graph.values[map.0].shape.dtype = unit.operands;
        }
        for (id, name) in [y, dx, dw].into_iter().zip(RESULTS) {
            graph.output(id, name);
        }
        Ok(graph)
    }
}
