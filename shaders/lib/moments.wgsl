// Moments of a sequence of numbers: count, mean, and sum of squared deviations from it.

// While numbers are added, sums are relative to the first of them, so that a large mean does not
// cancel the variance.
struct Deviations {
    count: f32,
    shift: vec4<f32>,
    sum: vec4<f32>,
    squares: vec4<f32>,
}

fn accumulate(d: ptr<function, Deviations>, value: vec4<f32>) {
    if (*d).count == 0.0 {
        (*d).shift = value;
    }
    (*d).count += 1.0;
    let off = value - (*d).shift;
    (*d).sum += off;
    (*d).squares += off * off;
}

struct Moments {
    count: f32,
    mean: vec4<f32>,
    deviations: vec4<f32>,
}

fn moments_of(d: Deviations) -> Moments {
    let off = d.sum / max(d.count, 1.0);
    return Moments(d.count, d.shift + off, d.squares - d.sum * off);
}

// Those of two sequences together, by Chan's formula (Chan, Golub and LeVeque 1979):
//
//     d = mean_b - mean_a,   mean = mean_a + d * n_b / n,
//     M2 = M2_a + M2_b + d * d * n_a * n_b / n
fn merge(a: Moments, b: Moments) -> Moments {
    let count = a.count + b.count;
    if b.count == 0.0 {
        return a;
    }
    let delta = b.mean - a.mean;
    let share = b.count / count;
    return Moments(
        count,
        a.mean + delta * share,
        a.deviations + b.deviations + delta * delta * (a.count * share),
    );
}
