// Adds many slices of partial results in a fixed order: for reductions over pixels, whose
// slices outnumber the vectors of one slice. Otherwise sum_slices.wgsl does the same.
//
//     total[i] = sum over slices s of partial[s, i]
//
// Bindings: partial [slices][vecs] vectors, total [vecs] vectors.
// One workgroup owns one vector; its invocations add every 64th slice, then each other in a
// tree.

struct Parameters {
    vecs: u32,
    slices: u32,
}

@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> total: array<vec4<f32>>;

var<workgroup> sums: array<vec4<f32>, 64>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = group.y * groups.x + group.x;
    if index >= parameters.vecs {
        return;
    }
    var sum = vec4<f32>(0.0);
    for (var slice = local; slice < parameters.slices; slice += 64u) {
        sum += partial[slice * parameters.vecs + index];
    }
    sums[local] = sum;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if local < half {
            sums[local] += sums[local + half];
        }
        workgroupBarrier();
    }
    if local == 0u {
        total[index] = sums[0];
    }
}
