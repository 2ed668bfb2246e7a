//! Host half of the convolutions.
//!
//! Four families of kernels do the same work, each for every legal shape.
//! `tiled` is for GPUs, in several tile shapes (`tiles.rs`). `matrix` does the same on matrix
//! units, where the adapter has them for the precision of the feature maps. `subgroup` is for
//! software adapters, where it is several times faster. `direct` is plain WGSL without workgroup
//! memory, and runs everywhere.
//! A forward convolution is one dispatch (`pixels.rs`).
//! An input gradient is one dispatch for each of stride² stride phases, because all pixels of a
//! phase are reached by the same taps (`pixels.rs`).
//! For 3x3 windows with stride 1, Winograd convolution computes both with less arithmetic and more
//! memory traffic (`winograd.rs`); its matrix products use one of the other families.
//! A weight gradient is partial sums over slices of the pixels, which a second dispatch adds
//! (`weights.rs`).

mod epilogue;
mod pixels;
mod tiles;
mod weights;
mod winograd;

use super::Target;
use super::choices::{DIRECT, HALF, SUBGROUP, WINOGRAD};
use super::lowering::{LowerError, Lowering};
use super::shader;
use super::shape_class::{ShapeClass, fitted, length};
use crate::graph::ValueId;
use crate::graph::ops::{NormOperands, Normalize, Window};
use crate::shape::{DType, LANES};
pub(super) use epilogue::Reduction;
use tiles::{MatrixTile, Tile};
pub(super) use weights::lower as lower_weights;
use winograd::Winograd;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    batch: usize,
    /// Rows and columns of x.
    input: [usize; 2],
    /// Rows and columns of y.
    output: [usize; 2],
    /// Rows and columns of the kernel.
    kernel: [usize; 2],
    window: Window,
    /// Channels of x and y.
    channels: [usize; 2],
    /// Whether x and y are in half precision.
    half: bool,
}

/// A family of kernels, with its parameters.
#[derive(Clone, Copy, Debug)]
enum Family {
    Direct,
    Tiled(&'static Tile),
    Matrix(MatrixTile),
    Subgroup {
        /// Invocations in a subgroup.
        size: u32,
    },
}

impl Sizes {
    pub(super) fn new(
        lowering: &Lowering<'_>,
        x: ValueId,
        w: ValueId,
        y: ValueId,
        window: Window,
    ) -> Sizes {
        let half = lowering.shape(x).dtype == DType::F16;
        let [x, w, y] = [x, w, y].map(|id| &lowering.shape(id).dims);
        Sizes {
            batch: x[0],
            input: [x[1], x[2]],
            output: [y[1], y[2]],
            kernel: [w[0], w[1]],
            window,
            channels: [w[2], w[3]],
            half,
        }
    }

    /// Vectors of four channels of x.
    fn input_vecs(&self) -> usize {
        self.channels[0].div_ceil(LANES)
    }

    /// Vectors of four channels of y.
    fn output_vecs(&self) -> usize {
        self.channels[1].div_ceil(LANES)
    }

    /// Key in the table of choices.
    fn key(&self, op: &str) -> String {
        let Sizes {
            batch,
            input: [h, w],
            kernel: [kh, kw],
            channels: [i, o],
            window,
            ..
        } = self;
        let stride = window.stride;
        let precision = if self.half { HALF } else { "" };
        format!("{op} {kh}x{kw}/{stride} {i}>{o} @{h}x{w}x{batch}{precision}")
    }

    /// Class of the nodes that have the same fastest kernel, from how channels of x and y are
    /// rounded and what is fused.
    fn class(
        &self,
        op: &str,
        round: [fn(usize) -> usize; 2],
        fused: &[(bool, &str)],
    ) -> ShapeClass {
        let ([kh, kw], stride) = (self.kernel, self.window.stride);
        let mut form = format!("{op} {kh}x{kw}/{stride}");
        for (_, name) in fused.iter().filter(|(is_fused, _)| *is_fused) {
            form += " ";
            form += name;
        }
        let channels = [0, 1].map(|at| round[at](self.channels[at]));
        let pixels = length(self.batch * self.output[0] * self.output[1]);
        ShapeClass::new(form, [channels[0], channels[1], pixels], self.half)
    }
}

/// The families that can compute a node, by name, and how many of the first may be the
/// fastest; `tiles` and `matrices` are in order of preference.
///
/// The default on GPUs is the tiled family, and tuning may select matrix units. On software
/// adapters it is the subgroup family where subgroups are available, else the direct one.
fn families(
    target: &Target,
    tiles: Vec<&'static Tile>,
    matrices: Option<Vec<MatrixTile>>,
) -> (Vec<(&'static str, Family)>, usize) {
    let matrices = matrices.into_iter().flatten();
    let mut matrices = matrices.map(|matrix| (matrix.tile.name, Family::Matrix(matrix)));
    let mut tiled = tiles
        .into_iter()
        .map(|tile| (tile.name, Family::Tiled(tile)));
    let direct = [(DIRECT, Family::Direct)];
    let subgroup = target.subgroup_size;
    let subgroup = subgroup.map(|size| (SUBGROUP, Family::Subgroup { size }));
    // Tiles differ by little, and their order is an estimate. On software adapters, wide
    // subgroups are the fastest by far.
    match target.software {
        false => {
            let mut legal: Vec<_> = tiled.by_ref().take(CANDIDATE_TILES).collect();
            legal.extend(matrices.by_ref().take(CANDIDATE_MATRICES));
            let candidates = legal.len();
            legal.extend(tiled.chain(matrices).chain(direct).chain(subgroup));
            (legal, candidates)
        }
        true => {
            let legal = subgroup.into_iter().chain(direct).chain(tiled);
            let candidates = if target.subgroup_size >= Some(8) {
                1
            } else {
                2
            };
            (legal.chain(matrices).collect(), candidates)
        }
    }
}

/// The family with this name.
fn family(families: &[(&str, Family)], name: &str) -> Family {
    let found = families.iter().find(|(own, _)| *own == name);
    found.expect("the chosen family is legal").1
}

/// How result pixels are computed.
enum Algorithm {
    Kernel(Family),
    /// With the family that computes its matrix products.
    Winograd(Winograd, Family),
}

/// Chooses among the families and, where it is possible, Winograd convolution.
fn algorithm(
    lowering: &mut Lowering<'_>,
    convolution: &Convolution<'_>,
    op: &str,
) -> Result<Algorithm, LowerError> {
    let Convolution {
        sizes, transposed, ..
    } = convolution;
    let transposed = *transposed;
    let target = lowering.target;
    let (extent, vecs) = match transposed {
        false => (sizes.output, sizes.output_vecs()),
        true => (sizes.input, sizes.input_vecs()),
    };
    let pixels = sizes.batch * extent[0] * extent[1];
    let [pixels, vecs] = [pixels as u32, vecs as u32];
    let unit = target.matrix_unit(sizes.half);
    let matrices = unit.map(|unit| MatrixTile::for_pixels(unit, pixels, vecs));
    let tiles = Tile::for_pixels(pixels, vecs);
    let (families, mut candidates) = families(target, tiles, matrices);
    let mut legal: Vec<&str> = families.iter().map(|(name, _)| *name).collect();
    let mut winograds = WINOGRAD.map(|(name, out)| {
        let winograd = Winograd::new(sizes, transposed, out, target.max_binding)?;
        // The larger tile rounds too much to be chosen for its speed.
        if out == 2 && winograd.is_candidate(target.software) {
            legal.insert(candidates.min(legal.len()), name);
            candidates += 1;
        } else {
            legal.push(name);
        }
        Some((name, winograd))
    });
    let chosen = lowering.choose((sizes.key(op), convolution.class(op)), &legal, candidates)?;
    let mut winograds = winograds.iter_mut().filter_map(Option::take);
    Ok(match winograds.find(|(name, _)| *name == chosen) {
        Some((_, winograd)) => {
            let family = match (target.software, target.subgroup_size) {
                (true, Some(size)) => Family::Subgroup { size },
                _ => Family::Tiled(Tile::for_pixels(winograd.rows() as u32, vecs)[0]),
            };
            Algorithm::Winograd(winograd, family)
        }
        None => Algorithm::Kernel(family(&families, chosen)),
    })
}

/// Tiles that the tuner measures for a node: of the tiled and of the matrix family.
const CANDIDATE_TILES: usize = 4;
const CANDIDATE_MATRICES: usize = 2;

/// All shaders of the convolutions.
pub(super) const SHADERS: [&shader::Shader; 13] = {
    let [a, b, c, d, e] = pixels::SHADERS;
    let [f, g, h, i, j] = weights::SHADERS;
    let [k, l, m] = winograd::SHADERS;
    [a, b, c, d, e, f, g, h, i, j, k, l, m]
};

/// Names of the tiles of the matrix family, from narrow to wide.
pub const MATRIX_NAMES: [&str; 4] = {
    let [(a, _), (b, _), (c, _), (d, _)] = tiles::MATRIX;
    [a, b, c, d]
};

/// Names of all tiles.
pub(super) fn tile_names() -> impl Iterator<Item = &'static str> {
    let tiles = tiles::PIXELS.iter().chain(&tiles::WEIGHTS);
    let mut names: Vec<&str> = tiles.map(|t| t.name).chain(MATRIX_NAMES).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter()
}

/// A convolution or its input gradient, with the operations fused into it.
pub(super) struct Convolution<'a> {
    pub(super) sizes: Sizes,
    /// Whether this is the input gradient instead of the convolution itself.
    pub(super) transposed: bool,
    pub(super) source: ValueId,
    pub(super) weights: ValueId,
    pub(super) result: ValueId,
    /// Normalisation of the source as it is loaded.
    pub(super) normalize_input: Option<FusedNorm<'a>>,
    /// Normalisation of the result before it is stored.
    pub(super) normalize_output: Option<FusedNorm<'a>>,
    /// Reduction of the result.
    pub(super) reduction: Option<Reduction<'a>>,
    /// Floating-point operations, those on padding excluded.
    pub(super) flops: u64,
}

impl Convolution<'_> {
    /// Tiles must fit the result's channels; those of the source are the length of its sums.
    fn class(&self, op: &str) -> ShapeClass {
        let fused = [
            (self.normalize_input.is_some(), "normalize-input"),
            (self.normalize_output.is_some(), "normalize-output"),
            (self.reduction.is_some(), "reduce"),
        ];
        let round: [fn(usize) -> usize; 2] = match self.transposed {
            false => [length, fitted],
            true => [fitted, length],
        };
        self.sizes.class(op, round, &fused)
    }
}

/// A normalisation with its operands.
#[derive(Clone, Copy)]
pub(super) struct FusedNorm<'a> {
    pub(super) op: &'a Normalize,
    pub(super) operands: NormOperands<ValueId>,
}

impl<'a> FusedNorm<'a> {
    /// From an operator's attribute and operands: both are present, or neither.
    pub(super) fn new(
        op: &'a Option<Normalize>,
        operands: Option<NormOperands<ValueId>>,
    ) -> Option<FusedNorm<'a>> {
        let (op, operands) = op.as_ref().zip(operands)?;
        Some(FusedNorm { op, operands })
    }

    /// Epsilon and ReLU as parameters of a kernel.
    fn parameters(norm: Option<FusedNorm<'_>>) -> [u32; 2] {
        norm.map_or([0, 0], |norm| {
            [norm.op.epsilon.to_bits(), u32::from(norm.op.relu)]
        })
    }
}

/// Emits the dispatches of a convolution or its input gradient, whose key in the table of choices
/// begins with `name`.
pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    convolution: &Convolution<'_>,
    name: &str,
) -> Result<(), LowerError> {
    match algorithm(lowering, convolution, name)? {
        Algorithm::Kernel(family) => pixels::lower(lowering, convolution, family),
        Algorithm::Winograd(winograd, family) => winograd.lower(lowering, convolution, family),
    }
    Ok(())
}

/// Chooses the family that computes a weight gradient.
fn weights_family(
    lowering: &mut Lowering<'_>,
    sizes: &Sizes,
    normalize_input: bool,
) -> Result<Family, LowerError> {
    let quads = sizes.kernel[0] * sizes.kernel[1] * sizes.input_vecs();
    let [quads, vecs] = [quads as u32, sizes.output_vecs() as u32];
    let unit = lowering.target.matrix_unit(sizes.half);
    let matrices = unit.map(|unit| MatrixTile::for_weights(unit, quads, vecs));
    let tiles = Tile::for_weights(quads, vecs);
    let (families, candidates) = families(lowering.target, tiles, matrices);
    let legal: Vec<&str> = families.iter().map(|(name, _)| *name).collect();
    let op = "conv2d_grad_weight";
    let fused = [(normalize_input, "normalize-input")];
    let class = sizes.class(op, [fitted, fitted], &fused);
    let chosen = lowering.choose((sizes.key(op), class), &legal, candidates)?;
    Ok(family(&families, chosen))
}

/// Cost of a chunk of output channels that does not depend on its width, relative to the cost of
/// one vector.
const CHUNK_LOADS: u32 = 3;

/// Vectors of output channels in a workgroup of the subgroup family, at most `widest`, that
/// minimise the cost of all chunks together.
///
/// Wide chunks repeat fewer loads, but the last one computes more vectors past the end.
/// There are at most `widest` widths, so a whole network needs few pipelines.
fn chunk_vecs(vecs: u32, widest: u32) -> u32 {
    let cost = |width: &u32| vecs.div_ceil(*width) * (width + CHUNK_LOADS);
    (1..=widest.min(vecs)).rev().min_by_key(cost).unwrap_or(1)
}

/// Invocations in a workgroup of the direct family.
const DIRECT_WORKGROUP: u32 = 64;

/// Vectors of output channels that an invocation of the direct family owns.
const DIRECT_VECS: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_waste_little() {
        for vecs in 1..=1024 {
            for (widest, waste) in [(5, 5), (10, 10)] {
                let width = chunk_vecs(vecs, widest);
                let computed = vecs.div_ceil(width) * width;
                assert!(width <= widest);
                assert!(
                    waste * (computed - vecs) <= vecs,
                    "{vecs} vectors in chunks of {width}"
                );
            }
        }
    }
}
