// Gradient of max_pool.wgsl: each pixel collects dy of the windows whose maximum it holds.
//
// dy, argmax: [N, P, Q, columns] vectors of four channels. dx: [N, H, W, columns].
// One invocation owns one column of every few pixels of dx (lib/row_partition.wgsl).

// import activation
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
    tail: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<ActivationVec>;
@group(0) @binding(2) var<storage, read> argmax: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<ActivationVec>;

@compute @workgroup_size(ROW_INVOCATIONS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = partition_rows(workgroup, lane, params.rows, params.columns, params.chunk);
    if !s.inside {
        return;
    }
    for (var row = s.first; row < s.end; row += s.step) {
        let w = row % params.w;
        let h = row / params.w % params.h;
        let n = row / (params.h * params.w);
        var sum = vec4<f32>(0.0);
        for (var r = 0u; r < params.kernel; r++) {
            let top = h + params.padding - r;
            let p = top / params.stride;
            if top % params.stride != 0u || p >= params.p {
                continue;
            }
            for (var c = 0u; c < params.kernel; c++) {
                let left = w + params.padding - c;
                let q = left / params.stride;
                if left % params.stride != 0u || q >= params.q {
                    continue;
                }
                let at = ((n * params.p + p) * params.q + q) * params.columns + s.column;
                let here = argmax[at] == vec4<u32>(r * params.kernel + c);
                sum += select(vec4<f32>(0.0), unpack_activation(dy[at]), here);
            }
        }
        dx[row * params.columns + s.column] = pack_activation(sum);
    }
}
