//! Networks by name: the rows of the paper's tables, the baseline, and the demo network.
//!
//! A preset is one row of data. The number of classes is the stem's default, which the dataset
//! or a flag overrides.

use super::error::SpecError;
use super::spec::NetworkSpec;
use super::words::{Block, Family, Growth, Stem};

/// One row: name, family, depth, alpha, growth, block, stem, dropout, ShakeDrop's last survival.
type Row = (
    &'static str,
    Family,
    u32,
    f64,
    Growth,
    Block,
    Stem,
    f32,
    f32,
);

use Block::{Basic, Bottleneck};
use Family::{PreResNet, PyramidNet};
use Growth::{Additive, Multiplicative};
use Stem::{Cifar, ImageNet};

/// Every preset: the CIFAR table by depth and alpha, the two networks of the paper on ShakeDrop, the
/// ImageNet table, and a network small enough for a software adapter.
#[rustfmt::skip]
const ROWS: [Row; 18] = [
    ("pyramidnet110-a48",            PyramidNet, 110,  48.0,  Additive,       Basic,      Cifar,    0.0, 1.0),
    ("pyramidnet110-a84",            PyramidNet, 110,  84.0,  Additive,       Basic,      Cifar,    0.0, 1.0),
    ("pyramidnet110-a270",           PyramidNet, 110, 270.0,  Additive,       Basic,      Cifar,    0.0, 1.0),
    ("pyramidnet110-mul-a4.75",      PyramidNet, 110,   4.75, Multiplicative, Basic,      Cifar,    0.0, 1.0),
    ("pyramidnet110-mul-a8",         PyramidNet, 110,   8.0,  Multiplicative, Basic,      Cifar,    0.0, 1.0),
    ("pyramidnet110-mul-a27",        PyramidNet, 110,  27.0,  Multiplicative, Basic,      Cifar,    0.0, 1.0),
    ("pyramidnet164-a48",            PyramidNet, 164,  48.0,  Additive,       Bottleneck, Cifar,    0.0, 1.0),
    ("pyramidnet164-a84",            PyramidNet, 164,  84.0,  Additive,       Bottleneck, Cifar,    0.0, 1.0),
    ("pyramidnet164-a270",           PyramidNet, 164, 270.0,  Additive,       Bottleneck, Cifar,    0.0, 1.0),
    ("pyramidnet200-a240",           PyramidNet, 200, 240.0,  Additive,       Bottleneck, Cifar,    0.0, 1.0),
    ("pyramidnet236-a220",           PyramidNet, 236, 220.0,  Additive,       Bottleneck, Cifar,    0.0, 1.0),
    ("pyramidnet272-a200",           PyramidNet, 272, 200.0,  Additive,       Bottleneck, Cifar,    0.0, 1.0),
    ("pyramidnet110-a270-shakedrop", PyramidNet, 110, 270.0,  Additive,       Basic,      Cifar,    0.0, 0.5),
    ("pyramidnet272-a200-shakedrop", PyramidNet, 272, 200.0,  Additive,       Bottleneck, Cifar,    0.0, 0.5),
    ("pyramidnet200-a300-imagenet",  PyramidNet, 200, 300.0,  Additive,       Bottleneck, ImageNet, 0.0, 1.0),
    ("pyramidnet200-a450-imagenet",  PyramidNet, 200, 450.0,  Additive,       Bottleneck, ImageNet, 0.5, 1.0),
    ("preresnet200-imagenet",        PreResNet,  200,   0.0,  Additive,       Bottleneck, ImageNet, 0.0, 1.0),
    ("demo",                         PyramidNet,   8,  28.0,  Additive,       Basic,      Cifar,    0.0, 1.0),
];

/// Names of all presets, in the order of the paper's tables.
pub fn preset_names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.0)
}

/// The network of a preset.
///
/// # Errors
/// If no preset has this name; the error names the most similar one and lists all.
///
/// ```
/// let spec = pyr_wgpu::model::preset("pyramidnet110-a270").unwrap();
/// assert_eq!((spec.depth, spec.alpha), (110, 270.0));
/// assert!(pyr_wgpu::model::preset("pyramidnet110-270").is_err());
/// ```
pub fn preset(name: &str) -> Result<NetworkSpec, SpecError> {
    let row = ROWS.iter().find(|row| row.0 == name);
    let &(_, family, depth, alpha, growth, block, stem, dropout, shakedrop) =
        row.ok_or_else(|| SpecError::UnknownPreset {
            name: name.to_string(),
            nearest: nearest(name),
            known: preset_names().collect::<Vec<_>>().join(", "),
        })?;
    Ok(NetworkSpec {
        family,
        growth,
        block,
        dropout,
        shakedrop,
        ..NetworkSpec::pyramid(stem, depth, alpha)
    })
}

/// The preset with the smallest edit distance; the first of several.
fn nearest(name: &str) -> &'static str {
    // The cost grows with the length, and no preset has more than 64 characters.
    let start: String = name.to_lowercase().chars().take(64).collect();
    preset_names()
        .min_by_key(|known| strsim::levenshtein(known, &start))
        .expect("there are presets")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_legal_and_named_after_itself() {
        for name in preset_names() {
            let spec = preset(name).unwrap();
            spec.validate().unwrap();
            if name != "demo" {
                assert!(name.contains(&spec.depth.to_string()), "{name}");
                assert_eq!(name.contains("imagenet"), spec.stem == ImageNet, "{name}");
                assert_eq!(
                    name.contains("mul"),
                    spec.growth == Multiplicative,
                    "{name}"
                );
            }
            if spec.family == PyramidNet && name != "demo" {
                assert!(name.contains(&format!("-a{}", spec.alpha)), "{name}");
            }
        }
    }

    #[test]
    fn names_differ() {
        let mut names: Vec<_> = preset_names().collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 18);
    }

    #[test]
    fn unknown_names_get_a_suggestion() {
        let suggested = |name| match preset(name) {
            Err(SpecError::UnknownPreset { nearest, .. }) => nearest,
            other => panic!("{other:?}"),
        };
        assert_eq!(suggested("pyramidnet110-270"), "pyramidnet110-a270");
        assert_eq!(suggested("PyramidNet272-a200"), "pyramidnet272-a200");
        assert_eq!(suggested("preresnet200"), "preresnet200-imagenet");
        assert_eq!(suggested("dmo"), "demo");
        suggested("");
        suggested(&"x".repeat(1_000_000));
    }
}
