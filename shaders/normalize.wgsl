// Batch normalisation: y = (x - mean) / sqrt(variance + epsilon) * scale + shift, optionally
// followed by ReLU.
//
// x, y: [rows, columns] vectors of four channels.
// moments: [2, columns]: mean, variance. affine: [2, columns]: scale, shift.
// One invocation owns one column of every few rows (lib/row_partition.wgsl).
// In pad channels mean, scale and shift are zero, so y is zero.

// import activation
// import column_coefficients
// import row_partition

// Rows that are loaded at a time.
const ROWS: u32 = 4u;

struct Params {
    rows: u32,
    columns: u32,
    chunk: u32,
    epsilon: f32,
    relu: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<ActivationVec>;
@group(0) @binding(2) var<storage, read> moments: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> affine: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<ActivationVec>;

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
    for (var row = s.first; row < s.end; row += ROWS * s.step) {
        var values: array<ActivationVec, ROWS>;
        for (var i = 0u; i < ROWS; i++) { //@unroll
            values[i] = x[min(row + i * s.step, s.end - 1u) * params.columns + s.column];
        }
        for (var i = 0u; i < ROWS; i++) { //@unroll
            if row + i * s.step < s.end {
                let value = relu(normalized(unpack_activation(values[i]), n), params.relu);
                y[(row + i * s.step) * params.columns + s.column] = pack_activation(value);
            }
        }
    }
}
