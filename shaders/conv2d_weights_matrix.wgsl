// Gradient of a convolution by its weights, for adapters with matrix units: partial sums over
// slices of the pixels.
//
// Operation, parameters and bindings are those of `conv2d_weights_direct`, where they are
// explained; `sum_slices` adds the slices. What a workgroup brings, and where the sums go,
// stands in lib/conv2d_weights_tile.wgsl, the product in lib/matrices.wgsl: rows of a tile are
// input channels of the taps, columns output channels, steps pixels.
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
const QUADS: u32 = 1u;
const OUT_VECS: u32 = 4u;
const PIXELS: u32 = 32u;
// Vectors that an invocation brings at a time.
const INPUT_LOADS: u32 = 8u;
const GRADIENT_LOADS: u32 = 4u;

// import batch_norm
// import conv2d_weights
// import stored
// import conv2d_weights_tile
// import matrices

const STEPS: u32 = PIXELS;
// [pixel][input channel]
const LEFT_BY_ROWS: bool = false;
const LEFT_LINES: u32 = PIXELS;
const LEFT_PITCH: u32 = 4u * TILE_QUADS + 8u;

fn bring_input(pixel: u32, quad: u32, x: vec4<f32>) {
    bring_left(pixel * LEFT_PITCH + 4u * quad, x);
}

fn bring_gradient(pixel: u32, vec: u32, d: vec4<f32>) {
    bring_right(pixel, 4u * vec, d);
}

fn multiply(sums: ptr<function, Sums>, place: Place) {
    multiply_matrices(sums, place.subgroup);
}

fn sums_of(sums: ptr<function, Sums>, place: Place, n: u32) -> array<vec4<f32>, 4u * QUADS> {
    stage(sums, place.subgroup, n);
    var own: array<vec4<f32>, 4u * QUADS>;
    for (var q = 0u; q < QUADS; q++) { //@unroll
        for (var e = 0u; e < 4u; e++) { //@unroll
            let row = 4u * (place.line + q * QUAD_LANES) + e;
            own[4u * q + e] = staged_at(row * BLOCK + 4u * place.lane);
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
    compute_tile(group, Place(local, local % VEC_LANES, local / VEC_LANES, subgroup));
}
