// y = x + bias, with the same bias for every row.
//
// x, y: [rows, columns] vectors of four channels. bias: [columns].
// One invocation owns one column of every few rows (lib/row_partition.wgsl).

// import row_partition

struct Params {
    rows: u32,
    columns: u32,
    chunk: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(ROW_INVOCATIONS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = partition_rows(workgroup, lane, params.rows, params.columns, params.chunk);
    if !s.inside {
        return;
    }
    let shift = bias[s.column];
    for (var row = s.first; row < s.end; row += s.step) {
        let at = row * params.columns + s.column;
        y[at] = x[at] + shift;
    }
}
