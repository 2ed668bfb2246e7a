// Gradient of x through shortcut_add.wgsl, added to another gradient of x on request:
//
//     dx = dy[first channels] / cells   [+ other]
//
// dy: [N, P, Q, columns] groups of four channels. dx, other: [N, H, W, input_columns].
// `cells` is the number of cells of the pooling window a pixel lies in: 1 at stride 1.
// Lanes of the last column past `tail` are channels that x does not have: they become zero.
// One invocation owns one column of every few pixels of x (see lib/strip.wgsl).

// import strip

// Whether there is another gradient; without it `other` is bound to dy and not read.
const ADD: bool = false;

struct Params {
    rows: u32,
    // Columns of x, by which the work is divided, and of dy.
    columns: u32,
    chunk: u32,
    stride: u32,
    p: u32,
    q: u32,
    h: u32,
    w: u32,
    output_columns: u32,
    // Channels in x's last column, 1 to 4.
    tail: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> other: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;

fn spread(row: u32, column: u32) -> vec4<f32> {
    if params.stride == 1u {
        return dy[row * params.output_columns + column];
    }
    let w = row % params.w;
    let h = row / params.w % params.h;
    let n = row / (params.h * params.w);
    let p = h / 2u;
    let q = w / 2u;
    let cells = min(2u, params.h - 2u * p) * min(2u, params.w - 2u * q);
    let at = ((n * params.p + p) * params.q + q) * params.output_columns + column;
    return dy[at] / f32(cells);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = strip_of(workgroup, lane, params.rows, params.columns, params.chunk);
    if !s.inside {
        return;
    }
    let channels = select(4u, params.tail, s.column + 1u == params.columns);
    let real = vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(channels);
    for (var row = s.first; row < s.end; row += s.step) {
        let at = row * params.columns + s.column;
        var value = select(vec4<f32>(0.0), spread(row, s.column), real);
        if ADD {
            value += other[at];
        }
        dx[at] = value;
    }
}
