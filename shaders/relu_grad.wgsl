// dx = dy where the output y of ReLU is positive, else 0.
//
// y, dy, dx: `count` vectors of four. One invocation owns one vector.

// import activation

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<ActivationVec>;
@group(0) @binding(2) var<storage, read> dy: array<ActivationVec>;
@group(0) @binding(3) var<storage, read_write> dx: array<ActivationVec>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup.y * grid.x + workgroup.x) * 64u + lane;
    if i < params.count {
        dx[i] = pack_activation(select(unpack_activation(dy[i]), vec4<f32>(0.0), unpack_activation(y[i]) <= vec4<f32>(0.0)));
    }
}
