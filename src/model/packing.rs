//! Converts between the tensors of a file and the kept values of a graph.
//!
//! Graphs keep fewer, packed tensors: a batch norm's scale and shift are one value
//! `….affine` [2, C], its running mean and variance one value `….moments` [2, C];
//! convolution weights are transposed from [out, in, rows, columns] to HWIO, the classifier's
//! from [out, in] to [1, 1, in, out].

use super::layers::{LayerKind, Network};
use super::parameters::{Parameter, ParameterRole};
use crate::graph::{Arena, lasting};
use crate::shape::Shape;

/// A kept value of a graph, and the file's tensors that it packs.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedValue {
    /// Name of the value in the graph.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// Parameters or, for frozen ones as well, statistics: what has no gradient.
    pub arena: Arena,
    /// The file's tensors, in order.
    pub tensors: Vec<Parameter>,
}

impl Network {
    /// The values that a graph of this network keeps, in file order.
    pub fn packed_values(&self) -> Vec<PackedValue> {
        self.layers()
            .flat_map(|layer| {
                let with = |roles: &[ParameterRole]| -> Vec<Parameter> {
                    let all = layer.parameters().into_iter();
                    all.filter(|p| roles.contains(&p.role)).collect()
                };
                let is_frozen = self.is_frozen(layer);
                let value =
                    |suffix: &str, shape: Shape, arena, roles: &[ParameterRole]| PackedValue {
                        name: format!("{}.{suffix}", layer.name),
                        shape,
                        arena: match is_frozen {
                            true => Arena::Statistics,
                            false => arena,
                        },
                        tensors: with(roles),
                    };
                match layer.kind {
                    LayerKind::Convolution {
                        input_channels,
                        output_channels,
                        kernel,
                        ..
                    } => vec![value(
                        "weight",
                        Shape::weights([kernel, kernel, input_channels, output_channels]),
                        Arena::Parameters,
                        &[ParameterRole::ConvWeight],
                    )],
                    LayerKind::BatchNorm { channels } => vec![
                        value(
                            "affine",
                            Shape::channels(&[2, channels]),
                            Arena::Parameters,
                            &[ParameterRole::BatchNormScale, ParameterRole::BatchNormShift],
                        ),
                        value(
                            "moments",
                            Shape::channels(&[2, channels]),
                            Arena::Statistics,
                            &[ParameterRole::RunningMean, ParameterRole::RunningVar],
                        ),
                    ],
                    LayerKind::Linear { inputs, outputs } => vec![
                        value(
                            "weight",
                            Shape::weights([1, 1, inputs, outputs]),
                            Arena::Parameters,
                            &[ParameterRole::LinearWeight],
                        ),
                        value(
                            "bias",
                            Shape::channels(&[outputs]),
                            Arena::Parameters,
                            &[ParameterRole::LinearBias],
                        ),
                    ],
                    LayerKind::Relu
                    | LayerKind::MaxPool { .. }
                    | LayerKind::GlobalAveragePool
                    | LayerKind::Dropout { .. }
                    | LayerKind::ScaleBranch { .. } => Vec::new(),
                }
            })
            .collect()
    }
}

impl Network {
    /// The trained tensor at a byte offset in the arena of parameters, gradients or velocities
    /// ([`crate::graph::lasting`]).
    ///
    /// # Panics
    /// If the arena is smaller.
    pub fn tensor_at(&self, offset: u64) -> Parameter {
        let mut values = self.packed_values();
        values.retain(|value| value.arena == Arena::Parameters);
        let (offsets, bytes) = lasting::offsets(values.iter().map(|value| &value.shape));
        assert!(offset < bytes, "byte {offset} of {bytes}");
        let index = offsets.partition_point(|start| *start <= offset) - 1;
        let PackedValue { shape, tensors, .. } = &values[index];
        let element = (offset - offsets[index]) as usize / 4;
        // The tensors of a value have the same size.
        let tensor = element * tensors.len() / shape.stored_len();
        tensors[tensor.min(tensors.len() - 1)].clone()
    }
}

impl PackedValue {
    /// The graph's elements from the file's tensors, in the order of `tensors`.
    ///
    /// # Panics
    /// If a tensor has the wrong number of elements, which [`super::check`] rules out.
    pub fn join(&self, tensors: &[&[f32]]) -> Vec<f32> {
        match self.tensors[0].role {
            ParameterRole::ConvWeight | ParameterRole::LinearWeight => {
                let [taps, inputs, outputs] = self.weight_extents();
                assert_eq!(tensors[0].len(), taps * inputs * outputs, "{}", self.name);
                let mut packed = vec![0.0; tensors[0].len()];
                for_each_weight([taps, inputs, outputs], |file, graph| {
                    packed[graph] = tensors[0][file];
                });
                packed
            }
            _ => {
                let joined = tensors.concat();
                assert_eq!(joined.len(), self.shape.len(), "{}", self.name);
                joined
            }
        }
    }

    /// The file's tensors from the graph's elements; the inverse of [`PackedValue::join`].
    ///
    /// # Panics
    /// If the number of elements is not that of the shape.
    pub fn split(&self, values: &[f32]) -> Vec<Vec<f32>> {
        assert_eq!(values.len(), self.shape.len(), "{}", self.name);
        match self.tensors[0].role {
            ParameterRole::ConvWeight | ParameterRole::LinearWeight => {
                let mut tensor = vec![0.0; values.len()];
                for_each_weight(self.weight_extents(), |file, graph| {
                    tensor[file] = values[graph];
                });
                vec![tensor]
            }
            _ => {
                let each = values.len() / self.tensors.len();
                values.chunks_exact(each).map(<[f32]>::to_vec).collect()
            }
        }
    }

    /// Kernel taps, input channels, output channels.
    fn weight_extents(&self) -> [usize; 3] {
        let dims = &self.shape.dims;
        [dims[0] * dims[1], dims[2], dims[3]]
    }
}

/// Calls `visit` for each weight with its index in a file, [out, in, taps], and in a graph,
/// [taps, in, out].
fn for_each_weight([taps, inputs, outputs]: [usize; 3], mut visit: impl FnMut(usize, usize)) {
    for output in 0..outputs {
        for input in 0..inputs {
            for tap in 0..taps {
                let file = (output * inputs + input) * taps + tap;
                visit(file, (tap * inputs + input) * outputs + output);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::preset;
    use super::*;

    #[test]
    fn packed_values_hold_every_tensor_once_and_give_it_back() {
        let network = Network::new(&preset("demo").unwrap()).unwrap();
        let packed = network.packed_values();
        let mut names: Vec<&str> = Vec::new();
        for value in &packed {
            names.extend(value.tensors.iter().map(|t| t.name.as_str()));
            let tensors: Vec<Vec<f32>> = value
                .tensors
                .iter()
                .map(|t| (0..t.len()).map(|i| i as f32).collect())
                .collect();
            let joined = value.join(&tensors.iter().map(Vec::as_slice).collect::<Vec<_>>());
            assert_eq!(value.split(&joined), tensors, "{}", value.name);
        }
        let all = network.parameters();
        let expected: Vec<&str> = all
            .iter()
            .filter(|p| p.role != ParameterRole::BatchesTracked)
            .map(|p| p.name.as_str())
            .collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn tensors_are_found_by_their_place_in_an_arena() {
        let network = Network::new(&preset("demo").unwrap()).unwrap();
        let values = network.packed_values().into_iter();
        let trained: Vec<PackedValue> = values.filter(|v| v.arena == Arena::Parameters).collect();
        let (offsets, _) = lasting::offsets(trained.iter().map(|value| &value.shape));
        for (value, start) in trained.iter().zip(offsets) {
            // The first and the last stored vector of each tensor.
            let each = value.shape.bytes() / value.tensors.len() as u64;
            for (index, tensor) in (0..).zip(&value.tensors) {
                for offset in [index * each, (index + 1) * each - 16] {
                    assert_eq!(network.tensor_at(start + offset).name, tensor.name);
                }
            }
        }
    }

    #[test]
    fn weights_change_their_order() {
        let network = Network::new(&preset("demo").unwrap()).unwrap();
        let stem = &network.packed_values()[0];
        // File index of output 2, input 1, row 0, column 1: ((2·3 + 1)·3 + 0)·3 + 1.
        let tensor: Vec<f32> = (0..stem.shape.len()).map(|i| i as f32).collect();
        let packed = stem.join(&[&tensor]);
        let outputs = stem.shape.last();
        assert_eq!(packed[(3 + 1) * outputs + 2], 64.0);
    }
}
