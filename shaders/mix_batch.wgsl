// y[n] = w * x[n] + (1 - w) * x[partner], with w = 0 inside the rectangle of image n and its weight
// elsewhere.
//
// x, y: [N, height, width, columns] vectors of four channels.
// mixtures: u32 [N, 6]: partner, bits of the weight, then top, left, bottom, right of the rectangle,
// the last two exclusive.
// One invocation owns one vector.

// import activation
// import rectangle

struct Params {
    vectors: u32,
    columns: u32,
    height: u32,
    width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<ActivationVec>;
@group(0) @binding(2) var<storage, read> mixtures: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<ActivationVec>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup.y * grid.x + workgroup.x) * 64u + lane;
    if i >= params.vectors {
        return;
    }
    let pixel = i / params.columns;
    let row = (pixel / params.width) % params.height;
    let column = pixel % params.width;
    let image = params.width * params.height * params.columns;
    let n = i / image;
    let at = 6u * n;
    var weight = bitcast<f32>(mixtures[at + 1u]);
    let rectangle = vec4<u32>(
        mixtures[at + 2u],
        mixtures[at + 3u],
        mixtures[at + 4u],
        mixtures[at + 5u],
    );
    if in_rectangle(rectangle, row, column) {
        weight = 0.0;
    }
    let own = unpack_activation(x[i]);
    let other = unpack_activation(x[mixtures[at] * image + i % image]);
    y[i] = pack_activation(weight * own + (1.0 - weight) * other);
}
