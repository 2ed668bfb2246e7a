// Winograd filter F(4, 3) along one axis (Lavin and Gray 2016, section 4.3), as in
// winograd2.wgsl: four outputs by six products instead of twelve, with rounding errors about ten
// times as large.

// Outputs of a tile along one axis, and inputs that they need.
const OUT: u32 = 4u;
const INPUT_EXTENT: u32 = 6u;

fn source_line(d: array<vec4<f32>, 6>) -> array<vec4<f32>, 6> {
    let a = d[4] - 4.0 * d[2];
    let b = d[3] - 4.0 * d[1];
    let c = d[4] - d[2];
    let e = 2.0 * (d[3] - d[1]);
    return array<vec4<f32>, 6>(
        4.0 * d[0] - 5.0 * d[2] + d[4],
        a + b,
        a - b,
        c + e,
        c - e,
        4.0 * d[1] - 5.0 * d[3] + d[5],
    );
}

fn weight_line(g: array<vec4<f32>, 3>) -> array<vec4<f32>, 6> {
    let a = -(g[0] + g[2]) / 6.0;
    let b = g[1] / 6.0;
    let c = g[0] / 24.0 + g[2] / 6.0;
    let e = g[1] / 12.0;
    return array<vec4<f32>, 6>(g[0] / 4.0, a - b, a + b, c + e, c - e, g[2]);
}

fn result_line(m: array<vec4<f32>, 6>) -> array<vec4<f32>, 4> {
    let a = m[1] + m[2];
    let b = m[1] - m[2];
    let c = m[3] + m[4];
    let e = m[3] - m[4];
    return array<vec4<f32>, 4>(m[0] + a + c, b + 2.0 * e, a + 4.0 * c, b + 8.0 * e + m[5]);
}
