// Parameters of the kernels that compute one result pixel from the source pixels its taps
// reach: see conv2d_subgroup.wgsl for what they mean. Host half: src/kernels/conv2d/pixels.rs.

struct Parameters {
    batch: u32,
    source_height: u32,
    source_width: u32,
    source_vecs: u32,
    result_height: u32,
    result_width: u32,
    result_vecs: u32,
    // Pixels of the class, and where they lie in the result.
    count_height: u32,
    count_width: u32,
    out_offset_height: u32,
    out_offset_width: u32,
    out_step_height: u32,
    out_step_width: u32,
    // Where the first tap of a pixel of the class lies in the source.
    source_base_height: i32,
    source_base_width: i32,
    source_step_height: i32,
    source_step_width: i32,
    // Taps of the class, and where they lie in the kernel.
    taps_height: u32,
    taps_width: u32,
    tap_first_height: i32,
    tap_first_width: i32,
    tap_step_height: i32,
    tap_step_width: i32,
    kernel_width: u32,
}
