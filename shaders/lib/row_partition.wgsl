// The row partition: a matrix of rows (pixels) by columns (vectors of four channels), divided
// among workgroups of 64. Host half: src/kernels/row_partition.rs.
//
// A workgroup owns `chunk` consecutive rows of one block of at most 64 columns. Its invocations
// form `height` lines of one block each, and a line owns every `height`-th row.

struct RowPartition {
    // First row, distance to the next, end (exclusive).
    first: u32,
    step: u32,
    end: u32,
    // The invocation's column, and the index of its partial result.
    column: u32,
    slice: u32,
    // Whether the invocation has a column at all.
    inside: bool,
}

fn partition_rows(workgroup: vec3<u32>, lane: u32, rows: u32, columns: u32, chunk: u32) -> RowPartition {
    let block = min(columns, 64u);
    let height = 64u / block;
    let line = lane / block;
    let column = workgroup.y * block + lane % block;
    let start = workgroup.x * chunk;
    return RowPartition(
        start + line,
        height,
        min(start + chunk, rows),
        column,
        workgroup.x * height + line,
        line < height && column < columns,
    );
}
