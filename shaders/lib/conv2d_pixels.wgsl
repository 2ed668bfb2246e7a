// What the kernels share that compute one result pixel from the source pixels its taps
// reach: parameters, for which see conv2d_subgroup.wgsl, and what is done to a sum before it
// is stored. Needs the piece `normal`. Host half: src/kernels/conv2d/pixels.rs.

// Whether the result is normalised, by moments (mean, variance) and affine (scale, shift),
// [2][result_vecs] vectors each; else they are bound to the weights and not read.
const NORMALIZE: bool = false;

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
}

@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(4) var<storage, read> moments: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> affine: array<vec4<f32>>;

// What `finished` needs for one vector of result channels.
fn finish_of(vec: u32) -> Normal {
    if NORMALIZE {
        return normal_of(
            moments[vec],
            moments[parameters.result_vecs + vec],
            affine[vec],
            affine[parameters.result_vecs + vec],
            parameters.epsilon,
        );
    }
    return Normal();
}

fn finished(sum: vec4<f32>, n: Normal) -> vec4<f32> {
    if NORMALIZE {
        return rectified(normalized(sum, n), parameters.relu);
    }
    return sum;
}
