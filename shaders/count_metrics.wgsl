// Adds a batch to the metrics. While the sum of the losses is NaN or infinite, or a gradient or
// update was in an earlier step, the word METRICS_HALTED counts batches.
//
// losses: f32 [count]. ranks: u32 [count], IGNORED for rows that do not count.
// metrics: 8 words (lib/metrics.wgsl), updated.
// One workgroup does everything: each invocation adds every 64th row, then the first adds the
// 64 sums in order.

// import float
// import metrics

struct Params {
    count: u32,
}

struct Totals {
    loss: f32,
    top1: u32,
    top5: u32,
    images: u32,
}

const IGNORED: u32 = 0xffffffffu;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> losses: array<f32>;
@group(0) @binding(2) var<storage, read> ranks: array<u32>;
@group(0) @binding(3) var<storage, read_write> metrics: array<u32>;

var<workgroup> totals: array<Totals, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    var total = Totals(0.0, 0u, 0u, 0u);
    for (var row = lane; row < params.count; row += 64u) {
        let rank = ranks[row];
        if rank != IGNORED {
            total.loss += losses[row];
            total.top1 += u32(rank < 1u);
            total.top5 += u32(rank < 5u);
            total.images += 1u;
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
        }
        let loss = bitcast<f32>(metrics[METRICS_LOSS]) + total.loss;
        metrics[METRICS_LOSS] = bitcast<u32>(loss);
        metrics[METRICS_TOP1] += total.top1;
        metrics[METRICS_TOP5] += total.top5;
        metrics[METRICS_IMAGES] += total.images;
        if !is_finite(loss) || (metrics[METRICS_GRADIENT] | metrics[METRICS_UPDATE]) != 0u {
            metrics[METRICS_HALTED] += 1u;
        }
    }
}
