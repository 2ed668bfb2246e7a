// Measures memory bandwidth: y = x.
//
// x, y: `groups` runs of 64 * VECTORS vectors of four.
// A workgroup owns one run, an invocation every 64th vector of it.

// Vectors per invocation.
const VECTORS: u32 = 1u;

struct Params {
    groups: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = workgroup.y * grid.x + workgroup.x;
    if group >= params.groups {
        return;
    }
    let first = group * 64u * VECTORS + lane;
    for (var v = 0u; v < VECTORS; v++) { //@unroll
        y[first + 64u * v] = x[first + 64u * v];
    }
}
