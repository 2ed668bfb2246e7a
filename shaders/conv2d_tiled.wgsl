// Convolution of NHWC pixels, and its gradient by the input, for graphics cards: a tile of
// the result in registers, its operands in workgroup memory.
//
// Operations, parameters and bindings are those of `conv2d_direct` and `conv2d_subgroup`,
// where they are explained: TRANSPOSED = false is the convolution itself, true one class of
// pixels of its gradient by the input.
//
// It is a matrix product, never stored as one: rows are the pixels of the class, columns
// their result channels, and the long axis runs through all taps and source channels,
// vector by vector, tap after tap. A workgroup owns a tile of TILE_PIXELS by TILE_VECS
// vectors of channels; workgroup (x, y, z) has pixel tile y * groups.x + x and channel tile
// z (of a domain, where there are several, see lib/conv2d_pixels.wgsl). Along the long axis it takes DEPTH vectors at a time: all invocations together bring
// source and weights into workgroup memory, wait, and then each adds up its PIXELS by
// OUT_VECS part of the tile. Invocations that stand side by side there own neighbouring
// vectors of the same pixels, so that reads of workgroup memory do not collide and stores
// are contiguous.
//
// Loading, an invocation keeps its place (`depth`) among the DEPTH vectors and the pixels it
// brings, so their coordinates are found once, and the tap only counts up.
//
// Assumes: all counts at least 1 except taps_*; source and result do not overlap; WORKGROUP
// is VEC_LANES times a whole number, and DEPTH divides it. Pixels and vectors past the end
// are loaded as zeros and not stored.
//
// The host sets the constants, and expands the loops marked `//@unroll`.

const WORKGROUP: u32 = 128u;
// Invocations along the channels of the tile.
const VEC_LANES: u32 = 8u;
const PIXELS: u32 = 8u;
const OUT_VECS: u32 = 2u;
const DEPTH: u32 = 4u;
// Vectors that an invocation brings at a time: pixels of the source, columns of the weights.
const SOURCE_LOADS: u32 = 4u;
const WEIGHT_LOADS: u32 = 1u;
const TRANSPOSED: bool = false;

const PIXEL_LANES: u32 = WORKGROUP / VEC_LANES;
const TILE_PIXELS: u32 = PIXEL_LANES * PIXELS;
const TILE_VECS: u32 = VEC_LANES * OUT_VECS;
// Pixels or columns that all invocations together bring at once, for each place along DEPTH.
const ABREAST: u32 = WORKGROUP / DEPTH;
// One more than a row, so that neighbouring rows lie in different banks.
const PITCH: u32 = TILE_PIXELS + 1u;

// import normal
// import conv2d_pixels
// import stored
// import exact

@group(0) @binding(1) var<storage, read> source: array<Stored>;
@group(0) @binding(2) var<storage, read> weights: array<Exact>;
@group(0) @binding(3) var<storage, read_write> result: array<Stored>;

// [depth][pixel]
var<workgroup> source_tile: array<vec4<f32>, DEPTH * PITCH>;
// [depth][four channels of the source][vector of the result]
var<workgroup> weight_tile: array<vec4<f32>, DEPTH * 4u * TILE_VECS>;

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

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let pixels = parameters.batch * parameters.count_height * parameters.count_width;
    let first_pixel = (group.y * groups.x + group.x) * TILE_PIXELS;
    let chunks = (parameters.result_vecs + TILE_VECS - 1u) / TILE_VECS;
    let first_vec = group.z % chunks * TILE_VECS;
    let domain = domain_of(group.z / chunks);
    let block = group.y * groups.x + group.x;
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

    let lane = local % VEC_LANES;
    let line = local / VEC_LANES;
    var sum: array<array<vec4<f32>, OUT_VECS>, PIXELS>;
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
        let prepare = prepare_of(channel);
        for (var i = 0u; i < SOURCE_LOADS; i++) { //@unroll
            let row = source_row[i] + a;
            let column = source_column[i] + b;
            var x = vec4<f32>(0.0);
            if valid && row < parameters.source_height && column < parameters.source_width {
                let pixel = (image_row[i] + row) * parameters.source_width + column;
                x = prepared(floats(source[domain.source + pixel * parameters.source_vecs + channel]), prepare);
            }
            source_tile[depth * PITCH + slot + i * ABREAST] = x;
        }
        let tap_row = u32(parameters.tap_first_height + parameters.tap_step_height * i32(a));
        let tap_column = u32(parameters.tap_first_width + parameters.tap_step_width * i32(b));
        let tap = domain.weights + (tap_row * parameters.kernel_width + tap_column) * weights_per_tap;
        for (var i = 0u; i < WEIGHT_LOADS; i++) { //@unroll
            let column = slot + i * ABREAST;
            if column < TILE_VECS {
                var w = mat4x4<f32>();
                if valid && first_vec + column < parameters.result_vecs {
                    w = weights_at(tap, channel, first_vec + column);
                }
                for (var e = 0u; e < 4u; e++) { //@unroll
                    weight_tile[(4u * depth + e) * TILE_VECS + column] = w[e];
                }
            }
        }
        channel += DEPTH;
        workgroupBarrier();

        for (var d = 0u; d < DEPTH; d++) {
            var x: array<vec4<f32>, PIXELS>;
            for (var p = 0u; p < PIXELS; p++) { //@unroll
                x[p] = source_tile[d * PITCH + line + p * PIXEL_LANES];
            }
            for (var n = 0u; n < OUT_VECS; n++) { //@unroll
                for (var e = 0u; e < 4u; e++) { //@unroll
                    let w = weight_tile[(4u * d + e) * TILE_VECS + lane + n * VEC_LANES];
                    for (var p = 0u; p < PIXELS; p++) { //@unroll
                        sum[p][n] = fma(vec4<f32>(x[p][e]), w, sum[p][n]);
                    }
                }
            }
        }
        workgroupBarrier();
    }

    for (var n = 0u; n < OUT_VECS; n++) { //@unroll
        let vec = first_vec + lane + n * VEC_LANES;
        let has_vec = vec < parameters.result_vecs;
        let finish = finish_of(min(vec, parameters.result_vecs - 1u));
        // Of the moments: values less the tile's first one, so that a large mean does not
        // cancel the variance. Of the gradients: those of shift and scale.
        var shift = vec4<f32>(0.0);
        if MOMENTS {
            if line == 0u {
                source_tile[lane] = sum[0][n];
            }
            workgroupBarrier();
            shift = source_tile[lane];
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
                let index = domain.result + (row * parameters.result_width + column) * parameters.result_vecs + vec;
                let value = sum[p][n];
                result[index] = packed(finished(value, finish));
                if MOMENTS {
                    first += value - shift;
                    second += (value - shift) * (value - shift);
                }
                if REDUCE {
                    let x = exact_floats(source_moments[index]);
                    let upstream = let_through(value, x, finish, parameters.relu);
                    first += upstream;
                    second += upstream * (x - finish.mean);
                }
            }
        }
        if MOMENTS || REDUCE {
            source_tile[local] = first;
            source_tile[WORKGROUP + local] = second;
            workgroupBarrier();
            for (var half = PIXEL_LANES / 2u; half > 0u; half /= 2u) {
                if line < half {
                    let other = local + half * VEC_LANES;
                    source_tile[local] += source_tile[other];
                    source_tile[WORKGROUP + local] += source_tile[WORKGROUP + other];
                }
                workgroupBarrier();
            }
            first = source_tile[local];
            second = source_tile[WORKGROUP + local];
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
                partial[at] = second * finish.inverse;
                partial[at + parameters.result_vecs] = first;
            }
        }
    }
}
