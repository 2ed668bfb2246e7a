// Average-pool backward of the zero-padded shortcut: which pixel of the sum a gradient comes
// from.

struct PoolBackward {
    // The pixel of the sum.
    row: u32,
    // Cells of the pooling window that share its gradient: 1 at stride 1.
    cells: u32,
}

// row: a pixel of the shortcut's input, h x w; the sum has p x q pixels.
fn pool_backward_of(row: u32, stride: u32, p: u32, q: u32, h: u32, w: u32) -> PoolBackward {
    if stride == 1u {
        return PoolBackward(row, 1u);
    }
    let column = row % w;
    let line = row / w % h;
    let n = row / (h * w);
    let cells = min(2u, h - line / 2u * 2u) * min(2u, w - column / 2u * 2u);
    return PoolBackward((n * p + line / 2u) * q + column / 2u, cells);
}

// Which lanes are channels of the shortcut's input, whose last of `columns` vectors holds `tail`
// channels: the sum may have more.
fn lanes_of(column: u32, columns: u32, tail: u32) -> vec4<bool> {
    let channels = select(4u, tail, column + 1u == columns);
    return vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(channels);
}
