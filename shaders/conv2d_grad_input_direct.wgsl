// Gradient of the input of a convolution:
//
//     dx[n, h, w, i] = sum over r, s, o of
//         dy[n, (h + padding - r) / stride, (w + padding - s) / stride, o] * w[r, s, i, o]
//
// where both divisions are exact and inside the map.
//
// dy: [N, P, Q, output_columns] groups of four channels.
// weights: [KH, KW, 4 * input_columns, output_columns] groups of four output channels.
// dx: [N, H, W, input_columns].
// One invocation owns one pixel of dx and one group of input channels.

struct Params {
    // Invocations that have work: N * H * W * input_columns.
    count: u32,
    h: u32,
    w: u32,
    p: u32,
    q: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride: u32,
    padding: u32,
    input_columns: u32,
    output_columns: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup.y * grid.x + workgroup.x) * 64u + lane;
    if i >= params.count {
        return;
    }
    let column = i % params.input_columns;
    let pixel = i / params.input_columns;
    let w = pixel % params.w;
    let h = pixel / params.w % params.h;
    let n = pixel / (params.h * params.w);
    var sum = vec4<f32>(0.0);
    for (var r = 0u; r < params.kernel_h; r++) {
        // A negative distance wraps to a huge number, and is outside after the division.
        let top = h + params.padding - r;
        let p = top / params.stride;
        if top % params.stride != 0u || p >= params.p {
            continue;
        }
        for (var s = 0u; s < params.kernel_w; s++) {
            let left = w + params.padding - s;
            let q = left / params.stride;
            if left % params.stride != 0u || q >= params.q {
                continue;
            }
            let start = ((n * params.p + p) * params.q + q) * params.output_columns;
            let tap = (r * params.kernel_w + s) * params.input_columns;
            let first = (tap + column) * 4u * params.output_columns;
            for (var o = 0u; o < params.output_columns; o++) {
                let upstream = dy[start + o];
                let at = first + o;
                sum += vec4<f32>(
                    dot(upstream, weights[at]),
                    dot(upstream, weights[at + params.output_columns]),
                    dot(upstream, weights[at + 2u * params.output_columns]),
                    dot(upstream, weights[at + 3u * params.output_columns]),
                );
            }
        }
    }
    dx[i] = sum;
}
