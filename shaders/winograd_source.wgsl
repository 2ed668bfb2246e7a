// Winograd's convolution, step 1 of 3: source pixels, transformed.
//
// A convolution of 3x3 taps that moves by one pixel, or its gradient by the input, is computed
// in tiles of OUT x OUT result pixels, each from INPUT_EXTENT x INPUT_EXTENT source pixels d (lib/winograd2
// or lib/winograd4: the names of the matrices are those of Lavin and Gray):
//
//     result = A^T [ sum over channels  (G g G^T) * (B^T d B) ] A
//
// where * multiplies place by place. So for each of the INPUT_EXTENT * INPUT_EXTENT places, the components, the
// sum over channels is a matrix product, tiles by channels by channels: conv2d_tiled or
// conv2d_subgroup compute it, all components in one dispatch. It takes OUT * OUT * 9 / INPUT_EXTENT^2
// times less multiplications, and more traffic, so it pays where channels are many.
//
//     transformed[component, tile, vec] = (B^T d B)[component]
//
// source [batch][source_height][source_width][source_vecs] vectors; pixels outside count as
// zero. transformed [components][tiles][source_vecs] vectors, where tiles are those of the images
// of the dispatch. On request the source is normalised first.
// One invocation owns a vector of a tile.

// import batch_norm
// import stored
// import exact
// import winograd
// import winograd{OUT|2}

// Whether there is a normalisation, by moments (mean, variance) and affine (scale, shift),
// [2][source_vecs] vectors each; else they are bound to the source and not read.
const NORMALIZE_INPUT: bool = false;

@group(0) @binding(1) var<storage, read> source: array<Stored>;
@group(0) @binding(2) var<storage, read> moments: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> affine: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> transformed: array<Exact>;

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
        input_norm = coefficients_of(
            moments[vec],
            moments[vecs + vec],
            affine[vec],
            affine[vecs + vec],
            parameters.epsilon,
        );
    }
    // Columns first: lines[j] is B^T times column j.
    var lines: array<array<vec4<f32>, INPUT_EXTENT>, INPUT_EXTENT>;
    for (var j = 0u; j < INPUT_EXTENT; j++) { //@unroll
        var d: array<vec4<f32>, INPUT_EXTENT>;
        for (var i = 0u; i < INPUT_EXTENT; i++) { //@unroll
            // A negative coordinate is a huge one as u32.
            let row = u32(parameters.base_height) + tile.row + i;
            let column = u32(parameters.base_width) + tile.column + j;
            d[i] = vec4<f32>(0.0);
            if row < parameters.source_height && column < parameters.source_width {
                let line = tile.image * parameters.source_height + row;
                d[i] = floats(source[(line * parameters.source_width + column) * vecs + vec]);
                if NORMALIZE_INPUT {
                    d[i] = relu(normalized(d[i], input_norm), parameters.relu);
                }
            }
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
            transformed[((i * INPUT_EXTENT + j) * tiles() + number) * vecs + vec] = exact_packed(row[j]);
        }
    }
}
