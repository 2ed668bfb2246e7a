// y = x / (1 - p) where a random word is at least p * 2^32, else 0.
//
// x, y: [N, columns] vectors of four channels. samples: u32 [N], the index of each row in the
// dataset, which together with seed, epoch and channel determines the mask.
// One invocation owns one vector.

// import philox
// import step

struct Params {
    count: u32,
    columns: u32,
    threshold: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> samples: array<u32>;
@group(0) @binding(3) var<storage, read> step: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

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
    let sample = samples[i / params.columns];
    let counter = vec4<u32>(i % params.columns, sample, step[STEP_EPOCH], PURPOSE_DROPOUT);
    let random = philox(counter, vec2<u32>(step[STEP_SEED_LOW], step[STEP_SEED_HIGH]));
    let dropped = random < vec4<u32>(params.threshold);
    y[i] = select(x[i] * params.scale, vec4<f32>(0.0), dropped);
}
