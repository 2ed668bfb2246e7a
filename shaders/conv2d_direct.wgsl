// Convolution of NHWC activations, and its gradient with respect to the input, in plain WGSL:
// runs every legal shape on every device with the default limits.
//
//     result[n, y(i), x(k), o] = sum over taps (a, b) and source channels c of
//         source[n, source_base_height + source_step_height * i + a,
//                   source_base_width  + source_step_width  * k + b, c]
//         * weight[tap_first_height + tap_step_height * a,
//                  tap_first_width  + tap_step_width  * b, c, o]
//
//     y(i) = out_offset_height + out_step_height * i, x(k) likewise; source
//     pixels outside the image count as zero.
//
// conv2d_subgroup.wgsl explains the two operations and the parameters. TRANSPOSED = false is
// the convolution itself; true is one stride phase of its input gradient.
//
// Bindings (a vector is four channels; pad channels hold zero):
//   source   [batch][source_height][source_width][source_vecs] vectors
//   weights  [kernel_height][kernel_width][4 * input vecs][output vecs] vectors
//   result   [batch][result_height][result_width][result_vecs] vectors
// An epilogue can normalise the result before it is stored: see lib/conv2d_pixels.wgsl.
//
// One invocation owns PIXELS consecutive pixels of the stride phase and OUT_VECS neighbouring
// vectors of result channels, so that each loaded vector serves several sums; neighbouring
// invocations own neighbouring channels of the same pixels. One workgroup is WORKGROUP such
// invocations; workgroup (x, y) has number y * groups.x + x.
//
// Assumes: all counts are at least 1 except taps_*; source and result do not overlap.
// Invocations past the end return; pixels and vectors past the end compute on clamped
// addresses and are not stored.

// import activation
// import batch_norm
// import conv2d_pixels
// import f32_storage

const WORKGROUP: u32 = 64u;
const PIXELS: u32 = 4u;
const OUT_VECS: u32 = 2u;
const TRANSPOSED: bool = false;

@group(0) @binding(1) var<storage, read> source: array<ActivationVec>;
@group(0) @binding(2) var<storage, read> weights: array<F32Vec>;
@group(0) @binding(3) var<storage, read_write> result: array<ActivationVec>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let chunks = (parameters.result_vecs + OUT_VECS - 1u) / OUT_VECS;
    let pixels = parameters.batch * parameters.count_height * parameters.count_width;
    let unit = (group.y * groups.x + group.x) * WORKGROUP + local;
    let first_pixel = unit / chunks * PIXELS;
    let first_vec = unit % chunks * OUT_VECS;
    if first_pixel >= pixels {
        return;
    }

    // Source coordinates of the first tap; the first source row of the image; and the index of
    // the result.
    var source_row: array<i32, PIXELS>;
    var source_column: array<i32, PIXELS>;
    var image_row: array<u32, PIXELS>;
    var result_index: array<u32, PIXELS>;
    for (var p = 0u; p < PIXELS; p++) { //@unroll
        let pixel = min(first_pixel + p, pixels - 1u);
        let line = pixel / parameters.count_width;
        let image = line / parameters.count_height;
        let column = pixel - line * parameters.count_width;
        let row = line - image * parameters.count_height;
        source_row[p] = parameters.source_base_height + parameters.source_step_height * i32(row);
        source_column[p] = parameters.source_base_width + parameters.source_step_width * i32(column);
        image_row[p] = image * parameters.source_height;
        let result_row = image * parameters.result_height
            + parameters.out_offset_height + parameters.out_step_height * row;
        let result_column = parameters.out_offset_width + parameters.out_step_width * column;
        result_index[p] = (result_row * parameters.result_width + result_column) * parameters.result_vecs + first_vec;
    }

    // Offset of the four weight vectors of a source vector, and their stride.
    var weight_offset: array<u32, OUT_VECS>;
    for (var n = 0u; n < OUT_VECS; n++) { //@unroll
        let vec = min(first_vec + n, parameters.result_vecs - 1u);
        weight_offset[n] = select(vec, 4u * vec * parameters.source_vecs, TRANSPOSED);
    }
    let weight_stride = select(parameters.result_vecs, parameters.source_vecs, TRANSPOSED);
    let weights_per_vec = select(4u * parameters.result_vecs, 1u, TRANSPOSED);
    let weights_per_tap = 4u * parameters.source_vecs * parameters.result_vecs;

    var sum: array<array<vec4<f32>, OUT_VECS>, PIXELS>;
    for (var a = 0u; a < parameters.taps_height; a++) {
        for (var b = 0u; b < parameters.taps_width; b++) {
            let tap_row = parameters.tap_first_height + parameters.tap_step_height * i32(a);
            let tap_column = parameters.tap_first_width + parameters.tap_step_width * i32(b);
            var weight_index = (u32(tap_row) * parameters.kernel_width + u32(tap_column)) * weights_per_tap;

            var inside: array<bool, PIXELS>;
            var source_index: array<u32, PIXELS>;
            for (var p = 0u; p < PIXELS; p++) { //@unroll
                // A negative coordinate is a huge number as u32.
                let row = u32(source_row[p]) + a;
                let column = u32(source_column[p]) + b;
                inside[p] = row < parameters.source_height && column < parameters.source_width;
                source_index[p] = ((image_row[p] + row) * parameters.source_width + column) * parameters.source_vecs;
            }

            for (var c = 0u; c < parameters.source_vecs; c++) {
                let input_norm = input_coefficients(c);
                var x: array<vec4<f32>, PIXELS>;
                for (var p = 0u; p < PIXELS; p++) { //@unroll
                    x[p] = vec4<f32>(0.0);
                    if inside[p] {
                        x[p] = normalize_input(unpack_activation(source[source_index[p] + c]), input_norm);
                    }
                }
                for (var n = 0u; n < OUT_VECS; n++) { //@unroll
                    // w[e] holds the weights of source channel e.
                    let index = weight_index + weight_offset[n];
                    var w = mat4x4<f32>(
                        unpack_f32(weights[index]),
                        unpack_f32(weights[index + weight_stride]),
                        unpack_f32(weights[index + 2u * weight_stride]),
                        unpack_f32(weights[index + 3u * weight_stride]),
                    );
                    if TRANSPOSED {
                        w = transpose(w);
                    }
                    for (var p = 0u; p < PIXELS; p++) { //@unroll
                        sum[p][n] += w * x[p];
                    }
                }
                weight_index += weights_per_vec;
            }
        }
    }

    for (var n = 0u; n < OUT_VECS; n++) { //@unroll
        if first_vec + n < parameters.result_vecs {
            let output_norm = output_coefficients(first_vec + n);
            for (var p = 0u; p < PIXELS; p++) { //@unroll
                if first_pixel + p < pixels {
                    result[result_index[p] + n] = pack_activation(epilogue(sum[p][n], output_norm));
                }
            }
        }
    }
}
