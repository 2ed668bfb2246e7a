// Combines partial statistics (lib/moments.wgsl).
//
// partial: [slices, 3, columns], as batch_moments.wgsl or the epilogue of the kernel that
// computes x writes them; slices without rows have no effect.
// moments: [2, columns]: mean, then M2 / rows, the biased variance. A variance that overflows is
// NaN: normalisation by an infinite one would give finite numbers and hide the overflow.
// running: [2, columns], optionally updated as in running_average.wgsl.
// One workgroup owns one column. Each invocation merges every WORKGROUP-th slice, and a tree merges
// the invocations' results, so the order is fixed.

// import float
// import moments
// import running

const WORKGROUP: u32 = 64u;

// Slices that an invocation loads at a time.
const LOADS: u32 = 4u;

// Whether there are running statistics. Without them `running` is not accessed.
const RUNNING: bool = false;

struct Params {
    rows: u32,
    columns: u32,
    slices: u32,
    // First stride of the tree: half of the invocations that can have slices.
    half: u32,
    // For the running statistics.
    weight: f32,
    correction: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> moments: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> running: array<vec4<f32>>;

var<workgroup> shared_moments: array<Moments, WORKGROUP>;

fn slice_at(slice: u32, column: u32) -> Moments {
    let at = slice * 3u * params.columns + column;
    return Moments(partial[at].x, partial[at + params.columns], partial[at + 2u * params.columns]);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column = workgroup.x;
    var total = Moments(0.0, vec4<f32>(0.0), vec4<f32>(0.0));
    for (var slice = lane; slice < params.slices; slice += LOADS * WORKGROUP) {
        var loaded: array<Moments, LOADS>;
        for (var i = 0u; i < LOADS; i++) { //@unroll
            loaded[i] = slice_at(min(slice + i * WORKGROUP, params.slices - 1u), column);
        }
        for (var i = 0u; i < LOADS; i++) { //@unroll
            if slice + i * WORKGROUP < params.slices {
                total = merge(total, loaded[i]);
            }
        }
    }
    shared_moments[lane] = total;
    workgroupBarrier();
    for (var half = params.half; half > 0u; half /= 2u) {
        if lane < half {
            shared_moments[lane] = merge(shared_moments[lane], shared_moments[lane + half]);
        }
        workgroupBarrier();
    }
    if lane == 0u {
        let mean = shared_moments[0].mean;
        let exact = shared_moments[0].deviations / f32(params.rows);
        let variance = select(vec4<f32>(not_a_number(params.rows)), exact, are_finite(exact));
        let next = params.columns + column;
        moments[column] = mean;
        moments[next] = variance;
        if RUNNING {
            running[column] = running_of(running[column], mean, params.weight, 1.0);
            running[next] = running_of(running[next], variance, params.weight, params.correction);
        }
    }
}
