// PyramidNet's zero-padded shortcut: y = branch + pad(pool(x)).
//
// branch, y: [N, P, Q, columns] vectors of four channels.
// x: [N, H, W, input_columns]. At stride 1, P = H and Q = W; at stride 2, 2x2 windows are
// averaged, and the last window of an odd extent averages the cells it has.
// Optionally, the branch is normalised first, by moments and affine [2, columns], as in
// normalize.wgsl.
// Columns past those of x receive the branch alone; the pads of x are zero.
// Optionally, partial statistics of y are written to `partial`, as in batch_moments.wgsl.
// One invocation owns one column of every few pixels (lib/row_partition.wgsl); with partial
// statistics, a workgroup computes a slice of some columns.

// import activation
// import column_coefficients
// import line_reduction
// import store_moments

// Pixels that are loaded at a time.
const ROWS: u32 = 4u;

// Whether the branch is normalised. If not, `moments` and `affine` are bound to the branch and
// not read.
const NORMALIZE: bool = false;

// Whether partial statistics are written. If not, `partial` is not accessed.
const MOMENTS: bool = false;

// Whether the stride is 2.
const POOL: bool = false;

struct Params {
    rows: u32,
    columns: u32,
    chunk: u32,
    // Extents of y and x.
    p: u32,
    q: u32,
    h: u32,
    w: u32,
    input_columns: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> branch: array<ActivationVec>;
@group(0) @binding(2) var<storage, read> x: array<ActivationVec>;
@group(0) @binding(3) var<storage, read> moments: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> affine: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<ActivationVec>;
@group(0) @binding(6) var<storage, read_write> partial: array<vec4<f32>>;

// What the shortcut adds to a pixel of y: up to four pixels of x, and their number.
struct Pool {
    cells: array<ActivationVec, 4>,
    inside: array<bool, 4>,
    count: f32,
}

fn pool_of(row: u32, column: u32) -> Pool {
    let q = row % params.q;
    let p = row / params.q % params.p;
    let n = row / (params.p * params.q);
    var pool: Pool;
    for (var i = 0u; i < 2u; i++) { //@unroll
        for (var j = 0u; j < 2u; j++) { //@unroll
            let h = 2u * p + i;
            let w = 2u * q + j;
            let at = (n * params.h + min(h, params.h - 1u)) * params.w + min(w, params.w - 1u);
            pool.cells[2u * i + j] = x[at * params.input_columns + column];
            pool.inside[2u * i + j] = h < params.h && w < params.w;
        }
    }
    pool.count = f32(min(2u, params.h - 2u * p) * min(2u, params.w - 2u * q));
    return pool;
}

fn mean_of(pool: Pool) -> vec4<f32> {
    var sum = vec4<f32>(0.0);
    for (var i = 0u; i < 4u; i++) { //@unroll
        if pool.inside[i] {
            sum += unpack_activation(pool.cells[i]);
        }
    }
    return sum / pool.count;
}

alias Partial = Moments;

fn combined(a: Partial, b: Partial) -> Partial {
    return merge(a, b);
}

@compute @workgroup_size(ROW_INVOCATIONS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = partition_rows(workgroup, lane, params.rows, params.columns, params.chunk);
    var n: Coefficients;
    if NORMALIZE {
        n = column_coefficients(s.column, params.columns, params.epsilon);
    }
    let padded = s.column >= params.input_columns;
    let input_column = min(s.column, params.input_columns - 1u);
    var d: Deviations;
    for (var row = s.first; row < s.end; row += ROWS * s.step) {
        var branches: array<ActivationVec, ROWS>;
        var pools: array<Pool, ROWS>;
        for (var i = 0u; i < ROWS; i++) { //@unroll
            let at = min(row + i * s.step, s.end - 1u);
            branches[i] = branch[at * params.columns + s.column];
            if POOL {
                pools[i] = pool_of(at, input_column);
            } else {
                pools[i].cells[0] = x[at * params.input_columns + input_column];
            }
        }
        for (var i = 0u; i < ROWS; i++) { //@unroll
            if row + i * s.step < s.end {
                var value = unpack_activation(branches[i]);
                if NORMALIZE {
                    value = normalized(value, n);
                }
                var shortcut: vec4<f32>;
                if POOL {
                    shortcut = mean_of(pools[i]);
                } else {
                    shortcut = unpack_activation(pools[i].cells[0]);
                }
                value += select(shortcut, vec4<f32>(0.0), padded);
                y[(row + i * s.step) * params.columns + s.column] = pack_activation(value);
                if MOMENTS {
                    accumulate(&d, value);
                }
            }
        }
    }
    if MOMENTS {
        let total = combine_lines(moments_of(d), lane, params.columns);
        if s.inside && s.line == 0u {
            store_moments(total, workgroup.x, s.column, params.columns);
        }
    }
}
