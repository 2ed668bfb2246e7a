// Activations in half precision: the form of the interface `activation` with two numbers to a
// word. Core WGSL has unpack2x16float, so `enable f16` is not needed.
//
// Numbers are rounded on their bits: to the nearest half, ties to even; infinite from 65520 on.
// WGSL leaves the rounding of pack2x16float open and its result indeterminate beyond 65504. AMD's
// compilers round toward zero, so an overflow becomes 65504 and is not noticed; SwiftShader's
// overflow also changes the other half of the word.

alias ActivationVec = vec2<u32>;

fn unpack_activation(vec: ActivationVec) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(vec.x), unpack2x16float(vec.y));
}

fn pack_activation(value: vec4<f32>) -> ActivationVec {
    let bits = half_bits(value);
    return bits.xz | (bits.yw << vec2<u32>(16u));
}

// The bits of four halves.
fn half_bits(value: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(value);
    let magnitude = bits & vec4<u32>(0x7fffffffu);

    // The exponent's bias changes from 127 to 15, and 13 bits of the significand are rounded away:
    // adding just less than half of the last place kept, or half if that place is odd, carries
    // where the number is rounded up.
    let odd = (magnitude >> vec4<u32>(13u)) & vec4<u32>(1u);
    let normal = (magnitude + odd - vec4<u32>((112u << 23u) - 0xfffu)) >> vec4<u32>(13u);

    // Below 2^-14 halves are multiples of 2^-24. The significand with its leading bit counts
    // 2^(exponent - 150); below 2^-25 everything is rounded to zero.
    let exponent = min(magnitude >> vec4<u32>(23u), vec4<u32>(125u));
    let shift = min(vec4<u32>(126u) - exponent, vec4<u32>(25u));
    let significand = (magnitude & vec4<u32>(0x7fffffu)) | vec4<u32>(0x800000u);
    let below = (vec4<u32>(1u) << (shift - vec4<u32>(1u))) - vec4<u32>(1u);
    let last = (significand >> shift) & vec4<u32>(1u);
    let subnormal = (significand + below + last) >> shift;

    var half = select(normal, subnormal, magnitude < vec4<u32>(0x38800000u));
    half = select(half, vec4<u32>(0x7c00u), magnitude >= vec4<u32>(0x477ff000u));
    half = select(half, vec4<u32>(0x7e00u), magnitude > vec4<u32>(0x7f800000u));
    return half | ((bits >> vec4<u32>(16u)) & vec4<u32>(0x8000u));
}
