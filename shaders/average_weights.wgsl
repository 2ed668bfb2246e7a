// Exponential moving averages over flat arenas: average += weight * (value - average).
//
// averages, values: `count` vectors of four; pads are zero and stay zero. Nothing changes in a step
// whose update was skipped: after a NaN or infinity (metrics), or an overflow of scaled gradients.
// One invocation owns one vector.

// import loss_scale
// import metrics

// Whether the loss is scaled. If not, `loss_scale` is bound to the metrics and not read.
const SCALED: bool = false;

struct Params {
    count: u32,
    weight: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> averages: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> metrics: array<u32>;
@group(0) @binding(4) var<storage, read> loss_scale: array<u32>;

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
    if (metrics[METRICS_HALTED] | metrics[METRICS_GRADIENT] | metrics[METRICS_UPDATE]) != 0u {
        return;
    }
    if SCALED {
        if loss_scale[LOSS_SCALE_OVERFLOW] != 0u {
            return;
        }
    }
    averages[i] += params.weight * (values[i] - averages[i]);
}
