// f32 storage as pairs of 64-bit integers: the form of the interface `f32_storage` for software
// adapters, where it halves the number of load and store instructions. The bytes are those of
// f32_vec4.wgsl.

alias F32Vec = vec2<u64>;

fn unpack_f32(vec: F32Vec) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(u32(vec.x), u32(vec.x >> 32u), u32(vec.y), u32(vec.y >> 32u)));
}

fn pack_f32(value: vec4<f32>) -> F32Vec {
    let words = bitcast<vec4<u32>>(value);
    return vec2<u64>(u64(words.x) | (u64(words.y) << 32u), u64(words.z) | (u64(words.w) << 32u));
}
