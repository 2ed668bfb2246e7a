//! Test errors that were published for the networks of the presets, in percent.

use serde::Serialize;

use super::presets::{preset, preset_names};
use super::spec::NetworkSpec;

/// Errors of a network, each if it was published: on the test or validation images, of a single
/// crop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Published {
    /// Top-1 error on CIFAR-10.
    pub cifar10: Option<f64>,
    /// Top-1 error on CIFAR-100.
    pub cifar100: Option<f64>,
    /// Top-1 and top-5 error on ImageNet.
    pub imagenet: Option<[f64; 2]>,
    /// Where they were published.
    pub source: &'static str,
}

const AUTHORS: &str = "github.com/jhkim89/PyramidNet";
const SHAKEDROP: &str = "arXiv 1802.02375";

/// Presets for CIFAR as the authors of PyramidNet list them: errors on CIFAR-10 and CIFAR-100.
const CIFAR: [(&str, [f64; 2]); 12] = [
    ("pyramidnet110-a48", [4.62, 23.31]),
    ("pyramidnet110-a84", [4.27, 20.21]),
    ("pyramidnet110-a270", [3.73, 18.25]),
    ("pyramidnet110-mul-a4.75", [4.62, 23.16]),
    ("pyramidnet110-mul-a8", [4.50, 20.94]),
    ("pyramidnet110-mul-a27", [4.06, 18.79]),
    ("pyramidnet164-a48", [4.21, 19.52]),
    ("pyramidnet164-a84", [3.96, 18.32]),
    ("pyramidnet164-a270", [3.48, 17.01]),
    ("pyramidnet200-a240", [3.44, 16.51]),
    ("pyramidnet236-a220", [3.40, 16.37]),
    ("pyramidnet272-a200", [3.31, 16.35]),
];

/// Presets for ImageNet as they list them, with the baseline that they compare with: top-1 and top-5
/// errors.
const IMAGENET: [(&str, [f64; 2]); 3] = [
    ("preresnet200-imagenet", [21.66, 5.79]),
    ("pyramidnet200-a300-imagenet", [20.47, 5.29]),
    ("pyramidnet200-a450-imagenet", [20.11, 5.43]),
];

/// The errors of a preset; `None` if there are none or no preset has this name.
///
/// ```
/// let errors = pyr_wgpu::model::published("pyramidnet110-a270").unwrap();
/// assert_eq!((errors.cifar10, errors.imagenet), (Some(3.73), None));
/// ```
pub fn published(name: &str) -> Option<Published> {
    let none = Published {
        cifar10: None,
        cifar100: None,
        imagenet: None,
        source: AUTHORS,
    };
    let shakedrop = Published {
        source: SHAKEDROP,
        ..none
    };
    let row = |table: &[(&str, [f64; 2])]| {
        let found = table.iter().find(|(preset, _)| *preset == name);
        found.map(|(_, errors)| *errors)
    };
    match name {
        // After 300 epochs, as two implementations quote the paper on ShakeDrop.
        "pyramidnet110-a270-shakedrop" => Some(Published {
            cifar100: Some(16.22),
            ..shakedrop
        }),
        "pyramidnet272-a200-shakedrop" => Some(Published {
            cifar10: Some(3.08),
            ..shakedrop
        }),
        _ => match (row(&CIFAR), row(&IMAGENET)) {
            (Some([cifar10, cifar100]), _) => Some(Published {
                cifar10: Some(cifar10),
                cifar100: Some(cifar100),
                ..none
            }),
            (None, Some(imagenet)) => Some(Published {
                imagenet: Some(imagenet),
                ..none
            }),
            (None, None) => None,
        },
    }
}

/// The errors of the preset that a network is, whatever its number of classes.
pub fn published_for(spec: &NetworkSpec) -> Option<Published> {
    let is_same = |name: &&str| {
        let preset = preset(name).expect("the name of a preset");
        let classes = spec.classes;
        NetworkSpec { classes, ..preset } == *spec
    };
    published(preset_names().find(is_same)?)
}

impl Published {
    /// Dataset and errors of each, such as "CIFAR-10 4.62 %".
    pub fn words(&self) -> Vec<String> {
        let top1 = |dataset: &str, error: Option<f64>| {
            error.map(|error| format!("{dataset} {error:.2} %"))
        };
        let imagenet = self
            .imagenet
            .map(|[top1, top5]| format!("ImageNet {top1:.2} % top-1, {top5:.2} % top-5"));
        let all = [
            top1("CIFAR-10", self.cifar10),
            top1("CIFAR-100", self.cifar100),
            imagenet,
        ];
        all.into_iter().flatten().collect()
    }
}
