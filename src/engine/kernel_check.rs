//! Runs one graph on an adapter with random operands, for the tuner and for the self-check of
//! matrix units.

use super::EngineError;
use crate::gpu::{BufferRange, Gpu, LoadedPrograms};
use crate::graph::{Graph, Role, Tensor, interp, precision};
use crate::kernels::{self, Choices, Target};
use crate::rng::{Purpose, Stream};
use crate::shape::{DType, Shape};

/// Largest relative difference (in the Euclidean norm) between two correct results. Sums of some
/// thousand terms in different order stay a hundred times below; with f16 activations or matrix
/// operands, which round by up to 5e-4, four times below.
const AGREE: f64 = 1e-4;
const AGREE_HALF: f64 = 2e-3;

/// Number of random values, which repeat in larger operands.
const NUMBERS: usize = 1 << 16;

/// A graph, ready to run with random operands.
pub(super) struct KernelCheck<'a> {
    gpu: &'a Gpu,
    graph: &'a Graph,
    /// The graph's program.
    pub(super) loaded: LoadedPrograms,
}

impl<'a> KernelCheck<'a> {
    /// Lowers and loads the graph, and writes its operands.
    ///
    /// # Errors
    /// If it cannot be lowered, or the driver rejects a kernel.
    pub(super) fn new(
        gpu: &'a Gpu,
        target: &Target,
        graph: &'a Graph,
        choices: &Choices,
    ) -> Result<KernelCheck<'a>, EngineError> {
        let program = kernels::lower(graph, target, choices)?.program;
        let loaded = LoadedPrograms::new(gpu, &[&program])?;
        for (name, tensor) in operands(graph) {
            let words = tensor.to_words();
            loaded.write(gpu, loaded.buffer(&name), 0, bytemuck::cast_slice(&words));
        }
        Ok(KernelCheck { gpu, graph, loaded })
    }

    /// Reads a result of the last run.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) async fn read(&self, name: &str) -> Result<Vec<f64>, EngineError> {
        let id = self.graph.find(name).expect("the graph has the result");
        let shape = self.graph.shape(id);
        let range = BufferRange {
            buffer: self.loaded.buffer(name),
            offset: 0,
            bytes: shape.bytes(),
        };
        let read = self.loaded.read(self.gpu, &[range]).await?;
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&read[0]);
        Ok(Tensor::from_words(shape, &words).values().to_vec())
    }
}

/// Random operands of a graph, the same for every call.
pub(super) fn operands(graph: &Graph) -> interp::Store {
    let mut stream = Stream::new(0, Purpose::Initialise, 0, 0);
    let numbers: Vec<f32> = (0..NUMBERS).map(|_| stream.uniform() - 0.5).collect();
    let external = graph.values.iter();
    let external = external.filter(|v| v.role == Role::External && v.shape.dtype != DType::U32);
    let tensor = |shape: &Shape| {
        // Moments and affine coefficients: variances and scales are positive.
        let vectors = shape.dims.len() == 2 && shape.dims[0] == 2;
        let number = |number: &f32| if vectors { number.abs() + 0.5 } else { *number };
        let elements = numbers.iter().map(number).cycle().take(shape.len());
        let single = Shape {
            dtype: DType::F32,
            ..shape.clone()
        };
        Tensor::real(single, elements.map(f64::from).collect()).stored_as(shape)
    };
    external
        .map(|value| (value.name.clone(), tensor(&value.shape)))
        .collect()
}

/// Whether two results of a graph are equal up to rounding.
pub(super) fn agree(graph: &Graph, expected: &[f64], found: &[f64]) -> bool {
    let limit = match precision::is_half(graph) {
        true => AGREE_HALF,
        false => AGREE,
    };
    near(expected, found, limit)
}

fn near(expected: &[f64], found: &[f64], limit: f64) -> bool {
    let pairs = expected.iter().zip(found);
    let (mut distance, mut length) = (0.0, 0.0);
    for (a, b) in pairs {
        distance += (a - b) * (a - b);
        length += a * a;
    }
    distance <= limit * limit * length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_agrees_and_faults_do_not() {
        let near = |found: [f64; 2]| near(&[1.0, 2.0], &found, AGREE);
        assert!(near([1.0, 2.000_001]));
        assert!(!near([1.0, 2.01]));
        assert!(!near([1.0, f64::NAN]));
    }
}
