// Classification of floats by their bits: comparisons are not reliable, because compilers may
// assume that NaN and infinity do not occur.

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

fn are_finite(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7f800000u)) != vec4<u32>(0x7f800000u);
}

// NaN from a word known only at run time: compilers may fold a constant NaN away.
fn not_a_number(word: u32) -> f32 {
    return bitcast<f32>(word | 0x7fc00000u);
}
