// Partial statistics of each channel: mean and sum of squared deviations over a slice of the
// rows.
//
// x: [rows, columns] vectors of four channels.
// partial: [slices, 3, columns]: number of rows, mean, sum of squared deviations.
// One invocation owns one column of the rows of its slice (lib/row_partition.wgsl) and writes
// one partial result; merge_moments.wgsl combines them.

// import activation
// import moments
// import row_partition

struct Params {
    rows: u32,
    columns: u32,
    chunk: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<ActivationVec>;
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
    var d: Deviations;
    for (var row = s.first; row < s.end; row += s.step) {
        accumulate(&d, unpack_activation(x[row * params.columns + s.column]));
    }
    store_moments(d, s.slice, s.column, params.columns);
}
