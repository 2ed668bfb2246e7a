// Gradient of a convolution with respect to its weights, in plain WGSL: partial sums, for every
// legal shape on every device with the default limits.
//
//     partial[s, a, b, c, o] = sum over output pixels (n, i, k) of slice s of
//         input[n, stride_height * i + a - padding_height,
//                  stride_width  * k + b - padding_width, c]
//         * gradient[n, i, k, o]
//
//     sum_slices.wgsl adds the slices in order. Slice s holds the output rows
//     s * lines_per_slice and following, counted over the whole batch; input
//     pixels outside the image count as zero.
//
// Bindings (a vector is four channels; pad channels hold zero):
//   input     [batch][input_height][input_width][input_vecs] vectors
//   gradient  [batch][output_height][output_width][output_vecs] vectors
//   partial   [slices][kernel_height][kernel_width][4 * input_vecs][output_vecs] vectors
//
// A quad is a tap and a vector of input channels: four rows of the weight matrix. One
// invocation owns one quad and OUT_VECS neighbouring vectors of output channels over one slice;
// neighbouring invocations own neighbouring channels of the same quad. One workgroup is
// WORKGROUP such invocations. Slicing the pixels provides the parallelism that a small weight
// matrix alone does not have.
//
// Assumes: all counts are at least 1. Workgroup (x, y) owns invocations x * WORKGROUP and
// following of slice y; the grid holds exactly the slices that have rows. Invocations past the
// end return; vectors past the end compute on clamped addresses and are not stored.

// import activation
// import conv2d_grad_weight

const WORKGROUP: u32 = 64u;
const OUT_VECS: u32 = 2u;

@group(0) @binding(1) var<storage, read> input: array<ActivationVec>;
@group(0) @binding(2) var<storage, read> gradient: array<ActivationVec>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let chunks = (parameters.output_vecs + OUT_VECS - 1u) / OUT_VECS;
    let quads = parameters.kernel_height * parameters.kernel_width * parameters.input_vecs;
    let unit = group.x * WORKGROUP + local;
    let quad = unit / chunks;
    let first_vec = unit % chunks * OUT_VECS;
    if quad >= quads {
        return;
    }
    let tap = quad / parameters.input_vecs;
    let input_vec = quad - tap * parameters.input_vecs;
    let tap_row = tap / parameters.kernel_width;
    let tap_column = tap - tap_row * parameters.kernel_width;
    // Negative coordinates are huge numbers as u32.
    let row_shift = tap_row - parameters.padding_height;
    let column_shift = tap_column - parameters.padding_width;

    let lines = parameters.batch * parameters.output_height;
    let first_line = group.y * parameters.lines_per_slice;
    let end_line = min(first_line + parameters.lines_per_slice, lines);

    let input_norm = input_coefficients(input_vec);

    var sum: array<mat4x4<f32>, OUT_VECS>;
    for (var line = first_line; line < end_line; line++) {
        let image = line / parameters.output_height;
        let row = (line - image * parameters.output_height) * parameters.stride_height + row_shift;
        if row >= parameters.input_height {
            continue;
        }
        let input_line = (image * parameters.input_height + row) * parameters.input_width;
        for (var pixel = 0u; pixel < parameters.output_width; pixel++) {
            let column = pixel * parameters.stride_width + column_shift;
            if column < parameters.input_width {
                let x = normalize_input(unpack_activation(input[(input_line + column) * parameters.input_vecs + input_vec]), input_norm);
                let gradient_index = (line * parameters.output_width + pixel) * parameters.output_vecs;
                for (var n = 0u; n < OUT_VECS; n++) { //@unroll
                    let d = unpack_activation(gradient[gradient_index + min(first_vec + n, parameters.output_vecs - 1u)]);
                    sum[n] += mat4x4<f32>(x.x * d, x.y * d, x.z * d, x.w * d);
                }
            }
        }
    }

    for (var e = 0u; e < 4u; e++) { //@unroll
        let index = ((group.y * quads + quad) * 4u + e) * parameters.output_vecs + first_vec;
        for (var n = 0u; n < OUT_VECS; n++) { //@unroll
            if first_vec + n < parameters.output_vecs {
                partial[index + n] = sum[n][e];
            }
        }
    }
}
