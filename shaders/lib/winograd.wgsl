// Parameters and tiles of Winograd convolution; see conv2d_winograd_source.wgsl.
// Host half: src/kernels/convolution/winograd.rs.

// import winograd_filter

struct Parameters {
    // Images of this dispatch.
    first_image: u32,
    images: u32,
    source_height: u32,
    source_width: u32,
    source_vecs: u32,
    result_height: u32,
    result_width: u32,
    result_vecs: u32,
    // Tiles of an image.
    tiles_high: u32,
    tiles_wide: u32,
    // Signed: the first source row and column of the first tile.
    base_height: i32,
    base_width: i32,
    // Position of the first tap in the kernel, and the signed distance to the next.
    tap_first: u32,
    tap_step: i32,
    // Normalisation of the source (conv2d_winograd_source.wgsl) or of the result.
    epsilon: f32,
    relu: u32,
    // For conv2d_winograd_result.wgsl: tiles of a workgroup, and the first slice of the partial
    // statistics.
    chunk: u32,
    first_slice: u32,
}

@group(0) @binding(0) var<uniform> parameters: Parameters;

// The first result pixel of a tile; tiles are numbered over the images of the dispatch.
struct Tile {
    image: u32,
    row: u32,
    column: u32,
}

fn tile_of(number: u32) -> Tile {
    let per_image = parameters.tiles_high * parameters.tiles_wide;
    let image = number / per_image;
    let in_image = number - image * per_image;
    let row = in_image / parameters.tiles_wide;
    return Tile(
        parameters.first_image + image,
        row * OUT,
        (in_image - row * parameters.tiles_wide) * OUT,
    );
}

// Tiles of the dispatch.
fn tiles() -> u32 {
    return parameters.images * parameters.tiles_high * parameters.tiles_wide;
}
