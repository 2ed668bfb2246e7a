// Gradient of a convolution with respect to its weights, with subgroup shuffles, for windows with
// stride 1: partial sums, where all columns of taps share the loads of the input.
//
// conv2d_grad_weight_subgroup.wgsl explains the operation, parameters and bindings. This kernel is
// for strides of 1 and kernels of TAPS columns.
//
// A quad is a row of taps and a vector of input channels. One workgroup is one subgroup. It
// owns SUBGROUP quads, one per invocation, and OUT_VECS vectors of output channels, over one
// slice. An invocation holds 4 * TAPS * OUT_VECS sums. Along a row it keeps the
// PIXELS + TAPS - 1 input pixels that the taps of PIXELS output pixels reach: a step loads
// PIXELS of them, each of which serves TAPS products.
//
// Assumes: what conv2d_grad_weight_subgroup.wgsl assumes.

// import activation
// import conv2d_grad_weight
// import conv2d_grad_weight_broadcast

const SUBGROUP: u32 = 8u;
const PIXELS: u32 = 4u;
const OUT_VECS: u32 = 5u;
const TAPS: u32 = 3u;
// Pixels that a step keeps from the previous one.
const KEPT: u32 = TAPS - 1u;
const GRADIENT_LOADS: u32 = (PIXELS * OUT_VECS + SUBGROUP - 1u) / SUBGROUP;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let quads = parameters.kernel_height * parameters.input_vecs;
    let first_vec = group.z * OUT_VECS;
    let own_quad = group.x * SUBGROUP + lane;
    let quad = min(own_quad, quads - 1u);
    let tap_row = quad / parameters.input_vecs;
    let input_vec = quad - tap_row * parameters.input_vecs;
    // Negative coordinates are huge numbers as u32.
    let row_shift = tap_row - parameters.padding_height;

    var share = share_of(lane, first_vec);
    let lines = lines_of(group.y);
    let input_norm = input_coefficients(input_vec);

    var sum: array<array<mat4x4<f32>, TAPS>, OUT_VECS>;
    for (var line = lines.x; line < lines.y; line++) {
        let image = line / parameters.output_height;
        let row = line - image * parameters.output_height + row_shift;
        let row_inside = row < parameters.input_height;
        let input_line = (image * parameters.input_height + row) * parameters.input_width;

        // x[i] is the input at column first + i - padding_width.
        var x: array<vec4<f32>, PIXELS + KEPT>;
        for (var i = 0u; i < KEPT; i++) { //@unroll
            let column = i - parameters.padding_width;
            x[i] = vec4<f32>(0.0);
            if row_inside && column < parameters.input_width {
                x[i] = normalize_input(unpack_activation(input[(input_line + column) * parameters.input_vecs + input_vec]), input_norm);
            }
        }
        for (var first = 0u; first < parameters.output_width; first += PIXELS) {
            var loaded = load_share(&share, line, first);
            for (var p = 0u; p < PIXELS; p++) { //@unroll
                let column = first + p + KEPT - parameters.padding_width;
                x[p + KEPT] = vec4<f32>(0.0);
                if row_inside && column < parameters.input_width {
                    x[p + KEPT] = normalize_input(unpack_activation(input[(input_line + column) * parameters.input_vecs + input_vec]), input_norm);
                }
            }
            for (var n = 0u; n < OUT_VECS; n++) { //@unroll
                var d: array<vec4<f32>, PIXELS>;
                for (var p = 0u; p < PIXELS; p++) { //@unroll
                    d[p] = subgroupShuffle(loaded[(p * OUT_VECS + n) / SUBGROUP], (p * OUT_VECS + n) % SUBGROUP);
                }
                for (var b = 0u; b < TAPS; b++) { //@unroll
                    for (var e = 0u; e < 4u; e++) { //@unroll
                        var add = sum[n][b][e];
                        for (var p = 0u; p < PIXELS; p++) { //@unroll
                            add += x[p + b][e] * d[p];
                        }
                        sum[n][b][e] = add;
                    }
                }
            }
            for (var i = 0u; i < KEPT; i++) { //@unroll
                x[i] = x[i + PIXELS];
            }
        }
    }

    // A loop over vectors keeps the code small: each iteration moves the next vector to index 0.
    let end_vec = min(first_vec + OUT_VECS, parameters.output_vecs);
    for (var vec = first_vec; vec < end_vec; vec++) {
        for (var b = 0u; b < TAPS; b++) { //@unroll
            let tap = (group.y * parameters.kernel_height + tap_row) * TAPS + b;
            let row = (tap * parameters.input_vecs + input_vec) * 4u;
            for (var e = 0u; e < 4u; e++) { //@unroll
                if own_quad < quads {
                    partial[(row + e) * parameters.output_vecs + vec] = sum[0][b][e];
                }
            }
        }
        for (var n = 0u; n < OUT_VECS; n++) { //@unroll
            sum[n] = sum[min(n + 1u, OUT_VECS - 1u)];
        }
    }
}
