// PyramidNet's zero-padded shortcut: y = branch + pad(pool(x)).
//
// branch, y: [N, P, Q, columns] vectors of four channels.
// x: [N, H, W, input_columns]. At stride 1, P = H and Q = W; at stride 2, 2x2 windows are
// averaged, and the last window of an odd extent averages the cells it has.
// Optionally, the branch is normalised first, by moments and affine [2, columns], as in
// normalize.wgsl.
// Columns past those of x receive the branch alone; the pads of x are zero.
// Optionally, partial statistics of y are written to `partial`, as in batch_moments.wgsl.
// One invocation owns one column of every few pixels (lib/row_partition.wgsl).

// import activation
// import column_coefficients
// import moments
// import row_partition

// Whether the branch is normalised. If not, `moments` and `affine` are bound to the branch and
// not read.
const NORMALIZE: bool = false;

// Whether partial statistics are written. If not, `partial` is not accessed.
const MOMENTS: bool = false;

struct Params {
    rows: u32,
    columns: u32,
    chunk: u32,
    stride: u32,
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

fn pooled(row: u32, column: u32) -> vec4<f32> {
    let q = row % params.q;
    let p = row / params.q % params.p;
    let n = row / (params.p * params.q);
    let h_end = min(2u * p + 2u, params.h);
    let w_end = min(2u * q + 2u, params.w);
    var sum = vec4<f32>(0.0);
    for (var h = 2u * p; h < h_end; h++) {
        for (var w = 2u * q; w < w_end; w++) {
            sum += unpack_activation(x[((n * params.h + h) * params.w + w) * params.input_columns + column]);
        }
    }
    return sum / f32((h_end - 2u * p) * (w_end - 2u * q));
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = partition_rows(workgroup, lane, params.rows, params.columns, params.chunk);
    if !s.inside {
        return;
    }
    var n: Coefficients;
    if NORMALIZE {
        n = column_coefficients(s.column, params.columns, params.epsilon);
    }
    var d: Deviations;
    for (var row = s.first; row < s.end; row += s.step) {
        let at = row * params.columns + s.column;
        var value = unpack_activation(branch[at]);
        if NORMALIZE {
            value = normalized(value, n);
        }
        if s.column < params.input_columns {
            if params.stride == 1u {
                value += unpack_activation(x[row * params.input_columns + s.column]);
            } else {
                value += pooled(row, s.column);
            }
        }
        y[at] = pack_activation(value);
        if MOMENTS {
            accumulate(&d, value);
        }
    }
    if MOMENTS {
        store_moments(d, s.slice, s.column, params.columns);
    }
}
