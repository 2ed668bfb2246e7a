// Whether a pixel is in a rectangle: top, left, bottom, right, of which the last two are exclusive.
fn in_rectangle(rectangle: vec4<u32>, row: u32, column: u32) -> bool {
    let pixel = vec2<u32>(row, column);
    return all(pixel >= rectangle.xy) && all(pixel < rectangle.zw);
}
