// Winograd filter F(2, 3) along one axis (Lavin and Gray 2016, "Fast Algorithms for
// Convolutional Neural Networks", section 4.1): two outputs of a filter of three taps by four
// products instead of six, as result_line(weight_line(g) * source_line(d)).

// Outputs of a tile along one axis, and inputs that they need.
const OUT: u32 = 2u;
const INPUT_EXTENT: u32 = 4u;

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
