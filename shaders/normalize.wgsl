// y = (x - mean) / sqrt(variance + epsilon) * scale + shift, with ReLU after it on request.
//
// x, y: [rows, columns] groups of four channels.
// moments: [2, columns]: mean, variance. affine: [2, columns]: scale, shift.
// One invocation owns one column of every few rows (see lib/strip.wgsl).
// Pads: mean, scale and shift are zero there, so y is zero.

// import strip

struct Params {
    rows: u32,
    columns: u32,
    chunk: u32,
    epsilon: f32,
    relu: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> moments: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> affine: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = strip_of(workgroup, lane, params.rows, params.columns, params.chunk);
    if !s.inside {
        return;
    }
    let mean = moments[s.column];
    let variance = moments[params.columns + s.column];
    let scale = affine[s.column] / sqrt(variance + params.epsilon);
    let shift = affine[params.columns + s.column];
    let relu = vec4<bool>(params.relu != 0u);
    for (var row = s.first; row < s.end; row += s.step) {
        let at = row * params.columns + s.column;
        let value = (x[at] - mean) * scale + shift;
        y[at] = select(value, vec4<f32>(0.0), (value < vec4<f32>(0.0)) & relu);
    }
}
