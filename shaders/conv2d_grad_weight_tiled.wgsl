// Gradient of a convolution with respect to its weights, for GPUs: partial sums over slices of
// the pixels, a tile of them in registers, its operands in workgroup memory.
//
// conv2d_grad_weight_direct.wgsl explains the operation, parameters and bindings; sum_slices.wgsl
// adds the slices. lib/conv2d_grad_weight_tile.wgsl loads a workgroup's operands and stores its
// sums; this file multiplies: each invocation accumulates its QUADS by OUT_VECS part of the
// tile.
//
// Assumes: what lib/conv2d_grad_weight_tile.wgsl assumes.

// import conv2d_grad_weight_tile

const WORKGROUP: u32 = 128u;
// Invocations along the channels of the tile.
const VEC_LANES: u32 = 8u;
const QUADS: u32 = 2u;
const OUT_VECS: u32 = 2u;
const PIXELS: u32 = 8u;
// Vectors that an invocation loads in a round: of the input, in batches, and of the gradient.
const INPUT_BATCHES: u32 = 1u;
const LOAD_BATCH: u32 = 2u;
const GRADIENT_LOADS: u32 = 1u;

// [pixel][quad], [pixel][vector]
var<workgroup> input_tile: array<vec4<f32>, PIXELS * TILE_QUADS>;
var<workgroup> gradient_tile: array<vec4<f32>, PIXELS * TILE_VECS>;

alias Sums = array<array<vec4<f32>, OUT_VECS>, 4u * QUADS>;

fn stage_input(pixel: u32, quad: u32, x: vec4<f32>) {
    input_tile[pixel * TILE_QUADS + quad] = x;
}

fn stage_gradient(pixel: u32, vec: u32, d: vec4<f32>) {
    gradient_tile[pixel * TILE_VECS + vec] = d;
}

fn multiply(sums: ptr<function, Sums>, invocation: Invocation) {
    for (var p = 0u; p < PIXELS; p++) {
        var d: array<vec4<f32>, OUT_VECS>;
        for (var n = 0u; n < OUT_VECS; n++) { //@unroll
            d[n] = gradient_tile[p * TILE_VECS + invocation.lane + n * VEC_LANES];
        }
        for (var q = 0u; q < QUADS; q++) { //@unroll
            let x = input_tile[p * TILE_QUADS + invocation.line + q * QUAD_LANES];
            for (var e = 0u; e < 4u; e++) { //@unroll
                for (var n = 0u; n < OUT_VECS; n++) { //@unroll
                    (*sums)[4u * q + e][n] = fma(vec4<f32>(x[e]), d[n], (*sums)[4u * q + e][n]);
                }
            }
        }
    }
}

fn sums_of(sums: ptr<function, Sums>, invocation: Invocation, n: u32) -> array<vec4<f32>, 4u * QUADS> {
    var own: array<vec4<f32>, 4u * QUADS>;
    for (var q = 0u; q < QUADS; q++) { //@unroll
        for (var e = 0u; e < 4u; e++) { //@unroll
            own[4u * q + e] = (*sums)[4u * q + e][n];
        }
    }
    return own;
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    compute_tile(group, Invocation(local, local % VEC_LANES, local / VEC_LANES, 0u));
}
