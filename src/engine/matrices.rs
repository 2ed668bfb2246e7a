//! Kernel self-check of matrix units: drivers offer some that do not work.

use super::EngineError;
use super::kernel_check::{KernelCheck, agree, operands};
use crate::gpu::Gpu;
use crate::graph::ops::{Conv2d, Conv2dGradInput, Conv2dGradWeight, Window};
use crate::graph::{Graph, GraphError, interp};
use crate::kernels::{Choices, MATRIX_NAMES, Target};
use crate::program::MatrixUnit;
use crate::shape::Shape;

/// Checks the matrix units that an adapter offers. Those that compute a small convolution and its
/// gradients like the operators' references are enabled ([`Gpu::matrices`]).
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
    let graph = sample(unit).expect("the sample is valid");
    let target = Target {
        matrices: vec![unit],
        ..Target::portable()
    };
    let mut expected = operands(&graph);
    interp::run(&graph, &mut expected).expect("the sample has its operands");
    let choices = Choices::everywhere(MATRIX_NAMES[1]);
    let failed = |error: EngineError| match error {
        EngineError::Gpu(error) => error.to_string(),
        other => panic!("the sample can be lowered: {other}"),
    };
    let check = KernelCheck::new(gpu, &target, &graph, &choices).map_err(failed)?;
    check
        .loaded
        .run(gpu, 0)
        .map_err(|error| error.to_string())?;
    for name in RESULTS {
        let found = check.read(name).await.map_err(failed)?;
        if !agree(&graph, expected[name].values(), &found) {
            return Err(format!("wrong {name} of a small convolution"));
        }
    }
    Ok(())
}

const RESULTS: [&str; 3] = ["y", "dx", "dw"];

/// A convolution and its gradients, with activations in the unit's precision: several tiles of
/// pixels, the last one partial, and numbers of channels that are no multiple of a tile.
fn sample(unit: MatrixUnit) -> Result<Graph, GraphError> {
    let map = |dims: [usize; 4]| Shape {
        dtype: unit.operands,
        ..Shape::channels(&dims)
    };
    let window = Window {
        stride: 1,
        padding: 1,
    };
    let mut graph = Graph::new();
    let x = graph.external("x", map([2, 9, 11, 20]));
    let w = graph.external("w", Shape::weights([3, 3, 20, 36]));
    let dy = graph.external("dy", map([2, 9, 11, 36]));
    let forward = Conv2d::new(window);
    let grad_input = Conv2dGradInput {
        window,
        input: [9, 11],
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
