// Dynamic loss scaling after a step: the scale halves if a gradient overflowed, and doubles after
// `growth_interval` steps without overflow.
//
// loss_scale: see lib/loss_scale.wgsl.
// One invocation does everything.

// import loss_scale

struct Params {
    growth_interval: u32,
    // The largest scale.
    most: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> loss_scale: array<u32>;

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
        scale = max(0.5 * scale, 1.0);
        loss_scale[LOSS_SCALE_OVERFLOW] = 0u;
        loss_scale[LOSS_SCALE_SKIPPED] += 1u;
    }
    loss_scale[LOSS_SCALE] = bitcast<u32>(scale);
    loss_scale[LOSS_SCALE_GOOD_STEPS] = good_steps;
}
