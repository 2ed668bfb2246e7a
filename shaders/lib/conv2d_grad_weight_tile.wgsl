// Shared by the kernels that compute a tile of the gradient of a convolution with respect to its
// weights from operands in workgroup memory: loading the operands, and storing the sums.
//
// It is a matrix product: rows are the weights' quads (a tap and a vector of four input
// channels), columns are output channels, and the inner dimension is the pixels of slice y. A
// workgroup owns a tile of TILE_QUADS by TILE_VECS vectors; workgroup (x, y, z) has quad
// tile x of slice y and channel tile z. It advances PIXELS pixels at a time: all invocations
// load vectors of input and gradient into workgroup memory, wait, and then multiply.
//
// An invocation loads LOAD_BATCH vectors of the input and then stages them, without a branch before
// a load: one wait for all of them. Where there is nothing to load, it loads any element and stages
// zero.
//
// The coordinates of a pixel require divisions, so one invocation computes them for the whole
// workgroup, one round ahead.
//
// The kernel defines the layout of workgroup memory and the product: `stage_input`,
// `stage_gradient` and `multiply`. `sums_of` gives every invocation the sums of QUADS quads,
// QUAD_LANES apart, and of the vectors lane + n * VEC_LANES, one n after another.
//
// Assumes: all counts are at least 1; WORKGROUP is TILE_QUADS times a divisor of PIXELS, and
// at least PIXELS; the grid holds exactly the slices that have rows. Quads, vectors and pixels past
// the end are loaded as zeros and not stored.

// import activation
// import conv2d_grad_weight

const QUAD_LANES: u32 = WORKGROUP / VEC_LANES;
const TILE_QUADS: u32 = QUAD_LANES * QUADS;
const TILE_VECS: u32 = VEC_LANES * OUT_VECS;

@group(0) @binding(1) var<storage, read> input: array<ActivationVec>;
@group(0) @binding(2) var<storage, read> gradient: array<ActivationVec>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;

// Windows of the pixels of this round and the next: first row of the image, row and column of
// the window.
var<workgroup> windows: array<vec3<u32>, 2u * PIXELS>;

// An invocation's index in the workgroup, its lane along the channels and its line along the
// quads of the tile, and the index of its subgroup in kernels that use subgroups.
struct Invocation {
    local: u32,
    lane: u32,
    line: u32,
    subgroup: u32,
}

// The window of an output pixel. A row outside every image marks a pixel past the slice's end.
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

// All the work of a workgroup. Every argument but `invocation` is uniform.
fn compute_tile(group: vec3<u32>, invocation: Invocation) {
    let local = invocation.local;
    let quads = parameters.kernel_height * parameters.kernel_width * parameters.input_vecs;
    let first_quad = group.x * TILE_QUADS;
    let first_vec = group.z * TILE_VECS;
    let lines = parameters.batch * parameters.output_height;
    let first_line = group.y * parameters.lines_per_slice;
    let first = first_line * parameters.output_width;
    let end = min(first_line + parameters.lines_per_slice, lines) * parameters.output_width;

    // The quad that this invocation loads, for several pixels: shifts within the window, vector
    // of channels. Negative shifts are huge numbers as u32.
    let slot = local % TILE_QUADS;
    let first_number = local / TILE_QUADS;
    let own_quad = first_quad + slot;
    let tap = own_quad / parameters.input_vecs;
    let tap_row = tap / parameters.kernel_width;
    // A quad past the end would be below the kernel; it gets a row outside every image.
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
        var gradients: array<ActivationVec, GRADIENT_LOADS>;
        var has_gradient: array<bool, GRADIENT_LOADS>;
        for (var i = 0u; i < GRADIENT_LOADS; i++) { //@unroll
            let entry = local + i * WORKGROUP;
            let pixel = done + entry / TILE_VECS;
            let vec = first_vec + entry % TILE_VECS;
            has_gradient[i] = pixel < end && vec < parameters.output_vecs;
            gradients[i] = gradient[select(0u, pixel * parameters.output_vecs + vec, has_gradient[i])];
        }
        for (var batch = 0u; batch < INPUT_BATCHES; batch++) { //@unroll
            var loaded: array<ActivationVec, LOAD_BATCH>;
            var inside: array<bool, LOAD_BATCH>;
            for (var j = 0u; j < LOAD_BATCH; j++) { //@unroll
                let number = first_number + (batch * LOAD_BATCH + j) * (WORKGROUP / TILE_QUADS);
                let at = windows[round + number];
                let row = at.y + row_shift;
                let column = at.z + column_shift;
                inside[j] = row < parameters.input_height && column < parameters.input_width;
                let pixel = (at.x + row) * parameters.input_width + column;
                loaded[j] = input[select(0u, pixel * parameters.input_vecs + channel, inside[j])];
            }
            for (var j = 0u; j < LOAD_BATCH; j++) { //@unroll
                let number = first_number + (batch * LOAD_BATCH + j) * (WORKGROUP / TILE_QUADS);
                let x = normalize_input(unpack_activation(loaded[j]), input_norm);
                stage_input(number, slot, select(vec4<f32>(0.0), x, inside[j]));
            }
        }
        for (var i = 0u; i < GRADIENT_LOADS; i++) { //@unroll
            let entry = local + i * WORKGROUP;
            if entry < PIXELS * TILE_VECS {
                let d = select(vec4<f32>(0.0), unpack_activation(gradients[i]), has_gradient[i]);
                stage_gradient(entry / TILE_VECS, entry % TILE_VECS, d);
            }
        }
        round = PIXELS - round;
        if local < PIXELS {
            windows[round + local] = window_of(done + PIXELS + local, end);
        }
        workgroupBarrier();

        multiply(&sums, invocation);
        workgroupBarrier();
    }

    for (var n = 0u; n < OUT_VECS; n++) { //@unroll
        let sum = sums_of(&sums, invocation, n);
        let vec = first_vec + invocation.lane + n * VEC_LANES;
        for (var q = 0u; q < QUADS; q++) { //@unroll
            let quad = first_quad + invocation.line + q * QUAD_LANES;
            if quad < quads && vec < parameters.output_vecs {
                for (var e = 0u; e < 4u; e++) { //@unroll
                    let row = (group.y * quads + quad) * 4u + e;
                    partial[row * parameters.output_vecs + vec] = sum[4u * q + e];
                }
            }
        }
    }
}
