// f32 storage as vectors of four floats: the form of the interface `f32_storage` that every
// device supports.

alias F32Vec = vec4<f32>;

fn unpack_f32(vec: F32Vec) -> vec4<f32> {
    return vec;
}

fn pack_f32(value: vec4<f32>) -> F32Vec {
    return value;
}
