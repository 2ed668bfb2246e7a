// Stochastic gradient descent with Nesterov momentum and weight decay, over flat arenas:
//
//     g = gradient + decay * p,   v = momentum * v + g,   p = p - rate * (g + momentum * v)
//
// parameters, gradients, velocities: `count` vectors of four, from position `first` of their
// arenas; pads are zero and stay zero. An element whose update is NaN or infinite stays as it is.
// metrics: after the first NaN or infinity of the run nothing changes (METRICS_HALTED). An atomic
// maximum, whose order does not matter, records the last vector with a bad gradient or update.
// With loss scaling, gradients are divided by the scale, and a step that overflowed is skipped. With
// clipping, they are multiplied by a factor.
// One invocation owns one vector.

// import float
// import loss_scale
// import metrics
// import step

// Whether the loss is scaled. If not, `loss_scale` is bound to the step and not read.
const SCALED: bool = false;
// Whether gradients are clipped. If not, `clip_factor` is bound to the step and not read.
const CLIPPED: bool = false;

struct Params {
    count: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> parameters: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> velocities: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> metrics: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read> step: array<u32>;
@group(0) @binding(6) var<storage, read> loss_scale: array<u32>;
@group(0) @binding(7) var<storage, read> clip_factor: array<f32>;

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
    if atomicLoad(&metrics[METRICS_HALTED]) != 0u {
        return;
    }
    let rate = bitcast<f32>(step[STEP_LEARNING_RATE]);
    let momentum = bitcast<f32>(step[STEP_MOMENTUM]);
    let decay = bitcast<f32>(step[STEP_WEIGHT_DECAY]);
    let loaded = gradients[i];
    var gradient = loaded;
    var overflow = false;
    if SCALED {
        let scale = bitcast<f32>(loss_scale[LOSS_SCALE]);
        overflow = loss_scale[LOSS_SCALE_OVERFLOW] != 0u;
        if overflow && scale > 1.0 {
            return;
        }
        gradient /= scale;
    }
    let old_p = parameters[i];
    let old_v = velocities[i];
    var clipped = gradient;
    if CLIPPED {
        clipped *= clip_factor[0];
    }
    let g = clipped + decay * old_p;
    let v = momentum * old_v + g;
    let p = old_p - rate * (g + momentum * v);
    let good = are_finite(p) & are_finite(v);
    // The bits that were loaded: those of a computed number may be assumed to be finite.
    let sound = are_finite(loaded);
    if !all(sound) {
        atomicMax(&metrics[METRICS_GRADIENT], params.first + i + 1u);
    }
    if any(sound & !good) {
        atomicMax(&metrics[METRICS_UPDATE], params.first + i + 1u);
    }
    if !overflow {
        velocities[i] = select(old_v, v, good);
        parameters[i] = select(old_p, p, good);
    }
}
