// What a vector of a feature map is in memory: four floats; or two words of halves; or, where a
// software adapter has 64-bit integers, two of them, which halves the number of load and store
// instructions. The host puts the other declarations in place of these.
alias Stored = vec4<f32>;
fn floats(value: Stored) -> vec4<f32> { return value; }
fn packed(value: vec4<f32>) -> Stored { return value; }
