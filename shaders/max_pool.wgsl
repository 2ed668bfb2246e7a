// Maximum of each window, and its argmax index within the window (row-major; the first maximum
// wins). Padding counts as minus infinity; a NaN counts as larger than everything.
//
// x: [N, H, W, columns] vectors of four channels. maximum, argmax: [N, P, Q, columns].
// One invocation owns one column of every few output pixels (lib/row_partition.wgsl).

// import activation
// import float
// import row_partition

struct Params {
    rows: u32,
    columns: u32,
    chunk: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
    p: u32,
    q: u32,
    h: u32,
    w: u32,
    // Channels in the last column, 1 to 4.
    tail: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<ActivationVec>;
@group(0) @binding(2) var<storage, read_write> maximum: array<ActivationVec>;
@group(0) @binding(3) var<storage, read_write> argmax: array<vec4<u32>>;

@compute @workgroup_size(ROW_INVOCATIONS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = partition_rows(workgroup, lane, params.rows, params.columns, params.chunk);
    if !s.inside {
        return;
    }
    let channels = select(4u, params.tail, s.column + 1u == params.columns);
    let real = vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(channels);
    for (var row = s.first; row < s.end; row += s.step) {
        let q = row % params.q;
        let p = row / params.q % params.p;
        let n = row / (params.p * params.q);
        var best = vec4<f32>(0.0);
        var argmax_of_best = vec4<u32>(0u);
        var found = false;
        for (var r = 0u; r < params.kernel; r++) {
            // A coordinate above or left of the image wraps around to a huge number, also outside.
            let h = p * params.stride + r - params.padding;
            for (var c = 0u; c < params.kernel; c++) {
                let w = q * params.stride + c - params.padding;
                if h >= params.h || w >= params.w {
                    continue;
                }
                let value = unpack_activation(x[((n * params.h + h) * params.w + w) * params.columns + s.column]);
                for (var i = 0u; i < 4u; i++) {
                    let larger = value[i] > best[i] || (is_nan(value[i]) && !is_nan(best[i]));
                    if larger || !found {
                        best[i] = value[i];
                        argmax_of_best[i] = r * params.kernel + c;
                    }
                }
                found = true;
            }
        }
        let at = row * params.columns + s.column;
        maximum[at] = pack_activation(best);
        argmax[at] = select(vec4<u32>(0u), argmax_of_best, real);
    }
}
