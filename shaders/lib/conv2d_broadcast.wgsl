// Shared by the subgroup kernels that gather each result pixel from the source pixels its taps
// reach: weights, loaded once per workgroup and broadcast among its invocations by shuffles with
// constant lanes (see conv2d_subgroup.wgsl), and the epilogue of the sums.
//
// Assumes at least four invocations. The kernel defines SUBGROUP, PIXELS, OUT_VECS, WEIGHT_LOADS
// and TRANSPOSED.

// import activation
// import batch_norm
// import conv2d_pixels
// import f32_storage

@group(0) @binding(2) var<storage, read> weights: array<F32Vec>;
@group(0) @binding(3) var<storage, read_write> result: array<ActivationVec>;

// Offsets of an invocation's share of the 4 * OUT_VECS weight vectors for a tap and a source
// vector. Piece a * OUT_VECS + n is source channel a, result vector n; transposed, piece
// 4 * n + a is result channel a of vector n, all source channels.
fn weight_offsets(lane: u32, first_vec: u32) -> array<u32, WEIGHT_LOADS> {
    var offset: array<u32, WEIGHT_LOADS>;
    for (var k = 0u; k < WEIGHT_LOADS; k++) { //@unroll
        let piece = min(lane + k * SUBGROUP, 4u * OUT_VECS - 1u);
        if TRANSPOSED {
            let row = min(4u * first_vec + piece, 4u * parameters.result_vecs - 1u);
            offset[k] = row * parameters.source_vecs;
        } else {
            let vec = min(first_vec + piece / 4u, parameters.result_vecs - 1u);
            offset[k] = piece % 4u * parameters.result_vecs + vec;
        }
    }
    return offset;
}

// The first weight vector of tap (a, b) of the stride phase.
fn weight_start(a: u32, b: u32) -> u32 {
    let row = parameters.tap_first_height + parameters.tap_step_height * i32(a);
    let column = parameters.tap_first_width + parameters.tap_step_width * i32(b);
    let tap = u32(row) * parameters.kernel_width + u32(column);
    return tap * 4u * parameters.source_vecs * parameters.result_vecs;
}

// Distance from the weights of a source vector to those of the next one.
fn weights_per_vec() -> u32 {
    return select(4u * parameters.result_vecs, 1u, TRANSPOSED);
}

// `input_coefficients` for the same vector in all invocations: four of them load one part each.
fn broadcast_input_coefficients(lane: u32, vec: u32) -> Coefficients {
    if NORMALIZE_INPUT {
        let at = lane % 2u * parameters.source_vecs + vec;
        var part = vec4<f32>(0.0);
        if lane < 2u {
            part = unpack_f32(source_moments[at]);
        } else if lane < 4u {
            part = unpack_f32(source_affine[at]);
        }
        return coefficients_of(
            subgroupShuffle(part, 0u),
            subgroupShuffle(part, 1u),
            subgroupShuffle(part, 2u),
            subgroupShuffle(part, 3u),
            parameters.source_epsilon,
        );
    }
    return Coefficients();
}

// Adds x times the weights that start at `start`.
fn multiply_add(
    sum: ptr<function, array<array<vec4<f32>, OUT_VECS>, PIXELS>>,
    x: ptr<function, array<vec4<f32>, PIXELS>>,
    offset: ptr<function, array<u32, WEIGHT_LOADS>>,
    start: u32,
) {
    var loaded: array<vec4<f32>, WEIGHT_LOADS>;
    for (var k = 0u; k < WEIGHT_LOADS; k++) { //@unroll
        loaded[k] = unpack_f32(weights[start + (*offset)[k]]);
    }
    for (var n = 0u; n < OUT_VECS; n++) { //@unroll
        // w[e] holds the weights of source channel e.
        var w: mat4x4<f32>;
        for (var e = 0u; e < 4u; e++) { //@unroll
            w[e] = subgroupShuffle(loaded[(4u * n + e) / SUBGROUP], (4u * n + e) % SUBGROUP);
        }
        if TRANSPOSED {
            w = transpose(w);
        }
        for (var p = 0u; p < PIXELS; p++) { //@unroll
            let v = (*x)[p];
            (*sum)[p][n] = (*sum)[p][n] + v.x * w[0] + v.y * w[1] + v.z * w[2] + v.w * w[3];
        }
    }
}

// Applies the epilogue to the sums of valid pixels, stores them, and writes the partial
// statistics of the subgroup as slice `slice`.
fn store_sums(
    sum: ptr<function, array<array<vec4<f32>, OUT_VECS>, PIXELS>>,
    result_index: ptr<function, array<u32, PIXELS>>,
    valid: ptr<function, array<bool, PIXELS>>,
    first_vec: u32,
    slice: u32,
    lane: u32,
) {
    var own_count = 0.0;
    for (var p = 0u; p < PIXELS; p++) { //@unroll
        own_count += f32((*valid)[p]);
    }
    let count = subgroupAdd(own_count);
    let none = vec4<f32>(0.0);
    // A loop over vectors keeps the code small: each iteration moves the next vector to index 0.
    let end = min(first_vec + OUT_VECS, parameters.result_vecs);
    for (var vec = first_vec; vec < end; vec++) {
        let output_norm = output_coefficients(vec);
        var value: array<vec4<f32>, PIXELS>;
        for (var p = 0u; p < PIXELS; p++) { //@unroll
            value[p] = select(none, (*sum)[p][0], (*valid)[p]);
            for (var n = 0u; n < OUT_VECS; n++) { //@unroll
                (*sum)[p][n] = (*sum)[p][min(n + 1u, OUT_VECS - 1u)];
            }
            if (*valid)[p] {
                result[(*result_index)[p] + vec] = pack_activation(epilogue(value[p], output_norm));
            }
        }
        if MOMENTS {
            var total = none;
            for (var p = 0u; p < PIXELS; p++) { //@unroll
                total += value[p];
            }
            let mean = subgroupAdd(total) / max(count, 1.0);
            var squares = none;
            for (var p = 0u; p < PIXELS; p++) { //@unroll
                let deviation = select(none, value[p] - mean, (*valid)[p]);
                squares += deviation * deviation;
            }
            let deviations = subgroupAdd(squares);
            if lane == 0u {
                let at = 3u * (parameters.first_slice + slice) * parameters.result_vecs + vec;
                partial[at] = vec4<f32>(count);
                partial[at + parameters.result_vecs] = mean;
                partial[at + 2u * parameters.result_vecs] = deviations;
            }
        }
        if REDUCE {
            var dscale = none;
            var dshift = none;
            for (var p = 0u; p < PIXELS; p++) { //@unroll
                if (*valid)[p] {
                    let x = unpack_f32(source_moments[(*result_index)[p] + vec]);
                    let upstream = relu_mask(value[p], x, output_norm, parameters.relu);
                    dscale += upstream * (x - output_norm.mean);
                    dshift += upstream;
                }
            }
            let all_dscale = subgroupAdd(dscale) * output_norm.inverse;
            let all_dshift = subgroupAdd(dshift);
            if lane == 0u {
                let at = 2u * (parameters.first_slice + slice) * parameters.result_vecs + vec;
                partial[at] = all_dscale;
                partial[at + parameters.result_vecs] = all_dshift;
            }
        }
    }
}
