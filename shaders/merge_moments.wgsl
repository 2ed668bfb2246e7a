// Combines partial statistics by Chan's formula (Chan, Golub and LeVeque 1979):
//
//     d = mean_b - mean_a,   mean = mean_a + d * n_b / n,
//     M2 = M2_a + M2_b + d * d * n_a * n_b / n
//
// partial: [slices, 3, columns], as batch_moments.wgsl or the epilogue of the kernel that
// computes x writes them; slices without rows have no effect.
// moments: [2, columns]: mean, then M2 / rows, the biased variance. A variance that overflows is
// NaN: normalisation by an infinite one would give finite numbers and hide the overflow.
// running: [2, columns], optionally updated as in running_average.wgsl.
// One workgroup owns one column. Its invocations merge every 64th slice, then each other in a
// tree, so the order is fixed.

// import float
// import running

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

struct Moments {
    count: f32,
    mean: vec4<f32>,
    deviations: vec4<f32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> moments: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> running: array<vec4<f32>>;

var<workgroup> shared_moments: array<Moments, 64>;

fn merge(a: Moments, b: Moments) -> Moments {
    let count = a.count + b.count;
    if b.count == 0.0 {
        return a;
    }
    let delta = b.mean - a.mean;
    let share = b.count / count;
    return Moments(
        count,
        a.mean + delta * share,
        a.deviations + b.deviations + delta * delta * (a.count * share),
    );
}

fn slice_at(slice: u32, column: u32) -> Moments {
    let at = slice * 3u * params.columns + column;
    return Moments(partial[at].x, partial[at + params.columns], partial[at + 2u * params.columns]);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column = workgroup.x;
    var total = Moments(0.0, vec4<f32>(0.0), vec4<f32>(0.0));
    for (var slice = lane; slice < params.slices; slice += 64u) {
        total = merge(total, slice_at(slice, column));
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
