// Gradients of the scale and shift of a normalisation, summed over pixels: see
// normalize_grad_reduce.wgsl.

// import batch_norm

struct AffineGradient {
    // Times the standard deviation.
    dscale: vec4<f32>,
    dshift: vec4<f32>,
}

// upstream: the gradient of the normalisation's result, zero where ReLU blocks it; x: its input.
fn add_gradient(sum: ptr<function, AffineGradient>, upstream: vec4<f32>, x: vec4<f32>, n: Coefficients) {
    (*sum).dscale += upstream * (x - n.mean);
    (*sum).dshift += upstream;
}

fn sum_of_gradients(a: AffineGradient, b: AffineGradient) -> AffineGradient {
    return AffineGradient(a.dscale + b.dscale, a.dshift + b.dshift);
}

// Writes them as a slice of the kernel's binding partial [slices, 2, columns].
fn store_gradient(sum: AffineGradient, n: Coefficients, slice: u32, column: u32, columns: u32) {
    let at = slice * 2u * columns + column;
    partial[at] = sum.dscale * n.inverse;
    partial[at + columns] = sum.dshift;
}
