// Gradient of normalize.wgsl with respect to x, as in normalize_grad.wgsl, and partial gradients of
// the scale and shift of another normalisation: the one whose result is x.
//
// reduced_x, reduced_moments, reduced_affine: that normalisation's operands, its input
// [rows, columns].
// partial: [slices, 2, columns]: dscale, dshift, as in normalize_grad_reduce.wgsl, where dx is the
// gradient of the result.
// A workgroup computes a slice of some columns: one invocation owns one column of every few rows
// (lib/row_partition.wgsl).

// import affine_gradient
// import line_reduction
// import normalize_grad

// Rows that are loaded at a time.
const ROWS: u32 = 4u;

@group(0) @binding(8) var<storage, read> reduced_x: array<ActivationVec>;
@group(0) @binding(9) var<storage, read> reduced_moments: array<vec4<f32>>;
@group(0) @binding(10) var<storage, read> reduced_affine: array<vec4<f32>>;
@group(0) @binding(11) var<storage, read_write> partial: array<vec4<f32>>;

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
    let column = gradient_column(s.column);
    let reduced = coefficients_of(
        reduced_moments[s.column],
        reduced_moments[params.columns + s.column],
        reduced_affine[s.column],
        reduced_affine[params.columns + s.column],
        params.reduced_epsilon,
    );
    var sum: AffineGradient;
    for (var row = s.first; row < s.end; row += ROWS * s.step) {
        var loaded: array<GradientOperands, ROWS>;
        var inputs: array<ActivationVec, ROWS>;
        for (var i = 0u; i < ROWS; i++) { //@unroll
            let own = min(row + i * s.step, s.end - 1u);
            loaded[i] = gradient_operands(own, s.column);
            inputs[i] = reduced_x[own * params.columns + s.column];
        }
        for (var i = 0u; i < ROWS; i++) { //@unroll
            if row + i * s.step < s.end {
                let gradient = gradient_of(loaded[i], column);
                dx[(row + i * s.step) * params.columns + s.column] = pack_activation(gradient);
                let input = unpack_activation(inputs[i]);
                add_gradient(&sum, relu_mask(gradient, input, reduced, params.reduced_relu), input, reduced);
            }
        }
    }
    let total = combine_lines(sum, lane, params.columns);
    if s.inside && s.line == 0u {
        store_gradient(total, reduced, workgroup.x, s.column, params.columns);
    }
}
