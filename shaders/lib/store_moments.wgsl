// Writes moments as a slice of the kernel's binding partial [slices, 3, columns].

// import moments

fn store_moments(m: Moments, slice: u32, column: u32, columns: u32) {
    let at = slice * 3u * columns + column;
    partial[at] = vec4<f32>(m.count);
    partial[at + columns] = m.mean;
    partial[at + 2u * columns] = m.deviations;
}
