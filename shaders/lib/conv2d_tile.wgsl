// Shared by the kernels that compute a tile of result pixels by result channels from operands in
// workgroup memory: loading the operands, and the epilogue of the sums.
//
// A convolution is a matrix product whose left matrix is never stored: rows are the pixels of
// the stride phase, columns their result channels, and the inner dimension runs through all
// taps and source channels, vector by vector, tap after tap. A workgroup owns a tile of
// TILE_PIXELS by TILE_VECS vectors of channels; workgroup (x, y, z) has pixel tile
// y * groups.x + x and channel tile z (of a Winograd component, where there are several, see
// lib/conv2d_pixels.wgsl). It advances DEPTH vectors of the inner dimension at a time: all
// invocations load source and weights into workgroup memory, wait, and then multiply.
//
// While loading, an invocation keeps its index (`depth`) among the DEPTH vectors and its
// pixels, so their coordinates are computed once, and only the tap advances. It loads LOAD_BATCH
// vectors of the source and then stages them, without a branch before a load: one wait for all of
// them. Where there is nothing to load, it loads any element and stages zero.
//
// The kernel defines the layout of workgroup memory and the product: `stage_source`,
// `stage_weights` and `multiply`. `sums_of` gives every invocation the sums of PIXELS pixels,
// PIXEL_LANES apart, and of the vectors lane + n * VEC_LANES, one n after another. After the
// product, `store_scratch` and `scratch_at` reuse the memory for 2 * WORKGROUP vectors.
//
// Assumes: all counts are at least 1 except taps_*; source and result do not overlap; WORKGROUP
// is VEC_LANES times a power of two, and DEPTH divides it. Pixels and vectors past the end are
// loaded as zeros and not stored.

// import activation
// import batch_norm
// import conv2d_pixels
// import f32_storage

const PIXEL_LANES: u32 = WORKGROUP / VEC_LANES;
const TILE_PIXELS: u32 = PIXEL_LANES * PIXELS;
const TILE_VECS: u32 = VEC_LANES * OUT_VECS;
// Pixels or columns that the workgroup loads at once, for each of the DEPTH vectors.
const ABREAST: u32 = WORKGROUP / DEPTH;

@group(0) @binding(1) var<storage, read> source: array<ActivationVec>;
@group(0) @binding(2) var<storage, read> weights: array<F32Vec>;
@group(0) @binding(3) var<storage, read_write> result: array<ActivationVec>;

// An invocation's index in the workgroup, its lane along the channels and its line along the
// pixels of the tile, and the index of its subgroup in kernels that use subgroups.
struct Invocation {
    local: u32,
    lane: u32,
    line: u32,
    subgroup: u32,
}

// Image, row and column of a pixel of the stride phase.
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
        unpack_f32(weights[index]),
        unpack_f32(weights[index + step]),
        unpack_f32(weights[index + 2u * step]),
        unpack_f32(weights[index + 3u * step]),
    );
    if TRANSPOSED {
        return transpose(w);
    }
    return w;
}

// Partial statistics of a block past the end: zeros, that is, no pixels (MOMENTS) or no gradient
// (REDUCE).
fn store_empty_partial(block: u32, first_vec: u32, local: u32) {
    let rows = select(2u, 3u, MOMENTS);
    let slice = parameters.first_slice + block;
    if (MOMENTS || REDUCE) && local < TILE_VECS && first_vec + local < parameters.result_vecs {
        for (var row = 0u; row < rows; row++) {
            partial[(rows * slice + row) * parameters.result_vecs + first_vec + local] = vec4<f32>(0.0);
        }
    }
}

// All the work of a workgroup. Every argument but `invocation` is uniform.
fn compute_tile(group: vec3<u32>, groups: vec3<u32>, invocation: Invocation) {
    let local = invocation.local;
    let pixels = parameters.batch * parameters.count_height * parameters.count_width;
    let block = group.y * groups.x + group.x;
    let first_pixel = block * TILE_PIXELS;
    let chunks = (parameters.result_vecs + TILE_VECS - 1u) / TILE_VECS;
    let first_vec = group.z % chunks * TILE_VECS;
    let component = component_of(group.z / chunks);
    if first_pixel >= pixels {
        store_empty_partial(block, first_vec, local);
        return;
    }

    // The pixels that this invocation loads: source coordinates and index of the first tap. A row
    // outside every image marks a pixel past the end.
    let depth = local % DEPTH;
    let slot = local / DEPTH;
    var source_row: array<u32, SOURCE_LOADS>;
    var source_column: array<u32, SOURCE_LOADS>;
    var source_index: array<u32, SOURCE_LOADS>;
    for (var i = 0u; i < SOURCE_LOADS; i++) { //@unroll
        let pixel = first_pixel + slot + i * ABREAST;
        let at = coordinates(pixel);
        let row = parameters.source_base_height + parameters.source_step_height * i32(at.y);
        let column = parameters.source_base_width + parameters.source_step_width * i32(at.z);
        // A negative coordinate is a huge number as u32.
        source_row[i] = select(0x80000000u, u32(row), pixel < pixels);
        source_column[i] = u32(column);
        let source_pixel = (at.x * parameters.source_height + u32(row)) * parameters.source_width + u32(column);
        source_index[i] = component.source + source_pixel * parameters.source_vecs;
    }
    let weights_per_tap = 4u * parameters.source_vecs * parameters.result_vecs;

    // The vector of the inner dimension that it loads next: tap (a, b), vector of channels.
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
        let tap_row = u32(parameters.tap_first_height + parameters.tap_step_height * i32(a));
        let tap_column = u32(parameters.tap_first_width + parameters.tap_step_width * i32(b));
        let tap = component.weights + (tap_row * parameters.kernel_width + tap_column) * weights_per_tap;
        var w: array<mat4x4<f32>, WEIGHT_LOADS>;
        var has_weights: array<bool, WEIGHT_LOADS>;
        for (var i = 0u; i < WEIGHT_LOADS; i++) { //@unroll
            let column = slot + i * ABREAST;
            let vec = first_vec + column;
            has_weights[i] = valid && column < TILE_VECS && vec < parameters.result_vecs;
            w[i] = weights_at(
                select(component.weights, tap, has_weights[i]),
                select(0u, channel, has_weights[i]),
                select(0u, vec, has_weights[i]),
            );
        }
        let source_step = (a * parameters.source_width + b) * parameters.source_vecs + channel;
        for (var batch = 0u; batch < SOURCE_BATCHES; batch++) { //@unroll
            var loaded: array<ActivationVec, LOAD_BATCH>;
            var inside: array<bool, LOAD_BATCH>;
            for (var j = 0u; j < LOAD_BATCH; j++) { //@unroll
                let i = batch * LOAD_BATCH + j;
                let row = source_row[i] + a;
                let column = source_column[i] + b;
                inside[j] = valid && row < parameters.source_height && column < parameters.source_width;
                loaded[j] = source[select(0u, source_index[i] + source_step, inside[j])];
            }
            for (var j = 0u; j < LOAD_BATCH; j++) { //@unroll
                let i = batch * LOAD_BATCH + j;
                let x = normalize_input(unpack_activation(loaded[j]), input_norm);
                stage_source(depth, slot + i * ABREAST, select(vec4<f32>(0.0), x, inside[j]));
            }
        }
        for (var i = 0u; i < WEIGHT_LOADS; i++) { //@unroll
            let column = slot + i * ABREAST;
            if column < TILE_VECS {
                for (var e = 0u; e < 4u; e++) { //@unroll
                    stage_weights(4u * depth + e, column, select(vec4<f32>(0.0), w[i][e], has_weights[i]));
                }
            }
        }
        channel += DEPTH;
        workgroupBarrier();

        multiply(&sums, invocation);
        workgroupBarrier();
    }

    let lane = invocation.lane;
    let line = invocation.line;
    for (var n = 0u; n < OUT_VECS; n++) { //@unroll
        let sum = sums_of(&sums, invocation, n);
        let vec = first_vec + lane + n * VEC_LANES;
        let has_vec = vec < parameters.result_vecs;
        let output_norm = output_coefficients(min(vec, parameters.result_vecs - 1u));
        // MOMENTS: sums are relative to the tile's first value, so that a large mean does not
        // cancel the variance. REDUCE: gradients of shift and scale.
        var shift = vec4<f32>(0.0);
        if MOMENTS {
            if line == 0u {
                store_scratch(lane, sum[0]);
            }
            workgroupBarrier();
            shift = scratch_at(lane);
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
                result[index] = pack_activation(epilogue(value, output_norm));
                if MOMENTS {
                    first += value - shift;
                    second += (value - shift) * (value - shift);
                }
                if REDUCE {
                    let x = unpack_f32(source_moments[index]);
                    let upstream = relu_mask(value, x, output_norm, parameters.relu);
                    first += upstream;
                    second += upstream * (x - output_norm.mean);
                }
            }
        }
        if MOMENTS || REDUCE {
            store_scratch(local, first);
            store_scratch(WORKGROUP + local, second);
            workgroupBarrier();
            for (var half = PIXEL_LANES / 2u; half > 0u; half /= 2u) {
                if line < half {
                    let other = local + half * VEC_LANES;
                    store_scratch(local, scratch_at(local) + scratch_at(other));
                    store_scratch(WORKGROUP + local, scratch_at(WORKGROUP + local) + scratch_at(WORKGROUP + other));
                }
                workgroupBarrier();
            }
            first = scratch_at(local);
            second = scratch_at(WORKGROUP + local);
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
