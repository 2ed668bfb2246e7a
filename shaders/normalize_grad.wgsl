// Gradient of normalize.wgsl with respect to x:
//
//     dx = scale / sqrt(variance + epsilon) * (dy - share * (dshift + normalized * dscale))
//
// where `normalized` is (x - mean) / sqrt(variance + epsilon), dy counts as zero where ReLU blocks
// it, and share is 1 / rows when the moments are those of x itself, 0 when they are constants.
//
// x, dy, dx: [rows, columns] vectors of four channels. moments, affine: as in normalize.wgsl.
// daffine: [2, columns]: dscale, dshift.
// Where a zero-padded shortcut also reads x, its gradient is added:
// dsum: [N, P, Q, sum_columns], the gradient of the shortcut's sum (see shortcut_grad.wgsl).
// One invocation owns one column of every few rows (lib/row_partition.wgsl).

// import activation
// import column_coefficients
// import row_partition
// import shortcut

// Rows that are loaded at a time.
const ROWS: u32 = 4u;

// Whether there is a shortcut. Without one `dsum` is bound to dy and not read.
const SHORTCUT: bool = false;

struct Params {
    rows: u32,
    columns: u32,
    chunk: u32,
    epsilon: f32,
    relu: u32,
    share: f32,
    // The shortcut's stride, extents of its sum and of x, columns of its sum, and channels in
    // the last column of x, 1 to 4.
    stride: u32,
    p: u32,
    q: u32,
    h: u32,
    w: u32,
    sum_columns: u32,
    tail: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<ActivationVec>;
@group(0) @binding(2) var<storage, read> dy: array<ActivationVec>;
@group(0) @binding(3) var<storage, read> moments: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> affine: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> daffine: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> dsum: array<ActivationVec>;
@group(0) @binding(7) var<storage, read_write> dx: array<ActivationVec>;

@compute @workgroup_size(ROW_INVOCATIONS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = partition_rows(workgroup, lane, params.rows, params.columns, params.chunk);
    if !s.inside {
        return;
    }
    let n = column_coefficients(s.column, params.columns, params.epsilon);
    let slope = daffine[s.column] * n.inverse * params.share;
    let offset = daffine[params.columns + s.column] * params.share;
    let shared_lanes = lanes_of(s.column, params.columns, params.tail);
    for (var row = s.first; row < s.end; row += ROWS * s.step) {
        var values: array<ActivationVec, ROWS>;
        var gradients: array<ActivationVec, ROWS>;
        var sums: array<ActivationVec, ROWS>;
        var cells: array<u32, ROWS>;
        for (var i = 0u; i < ROWS; i++) { //@unroll
            let own = min(row + i * s.step, s.end - 1u);
            values[i] = x[own * params.columns + s.column];
            gradients[i] = dy[own * params.columns + s.column];
            if SHORTCUT {
                let origin = pool_backward_of(own, params.stride, params.p, params.q, params.h, params.w);
                sums[i] = dsum[origin.row * params.sum_columns + s.column];
                cells[i] = origin.cells;
            }
        }
        for (var i = 0u; i < ROWS; i++) { //@unroll
            if row + i * s.step < s.end {
                let value = unpack_activation(values[i]);
                let upstream = relu_mask(unpack_activation(gradients[i]), value, n, params.relu);
                var gradient = n.scale * (upstream - offset - (value - n.mean) * slope);
                if SHORTCUT {
                    let through = unpack_activation(sums[i]) / f32(cells[i]);
                    gradient += select(vec4<f32>(0.0), through, shared_lanes);
                }
                dx[(row + i * s.step) * params.columns + s.column] = pack_activation(gradient);
            }
        }
    }
}
