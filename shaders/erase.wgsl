// y = 0 inside the rectangles of its image, else x.
//
// x, y: [N, height, width, columns] vectors of four channels.
// rectangles: u32 [N, count, 4]: top, left, bottom, right; the last two are exclusive.
// One invocation owns one vector.

// import activation
// import rectangle

struct Params {
    vectors: u32,
    columns: u32,
    height: u32,
    width: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<ActivationVec>;
@group(0) @binding(2) var<storage, read> rectangles: array<u32>;
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
    let first = pixel / (params.width * params.height) * params.count;
    var value = unpack_activation(x[i]);
    for (var k = 0u; k < params.count; k++) {
        let at = 4u * (first + k);
        let rectangle = vec4<u32>(
            rectangles[at],
            rectangles[at + 1u],
            rectangles[at + 2u],
            rectangles[at + 3u],
        );
        if in_rectangle(rectangle, row, column) {
            value = vec4<f32>(0.0);
        }
    }
    y[i] = pack_activation(value);
}
