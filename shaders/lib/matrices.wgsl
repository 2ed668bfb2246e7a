// A tile of a matrix product on the matrix units of an adapter (cooperative matrices), for
// kernels whose operands lie in workgroup memory: each of the first SUBGROUPS subgroups owns
// ROWS by COLUMNS matrices of the sums. An adapter may form smaller subgroups than its largest,
// so there are up to MAX_SUBGROUPS. Control flow must be uniform, so the others repeat the work
// of the last one and store their sums where nothing reads them.
//
// A matrix is opaque: which invocation holds which element is unspecified. So sums leave through
// workgroup memory, a block of BLOCK columns of the tile at a time.
//
// Operands have the precision of the form, sums are f32.
//
// The kernel defines STEPS (the part of the inner dimension in workgroup memory), LEFT_LINES and
// LEFT_PITCH (the layout of the left operand), and LEFT_BY_ROWS (whether its lines are rows of
// the tile; else they are steps). STEPS is a multiple of SIZE, pitches are multiples of eight.

// import matrix_form

const SUBGROUPS: u32 = 4u;
const MAX_SUBGROUPS: u32 = 4u;
const ROWS: u32 = 2u;
const COLUMNS: u32 = 4u;
// Matrices along a block.
const BLOCKS: u32 = 1u;

const BLOCK: u32 = BLOCKS * SIZE;
const RIGHT_PITCH: u32 = COLUMNS * SIZE + 8u;

alias Sums = array<array<Sum, COLUMNS>, ROWS>;

var<workgroup> left: array<Operand, LEFT_LINES * LEFT_PITCH>;
// [step][column]
var<workgroup> right: array<Operand, STEPS * RIGHT_PITCH>;
// [row][column of a block]
var<workgroup> sum_block: array<f32, MAX_SUBGROUPS * ROWS * SIZE * BLOCK>;

fn stage_left(at: u32, x: vec4<f32>) {
    for (var e = 0u; e < 4u; e++) { //@unroll
        left[at + e] = Operand(x[e]);
    }
}

fn stage_right(step: u32, column: u32, x: vec4<f32>) {
    for (var e = 0u; e < 4u; e++) { //@unroll
        right[step * RIGHT_PITCH + column + e] = Operand(x[e]);
    }
}

// Adds the product of the operands in workgroup memory.
fn multiply_matrices(sums: ptr<function, Sums>, subgroup: u32) {
    let first_row = min(subgroup, SUBGROUPS - 1u) * ROWS * SIZE;
    for (var step = 0u; step < STEPS; step += SIZE) {
        var columns: array<Right, COLUMNS>;
        for (var c = 0u; c < COLUMNS; c++) { //@unroll
            columns[c] = coopLoadT<Right>(&right[step * RIGHT_PITCH + c * SIZE], RIGHT_PITCH);
        }
        for (var r = 0u; r < ROWS; r++) { //@unroll
            let row = first_row + r * SIZE;
            var rows: Left;
            if LEFT_BY_ROWS {
                rows = coopLoadT<Left>(&left[row * LEFT_PITCH + step], LEFT_PITCH);
            } else {
                rows = coopLoad<Left>(&left[step * LEFT_PITCH + row], LEFT_PITCH);
            }
            for (var c = 0u; c < COLUMNS; c++) { //@unroll
                (*sums)[r][c] = coopMultiplyAdd(rows, columns[c], (*sums)[r][c]);
            }
        }
    }
}

// Stores the sums of block `block` in workgroup memory, where all invocations read them
// (`sums_at`). Reads of the previous block must have finished.
fn store_block(sums: ptr<function, Sums>, subgroup: u32, block: u32) {
    let first_row = subgroup * ROWS * SIZE;
    for (var r = 0u; r < ROWS; r++) { //@unroll
        for (var c = 0u; c < BLOCKS; c++) { //@unroll
            let at = (first_row + r * SIZE) * BLOCK + c * SIZE;
            coopStoreT((*sums)[r][block * BLOCKS + c], &sum_block[at], BLOCK);
        }
    }
    workgroupBarrier();
}

fn sums_at(at: u32) -> vec4<f32> {
    return vec4<f32>(sum_block[at], sum_block[at + 1u], sum_block[at + 2u], sum_block[at + 3u]);
}
