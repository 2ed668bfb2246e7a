// Winograd convolution: weight transform; see conv2d_winograd_source.wgsl.
//
//     transformed[component, c, o] = (G g G^T)[component],
//     g[a, b] = weights[tap_first + tap_step * a, tap_first + tap_step * b, c, o]
//
// weights: [3][3][4 * input vecs][output vecs] vectors.
// transformed: [components][4 * source_vecs][result_vecs] vectors.
// TRANSPOSED exchanges input and output channels of the weights, for the input gradient.
// One invocation owns one vector of result channels of a source channel.

// import f32_storage
// import winograd
// import winograd_filter

const TRANSPOSED: bool = false;

@group(0) @binding(1) var<storage, read> weights: array<F32Vec>;
@group(0) @binding(2) var<storage, read_write> transformed: array<F32Vec>;

fn weight_at(tap: u32, channel: u32, vec: u32) -> vec4<f32> {
    let per_tap = 4u * parameters.source_vecs * parameters.result_vecs;
    if TRANSPOSED {
        // Vectors run along the source channels: take one lane of four of them.
        let lane = channel % 4u;
        var value: vec4<f32>;
        for (var e = 0u; e < 4u; e++) { //@unroll
            let row = (4u * vec + e) * parameters.source_vecs;
            value[e] = unpack_f32(weights[tap * per_tap + row + channel / 4u])[lane];
        }
        return value;
    }
    return unpack_f32(weights[tap * per_tap + channel * parameters.result_vecs + vec]);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + local;
    let channel = index / parameters.result_vecs;
    let vec = index - channel * parameters.result_vecs;
    let channels = 4u * parameters.source_vecs;
    if channel >= channels {
        return;
    }
    var lines: array<array<vec4<f32>, INPUT_EXTENT>, 3>;
    for (var b = 0u; b < 3u; b++) { //@unroll
        var g: array<vec4<f32>, 3>;
        for (var a = 0u; a < 3u; a++) { //@unroll
            let row = i32(parameters.tap_first) + parameters.tap_step * i32(a);
            let column = i32(parameters.tap_first) + parameters.tap_step * i32(b);
            g[a] = weight_at(u32(3 * row + column), channel, vec);
        }
        lines[b] = weight_line(g);
    }
    for (var i = 0u; i < INPUT_EXTENT; i++) { //@unroll
        var g: array<vec4<f32>, 3>;
        for (var b = 0u; b < 3u; b++) { //@unroll
            g[b] = lines[b][i];
        }
        let row = weight_line(g);
        for (var j = 0u; j < INPUT_EXTENT; j++) { //@unroll
            let at = ((i * INPUT_EXTENT + j) * channels + channel) * parameters.result_vecs + vec;
            transformed[at] = pack_f32(row[j]);
        }
    }
}
