// Shared by the kernels that gather each result pixel from the source pixels its taps reach:
// parameters (see conv2d_subgroup.wgsl), input normalisation and the epilogue.
// Host half: src/kernels/convolution/pixels.rs.

// import batch_norm
// import column_coefficients
// import f32_storage

// Input normalisation: whether the source is normalised by source_moments (mean, variance) and
// source_affine (scale, shift), [2][source_vecs] vectors each. Otherwise they are bound to the
// weights and not read. Pixels outside the image stay zero.
const NORMALIZE_INPUT: bool = false;

// Epilogue: partial statistics of the result, written to `partial`. MOMENTS: mean and sum of
// squared deviations of each channel, as in batch_moments.wgsl. REDUCE: gradients of scale and
// shift of the normalisation before the convolution, as in normalize_grad_reduce.wgsl. The
// result is then the gradient of that normalisation's output; `moments` and `affine` are its
// operands, and its input x, with the shape of the result, is bound to `source_moments`. With
// neither, `partial` is not accessed.
const MOMENTS: bool = false;
const REDUCE: bool = false;

// Epilogue: whether the result is normalised by moments (mean, variance) and affine (scale,
// shift), [2][result_vecs] vectors each. Without this and REDUCE they are bound to the weights
// and not read.
const NORMALIZE_OUTPUT: bool = false;

struct Parameters {
    batch: u32,
    source_height: u32,
    source_width: u32,
    source_vecs: u32,
    result_height: u32,
    result_width: u32,
    result_vecs: u32,
    // Pixels of the stride phase, and their positions in the result.
    count_height: u32,
    count_width: u32,
    out_offset_height: u32,
    out_offset_width: u32,
    out_step_height: u32,
    out_step_width: u32,
    // Position in the source of the first tap of a pixel.
    source_base_height: i32,
    source_base_width: i32,
    source_step_height: i32,
    source_step_width: i32,
    // Taps of the stride phase, and their positions in the kernel.
    taps_height: u32,
    taps_width: u32,
    tap_first_height: i32,
    tap_first_width: i32,
    tap_step_height: i32,
    tap_step_width: i32,
    kernel_width: u32,
    // Normalisation of the result, and whether ReLU follows it.
    epsilon: f32,
    relu: u32,
    // The same for the source.
    source_epsilon: f32,
    source_relu: u32,
    // First slice of the partial statistics.
    first_slice: u32,
}

@group(0) @binding(0) var<uniform> parameters: Parameters;

// Offsets of the operands of a Winograd component (conv2d_winograd_source.wgsl), whose products are
// convolutions of 1x1 taps. Other convolutions have one component.
struct Component {
    source: u32,
    weights: u32,
    result: u32,
}

fn component_of(number: u32) -> Component {
    let source = parameters.batch * parameters.source_height * parameters.source_width;
    let result = parameters.batch * parameters.result_height * parameters.result_width;
    return Component(
        number * source * parameters.source_vecs,
        number * 4u * parameters.source_vecs * parameters.result_vecs,
        number * result * parameters.result_vecs,
    );
}

@group(0) @binding(4) var<storage, read> moments: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> affine: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> source_moments: array<F32Vec>;
@group(0) @binding(7) var<storage, read> source_affine: array<F32Vec>;

// Batch-norm coefficients of one vector of source channels, for `normalize_input`.
fn input_coefficients(vec: u32) -> Coefficients {
    if NORMALIZE_INPUT {
        return coefficients_of(
            unpack_f32(source_moments[vec]),
            unpack_f32(source_moments[parameters.source_vecs + vec]),
            unpack_f32(source_affine[vec]),
            unpack_f32(source_affine[parameters.source_vecs + vec]),
            parameters.source_epsilon,
        );
    }
    return Coefficients();
}

fn normalize_input(x: vec4<f32>, n: Coefficients) -> vec4<f32> {
    if NORMALIZE_INPUT {
        return relu(normalized(x, n), parameters.source_relu);
    }
    return x;
}

@group(0) @binding(8) var<storage, read_write> partial: array<vec4<f32>>;

// Batch-norm coefficients of one vector of result channels, for `epilogue`.
fn output_coefficients(vec: u32) -> Coefficients {
    if NORMALIZE_OUTPUT || REDUCE {
        return column_coefficients(vec, parameters.result_vecs, parameters.epsilon);
    }
    return Coefficients();
}

fn epilogue(sum: vec4<f32>, n: Coefficients) -> vec4<f32> {
    if NORMALIZE_OUTPUT {
        return relu(normalized(sum, n), parameters.relu);
    }
    return sum;
}
