// Adds slices of partial sums in order, so that the result does not depend on how workgroups
// are scheduled.
//
//     total[i] = partial[0][i] + partial[1][i] + ... + partial[slices - 1][i]
//
// Bindings: partial [slices][vecs] vectors, total [vecs] vectors.
//
// One invocation owns one vector of the total, one workgroup 64 neighbouring ones. Workgroup
// (x, y) has number y * groups.x + x; invocations past the end return. Assumes at least one
// slice.

const WORKGROUP: u32 = 64u;

struct Parameters {
    vecs: u32,
    slices: u32,
}

@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> total: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + local;
    if index >= parameters.vecs {
        return;
    }
    var sum = partial[index];
    for (var slice = 1u; slice < parameters.slices; slice++) {
        sum += partial[slice * parameters.vecs + index];
    }
    total[index] = sum;
}
