// Gradient of the logits: dlogits = weight * (softmax - target), where
//
//     target = (1 - smoothing) * (share * onehot(label) + (1 - share) * onehot(other))
//              + smoothing / classes
//
// logits, dlogits: f32 [rows, stride], of which the first `classes` of each row exist; the rest
// of dlogits becomes zero. labels: u32 [rows]; IGNORED gives zeros. If mixed, u32
// [3, rows]: label, other, bits of share.
// weights: f32 [rows], the upstream gradient of each loss.
// A row with a NaN or infinite logit, whose loss is NaN, has gradient NaN.
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
@group(0) @binding(3) var<storage, read> weights: array<f32>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    if row >= params.rows {
        return;
    }
    let label = labels[row];
    var share = 1.0;
    var other = label;
    if params.mixed != 0u {
        other = labels[params.rows + row];
        share = bitcast<f32>(labels[2u * params.rows + row]);
    }
    let first = row * params.stride;
    var largest = logits[first];
    var finite = true;
    for (var k = 0u; k < params.classes; k++) {
        let logit = logits[first + k];
        finite = finite && is_finite(logit);
        largest = max(largest, logit);
    }
    var sum = 0.0;
    for (var k = 0u; k < params.classes; k++) {
        sum += exp(logits[first + k] - largest);
    }
    for (var k = 0u; k < params.stride; k++) {
        var gradient = 0.0;
        if k < params.classes && label != IGNORED {
            let probability = exp(logits[first + k] - largest) / sum;
            let own = share * f32(k == label) + (1.0 - share) * f32(k == other);
            let wanted = (1.0 - params.smoothing) * own
                + params.smoothing / f32(params.classes);
            gradient = weights[row] * (probability - wanted);
            if !finite {
                gradient = not_a_number(label);
            }
        }
        dlogits[first + k] = gradient;
    }
}
