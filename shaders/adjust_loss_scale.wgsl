// Dynamic loss scaling after a step: the scale halves if a gradient overflowed, and doubles after
// `growth_interval` steps without overflow. An overflow at a scale of 1 is not due to scaling, and
// sets a flag in the metrics.
//
// loss_scale: see lib/loss_scale.wgsl. metrics: word 4 holds flags.
// One invocation does everything.

// import loss_scale

struct Params {
    growth_interval: u32,
    // The largest scale.
    most: f32,
}

const FLAGS: u32 = 4u;
const BAD_GRADIENT: u32 = 2u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> loss_scale: array<u32>;
@group(0) @binding(2) var<storage, read_write> metrics: array<u32>;

@compute @workgroup_size(1)
fn main() {
    var scale = bitcast<f32>(loss_scale[LOSS_SCALE]);
    var good_steps = 0u;
    if loss_scale[LOSS_SCALE_OVERFLOW] == 0u {
        good_steps = loss_scale[LOSS_SCALE_GOOD_STEPS] + 1u;
        if good_steps == params.growth_interval {
            scale = min(2.0 * scale, params.most);
            good_steps = 0u;
        }
    } else {
        if scale <= 1.0 {
            metrics[FLAGS] |= BAD_GRADIENT;
        }
        scale = max(0.5 * scale, 1.0);
        loss_scale[LOSS_SCALE_OVERFLOW] = 0u;
        loss_scale[LOSS_SCALE_SKIPPED] += 1u;
    }
    loss_scale[LOSS_SCALE] = bitcast<u32>(scale);
    loss_scale[LOSS_SCALE_GOOD_STEPS] = good_steps;
}
