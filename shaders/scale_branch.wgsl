// y = x times a factor for each image: `undisturbed` where a random word is below `threshold`, else
// uniform in an interval. Without RANDOM the factor is always `undisturbed`.
//
// x, y: `count` vectors of four, `each` to an image. samples: u32 [N], the index of each image in
// the dataset, which together with seed, epoch and unit determines the factor.
// One invocation owns one vector.

// import activation
// import philox
// import step

// Whether factors are drawn. If not, `samples` and `step` are bound to x and not read.
const RANDOM: bool = true;

struct Params {
    count: u32,
    each: u32,
    unit: u32,
    threshold: u32,
    undisturbed: f32,
    start: f32,
    length: f32,
    word: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<ActivationVec>;
@group(0) @binding(2) var<storage, read> samples: array<u32>;
@group(0) @binding(3) var<storage, read> step: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<ActivationVec>;

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
    var factor = params.undisturbed;
    if RANDOM {
        let sample = samples[i / params.each];
        let counter = vec4<u32>(params.unit, sample, step[STEP_EPOCH], PURPOSE_BRANCH);
        let random = philox(counter, vec2<u32>(step[STEP_SEED_LOW], step[STEP_SEED_HIGH]));
        // The upper 24 bits as a fraction, exactly.
        let fraction = f32(select(random.y, random.z, params.word == 2u) >> 8u) / 16777216.0;
        let disturbed = params.start + params.length * fraction;
        factor = select(disturbed, params.undisturbed, random.x < params.threshold);
    }
    y[i] = pack_activation(unpack_activation(x[i]) * factor);
}
