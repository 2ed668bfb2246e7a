//! Mutants that change nothing that the interpreter could notice, with the reason.

/// Kernel, function and change; and why it is harmless.
pub(crate) const SURVIVORS: &[(&str, &str)] = &[
    (
        "conv2d_direct main: `if first_pixel + 0u < pixels {` is `if true {`",
        "A pixel past the end is computed as the last one, by the invocation that owns that, and stores the same value.",
    ),
    (
        "conv2d_direct main: `if first_pixel >= pixels {` is `if false {`",
        "The guard of each pixel excludes all of the invocation's pixels.",
    ),
    (
        "conv2d_grad_weight_matrix compute_tile: `let row_shift = select(0x40000000u, tap_row - parameters.padding_height, own_quad < quads);` is `let row_shift = select(0x40000000u, tap_row - parameters.padding_height, true);`",
        "A quad past the end reads elements within the input, and its sums are not stored.",
    ),
    (
        "conv2d_grad_weight_subgroup main: `if row_inside && column < parameters.input_width && pixel < parameters.output_width {` is `if row_inside && column < parameters.input_width && true {`",
        "The gradient of a pixel past the end counts as zero.",
    ),
    (
        "conv2d_grad_weight_subgroup main: `let quad = min(own_quad, quads - 1u);` is `let quad = (own_quad);`",
        "A quad past the end reads elements within the input, and its sums are not stored.",
    ),
    (
        "conv2d_grad_weight_subgroup share_of: `let piece = min(lane + 0u * SUBGROUP, PIXELS * OUT_VECS - 1u);` is `let piece = (lane + 0u * SUBGROUP);`",
        "Pieces past the end are not broadcast, and their loads stay within the gradient.",
    ),
    (
        "conv2d_grad_weight_subgroup_window main: `let quad = min(own_quad, quads - 1u);` is `let quad = (own_quad);`",
        "A quad past the end reads elements within the input, and its sums are not stored.",
    ),
    (
        "conv2d_matrix store_empty_partial: `if (MOMENTS || REDUCE) && local < TILE_VECS && first_vec + local < parameters.result_vecs {` is `if (MOMENTS || REDUCE) && local < TILE_VECS && true {`",
        "Only grids of more than 65,535 workgroups have workgroups past the end that have slices.",
    ),
    (
        "conv2d_matrix store_empty_partial: `if (MOMENTS || REDUCE) && local < TILE_VECS && first_vec + local < parameters.result_vecs {` is `if (MOMENTS || REDUCE) && true && first_vec + local < parameters.result_vecs {`",
        "Only grids of more than 65,535 workgroups have workgroups past the end that have slices.",
    ),
    (
        "conv2d_matrix store_empty_partial: `partial[(rows * slice + row) * parameters.result_vecs + first_vec + local] = vec4<f32>(0.0);` is `partial[((rows * slice + row) * parameters.result_vecs + first_vec + local) + 1u] = vec4<f32>(0.0);`",
        "Only grids of more than 65,535 workgroups have workgroups past the end that have slices.",
    ),
    (
        "conv2d_subgroup broadcast_input_coefficients: `} else if lane < 4u {` is `} else if true {`",
        "The values of other invocations are not broadcast.",
    ),
    (
        "conv2d_subgroup weight_offsets: `let piece = min(lane + 0u * SUBGROUP, 4u * OUT_VECS - 1u);` is `let piece = (lane + 0u * SUBGROUP);`",
        "Pieces past the end are not broadcast, and their loads stay within the weights.",
    ),
    (
        "conv2d_subgroup_window main: `let in_batch = image < parameters.batch;` is `let in_batch = true;`",
        "Only grids of more than 65,535 workgroups have blocks past the end that have slices.",
    ),
    (
        "conv2d_tiled compute_tile: no barrier between `second = scratch_at(WORKGROUP + local);` and `let slice = parameters.first_slice + block;`",
        "In the tiled kernel, the words that an invocation has read last are its own, and no other invocation writes them before the next barrier. The matrix kernel needs this barrier.",
    ),
    (
        "probe_arithmetic main: `result[lane] = sum;` is `result[(lane) + 1u] = sum;`",
        "The condition of the store never holds: it keeps the compiler from dropping the loop.",
    ),
    (
        "softmax_cross_entropy main: `var largest = logits[first];` is `var largest = logits[(first) + 1u];`",
        "The maximum runs over all classes, wherever it begins.",
    ),
    (
        "softmax_cross_entropy_grad main: `var largest = logits[first];` is `var largest = logits[(first) + 1u];`",
        "The maximum runs over all classes, wherever it begins.",
    ),
];
