// Sums of the squares of gradients, over slices of a flat arena; clip_factor.wgsl adds the slices.
//
// gradients: `count` vectors of four. squares: two sums for each slice of `slice` vectors.
// With loss scaling, gradients are divided by the scale.
// One workgroup owns a slice, numbered from `first`, one invocation every 64th vector of it.

// import loss_scale
// import squares

// Whether the loss is scaled. If not, `loss_scale` is bound to the gradients and not read.
const SCALED: bool = false;

struct Params {
    count: u32,
    slice: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> loss_scale: array<u32>;
@group(0) @binding(3) var<storage, read_write> squares: array<vec2<f32>>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let slice = workgroup.y * grid.x + workgroup.x;
    let start = slice * params.slice;
    if start >= params.count {
        return;
    }
    var scale = 1.0;
    if SCALED {
        scale = bitcast<f32>(loss_scale[LOSS_SCALE]);
    }
    let end = min(start + params.slice, params.count);
    var sum = vec2<f32>(0.0);
    for (var i = start + lane; i < end; i += 64u) {
        let gradient = gradients[i] / scale;
        let tiny = gradient * TINY;
        sum += vec2<f32>(dot(gradient, gradient), dot(tiny, tiny));
    }
    let total = sum_of_workgroup(lane, sum);
    if lane == 0u {
        squares[params.first + slice] = total;
    }
}
