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

// import normalize_grad
// import row_partition

// Rows that are loaded at a time.
const ROWS: u32 = 4u;

@compute @workgroup_size(ROW_INVOCATIONS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = partition_rows(workgroup, lane, params.rows, params.columns, params.chunk);
    if !s.inside {
        return;
    }
    let column = gradient_column(s.column);
    for (var row = s.first; row < s.end; row += ROWS * s.step) {
        var loaded: array<GradientOperands, ROWS>;
        for (var i = 0u; i < ROWS; i++) { //@unroll
            loaded[i] = gradient_operands(min(row + i * s.step, s.end - 1u), s.column);
        }
        for (var i = 0u; i < ROWS; i++) { //@unroll
            if row + i * s.step < s.end {
                let gradient = gradient_of(loaded[i], column);
                dx[(row + i * s.step) * params.columns + s.column] = pack_activation(gradient);
            }
        }
    }
}
