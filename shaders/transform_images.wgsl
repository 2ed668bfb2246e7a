// y[n] = image rows[n] of x, changed by transform n.
//
// x: u32 [M, words], y: u32 [N, words]: bytes in the order H W RGB, four to a word, lowest first.
// transforms: u32 [N, 7]: a kind and up to six parameters.
// All arithmetic is on integers: coefficients of coordinates in units of 2^-16, factors between
// colours in units of 2^-20.
// One workgroup owns one image, and computes its histograms or its mean first if it needs them.

struct Params {
    count: u32,
    size: u32,
    words: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> transforms: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<u32>;

const TRANSFORM_WORDS = 7u;
const AFFINE = 1u;
const BRIGHTNESS = 2u;
const SATURATION = 3u;
const CONTRAST = 4u;
const SHARPNESS = 5u;
const POSTERIZE = 6u;
const SOLARIZE = 7u;
const AUTO_CONTRAST = 8u;
const EQUALIZE = 9u;

// Red, green, blue: how many bytes have each value, and what replaces it.
var<workgroup> counts: array<atomic<u32>, 768>;
var<workgroup> table: array<u32, 768>;
var<workgroup> grey_sum: atomic<u32>;

fn byte_at(image: u32, at: u32) -> u32 {
    return (x[image + at / 4u] >> (8u * (at % 4u))) & 255u;
}

// Luma of ITU-R BT.601, rounded to nearest.
fn grey(image: u32, pixel: u32) -> u32 {
    let at = 3u * pixel;
    let red = 19595u * byte_at(image, at);
    let green = 38470u * byte_at(image, at + 1u);
    let blue = 7471u * byte_at(image, at + 2u);
    return (red + green + blue + 32768u) >> 16u;
}

// (1 1 1, 1 5 1, 1 1 1) / 13, rounded to nearest; the border is kept.
fn smooth_at(image: u32, at: u32) -> u32 {
    let size = params.size;
    let pixel = at / 3u;
    let row = pixel / size;
    let column = pixel % size;
    let own = byte_at(image, at);
    if row == 0u || column == 0u || row + 1u >= size || column + 1u >= size {
        return own;
    }
    var sum = 4u * own;
    for (var k = 0u; k < 9u; k++) {
        sum += byte_at(image, at + 3u * ((k / 3u) * size + k % 3u) - 3u * (size + 1u));
    }
    return (sum + 6u) / 13u;
}

fn blend(base: u32, value: u32, factor: i32) -> u32 {
    let mixed = (i32(base) << 20u) + factor * (i32(value) - i32(base));
    return u32(clamp(mixed >> 20u, 0, 255));
}

// The coordinate that three coefficients map a pixel to; a large one instead of a negative.
fn source(at: u32, column: i32, row: i32) -> u32 {
    let along_row = bitcast<i32>(transforms[at]) * column;
    let along_column = bitcast<i32>(transforms[at + 1u]) * row;
    return u32((along_row + along_column + bitcast<i32>(transforms[at + 2u])) >> 16u);
}

// The byte that an affine map puts at `at`; black outside the image.
fn moved(image: u32, at: u32, transform: u32) -> u32 {
    let size = params.size;
    let pixel = at / 3u;
    let row = i32(pixel / size);
    let column = i32(pixel % size);
    let from_column = source(transform + 1u, column, row);
    let from_row = source(transform + 4u, column, row);
    if from_column >= size || from_row >= size {
        return 0u;
    }
    return byte_at(image, 3u * (from_row * size + from_column) + at % 3u);
}

// Fills the table of a colour so that its smallest value becomes 0, and its largest 255.
fn stretch(colour: u32) {
    let first_entry = 256u * colour;
    var first = 256u;
    var last = 0u;
    for (var value = 0u; value < 256u; value++) {
        if atomicLoad(&counts[first_entry + value]) > 0u {
            first = min(first, value);
            last = value;
        }
    }
    for (var value = 0u; value < 256u; value++) {
        var level = value;
        if last > first {
            level = (clamp(value, first, last) - first) * 255u / (last - first);
        }
        table[first_entry + value] = level;
    }
}

// Fills the table of a colour so that its histogram becomes uniform.
fn equalize(colour: u32) {
    let first_entry = 256u * colour;
    var last = 0u;
    for (var value = 0u; value < 256u; value++) {
        let count = atomicLoad(&counts[first_entry + value]);
        if count > 0u {
            last = count;
        }
    }
    let step = (params.size * params.size - last) / 255u;
    var before = step / 2u;
    for (var value = 0u; value < 256u; value++) {
        var level = value;
        if step > 0u {
            level = min(before / step, 255u);
        }
        table[first_entry + value] = level;
        before += atomicLoad(&counts[first_entry + value]);
    }
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = workgroup.y * grid.x + workgroup.x;
    if n >= params.count {
        return;
    }
    let image = rows[n] * params.words;
    let transform = n * TRANSFORM_WORDS;
    let kind = transforms[transform];
    let parameter = transforms[transform + 1u];
    let pixels = params.size * params.size;
    for (var entry = lane; entry < 768u; entry += 64u) {
        atomicStore(&counts[entry], 0u);
    }
    if lane == 0u {
        atomicStore(&grey_sum, 0u);
    }
    workgroupBarrier();
    if kind == CONTRAST {
        var sum = 0u;
        for (var pixel = lane; pixel < pixels; pixel += 64u) {
            sum += grey(image, pixel);
        }
        atomicAdd(&grey_sum, sum);
    }
    if kind == AUTO_CONTRAST || kind == EQUALIZE {
        for (var at = lane; at < 3u * pixels; at += 64u) {
            atomicAdd(&counts[256u * (at % 3u) + byte_at(image, at)], 1u);
        }
    }
    workgroupBarrier();
    if lane < 3u {
        if kind == AUTO_CONTRAST {
            stretch(lane);
        } else if kind == EQUALIZE {
            equalize(lane);
        }
    }
    workgroupBarrier();
    let mean_grey = (2u * atomicLoad(&grey_sum) + pixels) / (2u * pixels);
    for (var word = lane; word < params.words; word += 64u) {
        var packed = 0u;
        for (var k = 0u; k < 4u; k++) {
            let at = 4u * word + k;
            if at >= 3u * pixels {
                continue;
            }
            let value = byte_at(image, at);
            var changed = value;
            switch kind {
                case AFFINE: {
                    changed = moved(image, at, transform);
                }
                case BRIGHTNESS: {
                    changed = blend(0u, value, bitcast<i32>(parameter));
                }
                case SATURATION: {
                    changed = blend(grey(image, at / 3u), value, bitcast<i32>(parameter));
                }
                case CONTRAST: {
                    changed = blend(mean_grey, value, bitcast<i32>(parameter));
                }
                case SHARPNESS: {
                    changed = blend(smooth_at(image, at), value, bitcast<i32>(parameter));
                }
                case POSTERIZE: {
                    changed = value & parameter;
                }
                case SOLARIZE: {
                    changed = select(value, 255u - value, value >= parameter);
                }
                case AUTO_CONTRAST, EQUALIZE: {
                    changed = table[256u * (at % 3u) + value];
                }
                default: {
                }
            }
            packed |= changed << (8u * k);
        }
        y[n * params.words + word] = packed;
    }
}
