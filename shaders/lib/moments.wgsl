// Moments of a sequence of numbers: count, mean, and sum of squared deviations from it. Sums are
// taken relative to the first number, so that a large mean does not cancel the variance.

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

fn mean_of(d: Deviations) -> vec4<f32> {
    return d.shift + d.sum / max(d.count, 1.0);
}

fn deviations_of(d: Deviations) -> vec4<f32> {
    return d.squares - d.sum * d.sum / max(d.count, 1.0);
}

// Writes them as a slice of the kernel's binding partial [slices, 3, columns].
fn store_moments(d: Deviations, slice: u32, column: u32, columns: u32) {
    let at = slice * 3u * columns + column;
    partial[at] = vec4<f32>(d.count);
    partial[at + columns] = mean_of(d);
    partial[at + 2u * columns] = deviations_of(d);
}
