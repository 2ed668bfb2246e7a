// Convolution of NHWC activations, and its gradient with respect to the input, with subgroup
// shuffles, for source steps of 1: neighbouring pixels share what they load.
//
// conv2d_subgroup.wgsl explains the operations, parameters and bindings. This kernel is for
// stride phases whose source steps are 1, with at most TAPS rows of taps, and columns of taps
// from one before to one after the pixel's own.
//
// One workgroup is one subgroup. It owns SUBGROUP columns by PIXELS rows of the phase in one
// image; an invocation owns one of these columns. For each source vector an invocation loads
// the PIXELS + TAPS - 1 pixels of its column that its taps reach, once for all taps: other rows
// of taps find them shifted by one row, other columns in the neighbouring invocation. All
// invocations together load the two columns beyond the edges of the subgroup and pass them to
// the invocations at the edges. Nine taps therefore cost few more loads than one, which matters
// where a load costs as much as dozens of multiply-adds.
//
// Assumes: what conv2d_subgroup.wgsl assumes. Workgroup (x, y, z) owns block y * groups.x + x
// and channel chunk z. Pixels past the end are neither stored nor part of the partial statistics.

// import activation
// import conv2d_broadcast
// import conv2d_pixels

const SUBGROUP: u32 = 8u;
const PIXELS: u32 = 8u;
const OUT_VECS: u32 = 5u;
const WEIGHT_LOADS: u32 = (4u * OUT_VECS + SUBGROUP - 1u) / SUBGROUP;
const TAPS: u32 = 3u;
// Rows that an invocation loads, and how many of them move up by one.
const ROWS: u32 = PIXELS + TAPS - 1u;
const MOVES: u32 = ROWS - 1u;
// Loads of pixels beyond the edges by each invocation.
const EDGE_LOADS: u32 = (2u * ROWS + SUBGROUP - 1u) / SUBGROUP;
const TRANSPOSED: bool = false;

@group(0) @binding(1) var<storage, read> source: array<ActivationVec>;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let blocks_wide = (parameters.count_width + SUBGROUP - 1u) / SUBGROUP;
    let blocks_high = (parameters.count_height + PIXELS - 1u) / PIXELS;
    let block = group.y * groups.x + group.x;
    let line = block / blocks_wide;
    let image = line / blocks_high;
    let first_row = (line - image * blocks_high) * PIXELS;
    let column = (block - line * blocks_wide) * SUBGROUP + lane;
    let first_vec = group.z * OUT_VECS;
    let in_batch = image < parameters.batch;

    // A negative coordinate is a huge number as u32.
    let source_row = u32(parameters.source_base_height) + first_row;
    let image_row = image * parameters.source_height;
    let has_column = in_batch && column < parameters.source_width;
    // Piece 2 * r + s of the pixels beyond the edges is in row r, on the left (0) or right (1).
    var edge_index: array<u32, EDGE_LOADS>;
    var has_edge: array<bool, EDGE_LOADS>;
    for (var k = 0u; k < EDGE_LOADS; k++) { //@unroll
        let piece = lane + k * SUBGROUP;
        let row = source_row + piece / 2u;
        let edge_column = select(column - lane - 1u, column - lane + SUBGROUP, piece % 2u == 1u);
        edge_index[k] = ((image_row + row) * parameters.source_width + edge_column) * parameters.source_vecs;
        has_edge[k] = in_batch && row < parameters.source_height && edge_column < parameters.source_width;
    }
    let at_left = lane == 0u;
    let at_right = lane == SUBGROUP - 1u;

    var offset = weight_offsets(lane, first_vec);

    var sum: array<array<vec4<f32>, OUT_VECS>, PIXELS>;
    for (var c = 0u; c < parameters.source_vecs; c++) {
        let input_norm = broadcast_input_coefficients(lane, c);
        var loaded: array<vec4<f32>, EDGE_LOADS>;
        for (var k = 0u; k < EDGE_LOADS; k++) { //@unroll
            loaded[k] = vec4<f32>(0.0);
            if has_edge[k] {
                loaded[k] = normalize_input(unpack_activation(source[edge_index[k] + c]), input_norm);
            }
        }
        var own: array<vec4<f32>, ROWS>;
        var edge: array<vec4<f32>, ROWS>;
        for (var r = 0u; r < ROWS; r++) { //@unroll
            let row = source_row + r;
            own[r] = vec4<f32>(0.0);
            if has_column && row < parameters.source_height {
                let pixel = (image_row + row) * parameters.source_width + column;
                own[r] = normalize_input(unpack_activation(source[pixel * parameters.source_vecs + c]), input_norm);
            }
            let left = subgroupShuffle(loaded[2u * r / SUBGROUP], 2u * r % SUBGROUP);
            let right = subgroupShuffle(loaded[(2u * r + 1u) / SUBGROUP], (2u * r + 1u) % SUBGROUP);
            edge[r] = select(right, left, at_left);
        }
        for (var a = 0u; a < parameters.taps_height; a++) {
            for (var b = 0u; b < parameters.taps_width; b++) {
                let shift = parameters.source_base_width + i32(b);
                let neighbour = (lane + u32(shift)) % SUBGROUP;
                let beyond = (shift < 0 && at_left) || (shift > 0 && at_right);
                var x: array<vec4<f32>, PIXELS>;
                for (var p = 0u; p < PIXELS; p++) { //@unroll
                    x[p] = select(subgroupShuffle(own[p], neighbour), edge[p], beyond);
                }
                multiply_add(&sum, &x, &offset, weight_start(a, b) + c * weights_per_vec());
            }
            for (var r = 0u; r < MOVES; r++) { //@unroll
                own[r] = own[r + 1u];
                edge[r] = edge[r + 1u];
            }
        }
    }

    var result_index: array<u32, PIXELS>;
    var valid: array<bool, PIXELS>;
    for (var p = 0u; p < PIXELS; p++) { //@unroll
        let row = first_row + p;
        let result_row = image * parameters.result_height
            + parameters.out_offset_height + parameters.out_step_height * row;
        let result_column = parameters.out_offset_width + parameters.out_step_width * column;
        result_index[p] = (result_row * parameters.result_width + result_column) * parameters.result_vecs;
        valid[p] = in_batch && row < parameters.count_height && column < parameters.count_width;
    }
    store_sums(&sum, &result_index, &valid, first_vec, block, lane);
}
