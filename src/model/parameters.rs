//! Every tensor of a network, named as in a file.
//!
//! Names, order and shapes are those of the authors' PyTorch code, so that checkpoints need
//! no renaming: a convolution has `weight` [out, in, rows, columns]; a batch norm `weight`
//! (the scale gamma), `bias` (the shift beta), `running_mean` and `running_var`, all
//! [channels], and `num_batches_tracked`, an integer scalar; the classifier
//! `weight` [out, in] and `bias` [out].
//! These shapes are unpadded; [`Shape`](crate::shape::Shape) adds the padding in memory.

use super::layers::{Layer, LayerKind, Network};

/// The role of a tensor in its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParameterRole {
    /// Convolution weights [out, in, rows, columns].
    ConvWeight,
    /// Gamma of a batch norm.
    BatchNormScale,
    /// Beta of a batch norm.
    BatchNormShift,
    /// Running mean of a batch norm; not trained.
    RunningMean,
    /// Running variance of a batch norm; not trained.
    RunningVar,
    /// Number of batches in the running statistics: one `i64`; not trained, and used in no
    /// computation.
    BatchesTracked,
    /// Classifier weights [out, in].
    LinearWeight,
    /// Classifier bias.
    LinearBias,
}

impl ParameterRole {
    /// Whether the optimiser updates it.
    pub fn is_trainable(self) -> bool {
        match self {
            ParameterRole::ConvWeight
            | ParameterRole::BatchNormScale
            | ParameterRole::BatchNormShift
            | ParameterRole::LinearWeight
            | ParameterRole::LinearBias => true,
            ParameterRole::RunningMean
            | ParameterRole::RunningVar
            | ParameterRole::BatchesTracked => false,
        }
    }
}

/// A named tensor of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in a file.
    pub name: String,
    /// Its shape in a file.
    pub shape: Vec<usize>,
    /// Its role in the layer.
    pub role: ParameterRole,
}

impl Parameter {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no value; never so in a legal network.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Layer {
    /// The layer's tensors in file order; empty for layers without parameters.
    pub fn parameters(&self) -> Vec<Parameter> {
        let parameter = |suffix: &str, shape: Vec<usize>, role| Parameter {
            name: format!("{}.{suffix}", self.name),
            shape,
            role,
        };
        match self.kind {
            LayerKind::Convolution {
                input_channels,
                output_channels,
                kernel,
                ..
            } => vec![parameter(
                "weight",
                vec![output_channels, input_channels, kernel, kernel],
                ParameterRole::ConvWeight,
            )],
            LayerKind::BatchNorm { channels } => vec![
                parameter("weight", vec![channels], ParameterRole::BatchNormScale),
                parameter("bias", vec![channels], ParameterRole::BatchNormShift),
                parameter("running_mean", vec![channels], ParameterRole::RunningMean),
                parameter("running_var", vec![channels], ParameterRole::RunningVar),
                parameter("num_batches_tracked", vec![], ParameterRole::BatchesTracked),
            ],
            LayerKind::Linear { inputs, outputs } => vec![
                parameter("weight", vec![outputs, inputs], ParameterRole::LinearWeight),
                parameter("bias", vec![outputs], ParameterRole::LinearBias),
            ],
            LayerKind::Relu
            | LayerKind::MaxPool { .. }
            | LayerKind::GlobalAveragePool
            | LayerKind::Dropout { .. }
            | LayerKind::ScaleBranch { .. } => vec![],
        }
    }
}

impl Network {
    /// All tensors in file order.
    ///
    /// ```
    /// use pyr_wgpu::model::{Network, preset};
    ///
    /// let network = Network::new(&preset("pyramidnet110-a48").unwrap()).unwrap();
    /// let first = &network.parameters()[0];
    /// assert_eq!((first.name.as_str(), &first.shape[..]), ("conv1.weight", &[16, 3, 3, 3][..]));
    /// ```
    pub fn parameters(&self) -> Vec<Parameter> {
        self.layers().flat_map(Layer::parameters).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Block, NetworkSpec, Stem};

    #[test]
    fn names_and_order_are_those_of_the_pytorch_modules() {
        let mut spec = NetworkSpec::pyramid(Stem::Cifar, 11, 28.0);
        spec.block = Block::Bottleneck;
        let parameters = Network::new(&spec).unwrap().parameters();
        let text: Vec<String> = parameters
            .iter()
            .map(|parameter| format!("{} {:?}", parameter.name, parameter.shape))
            .collect();
        // The stem, the whole first unit, the head.
        let expected = "\
conv1.weight [16, 3, 3, 3]
bn1.weight [16]
bn1.bias [16]
bn1.running_mean [16]
bn1.running_var [16]
bn1.num_batches_tracked []
layer1.0.bn1.weight [16]
layer1.0.bn1.bias [16]
layer1.0.bn1.running_mean [16]
layer1.0.bn1.running_var [16]
layer1.0.bn1.num_batches_tracked []
layer1.0.conv1.weight [25, 16, 1, 1]
layer1.0.bn2.weight [25]
layer1.0.bn2.bias [25]
layer1.0.bn2.running_mean [25]
layer1.0.bn2.running_var [25]
layer1.0.bn2.num_batches_tracked []
layer1.0.conv2.weight [25, 25, 3, 3]
layer1.0.bn3.weight [25]
layer1.0.bn3.bias [25]
layer1.0.bn3.running_mean [25]
layer1.0.bn3.running_var [25]
layer1.0.bn3.num_batches_tracked []
layer1.0.conv3.weight [100, 25, 1, 1]
layer1.0.bn4.weight [100]
layer1.0.bn4.bias [100]
layer1.0.bn4.running_mean [100]
layer1.0.bn4.running_var [100]
layer1.0.bn4.num_batches_tracked []
layer2.0.bn1.weight [100]";
        let expected: Vec<&str> = expected.lines().collect();
        assert_eq!(text[..expected.len()], expected);
        let end = [
            "bn_final.weight [176]",
            "bn_final.bias [176]",
            "bn_final.running_mean [176]",
            "bn_final.running_var [176]",
            "bn_final.num_batches_tracked []",
            "fc.weight [10, 176]",
            "fc.bias [10]",
        ];
        assert_eq!(text[text.len() - end.len()..], end);
        // 9 convolutions and the stem's, 4 batch norms per unit and two, the classifier.
        assert_eq!(parameters.len(), 10 + 5 * 14 + 2);
    }

    #[test]
    fn projections_come_after_their_branch() {
        let parameters = Network::new(&NetworkSpec::preresnet(50))
            .unwrap()
            .parameters();
        let names: Vec<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
        let at = |name: &str| {
            let found = names.iter().position(|other| *other == name);
            found.unwrap_or_else(|| panic!("{name}"))
        };
        assert_eq!(
            at("layer2.0.conv3.weight") + 1,
            at("layer2.0.downsample.0.weight")
        );
        assert_eq!(
            at("layer2.0.downsample.0.weight") + 1,
            at("layer2.1.bn1.weight")
        );
        assert!(!names.contains(&"layer1.0.bn1.weight"));
        assert!(!names.contains(&"layer2.0.downsample.1.weight"));
        assert_eq!(parameters[at("bn2.weight")].shape, [2048]);
    }
}
