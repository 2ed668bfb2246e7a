// Winograd convolution, step 3 of 3: output transform; see conv2d_winograd_source.wgsl.
//
//     result pixels of a tile = A^T m A
//
// product: [components][tiles][result_vecs] vectors: the elements of m.
// result: [batch][result_height][result_width][result_vecs] vectors, of which the dispatch
// writes its images.
// An optional epilogue normalises the result or writes partial statistics of it to `partial`: its
// moments, as batch_moments.wgsl does, or the gradients of scale and shift of the normalisation
// of x, as normalize_grad_reduce.wgsl does.
// One invocation owns one column of every few tiles (lib/row_partition.wgsl); with partial
// statistics, a workgroup computes a slice of some columns.

// import activation
// import affine_gradient
// import column_coefficients
// import f32_storage
// import line_reduction
// import store_moments
// import winograd
// import winograd_filter

// Epilogue, as in lib/conv2d_pixels.wgsl: normalisation by moments (mean, variance) and affine
// (scale, shift), [2][result_vecs] vectors each, and partial statistics. Without normalisation
// and REDUCE they are bound to the product and not read.
const NORMALIZE_OUTPUT: bool = false;
const MOMENTS: bool = false;
const REDUCE: bool = false;

@group(0) @binding(1) var<storage, read> product: array<F32Vec>;
@group(0) @binding(2) var<storage, read> moments: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> affine: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> x: array<ActivationVec>;
@group(0) @binding(5) var<storage, read_write> result: array<ActivationVec>;
@group(0) @binding(6) var<storage, read_write> partial: array<vec4<f32>>;

struct Partial {
    moments: Moments,
    gradient: AffineGradient,
}

fn combined(a: Partial, b: Partial) -> Partial {
    var total: Partial;
    if MOMENTS {
        total.moments = merge(a.moments, b.moments);
    }
    if REDUCE {
        total.gradient = sum_of_gradients(a.gradient, b.gradient);
    }
    return total;
}

@compute @workgroup_size(ROW_INVOCATIONS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let vecs = parameters.result_vecs;
    let s = partition_rows(workgroup, lane, tiles(), vecs, parameters.chunk);
    var output_norm: Coefficients;
    if NORMALIZE_OUTPUT || REDUCE {
        output_norm = column_coefficients(s.column, vecs, parameters.epsilon);
    }
    var d: Deviations;
    var gradient: AffineGradient;
    for (var number = s.first; number < s.end; number += s.step) {
        let tile = tile_of(number);
        var lines: array<array<vec4<f32>, OUT>, INPUT_EXTENT>;
        for (var j = 0u; j < INPUT_EXTENT; j++) { //@unroll
            var m: array<vec4<f32>, INPUT_EXTENT>;
            for (var i = 0u; i < INPUT_EXTENT; i++) { //@unroll
                let component = i * INPUT_EXTENT + j;
                m[i] = unpack_f32(product[(component * tiles() + number) * vecs + s.column]);
            }
            lines[j] = result_line(m);
        }
        for (var i = 0u; i < OUT; i++) { //@unroll
            var m: array<vec4<f32>, INPUT_EXTENT>;
            for (var j = 0u; j < INPUT_EXTENT; j++) { //@unroll
                m[j] = lines[j][i];
            }
            let values = result_line(m);
            for (var j = 0u; j < OUT; j++) { //@unroll
                if tile.row + i < parameters.result_height && tile.column + j < parameters.result_width {
                    let line = tile.image * parameters.result_height + tile.row + i;
                    let at = (line * parameters.result_width + tile.column + j) * vecs + s.column;
                    var value = values[j];
                    if MOMENTS {
                        accumulate(&d, value);
                    }
                    if REDUCE {
                        let before = unpack_activation(x[at]);
                        let upstream = relu_mask(value, before, output_norm, parameters.relu);
                        add_gradient(&gradient, upstream, before, output_norm);
                    }
                    if NORMALIZE_OUTPUT {
                        value = relu(normalized(value, output_norm), parameters.relu);
                    }
                    result[at] = pack_activation(value);
                }
            }
        }
    }
    if MOMENTS || REDUCE {
        let total = combine_lines(Partial(moments_of(d), gradient), lane, vecs);
        let slice = parameters.first_slice + workgroup.x;
        if s.inside && s.line == 0u {
            if MOMENTS {
                store_moments(total.moments, slice, s.column, vecs);
            }
            if REDUCE {
                store_gradient(total.gradient, output_norm, slice, s.column, vecs);
            }
        }
    }
}
