// Convolution of NHWC activations, and its gradient with respect to the input, for GPUs: a tile
// of the result in registers, its operands in workgroup memory.
//
// conv2d_direct.wgsl and conv2d_subgroup.wgsl explain the operations, parameters and bindings.
// TRANSPOSED = false is the convolution itself; true is one stride phase of its input gradient.
// lib/conv2d_tile.wgsl loads a workgroup's operands and stores its sums; this file multiplies:
// each invocation accumulates its PIXELS by OUT_VECS part of the tile. Neighbouring invocations
// own neighbouring vectors of the same pixels, so that reads of workgroup memory do not cause
// bank conflicts.
//
// Assumes: what lib/conv2d_tile.wgsl assumes.

// import conv2d_tile

const WORKGROUP: u32 = 128u;
// Invocations along the channels of the tile.
const VEC_LANES: u32 = 8u;
const PIXELS: u32 = 8u;
const OUT_VECS: u32 = 2u;
const DEPTH: u32 = 4u;
// Vectors that an invocation loads in a step: pixels of the source, in batches, and columns of the
// weights.
const SOURCE_LOADS: u32 = 4u;
const SOURCE_BATCHES: u32 = 1u;
const LOAD_BATCH: u32 = 4u;
const WEIGHT_LOADS: u32 = 1u;
const TRANSPOSED: bool = false;

// One more than a row, so that neighbouring rows lie in different banks.
const PITCH: u32 = TILE_PIXELS + 1u;

// [depth][pixel]
var<workgroup> source_tile: array<vec4<f32>, DEPTH * PITCH>;
// [depth][four channels of the source][vector of the result]
var<workgroup> weight_tile: array<vec4<f32>, DEPTH * 4u * TILE_VECS>;

alias Sums = array<array<vec4<f32>, OUT_VECS>, PIXELS>;

fn stage_source(depth: u32, pixel: u32, x: vec4<f32>) {
    source_tile[depth * PITCH + pixel] = x;
}

fn stage_weights(step: u32, column: u32, w: vec4<f32>) {
    weight_tile[step * TILE_VECS + column] = w;
}

fn multiply(sums: ptr<function, Sums>, invocation: Invocation) {
    for (var d = 0u; d < DEPTH; d++) {
        var x: array<vec4<f32>, PIXELS>;
        for (var p = 0u; p < PIXELS; p++) { //@unroll
            x[p] = source_tile[d * PITCH + invocation.line + p * PIXEL_LANES];
        }
        for (var n = 0u; n < OUT_VECS; n++) { //@unroll
            for (var e = 0u; e < 4u; e++) { //@unroll
                let w = weight_tile[(4u * d + e) * TILE_VECS + invocation.lane + n * VEC_LANES];
                for (var p = 0u; p < PIXELS; p++) { //@unroll
                    (*sums)[p][n] = fma(vec4<f32>(x[p][e]), w, (*sums)[p][n]);
                }
            }
        }
    }
}

fn sums_of(sums: ptr<function, Sums>, invocation: Invocation, n: u32) -> array<vec4<f32>, PIXELS> {
    var own: array<vec4<f32>, PIXELS>;
    for (var p = 0u; p < PIXELS; p++) { //@unroll
        own[p] = (*sums)[p][n];
    }
    return own;
}

fn store_scratch(at: u32, value: vec4<f32>) {
    source_tile[at] = value;
}

fn scratch_at(at: u32) -> vec4<f32> {
    return source_tile[at];
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    compute_tile(group, groups, Invocation(local, local % VEC_LANES, local / VEC_LANES, 0u));
}
