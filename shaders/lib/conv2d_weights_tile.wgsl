// What the kernels share that compute a tile of the gradient of a convolution by its weights,
// its operands in workgroup memory: what is brought there, and where the sums go.
//
// It is a matrix product: rows are the weights' quads (a tap and a vector of four input
// channels), columns the output channels, and the long axis the pixels of slice y. A
// workgroup owns a tile of TILE_QUADS by TILE_VECS vectors; workgroup (x, y, z) has quad
// tile x of slice y and channel tile z. It takes PIXELS pixels at a time: all invocations
// together bring the input's vectors and the gradient's into workgroup memory, wait, and
// then multiply.
//
// The coordinates of the pixels cost divisions, so for each pixel one invocation finds them,
// a round ahead, for all.
//
// A kernel says with its own functions what lies in workgroup memory and who multiplies:
// `bring_input`, `bring_gradient`, `multiply`; it hands every invocation the sums of QUADS
// quads, QUAD_LANES apart, and of the vectors lane + n * VEC_LANES, one n after another
// (`sums_of`).
//
// Assumes: all counts at least 1; WORKGROUP is TILE_QUADS times a whole number, and at least
// PIXELS; the grid holds exactly the slices that have rows. Quads, vectors
// and pixels past the end are loaded as zeros and not stored.
//
// Needs the pieces `batch_norm`, `conv2d_weights` and `stored`.

const QUAD_LANES: u32 = WORKGROUP / VEC_LANES;
const TILE_QUADS: u32 = QUAD_LANES * QUADS;
const TILE_VECS: u32 = VEC_LANES * OUT_VECS;

@group(0) @binding(1) var<storage, read> input: array<Stored>;
@group(0) @binding(2) var<storage, read> gradient: array<Stored>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;

// Of the pixels of this round and the next: first row of the image, row and column of the
// window.
var<workgroup> windows: array<vec3<u32>, 2u * PIXELS>;

// An invocation's number, its place along the channels and the quads of the tile, and the
// number of its subgroup where kernels use any.
struct Place {
    local: u32,
    lane: u32,
    line: u32,
    subgroup: u32,
}

// Where the window of an output pixel lies; a row out of reach past the slice's end.
fn window_of(pixel: u32, end: u32) -> vec3<u32> {
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

// The whole work of a workgroup. Uniform but for `place`.
fn compute_tile(group: vec3<u32>, place: Place) {
    let local = place.local;
    let quads = parameters.kernel_height * parameters.kernel_width * parameters.input_vecs;
    let first_quad = group.x * TILE_QUADS;
    let first_vec = group.z * TILE_VECS;
    let lines = parameters.batch * parameters.output_height;
    let first_line = group.y * parameters.lines_per_slice;
    let first = first_line * parameters.output_width;
    let end = min(first_line + parameters.lines_per_slice, lines) * parameters.output_width;

    // The quad that this invocation brings, of several pixels: shifts of the window, vector of
    // channels. Negative shifts are huge ones as u32.
    let slot = local % TILE_QUADS;
    let own_quad = first_quad + slot;
    let tap = own_quad / parameters.input_vecs;
    let tap_row = tap / parameters.kernel_width;
    // A quad past the end lies below the kernel, and is sent out of reach.
    let row_shift = select(0x40000000u, tap_row - parameters.padding_height, own_quad < quads);
    let column_shift = tap - tap_row * parameters.kernel_width - parameters.padding_width;
    let channel = own_quad - tap * parameters.input_vecs;
    let input_norm = input_coefficients(channel);

    if local < PIXELS {
        windows[local] = window_of(first + local, end);
    }
    workgroupBarrier();

    var sums: Sums;
    var round = 0u;
    for (var done = first; done < end; done += PIXELS) {
        for (var i = 0u; i < INPUT_LOADS; i++) { //@unroll
            let number = local / TILE_QUADS + i * (WORKGROUP / TILE_QUADS);
            if number < PIXELS {
                let at = windows[round + number];
                let row = at.y + row_shift;
                let column = at.z + column_shift;
                var x = vec4<f32>(0.0);
                if row < parameters.input_height && column < parameters.input_width {
                    let pixel = (at.x + row) * parameters.input_width + column;
                    x = normalize_input(floats(input[pixel * parameters.input_vecs + channel]), input_norm);
                }
                bring_input(number, slot, x);
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
                bring_gradient(entry / TILE_VECS, entry % TILE_VECS, d);
            }
        }
        round = PIXELS - round;
        if local < PIXELS {
            windows[round + local] = window_of(done + PIXELS + local, end);
        }
        workgroupBarrier();

        multiply(&sums, place);
        workgroupBarrier();
    }

    for (var n = 0u; n < OUT_VECS; n++) { //@unroll
        let sum = sums_of(&sums, place, n);
        let vec = first_vec + place.lane + n * VEC_LANES;
        for (var q = 0u; q < QUADS; q++) { //@unroll
            let quad = first_quad + place.line + q * QUAD_LANES;
            if quad < quads && vec < parameters.output_vecs {
                for (var e = 0u; e < 4u; e++) { //@unroll
                    let row = (group.y * quads + quad) * 4u + e;
                    partial[row * parameters.output_vecs + vec] = sum[4u * q + e];
                }
            }
        }
    }
}
