// Winograd convolution, step 1 of 3: input transform.
//
// A convolution with 3x3 taps and stride 1, or its input gradient, is computed in
// tiles of OUT x OUT result pixels, each from a window d of INPUT_EXTENT x INPUT_EXTENT source
// pixels (lib/winograd2.wgsl or lib/winograd4.wgsl; the matrices are named as in Lavin and Gray
// 2016):
//
//     result = A^T [ sum over channels  (G g G^T) * (B^T d B) ] A
//
// where * multiplies element by element. For each of the INPUT_EXTENT * INPUT_EXTENT elements,
// the Winograd components, the sum over channels is a matrix product of tiles by channels and
// channels by channels, which conv2d_tiled.wgsl or conv2d_subgroup.wgsl computes, all components
// in one dispatch. This takes OUT * OUT * 9 / INPUT_EXTENT^2 times fewer multiplications and
// more memory traffic, so it pays off with many channels.
//
//     transformed[component, tile, vec] = (B^T d B)[component]
//
// source: [batch][source_height][source_width][source_vecs] vectors; pixels outside the image
// count as zero.
// transformed: [components][tiles][source_vecs] vectors, for the tiles of the images of the
// dispatch.
// Optionally, the source is normalised first.
// One invocation owns one vector of a tile.

// import activation
// import column_coefficients
// import f32_storage
// import winograd
// import winograd_filter

// Input normalisation: whether the source is normalised by moments (mean, variance) and affine
// (scale, shift), [2][source_vecs] vectors each. Otherwise they are bound to the source and not
// read.
const NORMALIZE_INPUT: bool = false;

@group(0) @binding(1) var<storage, read> source: array<ActivationVec>;
@group(0) @binding(2) var<storage, read> moments: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> affine: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> transformed: array<F32Vec>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let vecs = parameters.source_vecs;
    let index = (group.y * groups.x + group.x) * 64u + local;
    let number = index / vecs;
    let vec = index - number * vecs;
    if number >= tiles() {
        return;
    }
    let tile = tile_of(number);
    var input_norm: Coefficients;
    if NORMALIZE_INPUT {
        input_norm = column_coefficients(vec, vecs, parameters.epsilon);
    }
    // Columns first: lines[j] is B^T times column j.
    var lines: array<array<vec4<f32>, INPUT_EXTENT>, INPUT_EXTENT>;
    for (var j = 0u; j < INPUT_EXTENT; j++) { //@unroll
        // Without a branch before a load, one wait suffices for all of them.
        var loaded: array<ActivationVec, INPUT_EXTENT>;
        var inside: array<bool, INPUT_EXTENT>;
        for (var i = 0u; i < INPUT_EXTENT; i++) { //@unroll
            // A negative coordinate is a huge number as u32.
            let row = u32(parameters.base_height) + tile.row + i;
            let column = u32(parameters.base_width) + tile.column + j;
            inside[i] = row < parameters.source_height && column < parameters.source_width;
            let line = tile.image * parameters.source_height + row;
            let at = (line * parameters.source_width + column) * vecs + vec;
            loaded[i] = source[select(0u, at, inside[i])];
        }
        var d: array<vec4<f32>, INPUT_EXTENT>;
        for (var i = 0u; i < INPUT_EXTENT; i++) { //@unroll
            d[i] = unpack_activation(loaded[i]);
            if NORMALIZE_INPUT {
                d[i] = relu(normalized(d[i], input_norm), parameters.relu);
            }
            d[i] = select(vec4<f32>(0.0), d[i], inside[i]);
        }
        lines[j] = source_line(d);
    }
    for (var i = 0u; i < INPUT_EXTENT; i++) { //@unroll
        var row: array<vec4<f32>, INPUT_EXTENT>;
        for (var j = 0u; j < INPUT_EXTENT; j++) { //@unroll
            row[j] = lines[j][i];
        }
        row = source_line(row);
        for (var j = 0u; j < INPUT_EXTENT; j++) { //@unroll
            transformed[((i * INPUT_EXTENT + j) * tiles() + number) * vecs + vec] = pack_f32(row[j]);
        }
    }
}
