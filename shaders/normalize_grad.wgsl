// Gradient of x through normalize.wgsl:
//
//     dx = scale / sqrt(variance + epsilon) * (dy - share * (dshift + normal * dscale))
//
// where normal is the normalised x, dy counts only where the ReLU lets it through, and
// share is 1 / rows when the moments are those of x itself, 0 when they are constants.
//
// x, dy, dx: [rows, columns] groups of four channels. moments, affine: as in normalize.wgsl.
// daffine: [2, columns]: dscale, dshift.
// One invocation owns one column of every few rows (see lib/strip.wgsl).

// import strip

struct Params {
    rows: u32,
    columns: u32,
    chunk: u32,
    epsilon: f32,
    relu: u32,
    share: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> moments: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> affine: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> daffine: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;

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
    let inverse = 1.0 / sqrt(moments[params.columns + s.column] + params.epsilon);
    let scale = affine[s.column] * inverse;
    let shift = affine[params.columns + s.column];
    let slope = daffine[s.column] * inverse * params.share;
    let offset = daffine[params.columns + s.column] * params.share;
    let relu = vec4<bool>(params.relu != 0u);
    for (var row = s.first; row < s.end; row += s.step) {
        let at = row * params.columns + s.column;
        let centred = x[at] - mean;
        let closed = (centred * scale + shift <= vec4<f32>(0.0)) & relu;
        let upstream = select(dy[at], vec4<f32>(0.0), closed);
        dx[at] = scale * (upstream - offset - centred * slope);
    }
}
