// Convolution, forward:
//
//     y[n, p, q, o] = sum over r, s, i of
//         x[n, p * stride + r - padding, q * stride + s - padding, i] * w[r, s, i, o]
//
// x: [N, H, W, input_columns] groups of four channels.
// weights: [KH, KW, 4 * input_columns, output_columns] groups of four output channels.
// y: [N, P, Q, output_columns].
// One invocation owns PIXELS consecutive pixels of y and one group of output channels; a
// workgroup owns 64 of them, neighbours along the output channels.

const PIXELS: u32 = 4u;

struct Params {
    // Invocations that have work: ceil(pixels / PIXELS) * output_columns.
    count: u32,
    pixels: u32,
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
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

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
    let column = i % params.output_columns;
    let first = i / params.output_columns * PIXELS;
    var sums: array<vec4<f32>, PIXELS>;
    for (var j = 0u; j < PIXELS; j++) {
        sums[j] = vec4<f32>(0.0);
    }
    for (var r = 0u; r < params.kernel_h; r++) {
        for (var s = 0u; s < params.kernel_w; s++) {
            // Where each pixel's cells of this tap begin, and whether they lie in the picture.
            var starts: array<u32, PIXELS>;
            var inside: array<bool, PIXELS>;
            for (var j = 0u; j < PIXELS; j++) {
                let pixel = min(first + j, params.pixels - 1u);
                let q = pixel % params.q;
                let p = pixel / params.q % params.p;
                let n = pixel / (params.p * params.q);
                // Cells above or left of the picture wrap to huge numbers: outside as well.
                let h = p * params.stride + r - params.padding;
                let w = q * params.stride + s - params.padding;
                inside[j] = h < params.h && w < params.w;
                starts[j] = ((n * params.h + h) * params.w + w) * params.input_columns;
            }
            let tap = (r * params.kernel_w + s) * params.input_columns * 4u;
            for (var c = 0u; c < params.input_columns; c++) {
                let at = (tap + c * 4u) * params.output_columns + column;
                let w0 = weights[at];
                let w1 = weights[at + params.output_columns];
                let w2 = weights[at + 2u * params.output_columns];
                let w3 = weights[at + 3u * params.output_columns];
                for (var j = 0u; j < PIXELS; j++) {
                    if inside[j] {
                        let value = x[starts[j] + c];
                        sums[j] += value.x * w0 + value.y * w1 + value.z * w2 + value.w * w3;
                    }
                }
            }
        }
    }
    for (var j = 0u; j < PIXELS; j++) {
        if first + j < params.pixels {
            y[(first + j) * params.output_columns + column] = sums[j];
        }
    }
}
