// Stochastic gradient descent with Nesterov momentum and weight decay, over flat arenas:
//
//     g = gradient + decay * p,   v = momentum * v + g,   p = p - rate * (g + momentum * v)
//
// parameters, gradients, velocities: `count` vectors of four; pads are zero and stay zero.
// metrics: bit 1 of word 4 is set when a gradient is NaN or infinite (an atomic or, so the
// order does not matter).
// With loss scaling, gradients are divided by the scale, and a step that overflowed is skipped.
// One invocation owns one vector.

// import float
// import loss_scale
// import step

// Whether the loss is scaled. If not, `loss_scale` is bound to the step and not read.
const SCALED: bool = false;

struct Params {
    count: u32,
}

const FLAGS: u32 = 4u;
const BAD_GRADIENT: u32 = 2u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> parameters: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> velocities: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> metrics: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read> step: array<u32>;
@group(0) @binding(6) var<storage, read> loss_scale: array<u32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup.y * grid.x + workgroup.x) * 64u + lane;
    if i >= params.count {
        return;
    }
    let rate = bitcast<f32>(step[STEP_LEARNING_RATE]);
    let momentum = bitcast<f32>(step[STEP_MOMENTUM]);
    let decay = bitcast<f32>(step[STEP_WEIGHT_DECAY]);
    var gradient = gradients[i];
    if SCALED {
        if loss_scale[LOSS_SCALE_OVERFLOW] != 0u {
            return;
        }
        gradient /= bitcast<f32>(loss_scale[LOSS_SCALE]);
    }
    if !(is_finite(gradient.x) && is_finite(gradient.y)
        && is_finite(gradient.z) && is_finite(gradient.w)) {
        atomicOr(&metrics[FLAGS], BAD_GRADIENT);
    }
    let p = parameters[i];
    let g = gradient + decay * p;
    let v = momentum * velocities[i] + g;
    velocities[i] = v;
    parameters[i] = p - rate * (g + momentum * v);
}
