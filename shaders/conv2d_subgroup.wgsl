// Convolution of NHWC activations, and its gradient with respect to the input, with subgroup
// shuffles.
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
// One text serves two operations, which differ only in their parameters:
//   forward         source = input, result = output, taps in order, source steps = stride,
//                   TRANSPOSED = false.
//   input gradient  source = output gradient, result = input gradient. Input pixels fall into
//                   stride * stride phases by their remainder. All pixels of a phase are reached
//                   by the same taps, so each phase is a small dense convolution with reversed
//                   taps and has its own dispatch. TRANSPOSED = true reads the same weights with
//                   input and output channels exchanged. A phase that no tap reaches has no
//                   taps and becomes zero.
//
// Bindings (a vector is four channels; pad channels hold zero):
//   source   [batch][source_height][source_width][source_vecs] vectors
//   weights  [kernel_height][kernel_width][4 * input vecs][output vecs] vectors
//   result   [batch][result_height][result_width][result_vecs] vectors
// The other bindings are those of input normalisation and epilogue: see
// lib/conv2d_pixels.wgsl.
//
// One workgroup is one subgroup. It owns SUBGROUP * PIXELS consecutive pixels of the stride
// phase and OUT_VECS vectors of result channels; one invocation owns every SUBGROUP-th of these
// pixels and holds PIXELS * OUT_VECS sums. For each tap and source vector the workgroup needs
// 4 * OUT_VECS weight vectors: every invocation loads a few of them, and shuffles with constant
// lanes broadcast them. So each weight is loaded once per workgroup, without workgroup memory
// or barriers. This suits software adapters, where a load costs as much as dozens of
// multiply-adds and invocations are the lanes of vector instructions.
//
// Assumes: subgroups of exactly SUBGROUP invocations; all counts are at least 1 except taps_*;
// source and result do not overlap. Workgroup (x, y, z) owns pixel block y * groups.x + x and
// channel chunk z (of a Winograd component, where there are several). Pixels and vectors past the
// end compute on clamped addresses and are neither stored nor part of the partial statistics.

// import activation
// import conv2d_broadcast
// import conv2d_pixels

const SUBGROUP: u32 = 8u;
const PIXELS: u32 = 4u;
const OUT_VECS: u32 = 5u;
const WEIGHT_LOADS: u32 = (4u * OUT_VECS + SUBGROUP - 1u) / SUBGROUP;
const TRANSPOSED: bool = false;

@group(0) @binding(1) var<storage, read> source: array<ActivationVec>;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let pixels = parameters.batch * parameters.count_height * parameters.count_width;
    let block = group.y * groups.x + group.x;
    let first_pixel = block * (SUBGROUP * PIXELS) + lane;
    let chunks = (parameters.result_vecs + OUT_VECS - 1u) / OUT_VECS;
    let first_vec = group.z % chunks * OUT_VECS;
    let component = component_of(group.z / chunks);

    // Source coordinates of the first tap; the first source row of the image; and the index of
    // the result.
    var source_row: array<i32, PIXELS>;
    var source_column: array<i32, PIXELS>;
    var image_row: array<u32, PIXELS>;
    var result_index: array<u32, PIXELS>;
    var valid: array<bool, PIXELS>;
    for (var p = 0u; p < PIXELS; p++) { //@unroll
        let pixel = min(first_pixel + p * SUBGROUP, pixels - 1u);
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
        result_index[p] = component.result + (result_row * parameters.result_width + result_column) * parameters.result_vecs;
        valid[p] = first_pixel + p * SUBGROUP < pixels;
    }

    var offset = weight_offsets(lane, first_vec);

    var sum: array<array<vec4<f32>, OUT_VECS>, PIXELS>;
    for (var a = 0u; a < parameters.taps_height; a++) {
        for (var b = 0u; b < parameters.taps_width; b++) {
            var inside: array<bool, PIXELS>;
            var source_index: array<u32, PIXELS>;
            for (var p = 0u; p < PIXELS; p++) { //@unroll
                // A negative coordinate is a huge number as u32.
                let row = u32(source_row[p]) + a;
                let column = u32(source_column[p]) + b;
                inside[p] = row < parameters.source_height && column < parameters.source_width;
                source_index[p] = component.source + ((image_row[p] + row) * parameters.source_width + column) * parameters.source_vecs;
            }

            let start = component.weights + weight_start(a, b);
            for (var c = 0u; c < parameters.source_vecs; c++) {
                let input_norm = broadcast_input_coefficients(lane, c);
                var x: array<vec4<f32>, PIXELS>;
                for (var p = 0u; p < PIXELS; p++) { //@unroll
                    x[p] = vec4<f32>(0.0);
                    if inside[p] {
                        x[p] = normalize_input(unpack_activation(source[source_index[p] + c]), input_norm);
                    }
                }
                multiply_add(&sum, &x, &offset, start + c * weights_per_vec());
            }
        }
    }

    store_sums(&sum, &result_index, &valid, first_vec, block, lane);
}
