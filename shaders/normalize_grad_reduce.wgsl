// Gradients of scale and shift of normalize.wgsl over a slice of the rows:
//
//     dscale = sum dy * (x - mean) / sqrt(variance + epsilon),   dshift = sum dy
//
// where dy counts as zero where ReLU, if there is one, blocks it.
//
// x, dy: [rows, columns] vectors of four channels. moments, affine: as in normalize.wgsl.
// partial: [slices, 2, columns]: dscale, dshift; sum_slices.wgsl adds the slices.
// A workgroup computes a slice of some columns: one invocation owns one column of every few rows
// (lib/row_partition.wgsl).

// import activation
// import affine_gradient
// import column_coefficients
// import line_reduction

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
@group(0) @binding(2) var<storage, read> dy: array<ActivationVec>;
@group(0) @binding(3) var<storage, read> moments: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> affine: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> partial: array<vec4<f32>>;

alias Partial = AffineGradient;

fn combined(a: Partial, b: Partial) -> Partial {
    return sum_of_gradients(a, b);
}

@compute @workgroup_size(ROW_INVOCATIONS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = partition_rows(workgroup, lane, params.rows, params.columns, params.chunk);
    let n = column_coefficients(s.column, params.columns, params.epsilon);
    var own: AffineGradient;
    for (var row = s.first; row < s.end; row += ROWS * s.step) {
        var values: array<ActivationVec, ROWS>;
        var gradients: array<ActivationVec, ROWS>;
        for (var i = 0u; i < ROWS; i++) { //@unroll
            let at = min(row + i * s.step, s.end - 1u) * params.columns + s.column;
            values[i] = x[at];
            gradients[i] = dy[at];
        }
        for (var i = 0u; i < ROWS; i++) { //@unroll
            if row + i * s.step < s.end {
                let value = unpack_activation(values[i]);
                let upstream = relu_mask(unpack_activation(gradients[i]), value, n, params.relu);
                add_gradient(&own, upstream, value, n);
            }
        }
    }
    let total = combine_lines(own, lane, params.columns);
    if s.inside && s.line == 0u {
        store_gradient(total, n, workgroup.x, s.column, params.columns);
    }
}
