//! The number of units of a network and the width of each.
//!
//! Widths follow section 3.1 of "Deep Pyramidal Residual Networks" (Han, Kim, Kim, CVPR
//! 2017): every unit is wider than the one before it, by a constant number of channels
//! (additive) or by a constant factor (multiplicative). The unrounded width is carried from
//! unit to unit in double precision by repeated addition or multiplication, exactly as in the
//! authors' programs, so that rounded widths never feed back and no width differs by one.
//!
//! Depth counts layers with weights on the longest path, as in the paper's tables.
//! With the CIFAR stem three equal stages follow: depth = 6n + 2 (basic) or 9n + 2
//! (bottleneck). With the ImageNet stem four stages follow: the six depths of the ResNet
//! papers name a row of a table, every other depth has four equal stages, depth = 8n + 2
//! (basic) or 12n + 2 (bottleneck). All six rows exist with bottleneck units (the authors'
//! Torch code uses their unit counts with bottlenecks whatever the depth), 18 and 34 also
//! with basic ones, as is usual. PreResNet has the six rows only, each with its own block.

use super::words::{Block, Family, Growth, Rounding, Stem};

/// Deeper networks are refused as typos; the deepest published ones have about 1200 layers.
pub const MAX_DEPTH: u32 = 10_000;

/// Units per stage in the ResNet papers' ImageNet table, and the block of each row.
const TABLE: [(u32, [u32; 4], Block); 6] = [
    (18, [2, 2, 2, 2], Block::Basic),
    (34, [3, 4, 6, 3], Block::Basic),
    (50, [3, 4, 6, 3], Block::Bottleneck),
    (101, [3, 4, 23, 3], Block::Bottleneck),
    (152, [3, 8, 36, 3], Block::Bottleneck),
    (200, [3, 24, 36, 3], Block::Bottleneck),
];

/// Units per stage; `None` if there is no such network.
pub(super) fn stages(family: Family, stem: Stem, block: Block, depth: u32) -> Option<Vec<u32>> {
    if stem == Stem::ImageNet {
        let row = TABLE.iter().find(|(row_depth, _, row_block)| {
            // PyramidNet takes every row with bottlenecks, PreResNet each with its own block.
            let pyramid = family == Family::PyramidNet && block == Block::Bottleneck;
            *row_depth == depth && (*row_block == block || pyramid)
        });
        if let Some((_, units, _)) = row {
            return Some(units.to_vec());
        }
    }
    if family == Family::PreResNet || !(3..=MAX_DEPTH).contains(&depth) {
        return None;
    }
    let period = stem.stages() * block.layers();
    let equal = vec![(depth - 2) / period; stem.stages() as usize];
    (depth - 2).is_multiple_of(period).then_some(equal)
}

/// The depth whose network has these units per stage, if any; the inverse of
/// [`NetworkSpec::units_per_stage`].
pub(super) fn depth_of(family: Family, stem: Stem, block: Block, units: &[u32]) -> Option<u32> {
    let weights = block.layers() * units.iter().sum::<u32>() + 2;
    let own_row = stages(family, stem, block, weights).filter(|found| found == units);
    // Rows whose depth is not the number of layers: 18 and 34 with bottlenecks.
    let other_row = || {
        TABLE
            .iter()
            .map(|row| row.0)
            .find(|depth| stages(family, stem, block, *depth).is_some_and(|found| found == units))
    };
    own_row.map(|_| weights).or_else(other_row)
}

impl Block {
    /// The block of a depth that is given without one. CIFAR stem: basic if the depth fits, else
    /// bottleneck. ImageNet stem: basic for 18 and 34, else bottleneck if the depth fits, else
    /// basic. A depth that fits neither gets the preferred one, and validation names the nearest
    /// depths.
    pub fn default_for(stem: Stem, depth: u32) -> Block {
        let order = match (stem, depth) {
            (Stem::Cifar, _) | (Stem::ImageNet, 18 | 34) => [Block::Basic, Block::Bottleneck],
            (Stem::ImageNet, _) => [Block::Bottleneck, Block::Basic],
        };
        let fits = |block: &&Block| stages(Family::PyramidNet, stem, **block, depth).is_some();
        *order.iter().find(fits).unwrap_or(&order[0])
    }
}

/// The widening rule of the paper, as the authors' programs compute it.
pub(super) fn pyramid_widths(
    start: usize,
    units: usize,
    alpha: f64,
    growth: Growth,
    rounding: Rounding,
) -> Vec<usize> {
    let step = match growth {
        Growth::Additive => alpha / units as f64,
        // Not the platform's power function: native and wasm must build the same network.
        Growth::Multiplicative => libm::pow(alpha, 1.0 / units as f64),
    };
    let mut width = start as f64;
    let mut next = |_| {
        match growth {
            Growth::Additive => width += step,
            Growth::Multiplicative => width *= step,
        }
        match rounding {
            Rounding::HalfUp => (width + 0.5).floor() as usize,
            Rounding::HalfEven => width.round_ties_even() as usize,
        }
    };
    (0..units).map(&mut next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_name_their_depth() {
        for family in [Family::PyramidNet, Family::PreResNet] {
            for &stem in Stem::ALL {
                for &block in Block::ALL {
                    for depth in 0..400 {
                        let Some(units) = stages(family, stem, block, depth) else {
                            continue;
                        };
                        let found = depth_of(family, stem, block, &units).unwrap();
                        let same = stages(family, stem, block, found).unwrap();
                        assert_eq!(units, same, "{family} {stem} {block} {depth} {found}");
                    }
                }
            }
        }
    }
}
