//! The specification of a network: everything that determines its parameters and arithmetic.
//!
//! A spec is plain data and may be invalid; [`NetworkSpec::validate`] checks it.
//! [`Network::new`](super::Network::new) rejects an invalid one, so later code need not check.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::SpecError;
use super::units::{MAX_DEPTH, pyramid_widths, stages};
use super::words::{Block, Family, Growth, Rounding, Stem};
use crate::data::{Augmentation, DatasetKind, Resize};
use crate::graph::ops::BranchRule;

/// Wider layers are refused: their 3x3 weights alone exceed 2 GiB, more than a GPU binding holds.
pub const MAX_WIDTH: u32 = 8192;
/// More classes are refused as typos; the largest public label set has about 22,000.
pub const MAX_CLASSES: u32 = 65_536;
/// Larger images are refused as typos; one activation would fill a GPU.
pub const MAX_IMAGE_SIZE: u32 = 4096;

/// The specification of a network.
///
/// ```
/// use pyr_wgpu::model::{NetworkSpec, Stem};
///
/// let spec = NetworkSpec::pyramid(Stem::Cifar, 110, 48.0);
/// assert_eq!(spec.widths().last(), Some(&64));
/// assert!(spec.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// PyramidNet or the baseline.
    pub family: Family,
    /// Layers with weights on the longest path.
    pub depth: u32,
    /// Channels added over all units (additive growth), or the factor over all units
    /// (multiplicative growth); 0 for PreResNet.
    pub alpha: f64,
    /// What alpha means.
    pub growth: Growth,
    /// The residual unit.
    pub block: Block,
    /// The layers before the units.
    pub stem: Stem,
    /// Outputs of the classifier.
    pub classes: u32,
    /// Probability of dropping a feature before the classifier in training; 0 for none.
    pub dropout: f32,
    /// Rows and columns of the images.
    pub image_size: u32,
    /// How fractional widths are rounded.
    pub rounding: Rounding,
    /// Whether the max pooling of the ImageNet stem rounds its extents up, as Caffe's does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ceil_mode: bool,
    /// ShakeDrop's probability of an undisturbed branch in the last unit, p_L in 0 < p_L ≤ 1; 1
    /// for none. Unit l of L has p = 1 − (l/L)·(1 − p_L). See [`crate::graph::ops::ScaleBranch`].
    #[serde(default = "undisturbed", skip_serializing_if = "is_undisturbed")]
    pub shakedrop: f32,
    /// The same of stochastic depth; at most one of the two is below 1.
    #[serde(default = "undisturbed", skip_serializing_if = "is_undisturbed")]
    pub stochastic_depth: f32,
}

fn undisturbed() -> f32 {
    1.0
}

fn is_undisturbed(survival: &f32) -> bool {
    *survival == undisturbed()
}

impl Stem {
    /// How training images of a dataset are augmented unless a run specifies another way.
    pub fn augmentation(self, dataset: DatasetKind) -> Augmentation {
        match self == Stem::ImageNet && dataset.has_image_files() {
            true => Augmentation::ImageNet,
            false => Augmentation::Crop,
        }
    }

    /// The resize to images of a size: the CIFAR stem uses the whole shorter side, the ImageNet
    /// stem 224 of 256 pixels, and the same proportion at other sizes.
    pub fn resize(self, image_size: u32) -> Resize {
        match self {
            Stem::Cifar => Resize::whole(image_size),
            Stem::ImageNet => Resize::new(224, 256).scaled_to(image_size),
        }
    }

    /// Checks that networks with this stem take images of a size.
    ///
    /// # Errors
    /// [`SpecError::ImageSize`], with the legal sizes.
    pub fn check_image_size(self, image_size: u32) -> Result<(), SpecError> {
        let least = self.least_image_size();
        match (least..=MAX_IMAGE_SIZE).contains(&image_size) {
            true => Ok(()),
            false => Err(SpecError::ImageSize {
                size: image_size,
                stem: self,
                least,
                most: MAX_IMAGE_SIZE,
            }),
        }
    }
}

impl NetworkSpec {
    /// An additive PyramidNet with all other fields at their defaults for the stem and depth.
    pub fn pyramid(stem: Stem, depth: u32, alpha: f64) -> NetworkSpec {
        NetworkSpec {
            family: Family::PyramidNet,
            depth,
            alpha,
            growth: Growth::Additive,
            block: Block::default_for(stem, depth),
            stem,
            classes: stem.default_classes(),
            dropout: 0.0,
            image_size: stem.default_image_size(),
            rounding: Rounding::HalfUp,
            ceil_mode: false,
            shakedrop: undisturbed(),
            stochastic_depth: undisturbed(),
        }
    }

    /// A PreResNet of the ImageNet table, with all other fields at their defaults.
    pub fn preresnet(depth: u32) -> NetworkSpec {
        NetworkSpec {
            family: Family::PreResNet,
            alpha: 0.0,
            ..NetworkSpec::pyramid(Stem::ImageNet, depth, 0.0)
        }
    }

    /// The resize to the network's input unless a checkpoint specifies another; see
    /// [`Stem::resize`].
    pub fn resize(&self) -> Resize {
        self.stem.resize(self.image_size)
    }

    /// Checks that such a network exists.
    ///
    /// # Errors
    /// The first illegal field, with its legal values.
    pub fn validate(&self) -> Result<(), SpecError> {
        if self.family == Family::PreResNet {
            self.validate_preresnet()?;
        }
        self.units_per_stage()?;
        if self.family == Family::PyramidNet {
            self.validate_alpha()?;
        }
        if self.classes == 0 || self.classes > MAX_CLASSES {
            return Err(SpecError::Classes {
                classes: self.classes,
                most: MAX_CLASSES,
            });
        }
        // A NaN lies in no range and is refused too.
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(SpecError::Dropout {
                dropout: self.dropout,
            });
        }
        for (rule, survival) in self.survivals() {
            if !(survival > 0.0 && survival <= 1.0) {
                return Err(SpecError::Survival { rule, survival });
            }
        }
        if self.survivals().iter().all(|(_, p)| !is_undisturbed(p)) {
            return Err(SpecError::TwoBranchRules);
        }
        self.stem.check_image_size(self.image_size)
    }

    /// The random factors on branches, each with the probability of an undisturbed one in the last
    /// unit.
    fn survivals(&self) -> [(BranchRule, f32); 2] {
        [
            (BranchRule::ShakeDrop, self.shakedrop),
            (BranchRule::StochasticDepth, self.stochastic_depth),
        ]
    }

    /// The random factor on the branch of a unit, counted from 1, and the probability that leaves
    /// the branch undisturbed; `None` without such factors.
    pub(super) fn branch_rule(&self, unit: u32) -> Option<(BranchRule, f64)> {
        let units: u32 = self.units_per_stage().ok()?.iter().sum();
        let rules = self.survivals().into_iter();
        let (rule, last) = rules.into_iter().find(|(_, p)| !is_undisturbed(p))?;
        let share = f64::from(unit) / f64::from(units);
        Some((rule, 1.0 - share * (1.0 - f64::from(last))))
    }

    /// Number of units in each stage.
    ///
    /// # Errors
    /// If no network of this stem and block has the depth.
    pub fn units_per_stage(&self) -> Result<Vec<u32>, SpecError> {
        stages(self.family, self.stem, self.block, self.depth).ok_or_else(|| self.depth_error())
    }

    /// Width of every unit, in order: output channels of its first convolution.
    /// Empty if the depth is illegal; meaningless if alpha is.
    pub fn widths(&self) -> Vec<usize> {
        let stages = self.units_per_stage().unwrap_or_default();
        if self.family == Family::PreResNet {
            let width = |(stage, units): (usize, &u32)| vec![64 << stage; *units as usize];
            return stages.iter().enumerate().flat_map(width).collect();
        }
        let units: u32 = stages.iter().sum();
        pyramid_widths(
            self.stem.channels(),
            units as usize,
            self.alpha,
            self.growth,
            self.rounding,
        )
    }

    fn validate_preresnet(&self) -> Result<(), SpecError> {
        let wrong = |what, expected, found: String| {
            Err(SpecError::PreResNet {
                what,
                expected,
                found,
            })
        };
        if self.stem != Stem::ImageNet {
            return wrong("the stem", "imagenet", self.stem.to_string());
        }
        if self.alpha != 0.0 {
            return wrong("alpha", "0", self.alpha.to_string());
        }
        if self.growth != Growth::Additive {
            return wrong("growth", "add", self.growth.to_string());
        }
        Ok(())
    }

    fn validate_alpha(&self) -> Result<(), SpecError> {
        let start = self.stem.channels() as f64;
        let widest = f64::from(MAX_WIDTH);
        let (last, most) = match self.growth {
            Growth::Additive => (start + self.alpha, widest - start),
            Growth::Multiplicative => (start * self.alpha, widest / start),
        };
        let legal = self.growth.allows(self.alpha);
        let reason = match self.growth {
            _ if !self.alpha.is_finite() => format!("it must be a number, at most {most}"),
            Growth::Additive if !legal => {
                format!("it must be above 0 (the paper uses 48 to 450) and at most {most}")
            }
            Growth::Multiplicative if !legal => {
                format!("it must be at least 1 (the paper uses 4.75 to 27) and at most {most}")
            }
            _ if last > widest => format!(
                "the last unit would be {last:?} wide; the maximum is {MAX_WIDTH}, at alpha {most}"
            ),
            _ => return Ok(()),
        };
        Err(SpecError::Alpha {
            alpha: self.alpha,
            growth: self.growth,
            reason,
        })
    }

    fn depth_error(&self) -> SpecError {
        let fits = |block, depth: &u32| stages(self.family, self.stem, block, *depth).is_some();
        let below = (0..self.depth.min(MAX_DEPTH + 1))
            .rev()
            .find(|depth| fits(self.block, depth));
        let above =
            (self.depth.saturating_add(1)..=MAX_DEPTH).find(|depth| fits(self.block, depth));
        let mut nearest = match (below, above) {
            (Some(below), Some(above)) => format!("the nearest depths are {below} and {above}"),
            (Some(only), None) | (None, Some(only)) => format!("the nearest depth is {only}"),
            (None, None) => "no depth does".to_string(),
        };
        let other = match self.block {
            Block::Basic => Block::Bottleneck,
            Block::Bottleneck => Block::Basic,
        };
        if fits(other, &self.depth) {
            nearest += &format!("; it fits --block {other}");
        }
        let table = match self.block {
            Block::Basic => "18, 34",
            Block::Bottleneck => "18, 34, 50, 101, 152, 200",
        };
        let period = self.stem.stages() * self.block.layers();
        let rule = match (self.family, self.stem, self.block) {
            (Family::PreResNet, _, Block::Basic) => "18 or 34".to_string(),
            (Family::PreResNet, _, Block::Bottleneck) => "50, 101, 152 or 200".to_string(),
            (_, Stem::Cifar, _) => format!("{period}n + 2"),
            (_, Stem::ImageNet, _) => format!("{table}, or {period}n + 2"),
        };
        SpecError::Depth {
            depth: self.depth,
            stem: self.stem,
            block: self.block,
            rule: format!("{rule}, at most {MAX_DEPTH}"),
            nearest,
        }
    }
}

impl fmt::Display for NetworkSpec {
    /// The network in one line, for messages and logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.family {
            Family::PyramidNet => write!(
                f,
                "PyramidNet-{} {} alpha {}, {}",
                self.depth, self.growth, self.alpha, self.block
            )?,
            Family::PreResNet => write!(f, "PreResNet-{}, {}", self.depth, self.block)?,
        }
        write!(
            f,
            ", {} stem, {} classes, {size}x{size}",
            self.stem,
            self.classes,
            size = self.image_size
        )?;
        if self.dropout > 0.0 {
            write!(f, ", dropout {}", self.dropout)?;
        }
        if self.rounding != Rounding::HalfUp {
            write!(f, ", {}", self.rounding)?;
        }
        if self.ceil_mode {
            f.write_str(", max pooling rounded up")?;
        }
        for (rule, survival) in self.survivals() {
            if !is_undisturbed(&survival) {
                write!(f, ", {rule} {survival}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cifar(depth: u32, alpha: f64, block: Block) -> NetworkSpec {
        NetworkSpec {
            block,
            ..NetworkSpec::pyramid(Stem::Cifar, depth, alpha)
        }
    }

    fn imagenet(depth: u32, block: Block) -> NetworkSpec {
        NetworkSpec {
            block,
            ..NetworkSpec::pyramid(Stem::ImageNet, depth, 300.0)
        }
    }

    #[test]
    fn additive_widths_by_hand() {
        // 9 units, 2 channels each.
        let widths = cifar(20, 18.0, Block::Basic).widths();
        assert_eq!(widths, [18, 20, 22, 24, 26, 28, 30, 32, 34]);
        // 3 units of 28/3: 25.33, 34.67, 44.
        assert_eq!(cifar(8, 28.0, Block::Basic).widths(), [25, 35, 44]);
    }

    #[test]
    fn multiplicative_widths_by_hand() {
        let mut spec = cifar(8, 8.0, Block::Basic);
        spec.growth = Growth::Multiplicative;
        assert_eq!(spec.widths(), [32, 64, 128]);
        spec.alpha = 1.0;
        assert_eq!(spec.widths(), [16, 16, 16]);
    }

    #[test]
    fn halves_go_up_or_to_the_even_neighbour() {
        // Differences between the authors' two programs, units counted from 1.
        let mut spec = imagenet(50, Block::Bottleneck);
        spec.alpha = 60.0;
        let up = spec.widths();
        spec.rounding = Rounding::HalfEven;
        let even = spec.widths();
        assert_eq!((up[5], up[13]), (87, 117));
        assert_eq!((even[5], even[13]), (86, 116));

        let mut spec = cifar(110, 27.0, Block::Basic);
        let up = spec.widths();
        spec.rounding = Rounding::HalfEven;
        let differing = up.iter().zip(spec.widths()).filter(|(a, b)| **a != *b);
        assert_eq!(differing.count(), 14);
    }

    #[test]
    fn depths_name_their_units() {
        let units = |spec: NetworkSpec| spec.units_per_stage().unwrap();
        assert_eq!(units(cifar(110, 48.0, Block::Basic)), [18; 3]);
        assert_eq!(units(cifar(164, 48.0, Block::Bottleneck)), [18; 3]);
        assert_eq!(units(imagenet(18, Block::Basic)), [2; 4]);
        assert_eq!(units(imagenet(18, Block::Bottleneck)), [2; 4]);
        assert_eq!(units(imagenet(34, Block::Bottleneck)), [3, 4, 6, 3]);
        assert_eq!(units(imagenet(101, Block::Bottleneck)), [3, 4, 23, 3]);
        assert_eq!(units(imagenet(152, Block::Bottleneck)), [3, 8, 36, 3]);
        assert_eq!(units(imagenet(200, Block::Bottleneck)), [3, 24, 36, 3]);
        // Outside the table: four equal stages.
        assert_eq!(units(imagenet(26, Block::Basic)), [3; 4]);
        assert_eq!(units(imagenet(50, Block::Basic)), [6; 4]);
        assert_eq!(units(imagenet(38, Block::Bottleneck)), [3; 4]);
    }

    #[test]
    fn illegal_depths_name_their_neighbours() {
        let message = |spec: NetworkSpec| spec.validate().unwrap_err().to_string();
        let text = message(cifar(111, 48.0, Block::Basic));
        assert!(
            text.contains("depth 111") && text.contains("110 and 116"),
            "{text}"
        );
        let text = message(cifar(29, 48.0, Block::Basic));
        assert!(
            text.contains("26 and 32") && text.contains("--block bottleneck"),
            "{text}"
        );
        let text = message(cifar(0, 48.0, Block::Basic));
        assert!(text.contains("the nearest depth is 8"), "{text}");
        let text = message(cifar(2, 48.0, Block::Bottleneck));
        assert!(text.contains("the nearest depth is 11"), "{text}");
        let text = message(cifar(u32::MAX, 48.0, Block::Basic));
        assert!(text.contains("the nearest depth is 9998"), "{text}");
        let text = message(imagenet(201, Block::Bottleneck));
        assert!(
            text.contains("200 and 206") && text.contains("12n + 2"),
            "{text}"
        );
        let text = message(imagenet(101, Block::Basic));
        assert!(
            text.contains("98 and 106") && text.contains("--block bottleneck"),
            "{text}"
        );
        let text = message(NetworkSpec::preresnet(110));
        assert!(text.contains("101 and 152"), "{text}");
    }

    #[test]
    fn branches_survive_less_from_unit_to_unit() {
        let mut spec = cifar(20, 18.0, Block::Basic);
        assert_eq!(spec.branch_rule(9), None);
        spec.shakedrop = 0.5;
        let survival = |unit| spec.branch_rule(unit).unwrap().1;
        let expected = [17.0 / 18.0, 13.0 / 18.0, 0.5];
        for (unit, expected) in [1, 5, 9].into_iter().zip(expected) {
            assert!((survival(unit) - expected).abs() < 1e-15, "unit {unit}");
        }
        assert!(spec.to_string().ends_with("ShakeDrop 0.5"), "{spec}");
        for (shakedrop, stochastic_depth, word) in [
            (0.5, 0.5, "--shakedrop 1"),
            (0.0, 1.0, "ShakeDrop 0"),
            (1.0, 1.5, "stochastic depth 1.5"),
            (f32::NAN, 1.0, "NaN"),
        ] {
            (spec.shakedrop, spec.stochastic_depth) = (shakedrop, stochastic_depth);
            let error = spec.validate().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn imagenet_images_are_resized_before_the_crop() {
        let resize = |stem, image_size| {
            let mut spec = NetworkSpec::pyramid(stem, 18, 48.0);
            spec.image_size = image_size;
            spec.resize()
        };
        assert_eq!(resize(Stem::ImageNet, 224), Resize::new(224, 256));
        assert_eq!(resize(Stem::ImageNet, 64), Resize::new(64, 73));
        assert_eq!(resize(Stem::Cifar, 48), Resize::new(48, 48));
    }

    #[test]
    fn wrong_fields_are_refused() {
        let good = cifar(20, 24.0, Block::Basic);
        let check = |change: &dyn Fn(&mut NetworkSpec), words: &str| {
            let mut spec = good.clone();
            change(&mut spec);
            let error = spec.validate().expect_err(words);
            assert!(!error.is_about_checkpoint());
            assert!(error.to_string().contains(words), "{error}");
        };
        good.validate().unwrap();
        for alpha in [
            -1.0,
            0.0,
            -0.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e9,
        ] {
            check(&|spec| spec.alpha = alpha, "alpha");
        }
        for alpha in [0.99, 0.0, -2.0, f64::NAN, f64::INFINITY, 1e9] {
            let change = |spec: &mut NetworkSpec| {
                spec.alpha = alpha;
                spec.growth = Growth::Multiplicative;
            };
            check(&change, "with mul growth");
        }
        check(&|spec| spec.alpha = 8177.0, "8176");
        check(&|spec| spec.classes = 0, "0 classes");
        check(&|spec| spec.classes = u32::MAX, "classes");
        for dropout in [1.0, -0.1, f32::NAN, f32::INFINITY] {
            check(&|spec| spec.dropout = dropout, "dropout");
        }
        check(&|spec| spec.image_size = 3, "3x3");
        check(&|spec| spec.image_size = 0, "0x0");
        check(&|spec| spec.image_size = 100_000, "4096");
        check(&|spec| spec.family = Family::PreResNet, "imagenet");

        let mut spec = imagenet(18, Block::Basic);
        spec.image_size = 31;
        assert!(spec.validate().unwrap_err().to_string().contains("32"));
        let mut spec = NetworkSpec::preresnet(200);
        spec.validate().unwrap();
        spec.alpha = 300.0;
        assert!(spec.validate().unwrap_err().to_string().contains("alpha"));
    }

    #[test]
    fn specs_are_written_in_the_words_of_the_command_line() {
        let spec = imagenet(200, Block::Bottleneck);
        let json = serde_json::to_string(&spec).unwrap();
        for word in [
            "\"pyramidnet\"",
            "\"add\"",
            "\"bottleneck\"",
            "\"imagenet\"",
            "\"half-up\"",
        ] {
            assert!(json.contains(word), "{json}");
        }
        assert_eq!(serde_json::from_str::<NetworkSpec>(&json).unwrap(), spec);
    }
}
