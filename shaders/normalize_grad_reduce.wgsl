// Gradients of scale and shift of normalize.wgsl over a slice of the rows:
//
//     dscale = sum dy * (x - mean) / sqrt(variance + epsilon),   dshift = sum dy
//
// where dy counts as zero where ReLU, if there is one, blocks it.
//
// x, dy: [rows, columns] vectors of four channels. moments, affine: as in normalize.wgsl.
// partial: [slices, 2, columns]: dscale, dshift; sum_slices.wgsl adds the slices.
// One invocation owns one column of the rows of its slice (lib/row_partition.wgsl).

// import activation
// import column_coefficients
// import row_partition

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

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = partition_rows(workgroup, lane, params.rows, params.columns, params.chunk);
    if !s.inside {
        return;
    }
    let n = column_coefficients(s.column, params.columns, params.epsilon);
    var dscale = vec4<f32>(0.0);
    var dshift = vec4<f32>(0.0);
    for (var row = s.first; row < s.end; row += s.step) {
        let at = row * params.columns + s.column;
        let value = unpack_activation(x[at]);
        let upstream = relu_mask(unpack_activation(dy[at]), value, n, params.relu);
        dscale += upstream * (value - n.mean);
        dshift += upstream;
    }
    let at = s.slice * 2u * params.columns + s.column;
    partial[at] = dscale * n.inverse;
    partial[at + params.columns] = dshift;
}
