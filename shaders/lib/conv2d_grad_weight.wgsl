// Shared by the kernels that compute the gradient of a convolution with respect to its weights:
// parameters (see conv2d_grad_weight_subgroup.wgsl) and input normalisation.
// Host half: src/kernels/convolution/weights.rs.

// import column_coefficients

// Input normalisation: whether the input is normalised by moments (mean, variance) and affine
// (scale, shift), [2][input_vecs] vectors each. Otherwise they are bound to the gradient and
// not read. Pixels outside the image stay zero.
const NORMALIZE_INPUT: bool = false;

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
    // Normalisation of the input, and whether ReLU follows it.
    epsilon: f32,
    relu: u32,
}

@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(4) var<storage, read> moments: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> affine: array<vec4<f32>>;

// Batch-norm coefficients of one vector of input channels, for `normalize_input`.
fn input_coefficients(vec: u32) -> Coefficients {
    if NORMALIZE_INPUT {
        return column_coefficients(vec, parameters.input_vecs, parameters.epsilon);
    }
    return Coefficients();
}

fn normalize_input(x: vec4<f32>, n: Coefficients) -> vec4<f32> {
    if NORMALIZE_INPUT {
        return relu(normalized(x, n), parameters.relu);
    }
    return x;
}
