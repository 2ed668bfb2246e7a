// Overflow check over flat arenas: whether any gradient is NaN or infinite.
//
// gradients: `count` vectors of four. loss_scale: the word LOSS_SCALE_OVERFLOW becomes 1 if one
// is (an atomic or, so the order does not matter). One invocation owns one vector.

// import float
// import loss_scale

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> loss_scale: array<atomic<u32>>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup.y * grid.x + workgroup.x) * 64u + lane;
    if i >= params.count {
        return;
    }
    if !all(are_finite(gradients[i])) {
        atomicOr(&loss_scale[LOSS_SCALE_OVERFLOW], 1u);
    }
}
