//! The tiles of the tiled and of the matrix family: the parts of a result that a workgroup and an
//! invocation own.
//!
//! No tile suits all layers: wide ones repeat fewer loads, but PyramidNet's narrow layers
//! would leave them half empty, and small feature maps give too few of them to fill a GPU.
//! Those of the tiled family fit WebGPU's default limits: 256 invocations and 16 KiB of memory in
//! a workgroup. Those of the matrix family may take more memory ([`MatrixUnit::STORAGE`]).

use crate::program::MatrixUnit;
use crate::shape::LANES;

/// A tile shape. Rows are pixels of the result, or quads of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// Name in the table of choices: pixels or weights by channels of a workgroup.
    pub(super) name: &'static str,
    /// Invocations of a workgroup.
    pub(super) workgroup: u32,
    /// Invocations along the channels.
    pub(super) vec_lanes: u32,
    /// Rows of an invocation.
    pub(super) rows: u32,
    /// Vectors of channels of an invocation.
    pub(super) vecs: u32,
    /// Steps of the inner dimension that are loaded at a time: vectors of source channels, or
    /// pixels.
    pub(super) depth: u32,
}

const fn tile(
    name: &'static str,
    [workgroup, vec_lanes]: [u32; 2],
    [rows, vecs]: [u32; 2],
    depth: u32,
) -> Tile {
    Tile {
        name,
        workgroup,
        vec_lanes,
        rows,
        vecs,
        depth,
    }
}

/// Tiles of pixels by channels.
pub(super) const PIXELS: [Tile; 9] = [
    tile("tiled 256x16", [64, 2], [8, 2], 2),
    tile("tiled 256x20", [64, 1], [4, 5], 2),
    tile("tiled 128x24", [64, 2], [4, 3], 4),
    tile("tiled 128x32", [64, 4], [8, 2], 4),
    tile("tiled 128x40", [64, 2], [4, 5], 4),
    tile("tiled 128x48", [128, 4], [4, 3], 4),
    tile("tiled 64x64", [128, 8], [4, 2], 4),
    tile("tiled 128x64", [128, 8], [8, 2], 4),
    tile("tiled 64x128", [128, 16], [8, 2], 4),
];

/// Tiles of weights (four to a quad) by channels.
pub(super) const WEIGHTS: [Tile; 6] = [
    tile("tiled 256x16", [64, 2], [2, 2], 8),
    tile("tiled 256x20", [64, 1], [1, 5], 8),
    tile("tiled 128x24", [64, 2], [1, 3], 8),
    tile("tiled 128x32", [64, 4], [2, 2], 8),
    tile("tiled 128x40", [64, 2], [1, 5], 8),
    tile("tiled 128x64", [128, 8], [2, 2], 8),
];

/// Names and channels of the tiles of the matrix family, which have [`MATRIX_ROWS`] pixels or
/// weights.
pub(super) const MATRIX: [(&str, u32); 4] = [
    ("matrix 128x16", 16),
    ("matrix 128x32", 32),
    ("matrix 128x48", 48),
    ("matrix 128x64", 64),
];
const MATRIX_ROWS: u32 = 128;

/// Vectors of channels that leave the matrices at a time: a block of sixteen columns
/// (`shaders/lib/matrices.wgsl`).
const MATRIX_VEC_LANES: u32 = 4;

/// Bytes of one row or column of an operand that are loaded at a time, along the inner dimension.
const MATRIX_STEP_BYTES: u32 = 64;

/// A tile whose products matrix units compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MatrixTile {
    pub(super) tile: Tile,
    pub(super) unit: MatrixUnit,
}

impl MatrixTile {
    /// A tile of a number of channels, whose rows are pixels (`group` is 1) or quads of weights
    /// (`group` is 4).
    fn new(name: &'static str, channels: u32, unit: MatrixUnit, group: u32) -> MatrixTile {
        let [_, largest] = unit.subgroup;
        let workgroup = largest * MatrixTile::subgroups(unit);
        let lines = workgroup / MATRIX_VEC_LANES;
        let steps = MATRIX_STEP_BYTES / unit.operands.bytes() as u32;
        let tile = Tile {
            name,
            workgroup,
            vec_lanes: MATRIX_VEC_LANES,
            rows: MATRIX_ROWS / group / lines,
            vecs: channels / LANES as u32 / MATRIX_VEC_LANES,
            // For pixels, the depth counts vectors, of four steps each.
            depth: if group == 1 { steps / 4 } else { steps },
        };
        MatrixTile { tile, unit }
    }

    /// Subgroups that multiply: at most one for each row of matrices.
    fn subgroups(unit: MatrixUnit) -> u32 {
        let [_, largest] = unit.subgroup;
        (MatrixUnit::INVOCATIONS / largest).clamp(1, MATRIX_ROWS / unit.size)
    }

    /// Tiles for pixels, by increasing estimated cost.
    pub(super) fn for_pixels(unit: MatrixUnit, pixels: u32, vecs: u32) -> Vec<MatrixTile> {
        MatrixTile::sorted(unit, 1, |tile| tile.cost(pixels, vecs, 1, 4, MATRIX_COST))
    }

    /// The same for weights.
    pub(super) fn for_weights(unit: MatrixUnit, quads: u32, vecs: u32) -> Vec<MatrixTile> {
        let rows = quads * BUSY as u32;
        MatrixTile::sorted(unit, 4, |tile| tile.cost(rows, vecs, 1, 1, MATRIX_COST))
    }

    fn sorted(unit: MatrixUnit, group: u32, cost: impl Fn(&Tile) -> u64) -> Vec<MatrixTile> {
        let tiles = MATRIX.iter();
        let mut tiles: Vec<MatrixTile> = tiles
            .map(|(name, channels)| MatrixTile::new(name, *channels, unit, group))
            .collect();
        tiles.sort_by_key(|matrix| cost(&matrix.tile));
        tiles
    }

    /// Constants of the piece `matrices`.
    pub(super) fn constants(&self) -> [(&'static str, u32); 6] {
        let size = self.unit.size;
        let subgroups = MatrixTile::subgroups(self.unit);
        [
            ("SIZE", size),
            ("SUBGROUPS", subgroups),
            ("MAX_SUBGROUPS", self.tile.workgroup / self.unit.subgroup[0]),
            ("ROWS", MATRIX_ROWS / size / subgroups),
            ("COLUMNS", LANES as u32 * self.tile.tile_vecs() / size),
            ("BLOCKS", LANES as u32 * MATRIX_VEC_LANES / size),
        ]
    }
}

/// Vectors that an invocation loads before it stages them, of `loads` in a step: at most four,
/// because they occupy registers beside the sums.
pub(super) fn load_batch(loads: u32) -> u32 {
    let mut batches = (1..=4).rev();
    let divisor = batches.find(|batch| loads.is_multiple_of(*batch));
    divisor.unwrap_or(1)
}

/// Workgroups that keep a GPU busy: an assumption, because WebGPU does not report the number of
/// cores.
const BUSY: u64 = 128;

/// Cost of the multiply-adds of a row and a vector, on ordinary units and on matrix units, where
/// a load from workgroup memory costs 2.
const VECTOR_COST: u64 = 16;
const MATRIX_COST: u64 = 2;

impl Tile {
    /// Rows of a workgroup.
    pub(super) fn tile_rows(&self) -> u32 {
        self.workgroup / self.vec_lanes * self.rows
    }

    /// Vectors of channels of a workgroup.
    pub(super) fn tile_vecs(&self) -> u32 {
        self.vec_lanes * self.vecs
    }

    /// Tiles that cover a result, along both axes.
    pub(super) fn tiles(&self, rows: u32, vecs: u32) -> [u32; 2] {
        [
            rows.div_ceil(self.tile_rows()),
            vecs.div_ceil(self.tile_vecs()),
        ]
    }

    /// Estimated cost of a result, to compare tiles: multiply-adds, those past the end included,
    /// loads from workgroup and device memory, and idle cores.
    /// Each step of the inner dimension loads `row_loads` vectors for a row and `vec_loads` for
    /// a vector of channels; their product costs `arithmetic`.
    fn cost(&self, rows: u32, vecs: u32, row_loads: u64, vec_loads: u64, arithmetic: u64) -> u64 {
        let [tiles, chunks] = self.tiles(rows, vecs).map(u64::from);
        let [own_rows, own_vecs, tile_rows, tile_vecs] =
            [self.rows, self.vecs, self.tile_rows(), self.tile_vecs()].map(u64::from);
        let own_loads = own_rows * row_loads + own_vecs * vec_loads;
        let tile_loads = tile_rows * row_loads + tile_vecs * vec_loads;
        let own = arithmetic * own_rows * own_vecs + 2 * own_loads;
        (tiles * chunks).max(BUSY) * (u64::from(self.workgroup) * own + 4 * tile_loads)
    }

    /// Tiles for pixels, by increasing estimated cost.
    pub(super) fn for_pixels(pixels: u32, vecs: u32) -> Vec<&'static Tile> {
        let mut tiles: Vec<&Tile> = PIXELS.iter().collect();
        tiles.sort_by_key(|tile| tile.cost(pixels, vecs, 1, 4, VECTOR_COST));
        tiles
    }

    /// Tiles for weights, by increasing estimated cost. Slices fill the GPU, whatever the tile.
    pub(super) fn for_weights(quads: u32, vecs: u32) -> Vec<&'static Tile> {
        let mut tiles: Vec<&Tile> = WEIGHTS.iter().collect();
        let slices = BUSY as u32;
        tiles.sort_by_key(|tile| tile.cost(quads * slices, vecs, 1, 1, VECTOR_COST));
        tiles
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::DType;

    /// Bytes of workgroup memory, as the shaders declare it.
    fn memory(tile: &Tile, weights: bool) -> u32 {
        let (rows, vecs) = (tile.tile_rows(), tile.tile_vecs());
        match weights {
            true => 16 * tile.depth * (rows + vecs) + 2 * tile.depth * 16,
            false => 16 * tile.depth * (rows + 1 + 4 * vecs),
        }
    }

    #[test]
    fn tiles_keep_to_what_the_shaders_assume() {
        for (tiles, weights) in [(&PIXELS[..], false), (&WEIGHTS[..], true)] {
            for tile in tiles {
                assert!(tile.workgroup <= 256 && tile.workgroup % tile.vec_lanes == 0);
                assert_eq!(tile.workgroup % tile.depth, 0, "{}", tile.name);
                assert!(memory(tile, weights) <= 16_384, "{}", tile.name);
                let rows = tile.tile_rows();
                // The epilogue's reduction reuses the memory of the source tile.
                let lanes = tile.workgroup / tile.vec_lanes;
                assert!(weights || lanes.is_power_of_two(), "{}", tile.name);
                assert!(weights || 2 * tile.workgroup <= tile.depth * (rows + 1));
                let fits = match weights {
                    true => tile.workgroup % rows == 0 && tile.depth % (tile.workgroup / rows) == 0,
                    false => rows % tile.workgroup == 0 || tile.workgroup % rows == 0,
                };
                assert!(fits && tile.workgroup >= tile.depth, "{}", tile.name);
                let unit = if weights { 4 } else { 1 };
                let name = format!("tiled {}x{}", unit * rows, 4 * tile.tile_vecs());
                assert_eq!(tile.name, name);
            }
        }
    }

    #[test]
    fn tiles_of_matrices_keep_to_what_the_shaders_assume() {
        let units = [8, 16].into_iter().flat_map(|size| {
            let operands = [DType::F16, DType::F32].into_iter();
            operands.flat_map(move |operands| {
                let sizes = [4, 8, 16, 32, 64, 128].into_iter();
                let pairs = sizes.flat_map(|n| [[n, n], [n, 2 * n]]);
                pairs.map(move |subgroup| MatrixUnit {
                    size,
                    operands,
                    subgroup,
                })
            })
        });
        let mut seen = 0;
        for unit in units.filter(MatrixUnit::usable) {
            let pixels = MatrixTile::for_pixels(unit, 1 << 12, 16);
            let weights = MatrixTile::for_weights(unit, 144, 16);
            for (group, matrix) in pixels
                .iter()
                .map(|m| (1, m))
                .chain(weights.iter().map(|m| (4, m)))
            {
                let MatrixTile { tile, .. } = matrix;
                let constant = |name: &str| {
                    let found = matrix.constants().into_iter().find(|(own, _)| *own == name);
                    found.expect("it is a constant").1
                };
                let what = format!("{} with {unit:?}", tile.name);
                let [rows, columns] = ["ROWS", "COLUMNS"].map(|n| constant(n) * unit.size);
                let subgroups = constant("SUBGROUPS");
                assert_eq!(rows * subgroups, MATRIX_ROWS, "{what}");
                assert_eq!(group * tile.tile_rows(), MATRIX_ROWS, "{what}");
                assert_eq!(columns, 4 * tile.tile_vecs(), "{what}");
                assert_eq!(constant("BLOCKS") * unit.size, 4 * tile.vec_lanes, "{what}");
                assert_eq!(subgroups * unit.subgroup[1], tile.workgroup, "{what}");
                assert!(tile.workgroup <= MatrixUnit::INVOCATIONS, "{what}");
                assert!(
                    (tile.workgroup / tile.vec_lanes).is_power_of_two(),
                    "{what}"
                );
                assert_eq!(tile.workgroup % tile.depth, 0, "{what}");
                let lines = tile.tile_rows();
                let pixels = tile.workgroup / lines;
                assert!(
                    group == 1 || tile.workgroup % lines == 0 && tile.depth % pixels == 0,
                    "{what}"
                );
                // Bytes as the shaders declare them.
                let steps = if group == 1 {
                    4 * tile.depth
                } else {
                    tile.depth
                };
                assert_eq!(steps % unit.size, 0, "{what}");
                let bytes = unit.operands.bytes() as u32;
                let left = match group {
                    1 => MATRIX_ROWS * (steps + 8),
                    _ => steps * (MATRIX_ROWS + 8),
                };
                let staged = constant("MAX_SUBGROUPS") * rows * 4 * tile.vec_lanes;
                let windows = if group == 1 { 0 } else { 2 * steps * 16 };
                let memory = bytes * (left + steps * (columns + 8)) + 4 * staged + windows;
                assert!(memory <= MatrixUnit::STORAGE, "{what}: {memory} bytes");
                // The epilogue's reduction reuses the memory of the block of sums.
                assert!(8 * tile.workgroup <= staged, "{what}");
                seen += 1;
            }
        }
        assert!(seen > 50, "only {seen} tiles");
    }

    #[test]
    fn narrow_layers_get_narrow_tiles() {
        let first = |pixels, vecs| Tile::for_pixels(pixels, vecs)[0].name;
        assert_eq!(first(128 * 1024, 4), "tiled 256x16");
        assert_eq!(first(128 * 1024, 5), "tiled 256x20");
        assert_eq!(first(128 * 1024, 16), "tiled 128x64");
        for vecs in 1..=80 {
            let tile = Tile::for_pixels(128 * 256, vecs)[0];
            let computed = tile.tiles(1, vecs)[1] * tile.tile_vecs();
            assert!(
                computed - vecs <= 3 || 8 * computed <= 9 * vecs,
                "{vecs}: {}",
                tile.name
            );
        }
    }
}
