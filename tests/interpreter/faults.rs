//! The interpreter finds each kind of fault in a small shader, and nothing in its corrected twin.

use crate::compile::compile;
use crate::execute::{Launch, Machine};
use crate::memory::{Buffer, Range};
use crate::report::Fault;

/// Words of each buffer.
const WORDS: usize = 64;

/// What all shaders declare: `y`, which nobody has written, and others.
const DECLARATIONS: &str = "
enable f16;

enable wgpu_cooperative_matrix;
struct Parameters { count: u32, zero: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;
@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read_write> z: array<u32>;
var<workgroup> tile: array<u32, 32>;
var<workgroup> vectors: array<vec4<u32>, 8>;
var<workgroup> halves: array<f16, 64>;
var<workgroup> sum: atomic<u32>;
alias Left = coop_mat8x8<f16, A>;
";

/// A workgroup of 32 invocations in subgroups of eight, twice.
fn faults_of(body: &str) -> Vec<Fault> {
    let source = format!(
        "{DECLARATIONS}
        @compute @workgroup_size(32)
        fn main(
            @builtin(workgroup_id) group: vec3<u32>,
            @builtin(local_invocation_index) lane: u32,
        ) {{
            {body}
        }}"
    );
    let code = compile("small", &source, 8).unwrap_or_else(|e| panic!("{e}"));
    let mut buffers: Vec<Buffer> = (0..4).map(|_| Buffer::fresh(WORDS)).collect();
    let numbers: Vec<u32> = (0..WORDS as u32).collect();
    for buffer in &mut buffers[1..] {
        buffer.write(0, &numbers);
    }
    let mut machine = Machine::new(buffers);
    machine.most_steps = 100_000;
    let range = |buffer| Range {
        buffer,
        first: 0,
        count: WORDS,
    };
    let launch = Launch {
        uniforms: &[32, 0],
        bindings: &[0, 1, 2, 3].map(range),
        grid: [2, 1, 1],
    };
    let _ended = machine.dispatch(&code, &launch);
    println!("{}", machine.report);
    machine.report.faults()
}

/// The first body has exactly this fault, the second has none.
fn check(fault: Fault, faulty: &str, corrected: &str) {
    assert_eq!(faults_of(faulty), [fault], "{faulty}");
    assert_eq!(faults_of(corrected), [], "{corrected}");
}

#[test]
fn a_read_after_a_write_needs_a_barrier() {
    check(
        Fault::Race,
        "tile[lane] = lane;
        y[32u * group.x + lane] = tile[31u - lane];",
        "tile[lane] = lane;
        workgroupBarrier();
        y[32u * group.x + lane] = tile[31u - lane];",
    );
}

#[test]
fn a_write_after_a_read_needs_a_barrier() {
    check(
        Fault::Race,
        "tile[lane] = lane;
        workgroupBarrier();
        let other = tile[31u - lane];
        tile[lane] = other;",
        "tile[lane] = lane;
        workgroupBarrier();
        let other = tile[31u - lane];
        workgroupBarrier();
        tile[lane] = other;",
    );
}

#[test]
fn the_next_iteration_needs_a_barrier() {
    check(
        Fault::Race,
        "for (var i = 0u; i < 3u; i++) {
            tile[lane] = i;
            workgroupBarrier();
            y[32u * group.x + lane] = tile[31u - lane];
        }",
        "for (var i = 0u; i < 3u; i++) {
            tile[lane] = i;
            workgroupBarrier();
            y[32u * group.x + lane] = tile[31u - lane];
            workgroupBarrier();
        }",
    );
}

#[test]
fn two_writes_of_one_word_are_a_race() {
    check(
        Fault::Race,
        "tile[lane / 2u] = 1u;",
        "if lane % 2u == 0u { tile[lane / 2u] = 1u; }",
    );
}

/// The last of several reads does not hide the others.
#[test]
fn a_write_after_reads_of_several_is_a_race() {
    check(
        Fault::Race,
        "if lane == 0u { tile[0] = 1u; }
        workgroupBarrier();
        let first = tile[0];
        if lane == 31u { tile[0] = first; }",
        "if lane == 0u { tile[0] = 1u; }
        workgroupBarrier();
        let first = tile[0];
        workgroupBarrier();
        if lane == 31u { tile[0] = first; }",
    );
}

#[test]
fn each_barrier_orders_its_own_memory() {
    check(
        Fault::Race,
        "y[32u * group.x + lane] = lane;
        workgroupBarrier();
        let other = y[32u * group.x + 31u - lane];",
        "y[32u * group.x + lane] = lane;
        storageBarrier();
        let other = y[32u * group.x + 31u - lane];",
    );
    check(
        Fault::Race,
        "tile[lane] = lane;
        storageBarrier();
        let other = tile[31u - lane];",
        "tile[lane] = lane;
        storageBarrier();
        workgroupBarrier();
        let other = tile[31u - lane];",
    );
}

#[test]
fn workgroups_must_not_share_words() {
    check(
        Fault::RaceBetweenWorkgroups,
        "y[lane] = lane;",
        "y[32u * group.x + lane] = lane;",
    );
    // Neither do barriers help, nor the order in which the interpreter runs them.
    check(
        Fault::RaceBetweenWorkgroups,
        "if group.x == 0u { y[lane] = lane; }
        storageBarrier();
        if group.x == 1u { let other = y[lane]; }",
        "y[32u * group.x + lane] = lane;
        storageBarrier();
        let other = y[32u * group.x + lane];",
    );
}

#[test]
fn a_write_after_a_read_of_another_workgroup_is_a_race() {
    check(
        Fault::RaceBetweenWorkgroups,
        "if group.x == 0u { y[lane] = z[lane]; } else { z[lane] = 1u; }",
        "if group.x == 0u { y[lane] = z[lane]; } else { z[32u + lane] = 1u; }",
    );
}

#[test]
fn a_component_of_a_vector_is_not_alone() {
    check(
        Fault::Race,
        "vectors[lane / 4u][lane % 4u] = 1u;",
        "if lane < 8u { vectors[lane] = vec4<u32>(1u); }",
    );
}

#[test]
fn halves_of_a_word_are_alone() {
    check(
        Fault::Race,
        "halves[lane / 2u] = f16(1.0);",
        "halves[lane] = f16(1.0);",
    );
}

#[test]
fn a_barrier_must_be_reached_by_all() {
    check(
        Fault::DivergentBarrier,
        "if lane < 16u { workgroupBarrier(); }",
        "if group.x < 1u { workgroupBarrier(); }",
    );
    check(
        Fault::DivergentBarrier,
        "if lane < 16u { workgroupBarrier(); } else { workgroupBarrier(); }",
        "workgroupBarrier();",
    );
}

#[test]
fn all_must_iterate_alike_around_a_barrier() {
    check(
        Fault::DivergentBarrier,
        "for (var i = lane; i < 40u; i += 32u) { workgroupBarrier(); }",
        "for (var i = lane; i < 64u; i += 32u) { workgroupBarrier(); }",
    );
    check(
        Fault::DivergentBarrier,
        "loop {
            if lane == 3u { break; }
            workgroupBarrier();
            break;
        }",
        "loop {
            workgroupBarrier();
            if lane == 3u { break; }
            break;
        }",
    );
}

#[test]
fn a_return_before_a_barrier_must_be_uniform() {
    check(
        Fault::DivergentBarrier,
        "if lane >= parameters.count - 1u { return; }
        workgroupBarrier();",
        "if group.x >= parameters.count { return; }
        workgroupBarrier();",
    );
}

#[test]
fn a_subgroup_must_be_together() {
    check(
        Fault::DivergentSubgroup,
        "if lane % 8u < 4u { y[32u * group.x + lane] = subgroupAdd(lane); }",
        "if lane < 16u { y[32u * group.x + lane] = subgroupAdd(lane); }",
    );
}

#[test]
fn a_shuffle_needs_an_invocation() {
    check(
        Fault::NoSuchInvocation,
        "y[32u * group.x + lane] = subgroupShuffle(lane, lane % 8u + 1u);",
        "y[32u * group.x + lane] = subgroupShuffle(lane, (lane + 1u) % 8u);",
    );
}

/// Which invocation loads which element of a matrix is unspecified, so its own subgroup needs a
/// barrier too.
#[test]
fn a_matrix_needs_a_barrier() {
    check(
        Fault::Race,
        "halves[2u * lane] = 1.0h;
        halves[2u * lane + 1u] = 1.0h;
        let matrix = coopLoadT<Left>(&halves[0], 8u);",
        "halves[2u * lane] = 1.0h;
        halves[2u * lane + 1u] = 1.0h;
        workgroupBarrier();
        let matrix = coopLoadT<Left>(&halves[0], 8u);",
    );
}

#[test]
fn a_matrix_has_one_place() {
    check(
        Fault::DivergentSubgroup,
        "halves[2u * lane] = 1.0h;
        halves[2u * lane + 1u] = 1.0h;
        workgroupBarrier();
        let matrix = coopLoadT<Left>(&halves[lane % 2u * parameters.zero + lane % 2u], 7u);",
        "halves[2u * lane] = 1.0h;
        halves[2u * lane + 1u] = 1.0h;
        workgroupBarrier();
        let matrix = coopLoadT<Left>(&halves[lane / 8u], 7u);",
    );
}

#[test]
fn memory_must_be_written_before_it_is_read() {
    check(
        Fault::Uninitialised,
        "y[32u * group.x + lane] = tile[lane];",
        "tile[lane] = x[lane];
        y[32u * group.x + lane] = tile[lane];",
    );
    check(
        Fault::Uninitialised,
        "y[32u * group.x + lane] += 1u;",
        "y[32u * group.x + lane] = 1u;
        y[32u * group.x + lane] += 1u;",
    );
}

/// What one workgroup wrote is gone in the next.
#[test]
fn workgroup_memory_begins_anew() {
    check(
        Fault::Uninitialised,
        "if group.x == 0u { tile[lane] = 1u; }
        y[32u * group.x + lane] = tile[lane];",
        "tile[lane] = 1u;
        y[32u * group.x + lane] = tile[lane];",
    );
}

#[test]
fn an_index_must_be_in_range() {
    check(
        Fault::OutOfRange,
        "y[32u * group.x + lane] = x[32u * group.x + lane + 1u];",
        "y[32u * group.x + lane] = x[min(32u * group.x + lane + 1u, 63u)];",
    );
    check(
        Fault::OutOfRange,
        "if lane > 30u { tile[lane + 1u] = 1u; }
        workgroupBarrier();",
        "if lane > 30u { tile[lane - 1u] = 1u; }
        workgroupBarrier();",
    );
    check(
        Fault::OutOfRange,
        "var own: array<u32, 4>;
        own[lane % 5u] = 1u;",
        "var own: array<u32, 5>;
        own[lane % 5u] = 1u;",
    );
    check(
        Fault::OutOfRange,
        "let own = array<u32, 4>(1u, 2u, 3u, 4u);
        y[32u * group.x + lane] = own[i32(lane % 4u) - 1];",
        "let own = array<u32, 4>(1u, 2u, 3u, 4u);
        y[32u * group.x + lane] = own[i32(lane % 4u)];",
    );
}

#[test]
fn the_order_of_atomics_must_not_matter() {
    check(
        Fault::OrderOfAtomics,
        "if lane == 0u { atomicStore(&sum, 0u); }
        atomicAdd(&sum, 1u);",
        "if lane == 0u { atomicStore(&sum, 0u); }
        workgroupBarrier();
        atomicAdd(&sum, 1u);
        workgroupBarrier();
        y[32u * group.x + lane] = atomicLoad(&sum);",
    );
    check(
        Fault::OrderOfAtomics,
        "y[32u * group.x + lane] = atomicAdd(&counts[0], 1u);",
        "atomicAdd(&counts[0], 1u);",
    );
    // An accumulation does not hide what was before it.
    check(
        Fault::OrderOfAtomics,
        "if lane == 0u { atomicAdd(&counts[0], 1u); }
        if group.x == 0u { atomicMax(&counts[0], 1u); }",
        "atomicAdd(&counts[0], 1u);
        storageBarrier();
        if group.x == 2u { atomicMax(&counts[0], 1u); }",
    );
    check(
        Fault::OrderOfAtomics,
        "if lane < 16u { atomicAdd(&counts[0], 1u); } else { atomicMax(&counts[0], 1u); }",
        "if lane < 16u { atomicMax(&counts[0], lane); } else { atomicMax(&counts[0], 1u); }",
    );
}

#[test]
fn a_loop_must_end() {
    check(
        Fault::Endless,
        "var i = 1u;
        while i > 0u { i += 2u; }",
        "var i = 1u;
        while i > 0u { i -= 1u; }",
    );
}

/// Each kind of dependence on the contents of buffers is found, and none where there is none.
#[test]
fn dependences_on_contents_are_found() {
    use crate::code::Dependence;
    let dependences = |body: &str| {
        let source = format!(
            "{DECLARATIONS}
            @compute @workgroup_size(32)
            fn main(@builtin(local_invocation_index) lane: u32) {{
                {body}
            }}"
        );
        let code = compile("small", &source, 8).unwrap_or_else(|e| panic!("{e}"));
        let kind = |dependence: &Dependence| match dependence {
            Dependence::Address(_) => "address",
            Dependence::Control(_) => "control",
        };
        code.dependences.iter().map(kind).collect::<Vec<_>>()
    };
    let free = [
        "y[lane] = x[lane];",
        "if x[lane] > 1u { var own = 1u; own += 1u; }
        y[lane] = 1u;",
        "tile[lane] = lane;
        workgroupBarrier();
        y[tile[lane]] = x[lane];",
    ];
    for body in free {
        assert!(dependences(body).is_empty(), "{body}");
    }
    let addresses = [
        "y[x[lane]] = 1u;",
        "tile[lane] = x[lane];
        workgroupBarrier();
        y[tile[lane]] = 1u;",
        // Which of the two values it has depends on the contents.
        "var at = 0u;
        if x[lane] > 1u { at = 1u; }
        y[at] = 1u;",
        "var at = 0u;
        let count = x[0];
        for (var i = 0u; i < count; i++) { at += 1u; }
        y[at] = 1u;",
        // Found in a second pass only.
        "var at = 0u;
        for (var i = 0u; i < 4u; i++) { y[at] = 1u; at = x[i]; }",
    ];
    for body in addresses {
        assert_eq!(dependences(body), ["address"], "{body}");
    }
    let controls = [
        "if x[lane] > 1u { y[lane] = 1u; }",
        "if x[lane] > 1u { return; }
        y[lane] = 1u;",
        "if x[0] > 1u { workgroupBarrier(); }",
        "switch x[0] { case 1u: { y[lane] = 1u; } default: {} }",
        "loop {
            y[lane] = 1u;
            if x[lane] > 1u { break; }
        }",
    ];
    for body in controls {
        let found = dependences(body);
        assert!(found.contains(&"control"), "{body}: {found:?}");
        assert!(!found.contains(&"address"), "{body}: {found:?}");
    }
}
