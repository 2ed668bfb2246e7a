// Shared by the kernels that compute the gradient of normalize.wgsl with respect to x
// (normalize_grad.wgsl): parameters, operands and the gradient of one vector.
// Host half: src/kernels/normalize_grad.rs.

// import activation
// import column_coefficients
// import shortcut

// Whether there is a shortcut. Without one `dsum` is bound to dy and not read.
const SHORTCUT: bool = false;

struct Params {
    rows: u32,
    columns: u32,
    chunk: u32,
    epsilon: f32,
    relu: u32,
    share: f32,
    // The shortcut's stride, extents of its sum and of x, columns of its sum, and channels in
    // the last column of x, 1 to 4.
    stride: u32,
    p: u32,
    q: u32,
    h: u32,
    w: u32,
    sum_columns: u32,
    tail: u32,
    // Of normalize_grad_partial.wgsl: epsilon of the other normalisation, and whether ReLU follows
    // it.
    reduced_epsilon: f32,
    reduced_relu: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<ActivationVec>;
@group(0) @binding(2) var<storage, read> dy: array<ActivationVec>;
@group(0) @binding(3) var<storage, read> moments: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> affine: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> daffine: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> dsum: array<ActivationVec>;
@group(0) @binding(7) var<storage, read_write> dx: array<ActivationVec>;

// What all rows of a column share.
struct GradientColumn {
    n: Coefficients,
    slope: vec4<f32>,
    offset: vec4<f32>,
    // Lanes that the shortcut reads.
    shared_lanes: vec4<bool>,
}

fn gradient_column(column: u32) -> GradientColumn {
    let n = column_coefficients(column, params.columns, params.epsilon);
    return GradientColumn(
        n,
        daffine[column] * n.inverse * params.share,
        daffine[params.columns + column] * params.share,
        lanes_of(column, params.columns, params.tail),
    );
}

// The operands of one vector.
struct GradientOperands {
    x: ActivationVec,
    dy: ActivationVec,
    dsum: ActivationVec,
    // Pixels that share dsum.
    cells: u32,
}

fn gradient_operands(row: u32, column: u32) -> GradientOperands {
    var operands: GradientOperands;
    operands.x = x[row * params.columns + column];
    operands.dy = dy[row * params.columns + column];
    if SHORTCUT {
        let origin = pool_backward_of(row, params.stride, params.p, params.q, params.h, params.w);
        operands.dsum = dsum[origin.row * params.sum_columns + column];
        operands.cells = origin.cells;
    }
    return operands;
}

fn gradient_of(operands: GradientOperands, column: GradientColumn) -> vec4<f32> {
    let n = column.n;
    let value = unpack_activation(operands.x);
    let upstream = relu_mask(unpack_activation(operands.dy), value, n, params.relu);
    var gradient = n.scale * (upstream - column.offset - (value - n.mean) * column.slope);
    if SHORTCUT {
        let through = unpack_activation(operands.dsum) / f32(operands.cells);
        gradient += select(vec4<f32>(0.0), through, column.shared_lanes);
    }
    return gradient;
}
