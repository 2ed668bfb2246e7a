// dx = dy where the result y of ReLU is positive, else 0.
//
// y, dy, dx: `count` groups of four. One invocation owns one group.

// import stored

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<Stored>;
@group(0) @binding(2) var<storage, read> dy: array<Stored>;
@group(0) @binding(3) var<storage, read_write> dx: array<Stored>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup.y * grid.x + workgroup.x) * 64u + lane;
    if i < params.count {
        dx[i] = packed(select(floats(dy[i]), vec4<f32>(0.0), floats(y[i]) <= vec4<f32>(0.0)));
    }
}
