//! Runs one graph on an adapter with given operands, for the tuner and the self-checks.

use std::sync::LazyLock;

use super::EngineError;
use crate::gpu::{BufferRange, Gpu, LoadedPrograms};
use crate::graph::{Graph, Role, Tensor, Value, interp, precision};
use crate::kernels::{self, Choices, Lowered, Target};
use crate::rng::{Purpose, Stream};
use crate::shape::{DType, Shape};

/// Largest relative difference (in the Euclidean norm) between two correct results. Sums of some
/// thousand terms in different order stay a hundred times below; with f16 activations or matrix
/// operands, which round by up to 5e-4, four times below.
const AGREE: f64 = 1e-4;
const AGREE_HALF: f64 = 2e-3;

/// Number of random values: twice an odd number, so that the parts of large operands at multiples of
/// a power of two differ.
const NUMBERS: usize = (1 << 16) - 6;

/// Contents of memory by the names of values.
pub(super) type Words = Vec<(String, Vec<u32>)>;

/// A graph, ready to run with its operands.
pub(super) struct KernelCheck<'a> {
    gpu: &'a Gpu,
    graph: &'a Graph,
    lowered: Lowered,
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
        operands: &Words,
    ) -> Result<KernelCheck<'a>, EngineError> {
        let lowered = kernels::lower(graph, target, choices)?;
        let loaded = LoadedPrograms::new(gpu, &[&lowered.program])?;
        let check = KernelCheck {
            gpu,
            graph,
            lowered,
            loaded,
        };
        for (name, words) in operands {
            let BufferRange { buffer, offset, .. } = check.range(name);
            check
                .loaded
                .write(gpu, buffer, offset, bytemuck::cast_slice(words));
        }
        Ok(check)
    }

    /// Reads a lasting value as the last run left it.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) async fn read(&self, name: &str) -> Result<Tensor, EngineError> {
        let read = self.loaded.read(self.gpu, &[self.range(name)]).await?;
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&read[0]);
        Ok(Tensor::from_words(self.shape(name), &words))
    }

    fn shape(&self, name: &str) -> &Shape {
        let id = self.graph.find(name).expect("the graph has the value");
        self.graph.shape(id)
    }

    fn range(&self, name: &str) -> BufferRange {
        let id = self.graph.find(name).expect("the graph has the value");
        let place = self.lowered.places[id.0].expect("lasting values have places");
        let buffer = &self.lowered.program.buffers[place.buffer.0];
        BufferRange {
            buffer: self.loaded.buffer(&buffer.name),
            offset: place.offset,
            bytes: self.graph.shape(id).bytes(),
        }
    }
}

/// Random operands of a graph, the same for every call.
pub(super) fn operands(graph: &Graph) -> interp::Store {
    let tensor = |shape: &Shape| {
        let elements = numbers(shape).cycle().take(shape.len());
        let single = Shape {
            dtype: DType::F32,
            ..shape.clone()
        };
        Tensor::real(single, elements.map(f64::from).collect()).stored_as(shape)
    };
    external(graph)
        .map(|value| (value.name.clone(), tensor(&value.shape)))
        .collect()
}

/// The operands of a graph that are not indices.
pub(super) fn external(graph: &Graph) -> impl Iterator<Item = &Value> {
    let external = graph.values.iter();
    external.filter(|v| v.role == Role::External && v.shape.dtype != DType::U32)
}

/// The random numbers that an operand repeats, the same for every call.
pub(super) fn numbers(shape: &Shape) -> impl Iterator<Item = f32> + Clone {
    static DRAWN: LazyLock<Vec<f32>> = LazyLock::new(|| {
        let mut stream = Stream::new(0, Purpose::Initialise, 0, 0);
        (0..NUMBERS).map(|_| stream.uniform() - 0.5).collect()
    });
    // Moments and affine coefficients: variances and scales are positive.
    let vectors = shape.dims.len() == 2 && shape.dims[0] == 2;
    let number = move |number: &f32| if vectors { number.abs() + 0.5 } else { *number };
    DRAWN.iter().map(number)
}

/// The contents of memory of some values.
pub(super) fn words(store: &interp::Store) -> Words {
    let words = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.to_words());
    store.iter().map(words).collect()
}

/// Whether two results of a graph are equal up to rounding.
pub(super) fn agree(graph: &Graph, expected: &[f64], found: &[f64]) -> bool {
    near(expected, found, tolerance(graph))
}

/// Largest relative difference of two results of a graph that are equal up to rounding.
pub(super) fn tolerance(graph: &Graph) -> f64 {
    match precision::is_half(graph) {
        true => AGREE_HALF,
        false => AGREE,
    }
}

/// Whether the relative difference (in the Euclidean norm) is at most `limit`; not with a NaN.
pub(super) fn near(expected: &[f64], found: &[f64], limit: f64) -> bool {
    let pairs = expected.iter().zip(found);
    let (mut distance, mut length) = (0.0, 0.0);
    for (a, b) in pairs {
        distance += (a - b) * (a - b);
        length += a * a;
    }
    is_within(limit, [distance, length])
}

/// The same from the squares of the difference's norm and of one result's.
pub(super) fn is_within(limit: f64, [distance, length]: [f64; 2]) -> bool {
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
