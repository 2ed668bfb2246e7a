// Sum of each channel over a slice of the rows.
//
// x: [rows, columns] vectors of four channels.
// partial: [slices, columns]; sum_slices.wgsl adds the slices.
// One invocation owns one column of the rows of its slice (lib/row_partition.wgsl).

// import row_partition

struct Params {
    rows: u32,
    columns: u32,
    chunk: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> partial: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = partition_rows(workgroup, lane, params.rows, params.columns, params.chunk);
    if !s.inside {
        return;
    }
    var sum = vec4<f32>(0.0);
    for (var row = s.first; row < s.end; row += s.step) {
        sum += x[row * params.columns + s.column];
    }
    partial[s.slice * params.columns + s.column] = sum;
}
