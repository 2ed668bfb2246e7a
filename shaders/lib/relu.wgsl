// ReLU: zero where a number is negative, else the number; a NaN passes.
//
// The sign is found by bits. Compilers that assume that no NaN occurs, as Metal's do by default, make
// a maximum of a comparison with zero and a selection, which drops a NaN.

fn relu(value: vec4<f32>, relu: u32) -> vec4<f32> {
    // Negative numbers, up to the infinite one, are the smallest words from the sign bit on.
    let above_sign = bitcast<vec4<u32>>(value) - vec4<u32>(0x80000000u);
    let end = select(0u, 0x7f800001u, relu != 0u);
    return select(value, vec4<f32>(0.0), above_sign < vec4<u32>(end));
}
