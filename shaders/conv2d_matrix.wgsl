// Convolution of NHWC pixels, and its gradient by the input, for adapters with matrix units.
//
// Operations, parameters and bindings are those of `conv2d_direct` and `conv2d_subgroup`,
// where they are explained: TRANSPOSED = false is the convolution itself, true one class of
// pixels of its gradient by the input. What a workgroup brings, and what becomes of the sums,
// stands in lib/conv2d_tile.wgsl, the product in lib/matrices.wgsl: rows of a tile are pixels,
// columns result channels, steps source channels of the taps.
//
// Assumes: what the two pieces do; a subgroup has WORKGROUP / SUBGROUPS invocations at most
// and WORKGROUP / MOST_SUBGROUPS at least.
//
// The host sets the constants, and expands the loops marked `//@unroll`.

enable f16;
enable wgpu_cooperative_matrix;

const WORKGROUP: u32 = 128u;
// Invocations along the channels of the tile.
const VEC_LANES: u32 = 4u;
const PIXELS: u32 = 4u;
const OUT_VECS: u32 = 4u;
const DEPTH: u32 = 8u;
// Vectors that an invocation brings at a time: pixels of the source, columns of the weights.
const SOURCE_LOADS: u32 = 8u;
const WEIGHT_LOADS: u32 = 1u;
const TRANSPOSED: bool = false;

// import batch_norm
// import conv2d_pixels
// import stored
// import exact
// import conv2d_tile
// import matrices

const STEPS: u32 = 4u * DEPTH;
// [pixel][step]
const LEFT_BY_ROWS: bool = true;
const LEFT_LINES: u32 = TILE_PIXELS;
const LEFT_PITCH: u32 = STEPS + 8u;

fn bring_source(depth: u32, pixel: u32, x: vec4<f32>) {
    bring_left(pixel * LEFT_PITCH + 4u * depth, x);
}

fn bring_weights(step: u32, column: u32, w: vec4<f32>) {
    bring_right(step, 4u * column, w);
}

fn multiply(sums: ptr<function, Sums>, place: Place) {
    multiply_matrices(sums, place.subgroup);
}

fn sums_of(sums: ptr<function, Sums>, place: Place, n: u32) -> array<vec4<f32>, PIXELS> {
    stage(sums, place.subgroup, n);
    var own: array<vec4<f32>, PIXELS>;
    for (var p = 0u; p < PIXELS; p++) { //@unroll
        own[p] = staged_at((place.line + p * PIXEL_LANES) * BLOCK + 4u * place.lane);
    }
    workgroupBarrier();
    return own;
}

fn keep(at: u32, value: vec4<f32>) {
    for (var e = 0u; e < 4u; e++) { //@unroll
        staged[4u * at + e] = value[e];
    }
}

fn kept(at: u32) -> vec4<f32> {
    return staged_at(4u * at);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    compute_tile(group, groups, Place(local, local % VEC_LANES, local / VEC_LANES, subgroup));
}
