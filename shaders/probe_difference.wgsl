// Compares two results: sums of |x - y|² and of |x|².
//
// x, y: `count` vectors of four activations. sums: from `first` on, one pair for each workgroup.
// A workgroup owns a run of vectors, and again a run after those of all workgroups, until the end;
// an invocation one vector of each run. A NaN in x or y makes the sums NaN.

// import activation

const WORKGROUP: u32 = 64u;

struct Params {
    count: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<ActivationVec>;
@group(0) @binding(2) var<storage, read> y: array<ActivationVec>;
@group(0) @binding(3) var<storage, read_write> sums: array<vec2<f32>>;

var<workgroup> parts: array<vec2<f32>, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sum = vec2<f32>(0.0);
    let step = grid.x * WORKGROUP;
    for (var i = workgroup.x * WORKGROUP + lane; i < params.count; i += step) {
        let value = unpack_activation(x[i]);
        let difference = value - unpack_activation(y[i]);
        sum += vec2<f32>(dot(difference, difference), dot(value, value));
    }
    parts[lane] = sum;
    workgroupBarrier();
    if lane == 0u {
        for (var other = 1u; other < WORKGROUP; other++) {
            sum += parts[other];
        }
        sums[params.first + workgroup.x] = sum;
    }
}
