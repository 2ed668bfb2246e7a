// What the kernels share that compute a tile of result pixels by result channels, its
// operands in workgroup memory: what is brought there, and what becomes of the sums.
//
// A convolution is a matrix product, never stored as one: rows are the pixels of the class,
// columns their result channels, and the long axis runs through all taps and source channels,
// vector by vector, tap after tap. A workgroup owns a tile of TILE_PIXELS by TILE_VECS
// vectors of channels; workgroup (x, y, z) has pixel tile y * groups.x + x and channel tile
// z (of a component, where there are several, see lib/conv2d_pixels.wgsl). Along the long axis it
// takes DEPTH vectors at a time: all invocations together bring source and weights into
// workgroup memory, wait, and then multiply.
//
// Loading, an invocation keeps its place (`depth`) among the DEPTH vectors and the pixels it
// brings, so their coordinates are found once, and the tap only counts up.
//
// A kernel says with its own functions what lies in workgroup memory and who multiplies:
// `bring_source`, `bring_weights`, `multiply`; it hands every invocation the sums of PIXELS
// pixels, PIXEL_LANES apart, and of the vectors lane + n * VEC_LANES, one n after another
// (`sums_of`), and lends 2 * WORKGROUP vectors of workgroup memory after that (`keep`, `kept`).
//
// Assumes: all counts at least 1 except taps_*; source and result do not overlap; WORKGROUP
// is VEC_LANES times a power of two, and DEPTH divides it. Pixels and vectors past the end
// are loaded as zeros and not stored.
//
// Needs the pieces `batch_norm`, `conv2d_pixels`, `stored` and `exact`.

const PIXEL_LANES: u32 = WORKGROUP / VEC_LANES;
const TILE_PIXELS: u32 = PIXEL_LANES * PIXELS;
const TILE_VECS: u32 = VEC_LANES * OUT_VECS;
// Pixels or columns that all invocations together bring at once, for each place along DEPTH.
const ABREAST: u32 = WORKGROUP / DEPTH;

@group(0) @binding(1) var<storage, read> source: array<Stored>;
@group(0) @binding(2) var<storage, read> weights: array<Exact>;
@group(0) @binding(3) var<storage, read_write> result: array<Stored>;

// An invocation's number, its place along the channels and the pixels of the tile, and the
// number of its subgroup where kernels use any.
struct Place {
    local: u32,
    lane: u32,
    line: u32,
    subgroup: u32,
}

// Image, row and column of a pixel of the class.
fn coordinates(pixel: u32) -> vec3<u32> {
    let line = pixel / parameters.count_width;
    let image = line / parameters.count_height;
    return vec3<u32>(
        image,
        line - image * parameters.count_height,
        pixel - line * parameters.count_width,
    );
}

// The weights from a vector of source channels to a vector of result channels: w[e] holds
// those of source channel e.
fn weights_at(tap: u32, channel: u32, vec: u32) -> mat4x4<f32> {
    var index = tap + 4u * channel * parameters.result_vecs + vec;
    var step = parameters.result_vecs;
    if TRANSPOSED {
        index = tap + 4u * vec * parameters.source_vecs + channel;
        step = parameters.source_vecs;
    }
    let w = mat4x4<f32>(
        exact_floats(weights[index]),
        exact_floats(weights[index + step]),
        exact_floats(weights[index + 2u * step]),
        exact_floats(weights[index + 3u * step]),
    );
    if TRANSPOSED {
        return transpose(w);
    }
    return w;
}

// Zeros as partial results of a block past the end: no pixels, or nothing to add.
fn leave_nothing(block: u32, first_vec: u32, local: u32) {
    let rows = select(2u, 3u, MOMENTS);
    let slice = parameters.first_slice + block;
    if (MOMENTS || REDUCE) && local < TILE_VECS && first_vec + local < parameters.result_vecs {
        for (var row = 0u; row < rows; row++) {
            partial[(rows * slice + row) * parameters.result_vecs + first_vec + local] = vec4<f32>(0.0);
        }
    }
}

// The whole work of a workgroup. Uniform but for `place`.
fn compute_tile(group: vec3<u32>, groups: vec3<u32>, place: Place) {
    let local = place.local;
    let pixels = parameters.batch * parameters.count_height * parameters.count_width;
    let block = group.y * groups.x + group.x;
    let first_pixel = block * TILE_PIXELS;
    let chunks = (parameters.result_vecs + TILE_VECS - 1u) / TILE_VECS;
    let first_vec = group.z % chunks * TILE_VECS;
    let component = component_of(group.z / chunks);
    if first_pixel >= pixels {
        leave_nothing(block, first_vec, local);
        return;
    }

    // What this invocation brings: source coordinates of the first tap of its pixels, and
    // the image as its first source row. A row out of reach marks a pixel past the end.
    let depth = local % DEPTH;
    let slot = local / DEPTH;
    var source_row: array<u32, SOURCE_LOADS>;
    var source_column: array<u32, SOURCE_LOADS>;
    var image_row: array<u32, SOURCE_LOADS>;
    for (var i = 0u; i < SOURCE_LOADS; i++) { //@unroll
        let pixel = first_pixel + slot + i * ABREAST;
        let at = coordinates(pixel);
        let row = parameters.source_base_height + parameters.source_step_height * i32(at.y);
        let column = parameters.source_base_width + parameters.source_step_width * i32(at.z);
        // A negative coordinate is a huge one as u32.
        source_row[i] = select(0x80000000u, u32(row), pixel < pixels);
        source_column[i] = u32(column);
        image_row[i] = at.x * parameters.source_height;
    }
    let weights_per_tap = 4u * parameters.source_vecs * parameters.result_vecs;

    // The vector of the long axis that it brings next: tap (a, b), vector of channels.
    let vectors = parameters.taps_height * parameters.taps_width * parameters.source_vecs;
    var channel = depth;
    var a = 0u;
    var b = 0u;

    var sums: Sums;
    for (var done = 0u; done < vectors; done += DEPTH) {
        while channel >= parameters.source_vecs {
            channel -= parameters.source_vecs;
            b += 1u;
            if b == parameters.taps_width {
                b = 0u;
                a += 1u;
            }
        }
        let valid = done + depth < vectors;
        let input_norm = input_coefficients(channel);
        for (var i = 0u; i < SOURCE_LOADS; i++) { //@unroll
            let row = source_row[i] + a;
            let column = source_column[i] + b;
            var x = vec4<f32>(0.0);
            if valid && row < parameters.source_height && column < parameters.source_width {
                let pixel = (image_row[i] + row) * parameters.source_width + column;
                x = normalize_input(floats(source[component.source + pixel * parameters.source_vecs + channel]), input_norm);
            }
            bring_source(depth, slot + i * ABREAST, x);
        }
        let tap_row = u32(parameters.tap_first_height + parameters.tap_step_height * i32(a));
        let tap_column = u32(parameters.tap_first_width + parameters.tap_step_width * i32(b));
        let tap = component.weights + (tap_row * parameters.kernel_width + tap_column) * weights_per_tap;
        for (var i = 0u; i < WEIGHT_LOADS; i++) { //@unroll
            let column = slot + i * ABREAST;
            if column < TILE_VECS {
                var w = mat4x4<f32>();
                if valid && first_vec + column < parameters.result_vecs {
                    w = weights_at(tap, channel, first_vec + column);
                }
                for (var e = 0u; e < 4u; e++) { //@unroll
                    bring_weights(4u * depth + e, column, w[e]);
                }
            }
        }
        channel += DEPTH;
        workgroupBarrier();

        multiply(&sums, place);
        workgroupBarrier();
    }

    let lane = place.lane;
    let line = place.line;
    for (var n = 0u; n < OUT_VECS; n++) { //@unroll
        let sum = sums_of(&sums, place, n);
        let vec = first_vec + lane + n * VEC_LANES;
        let has_vec = vec < parameters.result_vecs;
        let output_norm = output_coefficients(min(vec, parameters.result_vecs - 1u));
        // Of the moments: values less the tile's first one, so that a large mean does not
        // cancel the variance. Of the gradients: those of shift and scale.
        var shift = vec4<f32>(0.0);
        if MOMENTS {
            if line == 0u {
                keep(lane, sum[0]);
            }
            workgroupBarrier();
            shift = kept(lane);
            workgroupBarrier();
        }
        var first = vec4<f32>(0.0);
        var second = vec4<f32>(0.0);
        for (var p = 0u; p < PIXELS; p++) { //@unroll
            let pixel = first_pixel + line + p * PIXEL_LANES;
            if pixel < pixels && has_vec {
                let at = coordinates(pixel);
                let row = at.x * parameters.result_height
                    + parameters.out_offset_height + parameters.out_step_height * at.y;
                let column = parameters.out_offset_width + parameters.out_step_width * at.z;
                let index = component.result + (row * parameters.result_width + column) * parameters.result_vecs + vec;
                let value = sum[p];
                result[index] = packed(epilogue(value, output_norm));
                if MOMENTS {
                    first += value - shift;
                    second += (value - shift) * (value - shift);
                }
                if REDUCE {
                    let x = exact_floats(source_moments[index]);
                    let upstream = relu_mask(value, x, output_norm, parameters.relu);
                    first += upstream;
                    second += upstream * (x - output_norm.mean);
                }
            }
        }
        if MOMENTS || REDUCE {
            keep(local, first);
            keep(WORKGROUP + local, second);
            workgroupBarrier();
            for (var half = PIXEL_LANES / 2u; half > 0u; half /= 2u) {
                if line < half {
                    let other = local + half * VEC_LANES;
                    keep(local, kept(local) + kept(other));
                    keep(WORKGROUP + local, kept(WORKGROUP + local) + kept(WORKGROUP + other));
                }
                workgroupBarrier();
            }
            first = kept(local);
            second = kept(WORKGROUP + local);
            workgroupBarrier();
            let slice = parameters.first_slice + block;
            if MOMENTS && line == 0u && has_vec {
                let count = f32(min(pixels - first_pixel, TILE_PIXELS));
                let at = 3u * slice * parameters.result_vecs + vec;
                partial[at] = vec4<f32>(count);
                partial[at + parameters.result_vecs] = shift + first / count;
                partial[at + 2u * parameters.result_vecs] = second - first * first / count;
            }
            if REDUCE && line == 0u && has_vec {
                let at = 2u * slice * parameters.result_vecs + vec;
                partial[at] = second * output_norm.inverse;
                partial[at + parameters.result_vecs] = first;
            }
        }
    }
}
