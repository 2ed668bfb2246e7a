// Sum of each channel over a slice of the rows.
//
// x: [rows, columns] vectors of four channels.
// partial: [slices, columns]; sum_slices.wgsl adds the slices.
// A workgroup computes a slice of some columns: one invocation owns one column of every few rows
// (lib/row_partition.wgsl).

// import line_reduction

// Rows that are loaded at a time.
const ROWS: u32 = 4u;

struct Params {
    rows: u32,
    columns: u32,
    chunk: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> partial: array<vec4<f32>>;

alias Partial = vec4<f32>;

fn combined(a: Partial, b: Partial) -> Partial {
    return a + b;
}

@compute @workgroup_size(ROW_INVOCATIONS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = partition_rows(workgroup, lane, params.rows, params.columns, params.chunk);
    var sum = vec4<f32>(0.0);
    for (var row = s.first; row < s.end; row += ROWS * s.step) {
        var values: array<vec4<f32>, ROWS>;
        for (var i = 0u; i < ROWS; i++) { //@unroll
            values[i] = x[min(row + i * s.step, s.end - 1u) * params.columns + s.column];
        }
        for (var i = 0u; i < ROWS; i++) { //@unroll
            if row + i * s.step < s.end {
                sum += values[i];
            }
        }
    }
    let total = combine_lines(sum, lane, params.columns);
    if s.inside && s.line == 0u {
        partial[workgroup.x * params.columns + s.column] = total;
    }
}
