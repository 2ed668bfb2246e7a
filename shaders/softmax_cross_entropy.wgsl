// Softmax cross-entropy of each image and the rank of its label:
//
//     target = (1 - smoothing) * (share * onehot(label) + (1 - share) * onehot(other))
//              + smoothing / classes
//     loss = log(sum exp(logit - max)) + sum target * (max - logit)
//     rank = number of classes ahead of the label: larger logit, or equal and lower index
//
// logits: f32 [rows, stride], of which the first `classes` of each row exist.
// labels: u32 [rows]; IGNORED marks a row that does not count: loss 0, rank IGNORED. If mixed, u32
// [3, rows]: label, other, bits of share; the rank is that of the label with the larger share.
// losses: f32 [rows]. ranks: u32 [rows].
// A row with a NaN or infinite logit has loss NaN and rank `classes`.
// One invocation owns one row.

// import float

struct Params {
    rows: u32,
    classes: u32,
    stride: u32,
    mixed: u32,
    smoothing: f32,
}

const IGNORED: u32 = 0xffffffffu;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;
@group(0) @binding(4) var<storage, read_write> ranks: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    if row >= params.rows {
        return;
    }
    let label = labels[row];
    if label == IGNORED {
        losses[row] = 0.0;
        ranks[row] = IGNORED;
        return;
    }
    let first = row * params.stride;
    var share = 1.0;
    var other = label;
    if params.mixed != 0u {
        other = labels[params.rows + row];
        share = bitcast<f32>(labels[2u * params.rows + row]);
    }
    let leading = select(other, label, share >= 0.5);
    let target_logit = logits[first + leading];
    var largest = logits[first];
    var rank = 0u;
    var finite = true;
    for (var k = 0u; k < params.classes; k++) {
        let logit = logits[first + k];
        finite = finite && is_finite(logit);
        largest = max(largest, logit);
        rank += u32(logit > target_logit || (logit == target_logit && k < leading));
    }
    var sum = 0.0;
    for (var k = 0u; k < params.classes; k++) {
        sum += exp(logits[first + k] - largest);
    }
    var distance = largest - target_logit;
    if params.mixed != 0u {
        distance = share * (largest - logits[first + label])
            + (1.0 - share) * (largest - logits[first + other]);
    }
    if params.smoothing > 0.0 {
        var total = 0.0;
        for (var k = 0u; k < params.classes; k++) {
            total += largest - logits[first + k];
        }
        let spread = params.smoothing / f32(params.classes);
        distance = (1.0 - params.smoothing) * distance + spread * total;
    }
    if finite {
        losses[row] = log(sum) + distance;
        ranks[row] = rank;
    } else {
        losses[row] = not_a_number(label);
        ranks[row] = params.classes;
    }
}
