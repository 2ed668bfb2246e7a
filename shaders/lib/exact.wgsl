// What a vector is in memory that is no feature map (weights, moments, ...): as in
// stored.wgsl, but never halves.
alias Exact = vec4<f32>;
fn exact_floats(value: Exact) -> vec4<f32> { return value; }
fn exact_packed(value: vec4<f32>) -> Exact { return value; }
