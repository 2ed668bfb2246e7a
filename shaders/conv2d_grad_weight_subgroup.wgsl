// Gradient of a convolution with respect to its weights, with subgroup shuffles: partial sums.
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
// A quad is a tap and a vector of input channels: four rows of the weight matrix. One workgroup
// is one subgroup. It owns SUBGROUP quads, one per invocation, and OUT_VECS vectors of output
// channels, over one slice. An invocation holds 4 * OUT_VECS sums. A step takes PIXELS
// neighbouring pixels of an output row: each invocation loads the input at its own tap and a
// share of the gradient, which shuffles with constant lanes broadcast. There is no workgroup
// memory and no barrier; conv2d_subgroup.wgsl gives the reason.
//
// Assumes: subgroups of exactly SUBGROUP invocations; all counts are at least 1. Workgroup
// (x, y, z) owns quads x * SUBGROUP and following, slice y and channel chunk z; the grid holds
// exactly the slices that have rows. Quads and vectors past the end compute on clamped
// addresses and store nothing.

// import activation
// import conv2d_grad_weight
// import conv2d_grad_weight_broadcast

const SUBGROUP: u32 = 8u;
const PIXELS: u32 = 4u;
const OUT_VECS: u32 = 5u;
const GRADIENT_LOADS: u32 = (PIXELS * OUT_VECS + SUBGROUP - 1u) / SUBGROUP;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let quads = parameters.kernel_height * parameters.kernel_width * parameters.input_vecs;
    let first_vec = group.z * OUT_VECS;
    let own_quad = group.x * SUBGROUP + lane;
    let quad = min(own_quad, quads - 1u);
    let tap = quad / parameters.input_vecs;
    let input_vec = quad - tap * parameters.input_vecs;
    let tap_row = tap / parameters.kernel_width;
    let tap_column = tap - tap_row * parameters.kernel_width;
    // Negative coordinates are huge numbers as u32.
    let row_shift = tap_row - parameters.padding_height;
    let column_shift = tap_column - parameters.padding_width;

    var share = share_of(lane, first_vec);
    let lines = lines_of(group.y);
    let input_norm = input_coefficients(input_vec);

    var sum: array<mat4x4<f32>, OUT_VECS>;
    for (var line = lines.x; line < lines.y; line++) {
        let image = line / parameters.output_height;
        let row = (line - image * parameters.output_height) * parameters.stride_height + row_shift;
        let row_inside = row < parameters.input_height;
        let input_line = (image * parameters.input_height + row) * parameters.input_width;

        for (var first = 0u; first < parameters.output_width; first += PIXELS) {
            var loaded = load_share(&share, line, first);
            var x: array<vec4<f32>, PIXELS>;
            for (var p = 0u; p < PIXELS; p++) { //@unroll
                let pixel = first + p;
                let column = pixel * parameters.stride_width + column_shift;
                x[p] = vec4<f32>(0.0);
                if row_inside && column < parameters.input_width && pixel < parameters.output_width {
                    x[p] = normalize_input(unpack_activation(input[(input_line + column) * parameters.input_vecs + input_vec]), input_norm);
                }
            }
            for (var n = 0u; n < OUT_VECS; n++) { //@unroll
                var d: array<vec4<f32>, PIXELS>;
                for (var p = 0u; p < PIXELS; p++) { //@unroll
                    d[p] = subgroupShuffle(loaded[(p * OUT_VECS + n) / SUBGROUP], (p * OUT_VECS + n) % SUBGROUP);
                }
                for (var e = 0u; e < 4u; e++) { //@unroll
                    var add = sum[n][e];
                    for (var p = 0u; p < PIXELS; p++) { //@unroll
                        add += x[p][e] * d[p];
                    }
                    sum[n][e] = add;
                }
            }
        }
    }

    // A loop over vectors keeps the code small: each iteration moves the next vector to index 0.
    let end_vec = min(first_vec + OUT_VECS, parameters.output_vecs);
    for (var vec = first_vec; vec < end_vec; vec++) {
        let row = (group.y * quads + quad) * 4u;
        for (var e = 0u; e < 4u; e++) { //@unroll
            if own_quad < quads {
                partial[(row + e) * parameters.output_vecs + vec] = sum[0][e];
            }
        }
        for (var n = 0u; n < OUT_VECS; n++) { //@unroll
            sum[n] = sum[min(n + 1u, OUT_VECS - 1u)];
        }
    }
}
