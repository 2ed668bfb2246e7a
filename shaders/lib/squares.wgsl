// Sums of the squares of gradients: as they are, and times 2^-80 before squaring, which is finite
// where a gradient is.

const TINY: f32 = 8.271806125530277e-25;

var<workgroup> sums: array<vec2<f32>, 64>;

// The sum over the 64 invocations of the workgroup, for the first of them.
fn sum_of_workgroup(lane: u32, own: vec2<f32>) -> vec2<f32> {
    sums[lane] = own;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sums[lane] += sums[lane + half];
        }
    }
    return sums[lane];
}
