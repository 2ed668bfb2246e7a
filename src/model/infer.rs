//! Infers a network from tensor names and shapes, and compares the two.
//!
//! Weights from other programs have no description, but their names and shapes determine nearly
//! everything. Stem, block, depth and classes follow directly; the widths of the units bound
//! alpha from both sides, because width k is the rounding of a known function of alpha and
//! k. Any alpha in between builds the same network; the roundest one is chosen.
//! Dropout, random factors on branches and image size do not affect the tensors and get their
//! defaults: a network that was trained with ShakeDrop needs `--shakedrop`, by which its evaluation
//! is scaled. Where additive and multiplicative growth both fit, additive is preferred.

use std::collections::{BTreeMap, BTreeSet};

use super::error::SpecError;
use super::layers::Network;
use super::parameters::{Parameter, ParameterRole};
use super::spec::NetworkSpec;
use super::units::{depth_of, pyramid_widths};
use super::words::{Block, Family, Growth, Rounding, Stem};
use crate::text::first_few;

/// Shapes of tensors by name.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// Compares a network with the tensors of a file, in the network's order.
/// `num_batches_tracked` may be missing: PyTorch before 0.4.1 did not write it.
///
/// # Errors
/// The first tensor with another shape, or the first few that are missing or not the network's.
pub fn check(network: &Network, tensors: &Shapes) -> Result<(), SpecError> {
    let parameters = network.parameters();
    let counts = |parameter: &Parameter| parameter.role == ParameterRole::BatchesTracked;
    let is_missing = |p: &Parameter| !tensors.contains_key(&p.name) && !counts(p);
    for parameter in &parameters {
        let Some(found) = tensors.get(&parameter.name) else {
            if counts(parameter) {
                continue;
            }
            break;
        };
        // Some programs have no scalars.
        let scalar = counts(parameter) && found[..] == [1];
        if *found != parameter.shape && !scalar {
            return Err(SpecError::TensorShape {
                name: parameter.name.clone(),
                found: found.clone(),
                expected: parameter.shape.clone(),
                network: network.spec().to_string(),
                hint: hint(parameter, found),
            });
        }
    }
    let known: BTreeSet<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
    let missing = parameters.iter().filter(|p| is_missing(p));
    let missing = list(missing.map(|p| (&p.name, &p.shape)));
    let extra = tensors
        .iter()
        .filter(|(name, _)| !known.contains(name.as_str()));
    let extra = list(extra);
    let missing = missing.map(|names| format!("missing from the file: {names}"));
    let projection = tensors
        .keys()
        .any(|name| name.ends_with(".downsample.1.weight"));
    let extra = extra.map(|names| match projection {
        true => format!(
            "{names}; a batch norm after the projections, as in the authors' PyTorch PreResNet, is \
             not supported"
        ),
        false => names,
    });
    let extra = extra.map(|names| format!("in the file, but not part of the network: {names}"));
    let differences: Vec<String> = missing.into_iter().chain(extra).collect();
    match differences.is_empty() {
        true => Ok(()),
        false => Err(SpecError::Tensors {
            difference: differences.join("; "),
            network: network.spec().to_string(),
        }),
    }
}

/// The first few tensors by name and shape, and how many more there are; `None` if there is none.
fn list<'a>(tensors: impl Iterator<Item = (&'a String, &'a Vec<usize>)>) -> Option<String> {
    let mut tensors = tensors.map(|(name, shape)| format!("`{name}` {shape:?}"));
    let named: Vec<String> = tensors.by_ref().take(5).collect();
    let count = named.len() + tensors.count();
    (count > 0).then(|| first_few(&named, count))
}

/// The likely reason why this tensor differs.
fn hint(parameter: &Parameter, found: &[usize]) -> &'static str {
    let Parameter {
        name,
        shape: expected,
        role,
    } = parameter;
    let kernels_differ = *role == ParameterRole::ConvWeight && found.get(2..) != expected.get(2..);
    if found.len() != expected.len() {
        "was it written by another program?"
    } else if name.starts_with("fc.") && found.first() != expected.first() {
        "was it trained for another number of classes?"
    } else if kernels_differ && name == "conv1.weight" {
        "was it trained with another stem?"
    } else if kernels_differ {
        "was it trained with another block?"
    } else {
        "was it trained with another alpha?"
    }
}

/// Infers the network from the tensors of a file.
///
/// ```
/// use pyr_wgpu::model::{Network, infer, preset};
///
/// let spec = preset("pyramidnet110-mul-a4.75").unwrap();
/// let parameters = Network::new(&spec).unwrap().parameters();
/// let shapes = parameters.into_iter().map(|p| (p.name, p.shape)).collect();
/// assert_eq!(infer(&shapes).unwrap(), spec);
/// ```
///
/// # Errors
/// If they fit no supported network; the error names the first mismatch.
pub fn infer(tensors: &Shapes) -> Result<NetworkSpec, SpecError> {
    let stem = stem(tensors)?;
    let (units, widths) = units(tensors)?;
    let block = match tensors.contains_key("layer1.0.conv3.weight") {
        true => Block::Bottleneck,
        false => Block::Basic,
    };
    let family = match tensors.contains_key("bn_final.weight") {
        true => Family::PyramidNet,
        false => Family::PreResNet,
    };
    let depth = depth_of(family, stem, block, &units).ok_or_else(|| SpecError::NotANetwork {
        reason: format!("no {family} with the {stem} stem has {units:?} {block} units"),
    })?;
    let mut spec = NetworkSpec {
        family,
        depth,
        block,
        classes: classes(tensors)?,
        ..NetworkSpec::pyramid(stem, depth, 0.0)
    };
    if family == Family::PyramidNet {
        let (growth, alpha, rounding) = growth(stem, &widths)?;
        spec = NetworkSpec {
            growth,
            alpha,
            rounding,
            ..spec
        };
    }
    check(&Network::new(&spec)?, tensors)?;
    Ok(spec)
}

fn stem(tensors: &Shapes) -> Result<Stem, SpecError> {
    match shape(tensors, "conv1.weight")? {
        [16, 3, 3, 3] => Ok(Stem::Cifar),
        [64, 3, 7, 7] => Ok(Stem::ImageNet),
        other => Err(SpecError::NotANetwork {
            reason: format!(
                "`conv1.weight` is {other:?}, neither [16, 3, 3, 3] (cifar stem) nor \
                 [64, 3, 7, 7] (imagenet stem)"
            ),
        }),
    }
}

fn classes(tensors: &Shapes) -> Result<u32, SpecError> {
    let not_a_classifier = |found: &[usize]| SpecError::NotANetwork {
        reason: format!("`fc.weight` is {found:?}, not [classes, features]"),
    };
    match shape(tensors, "fc.weight")? {
        &[classes, _] => u32::try_from(classes).map_err(|_| not_a_classifier(&[classes])),
        other => Err(not_a_classifier(other)),
    }
}

/// Units in each stage, and the width of every unit.
fn units(tensors: &Shapes) -> Result<(Vec<u32>, Vec<usize>), SpecError> {
    shape(tensors, "layer1.0.conv1.weight")?;
    let mut units = Vec::new();
    let mut widths = Vec::new();
    for stage in 1.. {
        let first_conv = |unit| format!("layer{stage}.{unit}.conv1.weight");
        let names = (0..)
            .map(first_conv)
            .take_while(|name| tensors.contains_key(name));
        let mut count = 0;
        for name in names {
            let extents = shape(tensors, &name)?;
            widths.push(*extents.first().ok_or_else(|| SpecError::NotANetwork {
                reason: format!("`{name}` has no extents"),
            })?);
            count += 1;
        }
        if count == 0 {
            break;
        }
        units.push(count);
    }
    Ok((units, widths))
}

fn shape<'a>(tensors: &'a Shapes, name: &str) -> Result<&'a [usize], SpecError> {
    let found = tensors.get(name).map(Vec::as_slice);
    found.ok_or_else(|| {
        let has = list(tensors.iter()).unwrap_or_else(|| "none".to_owned());
        SpecError::NotANetwork {
            reason: format!("there is no tensor `{name}`; the file has {has}"),
        }
    })
}

/// Denominators of the alphas tried, the roundest first: whole numbers, then halves and
/// tenths (one decimal), quarters to hundredths (two decimals), and so on.
const DENOMINATORS: [f64; 12] = [
    1.0, 2.0, 10.0, 4.0, 20.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e9, 1e12,
];

/// The growth, roundest alpha and rounding that give exactly these widths.
fn growth(stem: Stem, widths: &[usize]) -> Result<(Growth, f64, Rounding), SpecError> {
    let start = stem.channels();
    for &growth in Growth::ALL {
        let (least, most) = alpha_bounds(start, widths, growth);
        for denominator in DENOMINATORS {
            let alphas = multiples(least, most, denominator).into_iter();
            for alpha in alphas.filter(|alpha| growth.allows(*alpha)) {
                for &rounding in Rounding::ALL {
                    if pyramid_widths(start, widths.len(), alpha, growth, rounding) == widths {
                        return Ok((growth, alpha, rounding));
                    }
                }
            }
        }
    }
    Err(SpecError::NotANetwork {
        reason: format!(
            "no alpha, additive or multiplicative, gives units of the widths {widths:?}"
        ),
    })
}

/// The interval of alphas that can give these widths: width k of U lies within half a channel
/// of start + alpha k/U, or of start * alpha^(k/U). Slightly widened, because the exact rule
/// accumulates rounding errors; empty (least above most) if no alpha fits.
fn alpha_bounds(start: usize, widths: &[usize], growth: Growth) -> (f64, f64) {
    let start = start as f64;
    let units = widths.len() as f64;
    let alpha = |unrounded: f64, number: f64| match growth {
        Growth::Additive => (unrounded - start) * units / number,
        Growth::Multiplicative => libm::pow(unrounded / start, units / number),
    };
    let mut bounds = (0.0f64, f64::INFINITY);
    for (index, &width) in widths.iter().enumerate() {
        let number = (index + 1) as f64;
        // A width of 0 would lead to the root of a negative number.
        let least = alpha((width as f64 - 0.5).max(0.0), number);
        let most = alpha(width as f64 + 0.5, number);
        bounds = (bounds.0.max(least), bounds.1.min(most));
    }
    let slack = 1e-9 * bounds.0.max(1.0);
    (bounds.0 - slack, bounds.1 + slack)
}

/// Up to three fractions of this denominator between the bounds, the middle one first: near the
/// bounds rounding errors decide, near the middle all give the same widths.
fn multiples(least: f64, most: f64, denominator: f64) -> Vec<f64> {
    let (first, last) = ((least * denominator).ceil(), (most * denominator).floor());
    if first > last || !last.is_finite() {
        return Vec::new();
    }
    let middle = ((first + last) / 2.0).floor();
    let mut candidates = Vec::new();
    for offset in [0.0, 1.0, -1.0] {
        candidates.push(middle + offset);
    }
    candidates.retain(|numerator| (first..=last).contains(numerator));
    candidates
        .into_iter()
        .map(|numerator| numerator / denominator)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{preset, preset_names};

    fn shapes(spec: &NetworkSpec) -> Shapes {
        let network = Network::new(spec).unwrap();
        let pairs = network.parameters().into_iter().map(|p| (p.name, p.shape));
        pairs.collect()
    }

    #[test]
    fn every_preset_is_found_again() {
        for name in preset_names() {
            let mut spec = preset(name).unwrap();
            spec.classes = 37;
            let mut tensors = shapes(&spec);
            spec.dropout = 0.0;
            spec.shakedrop = 1.0;
            assert_eq!(infer(&tensors), Ok(spec.clone()), "{name}");
            tensors.retain(|name, _| !name.ends_with("num_batches_tracked"));
            assert_eq!(infer(&tensors), Ok(spec), "{name}");
        }
    }

    #[test]
    fn other_networks_are_found_again() {
        let imagenet = |depth, alpha| NetworkSpec::pyramid(Stem::ImageNet, depth, alpha);
        let cifar = |depth, alpha| NetworkSpec::pyramid(Stem::Cifar, depth, alpha);
        let multiplicative = |spec| NetworkSpec {
            growth: Growth::Multiplicative,
            ..spec
        };
        let half_even = |spec| NetworkSpec {
            rounding: Rounding::HalfEven,
            ..spec
        };
        for spec in [
            imagenet(18, 100.0),
            imagenet(34, 250.0),
            imagenet(101, 360.0),
            imagenet(26, 96.0),
            cifar(8, 28.0),
            cifar(20, 24.0),
            cifar(29, 36.0),
            cifar(110, 31.5),
            multiplicative(cifar(20, 6.0)),
            multiplicative(imagenet(50, 8.0)),
            // Widths that only half-even rounding gives.
            half_even(cifar(110, 27.0)),
            half_even(imagenet(50, 60.0)),
            NetworkSpec::preresnet(18),
            NetworkSpec::preresnet(152),
        ] {
            assert_eq!(infer(&shapes(&spec)), Ok(spec));
        }
    }

    #[test]
    fn odd_alphas_give_the_same_tensors() {
        let mut seed = 1u32;
        for round in 0..300 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let share = f64::from(seed) / f64::from(u32::MAX);
            let depth = 8 + 6 * (round % 30);
            let mut spec = NetworkSpec::pyramid(Stem::Cifar, depth, 0.01 + 300.0 * share);
            if round % 2 == 1 {
                spec.growth = Growth::Multiplicative;
                spec.alpha = 1.0 + 30.0 * share;
            }
            let tensors = shapes(&spec);
            let found = infer(&tensors).unwrap_or_else(|error| panic!("{spec}: {error}"));
            assert_eq!(shapes(&found), tensors, "{spec}");
            assert!(found.alpha.to_string().len() <= spec.alpha.to_string().len());
        }
    }

    #[test]
    fn tables_with_two_names_give_the_same_tensors() {
        let mut spec = NetworkSpec::pyramid(Stem::ImageNet, 34, 100.0);
        spec.block = Block::Bottleneck;
        let found = infer(&shapes(&spec)).unwrap();
        assert_eq!((found.depth, found.block), (50, Block::Bottleneck));
        assert_eq!(shapes(&found), shapes(&spec));
    }

    #[test]
    fn the_first_difference_is_named() {
        let spec = NetworkSpec::pyramid(Stem::Cifar, 20, 24.0);
        let network = Network::new(&spec).unwrap();
        let message = |change: &dyn Fn(&mut NetworkSpec)| {
            let mut other = spec.clone();
            change(&mut other);
            let error = check(&network, &shapes(&other)).unwrap_err();
            assert!(error.is_about_checkpoint());
            error.to_string()
        };
        check(&network, &shapes(&spec)).unwrap();
        // 16 + 24/9 = 18.7 and 16 + 30/9 = 19.3 both round to 19; the second unit differs.
        let text = message(&|spec| spec.alpha = 30.0);
        assert!(
            text.contains("[23, 19, 3, 3]") && text.contains("[21, 19, 3, 3]"),
            "{text}"
        );
        assert!(text.contains("another alpha"), "{text}");
        let text = message(&|spec| spec.classes = 100);
        assert!(
            text.contains("`fc.weight`") && text.contains("number of classes"),
            "{text}"
        );
        let text = message(&|spec| spec.depth = 14);
        assert!(text.contains("another"), "{text}");
        let text = message(&|spec| {
            spec.depth = 29;
            spec.block = Block::Bottleneck;
        });
        assert!(
            text.contains("[19, 16, 1, 1]") && text.contains("another block"),
            "{text}"
        );
        let text = message(&|spec| *spec = NetworkSpec::preresnet(18));
        assert!(
            text.contains("`conv1.weight`") && text.contains("another stem"),
            "{text}"
        );
    }

    #[test]
    fn missing_and_extra_tensors_are_named() {
        let spec = NetworkSpec::pyramid(Stem::Cifar, 8, 28.0);
        let network = Network::new(&spec).unwrap();
        let mut tensors = shapes(&spec);
        tensors.remove("layer2.0.bn2.bias");
        let text = check(&network, &tensors).unwrap_err().to_string();
        assert!(
            text.contains("`layer2.0.bn2.bias` [35]") && text.contains("missing"),
            "{text}"
        );
        let mut tensors = shapes(&spec);
        tensors.insert("layer4.0.conv1.weight".into(), vec![1, 2]);
        let text = check(&network, &tensors).unwrap_err().to_string();
        assert!(text.contains("`layer4.0.conv1.weight` [1, 2]"), "{text}");
        tensors.extend((0..8).map(|number| (format!("optimizer.{number}"), vec![1])));
        tensors.remove("fc.bias");
        let text = check(&network, &tensors).unwrap_err().to_string();
        let extra = "`optimizer.3` [1] and 4 more";
        assert!(text.contains("`fc.bias`") && text.contains(extra), "{text}");
    }

    #[test]
    fn other_programs_tensors_are_refused() {
        let spec = NetworkSpec::pyramid(Stem::Cifar, 20, 24.0);
        let broken = |change: &dyn Fn(&mut Shapes)| {
            let mut tensors = shapes(&spec);
            change(&mut tensors);
            let error = infer(&tensors).unwrap_err();
            assert!(error.is_about_checkpoint(), "{error}");
            error.to_string()
        };
        assert!(
            infer(&Shapes::new())
                .unwrap_err()
                .to_string()
                .contains("`conv1.weight`")
        );
        let set = |tensors: &mut Shapes, name: &str, shape: &[usize]| {
            tensors.insert(name.to_string(), shape.to_vec());
        };
        let text = broken(&|tensors| set(tensors, "conv1.weight", &[32, 3, 3, 3]));
        assert!(text.contains("[32, 3, 3, 3]"), "{text}");
        let text = broken(&|tensors| set(tensors, "fc.weight", &[7]));
        assert!(text.contains("[7]"), "{text}");
        let text = broken(&|tensors| set(tensors, "layer1.0.conv1.weight", &[500, 16, 3, 3]));
        assert!(text.contains("no alpha"), "{text}");
        let text = broken(&|tensors| set(tensors, "layer1.0.conv1.weight", &[0]));
        assert!(text.contains("no alpha"), "{text}");
        let text = broken(&|tensors| set(tensors, "layer1.0.conv1.weight", &[]));
        assert!(text.contains("no extents"), "{text}");
        let text = broken(&|tensors| {
            tensors.remove("layer3.2.conv1.weight");
        });
        assert!(text.contains("[3, 3, 2]"), "{text}");
        let text = broken(&|tensors| {
            tensors.remove("layer3.2.conv2.weight");
        });
        assert!(text.contains("`layer3.2.conv2.weight`"), "{text}");
        let text = broken(&|tensors| {
            tensors.remove("bn_final.weight");
        });
        assert!(text.contains("preresnet"), "{text}");
    }
}
