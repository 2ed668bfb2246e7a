// Convolution of NHWC activations, and its gradient with respect to the input, on matrix units.
//
// conv2d_direct.wgsl and conv2d_subgroup.wgsl explain the operations, parameters and bindings.
// TRANSPOSED = false is the convolution itself; true is one stride phase of its input gradient.
// lib/conv2d_tile.wgsl loads a workgroup's operands and stores its sums; lib/matrices.wgsl
// multiplies: rows of a tile are pixels, columns are result channels, and steps are source
// channels of the taps.
//
// Assumes: what these two pieces assume; a subgroup has at most WORKGROUP / SUBGROUPS
// invocations and at least WORKGROUP / MAX_SUBGROUPS.

// import conv2d_tile
// import matrices

const WORKGROUP: u32 = 128u;
// Invocations along the channels of the tile.
const VEC_LANES: u32 = 4u;
const PIXELS: u32 = 4u;
const OUT_VECS: u32 = 4u;
const DEPTH: u32 = 8u;
// Vectors that an invocation loads in a step: pixels of the source, in batches, and columns of the
// weights.
const SOURCE_LOADS: u32 = 8u;
const SOURCE_BATCHES: u32 = 2u;
const LOAD_BATCH: u32 = 4u;
const WEIGHT_LOADS: u32 = 1u;
const TRANSPOSED: bool = false;

const STEPS: u32 = 4u * DEPTH;
// [pixel][step]
const LEFT_BY_ROWS: bool = true;
const LEFT_LINES: u32 = TILE_PIXELS;
const LEFT_PITCH: u32 = STEPS + 8u;

fn stage_source(depth: u32, pixel: u32, x: vec4<f32>) {
    stage_left(pixel * LEFT_PITCH + 4u * depth, x);
}

fn stage_weights(step: u32, column: u32, w: vec4<f32>) {
    stage_right(step, 4u * column, w);
}

fn multiply(sums: ptr<function, Sums>, invocation: Invocation) {
    multiply_matrices(sums, invocation.subgroup);
}

fn sums_of(sums: ptr<function, Sums>, invocation: Invocation, n: u32) -> array<vec4<f32>, PIXELS> {
    store_block(sums, invocation.subgroup, n);
    var own: array<vec4<f32>, PIXELS>;
    for (var p = 0u; p < PIXELS; p++) { //@unroll
        own[p] = sums_at((invocation.line + p * PIXEL_LANES) * BLOCK + 4u * invocation.lane);
    }
    workgroupBarrier();
    return own;
}

fn store_scratch(at: u32, value: vec4<f32>) {
    for (var e = 0u; e < 4u; e++) { //@unroll
        sum_block[4u * at + e] = value[e];
    }
}

fn scratch_at(at: u32) -> vec4<f32> {
    return sums_at(4u * at);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    compute_tile(group, groups, Invocation(local, local % VEC_LANES, local / VEC_LANES, subgroup));
}
