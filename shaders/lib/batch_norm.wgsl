// Batch-norm coefficients: the affine map of one vector of four channels.

// import relu

struct Coefficients {
    mean: vec4<f32>,
    // 1 / standard deviation.
    inverse: vec4<f32>,
    // The learned scale over the standard deviation.
    scale: vec4<f32>,
    shift: vec4<f32>,
}

fn coefficients_of(
    mean: vec4<f32>,
    variance: vec4<f32>,
    scale: vec4<f32>,
    shift: vec4<f32>,
    epsilon: f32,
) -> Coefficients {
    let inverse = 1.0 / sqrt(variance + epsilon);
    return Coefficients(mean, inverse, scale * inverse, shift);
}

// The value before ReLU. The backward pass calls this too, so that it finds the same sign.
fn normalized(x: vec4<f32>, n: Coefficients) -> vec4<f32> {
    return (x - n.mean) * n.scale + n.shift;
}

// The gradient where ReLU passes it, else zero. The output of ReLU is recomputed from the input x
// of the normalisation.
fn relu_mask(gradient: vec4<f32>, x: vec4<f32>, n: Coefficients, relu: u32) -> vec4<f32> {
    let closed = (normalized(x, n) <= vec4<f32>(0.0)) & vec4<bool>(relu != 0u);
    return select(gradient, vec4<f32>(0.0), closed);
}
