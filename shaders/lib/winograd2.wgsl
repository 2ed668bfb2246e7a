// Minimal filtering F(2, 3) along one axis (Lavin and Gray 2016, "Fast Algorithms for
// Convolutional Neural Networks", section 4.1): two results of a filter of three taps by four
// products instead of six. The result is result_line(weight_line(g) * source_line(d)).

fn source_line(d: array<vec4<f32>, 4>) -> array<vec4<f32>, 4> {
    return array<vec4<f32>, 4>(d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]);
}

fn weight_line(g: array<vec4<f32>, 3>) -> array<vec4<f32>, 4> {
    let even = 0.5 * (g[0] + g[2]);
    let odd = 0.5 * g[1];
    return array<vec4<f32>, 4>(g[0], even + odd, even - odd, g[2]);
}

fn result_line(m: array<vec4<f32>, 4>) -> array<vec4<f32>, 2> {
    return array<vec4<f32>, 2>(m[0] + m[1] + m[2], m[1] - m[2] - m[3]);
}
