// A tile of a matrix product by the matrix units of an adapter (cooperative matrices), for
// kernels whose operands lie in workgroup memory: each of the first SUBGROUPS subgroups owns
// ROWS matrices by COLUMNS matrices of the sums. Where an adapter forms smaller subgroups than
// it could, there are MOST_SUBGROUPS at most: the others repeat what the last one does, for
// control flow must be uniform, and put their sums where nobody looks.
//
// A matrix is opaque: nobody knows which invocation holds which element. So sums leave through
// workgroup memory: a block of BLOCK columns of the tile at a time.
//
// Operands are halves, sums are not. Where units take single precision, or where matrices are
// of eight rows, the host puts that in place.
//
// Needs STEPS (the length of the long axis that lies in memory), LEFT_LINES and LEFT_PITCH (how
// the left operand lies there), and LEFT_BY_ROWS (whether its lines are rows of the tile; else
// they are steps). STEPS are a multiple of SIZE, pitches of eight.

// Rows and columns of a matrix.
const SIZE: u32 = 16u;
const SUBGROUPS: u32 = 4u;
const MOST_SUBGROUPS: u32 = 4u;
const ROWS: u32 = 2u;
const COLUMNS: u32 = 4u;
// Matrices of a block.
const BLOCKS: u32 = 1u;

const BLOCK: u32 = BLOCKS * SIZE;
const RIGHT_PITCH: u32 = COLUMNS * SIZE + 8u;

alias Operand = f16;
alias Left = coop_mat16x16<Operand, A>;
alias Right = coop_mat16x16<Operand, B>;
alias Sum = coop_mat16x16<f32, C>;
alias Sums = array<array<Sum, COLUMNS>, ROWS>;

var<workgroup> left: array<Operand, LEFT_LINES * LEFT_PITCH>;
// [step][column]
var<workgroup> right: array<Operand, STEPS * RIGHT_PITCH>;
// [row][column of a block]
var<workgroup> staged: array<f32, MOST_SUBGROUPS * ROWS * SIZE * BLOCK>;

fn bring_left(at: u32, x: vec4<f32>) {
    for (var e = 0u; e < 4u; e++) { //@unroll
        left[at + e] = Operand(x[e]);
    }
}

fn bring_right(step: u32, column: u32, x: vec4<f32>) {
    for (var e = 0u; e < 4u; e++) { //@unroll
        right[step * RIGHT_PITCH + column + e] = Operand(x[e]);
    }
}

// Adds the product of what lies in memory.
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

// Puts the sums of block `block` into workgroup memory, where all find them (`staged_at`).
// What was there must have been read.
fn stage(sums: ptr<function, Sums>, subgroup: u32, block: u32) {
    let first_row = subgroup * ROWS * SIZE;
    for (var r = 0u; r < ROWS; r++) { //@unroll
        for (var c = 0u; c < BLOCKS; c++) { //@unroll
            let at = (first_row + r * SIZE) * BLOCK + c * SIZE;
            coopStoreT((*sums)[r][block * BLOCKS + c], &staged[at], BLOCK);
        }
    }
    workgroupBarrier();
}

fn staged_at(at: u32) -> vec4<f32> {
    return vec4<f32>(staged[at], staged[at + 1u], staged[at + 2u], staged[at + 3u]);
}
