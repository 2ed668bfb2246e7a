// Gradient of the weights of a convolution, over a slice of the pixels:
//
//     dw[r, s, i, o] = sum over n, p, q of
//         x[n, p * stride + r - padding, q * stride + s - padding, i] * dy[n, p, q, o]
//
// x: [N, H, W, input_columns] groups of four channels. dy: [N, P, Q, output_columns].
// partial: [slices, KH, KW, 4 * input_columns, output_columns] groups of four output
// channels; sum_slices.wgsl adds the slices.
// One invocation owns one tap, four input and four output channels, and one slice of
// `chunk` consecutive pixels of dy. The grid counts blocks along x and slices along y.

struct Params {
    // Blocks of 4x4 channels: KH * KW * input_columns * output_columns.
    blocks: u32,
    pixels: u32,
    chunk: u32,
    h: u32,
    w: u32,
    p: u32,
    q: u32,
    kernel_w: u32,
    stride: u32,
    padding: u32,
    input_columns: u32,
    output_columns: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = workgroup.x * 64u + lane;
    if block >= params.blocks {
        return;
    }
    let slice = workgroup.y;
    let output_column = block % params.output_columns;
    let row = block / params.output_columns;
    let input_column = row % params.input_columns;
    let tap = row / params.input_columns;
    let r = tap / params.kernel_w;
    let s = tap % params.kernel_w;
    let end = min((slice + 1u) * params.chunk, params.pixels);
    var sum0 = vec4<f32>(0.0);
    var sum1 = vec4<f32>(0.0);
    var sum2 = vec4<f32>(0.0);
    var sum3 = vec4<f32>(0.0);
    for (var pixel = slice * params.chunk; pixel < end; pixel++) {
        let q = pixel % params.q;
        let p = pixel / params.q % params.p;
        let n = pixel / (params.p * params.q);
        // Cells above or left of the picture wrap to huge numbers: outside as well.
        let h = p * params.stride + r - params.padding;
        let w = q * params.stride + s - params.padding;
        if h < params.h && w < params.w {
            let value = x[((n * params.h + h) * params.w + w) * params.input_columns + input_column];
            let upstream = dy[pixel * params.output_columns + output_column];
            sum0 += value.x * upstream;
            sum1 += value.y * upstream;
            sum2 += value.z * upstream;
            sum3 += value.w * upstream;
        }
    }
    let rows = params.blocks / params.output_columns * 4u;
    let at = (slice * rows + row * 4u) * params.output_columns + output_column;
    partial[at] = sum0;
    partial[at + params.output_columns] = sum1;
    partial[at + 2u * params.output_columns] = sum2;
    partial[at + 3u * params.output_columns] = sum3;
}
