// factor = min(1, max_norm / (norm + 1e-6)), with the norm of all gradients: the root of a sum of
// squares.
//
// squares: two sums for each of `slices` slices; see clip_factor_squares.wgsl. The second ones are
// used where the first ones overflow. factor: one number; 1 where a gradient is NaN or infinite.
// One workgroup owns everything, one invocation every 64th slice.

// import float
// import squares

struct Params {
    slices: u32,
    max_norm: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> squares: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> factor: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = vec2<f32>(0.0);
    for (var i = lane; i < params.slices; i += 64u) {
        sum += squares[i];
    }
    let total = sum_of_workgroup(lane, sum);
    if lane == 0u {
        var result = 1.0;
        if is_finite(total.x) {
            result = min(1.0, params.max_norm / (sqrt(total.x) + 1e-6));
        } else if is_finite(total.y) {
            // The norm itself may exceed single precision.
            result = min(1.0, params.max_norm * TINY / sqrt(total.y));
        }
        factor[0] = result;
    }
}
