// Exponential moving average of the batch statistics:
//
//     running = (1 - weight) * running + weight * factor * batch
//
// where the factor makes the variance unbiased and is 1 for the mean.
//
// running, moments: [2, columns] vectors of four channels: mean, variance.
// One invocation owns one vector.

// import running

struct Params {
    columns: u32,
    weight: f32,
    correction: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> running: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> moments: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    if i >= 2u * params.columns {
        return;
    }
    let factor = select(1.0, params.correction, i >= params.columns);
    running[i] = running_of(running[i], moments[i], params.weight, factor);
}
