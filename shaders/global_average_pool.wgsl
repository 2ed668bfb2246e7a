// Mean of each channel over all pixels of an image, or of all its views.
//
// x: [N, pixels, columns] vectors of four channels. y: [N, columns].
// One invocation owns one vector of y.

// import activation

struct Params {
    count: u32,
    pixels: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<ActivationVec>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

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
    let first = i / params.columns * params.pixels * params.columns + i % params.columns;
    var sum = vec4<f32>(0.0);
    for (var pixel = 0u; pixel < params.pixels; pixel++) {
        sum += unpack_activation(x[first + pixel * params.columns]);
    }
    y[i] = sum / f32(params.pixels);
}
