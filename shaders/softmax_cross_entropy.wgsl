// Softmax cross-entropy of each image and the rank of its label:
//
//     loss = max + log(sum exp(logit - max)) - logit[label]
//     rank = number of classes ahead of the label: larger logit, or equal and lower index
//
// logits: f32 [rows, stride], of which the first `classes` of each row exist.
// labels: u32 [rows]; IGNORED marks a row that does not count: loss 0, rank IGNORED.
// losses: f32 [rows]. ranks: u32 [rows].
// A row with a NaN or infinite logit has loss NaN and rank `classes`.
// One invocation owns one row.

// import float

struct Params {
    rows: u32,
    classes: u32,
    stride: u32,
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
    let target_logit = logits[first + label];
    var largest = logits[first];
    var rank = 0u;
    var finite = true;
    for (var k = 0u; k < params.classes; k++) {
        let logit = logits[first + k];
        finite = finite && is_finite(logit);
        largest = max(largest, logit);
        rank += u32(logit > target_logit || (logit == target_logit && k < label));
    }
    var sum = 0.0;
    for (var k = 0u; k < params.classes; k++) {
        sum += exp(logits[first + k] - largest);
    }
    if finite {
        losses[row] = log(sum) + (largest - target_logit);
        ranks[row] = rank;
    } else {
        losses[row] = not_a_number(label);
        ranks[row] = params.classes;
    }
}
