// Adds slices of partial sums in a fixed order, so that the result does not depend on how
// workgroups are scheduled.
//
//     total[i] = partial[0][i] + partial[1][i] + ... + partial[slices - 1][i]
//
// Bindings: partial [slices][vecs] vectors, total [vecs] vectors.
//
// A workgroup owns VEC_LANES neighbouring vectors of the total, in SLICE_LANES lines of
// invocations. An invocation adds every SLICE_LANES-th slice of one vector, and a tree adds the
// lines. Workgroup (x, y) has number y * groups.x + x.
//
// Assumes: at least one slice; SLICE_LANES is a power of two.

const VEC_LANES: u32 = 32u;
const SLICE_LANES: u32 = 8u;
// Their product.
const WORKGROUP: u32 = 256u;

// Slices that an invocation loads at a time.
const LOADS: u32 = 4u;

struct Parameters {
    vecs: u32,
    slices: u32,
}

@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> total: array<vec4<f32>>;

var<workgroup> sums: array<vec4<f32>, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = (group.y * groups.x + group.x) * VEC_LANES + local % VEC_LANES;
    let line = local / VEC_LANES;
    let has_vec = index < parameters.vecs;
    let vec = min(index, parameters.vecs - 1u);
    var sum = vec4<f32>(0.0);
    for (var slice = line; slice < parameters.slices; slice += LOADS * SLICE_LANES) {
        var loaded: array<vec4<f32>, LOADS>;
        for (var i = 0u; i < LOADS; i++) { //@unroll
            loaded[i] = partial[min(slice + i * SLICE_LANES, parameters.slices - 1u) * parameters.vecs + vec];
        }
        for (var i = 0u; i < LOADS; i++) { //@unroll
            if slice + i * SLICE_LANES < parameters.slices {
                sum += loaded[i];
            }
        }
    }
    if SLICE_LANES > 1u {
        sums[local] = sum;
        workgroupBarrier();
        for (var half = SLICE_LANES / 2u; half > 0u; half /= 2u) {
            if line < half {
                sums[local] += sums[local + half * VEC_LANES];
            }
            workgroupBarrier();
        }
        sum = sums[local];
    }
    if line == 0u && has_vec {
        total[index] = sum;
    }
}
