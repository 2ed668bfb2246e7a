// Activations in single precision: the form of the interface `activation` that delegates to
// `f32_storage`.

// import f32_storage

alias ActivationVec = F32Vec;

fn unpack_activation(vec: ActivationVec) -> vec4<f32> {
    return unpack_f32(vec);
}

fn pack_activation(value: vec4<f32>) -> ActivationVec {
    return pack_f32(value);
}
