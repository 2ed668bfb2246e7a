// What a vector is in memory. Where a software adapter has 64-bit integers the host lets
// vectors be two of them, which halves the number of load and store instructions.
alias Stored = vec4<f32>;
fn floats(value: Stored) -> vec4<f32> { return value; }
fn packed(value: vec4<f32>) -> Stored { return value; }
