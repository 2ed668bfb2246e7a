// Shared by the subgroup kernels that compute the gradient of a convolution with respect to its
// weights: the output rows of a slice, and the output gradient, of which each invocation loads a
// share that the kernel broadcasts by shuffles with constant lanes.
//
// The kernel defines SUBGROUP, PIXELS, OUT_VECS and GRADIENT_LOADS.

// import activation
// import conv2d_grad_weight

@group(0) @binding(1) var<storage, read> input: array<ActivationVec>;
@group(0) @binding(2) var<storage, read> gradient: array<ActivationVec>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;

// An invocation's share of the PIXELS * OUT_VECS gradient vectors of a step. Piece
// p * OUT_VECS + n is pixel p, vector n.
struct Share {
    pixel: array<u32, GRADIENT_LOADS>,
    vec: array<u32, GRADIENT_LOADS>,
}

fn share_of(lane: u32, first_vec: u32) -> Share {
    var share: Share;
    for (var k = 0u; k < GRADIENT_LOADS; k++) { //@unroll
        let piece = min(lane + k * SUBGROUP, PIXELS * OUT_VECS - 1u);
        share.pixel[k] = piece / OUT_VECS;
        share.vec[k] = min(first_vec + piece % OUT_VECS, parameters.output_vecs - 1u);
    }
    return share;
}

// Loads the share from pixels `first` and following of an output row, counted over the whole
// batch; pixels past the end of the row count as zero.
fn load_share(
    share: ptr<function, Share>,
    line: u32,
    first: u32,
) -> array<vec4<f32>, GRADIENT_LOADS> {
    var loaded: array<vec4<f32>, GRADIENT_LOADS>;
    for (var k = 0u; k < GRADIENT_LOADS; k++) { //@unroll
        let pixel = first + (*share).pixel[k];
        loaded[k] = vec4<f32>(0.0);
        if pixel < parameters.output_width {
            let at = line * parameters.output_width + pixel;
            loaded[k] = unpack_activation(gradient[at * parameters.output_vecs + (*share).vec[k]]);
        }
    }
    return loaded;
}

// First output row of a slice, and the end (exclusive).
fn lines_of(slice: u32) -> vec2<u32> {
    let lines = parameters.batch * parameters.output_height;
    let first = slice * parameters.lines_per_slice;
    return vec2<u32>(first, min(first + parameters.lines_per_slice, lines));
}
