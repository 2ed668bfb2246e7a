// Adds slices of partial sums in a fixed order, so that the result does not depend on how
// workgroups are scheduled.
//
//     total[i] = partial[0][i] + partial[1][i] + ... + partial[slices - 1][i]
//
// Bindings: partial [slices][vecs] vectors, total [vecs] vectors; other_partial and other_total: a
// second sum that is computed in the same dispatch, if PAIR.
//
// A workgroup owns vec_lanes neighbouring vectors of a total; its invocations form
// WORKGROUP / vec_lanes lines. An invocation adds every lines-th slice of one vector, and a tree
// adds the lines. Workgroup (x, y) has number y * groups.x + x; those from number first_groups on
// compute the second sum.
//
// Assumes: at least one slice of each sum; vec_lanes are powers of two, at most WORKGROUP, and equal
// to it without LINES.

const WORKGROUP: u32 = 256u;

// Slices that an invocation loads at a time.
const LOADS: u32 = 4u;

// Whether workgroups may have more than one line.
const LINES: bool = true;

// Whether there is a second sum.
const PAIR: bool = true;

struct Parameters {
    vecs: u32,
    slices: u32,
    vec_lanes: u32,
    first_groups: u32,
    other_vecs: u32,
    other_slices: u32,
    other_vec_lanes: u32,
}

@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> other_partial: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> total: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> other_total: array<vec4<f32>>;

var<workgroup> sums: array<vec4<f32>, WORKGROUP>;

// The sum that a workgroup computes.
struct Sum {
    is_other: bool,
    vecs: u32,
    slices: u32,
    vec_lanes: u32,
}

fn sum_of(number: u32) -> Sum {
    if !PAIR || number < parameters.first_groups {
        return Sum(false, parameters.vecs, parameters.slices, parameters.vec_lanes);
    }
    return Sum(true, parameters.other_vecs, parameters.other_slices, parameters.other_vec_lanes);
}

// One vector of LOADS slices, from `first` on in steps of `step`; the last slice instead of those
// past the end.
fn load_slices(s: Sum, first: u32, step: u32, vec: u32) -> array<vec4<f32>, LOADS> {
    let last = s.slices - 1u;
    var loaded: array<vec4<f32>, LOADS>;
    if PAIR && s.is_other {
        for (var i = 0u; i < LOADS; i++) { //@unroll
            loaded[i] = other_partial[min(first + i * step, last) * s.vecs + vec];
        }
    } else {
        for (var i = 0u; i < LOADS; i++) { //@unroll
            loaded[i] = partial[min(first + i * step, last) * s.vecs + vec];
        }
    }
    return loaded;
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = group.y * groups.x + group.x;
    let s = sum_of(number);
    let first_number = select(0u, parameters.first_groups, s.is_other);
    let index = (number - first_number) * s.vec_lanes + local % s.vec_lanes;
    let vec = min(index, s.vecs - 1u);
    let line = local / s.vec_lanes;
    let lines = WORKGROUP / s.vec_lanes;
    var sum = vec4<f32>(0.0);
    for (var slice = line; slice < s.slices; slice += LOADS * lines) {
        let loaded = load_slices(s, slice, lines, vec);
        for (var i = 0u; i < LOADS; i++) { //@unroll
            if slice + i * lines < s.slices {
                sum += loaded[i];
            }
        }
    }
    if LINES {
        sums[local] = sum;
        workgroupBarrier();
        for (var half = lines / 2u; half > 0u; half /= 2u) {
            if line < half {
                sums[local] += sums[local + half * s.vec_lanes];
            }
            workgroupBarrier();
        }
        sum = sums[local];
    }
    if line == 0u && index < s.vecs {
        if PAIR && s.is_other {
            other_total[index] = sum;
        } else {
            total[index] = sum;
        }
    }
}
