// y = x where x is not negative, else 0; NaN passes.
//
// x, y: `count` vectors of four. One invocation owns one vector.

// import activation
// import relu

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<ActivationVec>;
@group(0) @binding(2) var<storage, read_write> y: array<ActivationVec>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup.y * grid.x + workgroup.x) * 64u + lane;
    if i < params.count {
        y[i] = pack_activation(relu(unpack_activation(x[i]), 1u));
    }
}
