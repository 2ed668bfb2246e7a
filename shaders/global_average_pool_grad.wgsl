// Gradient of global_average_pool.wgsl: dx = dy / pixels, the same for every pixel.
//
// dy: [N, columns] vectors of four channels. dx: [N, pixels, columns].
// One invocation owns one column of every few pixels of dx (lib/row_partition.wgsl).

// import activation
// import row_partition

struct Params {
    rows: u32,
    columns: u32,
    chunk: u32,
    pixels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dx: array<ActivationVec>;

@compute @workgroup_size(ROW_INVOCATIONS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = partition_rows(workgroup, lane, params.rows, params.columns, params.chunk);
    if !s.inside {
        return;
    }
    for (var row = s.first; row < s.end; row += s.step) {
        let upstream = dy[row / params.pixels * params.columns + s.column];
        dx[row * params.columns + s.column] = pack_activation(upstream / f32(params.pixels));
    }
}
