// Activations in half precision: the form of the interface `activation` with two numbers to a
// word. Core WGSL has the conversions, so `enable f16` is not needed.

alias ActivationVec = vec2<u32>;

fn unpack_activation(vec: ActivationVec) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(vec.x), unpack2x16float(vec.y));
}

fn pack_activation(value: vec4<f32>) -> ActivationVec {
    return vec2<u32>(pack2x16float(value.xy), pack2x16float(value.zw));
}
