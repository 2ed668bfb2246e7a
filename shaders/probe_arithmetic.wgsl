// Measures arithmetic throughput: fused multiply-adds on registers and nothing else.
//
//     a = a * factor + term,   `rounds` times REPEATS times, on ACCUMULATORS independent vectors
//
// Every sequence converges to term / (1 - factor), so no number leaves the normal range.
// factor and term are parameters, so no compiler can compute the result in advance.
// result: one vec4 for each invocation of a workgroup. It is written only if the sum has a value
// that never occurs, so that no memory is accessed and no work can be eliminated.
// One invocation performs 8 * ACCUMULATORS * REPEATS * rounds operations.

const WORKGROUP: u32 = 64u;
// Independent sequences of four.
const ACCUMULATORS: u32 = 8u;
// Multiply-adds of each sequence per iteration of the loop.
const REPEATS: u32 = 8u;

const NEVER: f32 = 12345.0;

struct Params {
    rounds: u32,
    factor: f32,
    term: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> result: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    let factor = vec4<f32>(params.factor);
    let term = vec4<f32>(params.term);
    // Every sequence starts from a different value: equal ones could be computed only once.
    let start = vec4<f32>(0.0, 0.25, 0.5, 0.75) + f32(lane) * 1e-3;
    var a: array<vec4<f32>, ACCUMULATORS>;
    for (var i = 0u; i < ACCUMULATORS; i++) { //@unroll
        a[i] = start + f32(i);
    }
    for (var round = 0u; round < params.rounds; round++) {
        for (var r = 0u; r < REPEATS; r++) { //@unroll
            for (var i = 0u; i < ACCUMULATORS; i++) { //@unroll
                a[i] = fma(a[i], factor, term);
            }
        }
    }
    var sum = vec4<f32>(0.0);
    for (var i = 0u; i < ACCUMULATORS; i++) { //@unroll
        sum += a[i];
    }
    if sum.x + sum.y + sum.z + sum.w == NEVER {
        result[lane] = sum;
    }
}
