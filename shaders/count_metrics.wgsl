// Adds a batch to the metrics. Words: loss (f32), top-1 correct, top-5 correct, images, flags.
//
// losses: f32 [count]. ranks: u32 [count], IGNORED for rows that do not count.
// metrics: 8 words, updated. Bit 0 of the flags: a loss is NaN or infinite.
// One workgroup does everything: each invocation adds every 64th row, then the first adds the
// 64 sums in order.

// import float

struct Params {
    count: u32,
}

struct Totals {
    loss: f32,
    top1: u32,
    top5: u32,
    images: u32,
    flags: u32,
}

const IGNORED: u32 = 0xffffffffu;
const BAD_LOSS: u32 = 1u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> losses: array<f32>;
@group(0) @binding(2) var<storage, read> ranks: array<u32>;
@group(0) @binding(3) var<storage, read_write> metrics: array<u32>;

var<workgroup> totals: array<Totals, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    var total = Totals(0.0, 0u, 0u, 0u, 0u);
    for (var row = lane; row < params.count; row += 64u) {
        let rank = ranks[row];
        if rank != IGNORED {
            let loss = losses[row];
            total.loss += loss;
            total.top1 += u32(rank < 1u);
            total.top5 += u32(rank < 5u);
            total.images += 1u;
            if !is_finite(loss) {
                total.flags |= BAD_LOSS;
            }
        }
    }
    totals[lane] = total;
    workgroupBarrier();
    if lane == 0u {
        for (var other = 1u; other < 64u; other++) {
            total.loss += totals[other].loss;
            total.top1 += totals[other].top1;
            total.top5 += totals[other].top5;
            total.images += totals[other].images;
            total.flags |= totals[other].flags;
        }
        metrics[0] = bitcast<u32>(bitcast<f32>(metrics[0]) + total.loss);
        metrics[1] += total.top1;
        metrics[2] += total.top5;
        metrics[3] += total.images;
        metrics[4] |= total.flags;
    }
}
