// scaled = weights * scale: loss scaling, applied to the weights of the images' losses.
//
// weights, scaled: f32 [count]. loss_scale: see lib/loss_scale.wgsl.
// One invocation owns one element.

// import loss_scale

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> loss_scale: array<u32>;
@group(0) @binding(3) var<storage, read_write> scaled: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < params.count {
        scaled[id.x] = weights[id.x] * bitcast<f32>(loss_scale[LOSS_SCALE]);
    }
}
