// Gradient of shortcut_add.wgsl with respect to x:
//
//     dx = dy[first channels] / cells
//
// dy: [N, P, Q, columns] vectors of four channels. dx: [N, H, W, input_columns].
// `cells` is the number of cells of the pooling window that a pixel lies in: 1 at stride 1.
// Channels of the last column past `tail` do not exist in x and become zero.
// One invocation owns one column of every few pixels of x (lib/row_partition.wgsl).

// import activation
// import row_partition
// import shortcut

struct Params {
    rows: u32,
    // Columns of x, which the row partition divides.
    columns: u32,
    chunk: u32,
    stride: u32,
    p: u32,
    q: u32,
    h: u32,
    w: u32,
    // Columns of dy.
    output_columns: u32,
    // Channels in x's last column, 1 to 4.
    tail: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<ActivationVec>;
@group(0) @binding(2) var<storage, read_write> dx: array<ActivationVec>;

fn pool_backward(row: u32, column: u32) -> vec4<f32> {
    let origin = pool_backward_of(row, params.stride, params.p, params.q, params.h, params.w);
    return unpack_activation(dy[origin.row * params.output_columns + column]) / f32(origin.cells);
}

@compute @workgroup_size(ROW_INVOCATIONS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = partition_rows(workgroup, lane, params.rows, params.columns, params.chunk);
    if !s.inside {
        return;
    }
    let real = lanes_of(s.column, params.columns, params.tail);
    for (var row = s.first; row < s.end; row += s.step) {
        let at = row * params.columns + s.column;
        dx[at] = pack_activation(select(vec4<f32>(0.0), pool_backward(row, s.column), real));
    }
}
