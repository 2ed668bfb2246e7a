// Gradient of a convolution with respect to its weights, on matrix units: partial sums over
// slices of the pixels.
//
// conv2d_grad_weight_direct.wgsl explains the operation, parameters and bindings; sum_slices.wgsl
// adds the slices. lib/conv2d_grad_weight_tile.wgsl loads a workgroup's operands and stores its
// sums; lib/matrices.wgsl multiplies: rows of a tile are input channels of the taps, columns
// are output channels, and steps are pixels.
//
// Assumes: what these two pieces assume; a subgroup has at most WORKGROUP / SUBGROUPS
// invocations and at least WORKGROUP / MAX_SUBGROUPS.

// import conv2d_grad_weight_tile
// import matrices

const WORKGROUP: u32 = 128u;
// Invocations along the channels of the tile.
const VEC_LANES: u32 = 4u;
const QUADS: u32 = 1u;
const OUT_VECS: u32 = 4u;
const PIXELS: u32 = 32u;
// Vectors that an invocation loads in a round: of the input, in batches, and of the gradient.
const INPUT_BATCHES: u32 = 2u;
const LOAD_BATCH: u32 = 4u;
const GRADIENT_LOADS: u32 = 4u;

const STEPS: u32 = PIXELS;
// [pixel][input channel]
const LEFT_BY_ROWS: bool = false;
const LEFT_LINES: u32 = PIXELS;
const LEFT_PITCH: u32 = 4u * TILE_QUADS + 8u;

fn stage_input(pixel: u32, quad: u32, x: vec4<f32>) {
    stage_left(pixel * LEFT_PITCH + 4u * quad, x);
}

fn stage_gradient(pixel: u32, vec: u32, d: vec4<f32>) {
    stage_right(pixel, 4u * vec, d);
}

fn multiply(sums: ptr<function, Sums>, invocation: Invocation) {
    multiply_matrices(sums, invocation.subgroup);
}

fn sums_of(sums: ptr<function, Sums>, invocation: Invocation, n: u32) -> array<vec4<f32>, 4u * QUADS> {
    store_block(sums, invocation.subgroup, n);
    var own: array<vec4<f32>, 4u * QUADS>;
    for (var q = 0u; q < QUADS; q++) { //@unroll
        for (var e = 0u; e < 4u; e++) { //@unroll
            let row = 4u * (invocation.line + q * QUAD_LANES) + e;
            own[4u * q + e] = sums_at(row * BLOCK + 4u * invocation.lane);
        }
    }
    workgroupBarrier();
    return own;
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    compute_tile(group, Invocation(local, local % VEC_LANES, local / VEC_LANES, subgroup));
}
