// Images to a normalised NHWC batch with random crops and flips:
//
//     x[n, h, w, c] = (value - mean[c]) / std[c]   inside the image, 0 in the padding
//
// images: u32 [M, words], values in the order H W RGB: bytes, four to a word, lowest byte first,
// or the bits of an f32 in each word.
// rows, samples: u32 [N]: the row of `images` for each batch element, and its index in the
// dataset, which together with seed and epoch determines crop and flip.
// x: [N, size, size] vectors: red, green, blue, 0; with bgr, blue, green, red, 0.
// One invocation owns one pixel of x.

// import activation
// import philox
// import step

struct Params {
    pixels: u32,
    size: u32,
    words: u32,
    floats: u32,
    padding: u32,
    flip: u32,
    bgr: u32,
    mean_red: f32,
    mean_green: f32,
    mean_blue: f32,
    std_red: f32,
    std_green: f32,
    std_blue: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> images: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> samples: array<u32>;
@group(0) @binding(4) var<storage, read> step: array<u32>;
@group(0) @binding(5) var<storage, read_write> x: array<ActivationVec>;

fn value_at(row: u32, at: u32) -> f32 {
    let image = row * params.words;
    if params.floats != 0u {
        return bitcast<f32>(images[image + at]);
    }
    let word = images[image + at / 4u];
    return f32((word >> (8u * (at % 4u))) & 255u);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup.y * grid.x + workgroup.x) * 64u + lane;
    if i >= params.pixels {
        return;
    }
    let size = params.size;
    let n = i / (size * size);
    let seed = vec2<u32>(step[STEP_SEED_LOW], step[STEP_SEED_HIGH]);
    let counter = vec4<u32>(0u, samples[n], step[STEP_EPOCH], PURPOSE_AUGMENT);
    let random = philox(counter, seed);
    let offsets = 2u * params.padding + 1u;
    // A coordinate left of or above the image wraps around to a huge number and fails the test.
    let h = (i / size) % size + (((random.x >> 16u) * offsets) >> 16u) - params.padding;
    var w = i % size + (((random.y >> 16u) * offsets) >> 16u) - params.padding;
    if h >= size || w >= size {
        x[i] = pack_activation(vec4<f32>(0.0));
        return;
    }
    if params.flip != 0u && (random.z & 1u) == 1u {
        w = size - 1u - w;
    }
    let at = (h * size + w) * 3u;
    let row = rows[n];
    let rgb = vec3<f32>(
        (value_at(row, at) - params.mean_red) / params.std_red,
        (value_at(row, at + 1u) - params.mean_green) / params.std_green,
        (value_at(row, at + 2u) - params.mean_blue) / params.std_blue,
    );
    x[i] = pack_activation(vec4<f32>(select(rgb, rgb.zyx, params.bgr != 0u), 0.0));
}
