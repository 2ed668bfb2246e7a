// The row partition: a matrix of rows (pixels) by columns (vectors of four channels), divided
// among workgroups. Host half: src/kernels/row_partition.rs.
//
// A workgroup owns `chunk` consecutive rows of one block of at most ROW_INVOCATIONS columns. Its
// invocations form `height` lines of one block each, and a line owns every `height`-th row.

// Invocations of a workgroup.
const ROW_INVOCATIONS: u32 = 64u;

struct RowPartition {
    // First row, distance to the next, end (exclusive).
    first: u32,
    step: u32,
    end: u32,
    // The invocation's column and line.
    column: u32,
    line: u32,
    // Whether the invocation has a column at all. If not, it has no rows either, and `column` is
    // any of them.
    inside: bool,
}

fn partition_rows(workgroup: vec3<u32>, lane: u32, rows: u32, columns: u32, chunk: u32) -> RowPartition {
    let block = min(columns, ROW_INVOCATIONS);
    let height = ROW_INVOCATIONS / block;
    let line = lane / block;
    let column = workgroup.y * block + lane % block;
    let start = workgroup.x * chunk;
    let inside = line < height && column < columns;
    return RowPartition(
        start + line,
        height,
        select(0u, min(start + chunk, rows), inside),
        min(column, columns - 1u),
        line,
        inside,
    );
}
