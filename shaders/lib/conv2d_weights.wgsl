// Parameters of the kernels that compute the gradient of a convolution by its weights: see
// conv2d_weights_subgroup.wgsl. Host half: src/kernels/conv2d/weights.rs.

struct Parameters {
    batch: u32,
    input_height: u32,
    input_width: u32,
    input_vecs: u32,
    output_height: u32,
    output_width: u32,
    output_vecs: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride_height: u32,
    stride_width: u32,
    padding_height: u32,
    padding_width: u32,
    lines_per_slice: u32,
}
