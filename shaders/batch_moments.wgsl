// Mean and sum of squared deviations of each channel over a slice of the rows.
//
// x: [rows, columns] groups of four channels.
// partial: [slices, 2, columns]: mean, then sum of squared deviations.
// One invocation owns one column of the rows of its slice (see lib/strip.wgsl) and writes
// one partial result; merge_moments.wgsl combines them. Sums are taken of x minus the first
// row of the slice, so that a large mean does not cancel the variance.

// import strip
// import stored

struct Params {
    rows: u32,
    columns: u32,
    chunk: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;
@group(0) @binding(2) var<storage, read_write> partial: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = strip_of(workgroup, lane, params.rows, params.columns, params.chunk);
    if !s.inside {
        return;
    }
    var mean = vec4<f32>(0.0);
    var deviations = vec4<f32>(0.0);
    if s.first < s.end {
        let shift = floats(x[s.first * params.columns + s.column]);
        var sum = vec4<f32>(0.0);
        var squares = vec4<f32>(0.0);
        for (var row = s.first; row < s.end; row += s.step) {
            let value = floats(x[row * params.columns + s.column]) - shift;
            sum += value;
            squares += value * value;
        }
        let count = f32((s.end - s.first + s.step - 1u) / s.step);
        mean = shift + sum / count;
        deviations = squares - sum * sum / count;
    }
    let at = s.slice * 2u * params.columns + s.column;
    partial[at] = mean;
    partial[at + params.columns] = deviations;
}
