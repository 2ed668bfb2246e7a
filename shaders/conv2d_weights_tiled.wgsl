// Gradient of a convolution by its weights, for graphics cards: partial sums over slices of
// the pixels, a tile of them in registers, its operands in workgroup memory.
//
// Operation, parameters and bindings are those of `conv2d_weights_direct`, where they are
// explained; `sum_slices` adds the slices.
//
// It is a matrix product: rows are the weights' quads (a tap and a vector of four input
// channels), columns the output channels, and the long axis the pixels of slice y. A
// workgroup owns a tile of TILE_QUADS by TILE_VECS vectors; workgroup (x, y, z) has quad
// tile x of slice y and channel tile z. It takes PIXELS pixels at a time: all invocations
// together bring the input's vectors and the gradient's into workgroup memory, wait, and
// then each adds up its QUADS by OUT_VECS part of the tile.
//
// The coordinates of the pixels cost divisions, so for each pixel one invocation finds them,
// a round ahead, for all.
//
// Assumes: all counts at least 1; WORKGROUP is TILE_QUADS times a whole number, or divides
// it, and at least PIXELS; the grid holds exactly the slices that have rows. Quads, vectors
// and pixels past the end are loaded as zeros and not stored.
//
// The host sets the constants, and expands the loops marked `//@unroll`.

const WORKGROUP: u32 = 128u;
// Invocations along the channels of the tile.
const VEC_LANES: u32 = 8u;
const QUADS: u32 = 2u;
const OUT_VECS: u32 = 2u;
const PIXELS: u32 = 8u;
// Vectors that an invocation brings at a time.
const INPUT_LOADS: u32 = 2u;
const GRADIENT_LOADS: u32 = 1u;

const QUAD_LANES: u32 = WORKGROUP / VEC_LANES;
const TILE_QUADS: u32 = QUAD_LANES * QUADS;
const TILE_VECS: u32 = VEC_LANES * OUT_VECS;

// import normal
// import conv2d_weights
// import stored

@group(0) @binding(1) var<storage, read> input: array<Stored>;
@group(0) @binding(2) var<storage, read> gradient: array<Stored>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;

// [pixel][quad], [pixel][vector]
var<workgroup> input_tile: array<vec4<f32>, PIXELS * TILE_QUADS>;
var<workgroup> gradient_tile: array<vec4<f32>, PIXELS * TILE_VECS>;
// Of the pixels of this round and the next: first row of the image, row and column of the
// window.
var<workgroup> places: array<vec3<u32>, 2u * PIXELS>;

// Where the window of an output pixel lies; a row out of reach past the slice's end.
fn place(pixel: u32, end: u32) -> vec3<u32> {
    let line = pixel / parameters.output_width;
    let image = line / parameters.output_height;
    let row = (line - image * parameters.output_height) * parameters.stride_height;
    let column = (pixel - line * parameters.output_width) * parameters.stride_width;
    return vec3<u32>(
        image * parameters.input_height,
        select(0x80000000u, row, pixel < end),
        column,
    );
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let quads = parameters.kernel_height * parameters.kernel_width * parameters.input_vecs;
    let first_quad = group.x * TILE_QUADS;
    let first_vec = group.z * TILE_VECS;
    let lines = parameters.batch * parameters.output_height;
    let first_line = group.y * parameters.lines_per_slice;
    let first = first_line * parameters.output_width;
    let end = min(first_line + parameters.lines_per_slice, lines) * parameters.output_width;

    // The quads that this invocation brings: shifts of the window, vector of channels.
    // Negative shifts are huge ones as u32.
    var row_shift: array<u32, INPUT_LOADS>;
    var column_shift: array<u32, INPUT_LOADS>;
    var channel: array<u32, INPUT_LOADS>;
    var prepare: array<Normal, INPUT_LOADS>;
    for (var i = 0u; i < INPUT_LOADS; i++) { //@unroll
        let quad = first_quad + (local + i * WORKGROUP) % TILE_QUADS;
        let tap = quad / parameters.input_vecs;
        let tap_row = tap / parameters.kernel_width;
        // A quad past the end lies below the kernel, and is sent out of reach.
        row_shift[i] = select(0x40000000u, tap_row - parameters.padding_height, quad < quads);
        column_shift[i] = tap - tap_row * parameters.kernel_width - parameters.padding_width;
        channel[i] = quad - tap * parameters.input_vecs;
        prepare[i] = prepare_of(channel[i]);
    }

    if local < PIXELS {
        places[local] = place(first + local, end);
    }
    workgroupBarrier();

    let lane = local % VEC_LANES;
    let line = local / VEC_LANES;
    var sum: array<array<vec4<f32>, OUT_VECS>, 4u * QUADS>;
    var round = 0u;
    for (var done = first; done < end; done += PIXELS) {
        for (var i = 0u; i < INPUT_LOADS; i++) { //@unroll
            let entry = local + i * WORKGROUP;
            if entry < PIXELS * TILE_QUADS {
                let at = places[round + entry / TILE_QUADS];
                let row = at.y + row_shift[i];
                let column = at.z + column_shift[i];
                var x = vec4<f32>(0.0);
                if row < parameters.input_height && column < parameters.input_width {
                    let pixel = (at.x + row) * parameters.input_width + column;
                    x = prepared(floats(input[pixel * parameters.input_vecs + channel[i]]), prepare[i]);
                }
                input_tile[entry] = x;
            }
        }
        for (var i = 0u; i < GRADIENT_LOADS; i++) { //@unroll
            let entry = local + i * WORKGROUP;
            if entry < PIXELS * TILE_VECS {
                let pixel = done + entry / TILE_VECS;
                let vec = first_vec + entry % TILE_VECS;
                var d = vec4<f32>(0.0);
                if pixel < end && vec < parameters.output_vecs {
                    d = floats(gradient[pixel * parameters.output_vecs + vec]);
                }
                gradient_tile[entry] = d;
            }
        }
        round = PIXELS - round;
        if local < PIXELS {
            places[round + local] = place(done + PIXELS + local, end);
        }
        workgroupBarrier();

        for (var p = 0u; p < PIXELS; p++) {
            var d: array<vec4<f32>, OUT_VECS>;
            for (var n = 0u; n < OUT_VECS; n++) { //@unroll
                d[n] = gradient_tile[p * TILE_VECS + lane + n * VEC_LANES];
            }
            for (var q = 0u; q < QUADS; q++) { //@unroll
                let x = input_tile[p * TILE_QUADS + line + q * QUAD_LANES];
                for (var e = 0u; e < 4u; e++) { //@unroll
                    for (var n = 0u; n < OUT_VECS; n++) { //@unroll
                        sum[4u * q + e][n] = fma(vec4<f32>(x[e]), d[n], sum[4u * q + e][n]);
                    }
                }
            }
        }
        workgroupBarrier();
    }

    for (var q = 0u; q < QUADS; q++) { //@unroll
        let quad = first_quad + line + q * QUAD_LANES;
        for (var e = 0u; e < 4u; e++) { //@unroll
            let index = ((group.y * quads + quad) * 4u + e) * parameters.output_vecs;
            for (var n = 0u; n < OUT_VECS; n++) { //@unroll
                let vec = first_vec + lane + n * VEC_LANES;
                if quad < quads && vec < parameters.output_vecs {
                    partial[index + vec] = sum[4u * q + e][n];
                }
            }
        }
    }
}
