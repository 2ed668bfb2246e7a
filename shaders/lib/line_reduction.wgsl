// Combines the partial results of the lines of a row partition, column by column, in workgroup
// memory and in a fixed order.
//
// The kernel defines `Partial`, the partial result of an invocation, and
// `combined(a: Partial, b: Partial) -> Partial`. The partial result of an invocation without rows
// must not change the other.

// import row_partition

var<workgroup> line_partials: array<Partial, ROW_INVOCATIONS>;

// The result of the column in line 0, and part of it in the others. The workgroup must call it
// together, with the columns of its partition.
fn combine_lines(own: Partial, lane: u32, columns: u32) -> Partial {
    // Where columns outnumber the invocations, there is one line, and nothing to combine.
    let height = ROW_INVOCATIONS / columns;
    let line = lane / columns;
    line_partials[lane] = own;
    workgroupBarrier();
    // The largest power of two below the height.
    for (var half = 1u << firstLeadingBit(max(height, 2u) - 1u); half > 0u; half /= 2u) {
        if line < half && line + half < height {
            line_partials[lane] = combined(line_partials[lane], line_partials[lane + half * columns]);
        }
        workgroupBarrier();
    }
    return line_partials[lane];
}
