// Philox-4x32-10: counter-based random numbers (Salmon et al. 2011, "Parallel random
// numbers: as easy as 1, 2, 3"). Host half: src/rng.rs.

const PURPOSE_AUGMENT: u32 = 2u;
const PURPOSE_DROPOUT: u32 = 3u;
const PURPOSE_BRANCH: u32 = 6u;

// High and low word of a 64-bit product, by 16-bit halves.
fn wide_product(a: u32, b: u32) -> vec2<u32> {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let low = a_low * b_low;
    let cross = a_high * b_low + (low >> 16u);
    let carry = (cross & 0xffffu) + a_low * b_high;
    return vec2<u32>(a_high * b_high + (cross >> 16u) + (carry >> 16u), a * b);
}

fn philox(counter_in: vec4<u32>, key_in: vec2<u32>) -> vec4<u32> {
    var counter = counter_in;
    var key = key_in;
    for (var round = 0u; round < 10u; round++) {
        let first = wide_product(0xD2511F53u, counter.x);
        let second = wide_product(0xCD9E8D57u, counter.z);
        counter = vec4<u32>(
            second.x ^ counter.y ^ key.x,
            second.y,
            first.x ^ counter.w ^ key.y,
            first.y,
        );
        key += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return counter;
}
