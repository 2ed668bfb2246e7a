// What the kernels share that compute one result pixel from the source pixels its taps
// reach: parameters, for which see conv2d_subgroup.wgsl, what is done to a source vector
// after it is loaded, and to a sum before it is stored. Needs the pieces `batch_norm` and
// `exact`. Host half: src/kernels/conv2d/pixels.rs.

// Whether the source is normalised, by moments (mean, variance) and affine (scale, shift),
// [2][source_vecs] vectors each; else they are bound to the weights and not read. Pixels
// outside the image stay zero.
const NORMALIZE_INPUT: bool = false;

// Whether the mean and the sum of squared deviations of the result's channels are left in
// `partial`, as batch_moments.wgsl does, or the gradients of scale and shift of the
// normalisation before the convolution, as normalize_grad_reduce.wgsl does: then the result is
// the gradient by what was normalised, moments and affine are those of the normalisation, and
// x, of the shape of the result, is bound to `source_moments`. Else `partial` is not touched.
const MOMENTS: bool = false;
const REDUCE: bool = false;

// Whether the result is normalised, by moments (mean, variance) and affine (scale, shift),
// [2][result_vecs] vectors each; else they are bound to the weights and not read.
const NORMALIZE_OUTPUT: bool = false;

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
    // Of the normalisation of the result, and whether ReLU follows it.
    epsilon: f32,
    relu: u32,
    // The same of the source.
    source_epsilon: f32,
    source_relu: u32,
    // Where the partial results start, in slices.
    first_slice: u32,
}

@group(0) @binding(0) var<uniform> parameters: Parameters;

// Where the operands of a component start. There is one, but for the products inside Winograd's
// convolution (winograd_source.wgsl), which have 1x1 taps.
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
@group(0) @binding(6) var<storage, read> source_moments: array<Exact>;
@group(0) @binding(7) var<storage, read> source_affine: array<Exact>;

// What `normalize_input` needs for one vector of source channels.
fn input_coefficients(vec: u32) -> Coefficients {
    if NORMALIZE_INPUT {
        return coefficients_of(
            exact_floats(source_moments[vec]),
            exact_floats(source_moments[parameters.source_vecs + vec]),
            exact_floats(source_affine[vec]),
            exact_floats(source_affine[parameters.source_vecs + vec]),
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

// What `epilogue` needs for one vector of result channels.
fn output_coefficients(vec: u32) -> Coefficients {
    if NORMALIZE_OUTPUT || REDUCE {
        return coefficients_of(
            moments[vec],
            moments[parameters.result_vecs + vec],
            affine[vec],
            affine[parameters.result_vecs + vec],
            parameters.epsilon,
        );
    }
    return Coefficients();
}

fn epilogue(sum: vec4<f32>, n: Coefficients) -> vec4<f32> {
    if NORMALIZE_OUTPUT {
        return relu(normalized(sum, n), parameters.relu);
    }
    return sum;
}
