//! The contract of an engine on every device: arenas are read and written whole, in one layout.

mod common;

use common::networks::small_networks;
use common::runs::devices;
use pyr_wgpu::engine::{Engine, TensorKind, Tensors};
use pyr_wgpu::graph::lasting::ARENA_ALIGNMENT;
use pyr_wgpu::graph::{Arena, Graph, Passes};
use pyr_wgpu::kernels::Choices;
use pyr_wgpu::model::{Network, initial_values};
use pyr_wgpu::train::{StepOptions, update_graph};

/// The update after the last micro-batch: the only graph that has every arena.
fn update(network: &Network) -> Graph {
    let graph = update_graph(network, StepOptions::default(), Passes::default());
    graph.unwrap_or_else(|e| panic!("{e}"))
}

fn read(engine: &Engine, arena: Arena) -> Vec<f32> {
    pollster::block_on(engine.read_arena(arena)).unwrap()
}

/// Contents of an arena: every element of every value is different, padding and gaps are zero.
fn numbers(graph: &Graph, arena: Arena, first: f32) -> Vec<f32> {
    let (offsets, bytes) = graph.arena_offsets(arena);
    let mut numbers = vec![0.0; bytes as usize / 4];
    let mut next = first;
    for (id, offset) in graph.arena(arena).into_iter().zip(offsets) {
        assert_eq!(offset % ARENA_ALIGNMENT, 0);
        let shape = graph.shape(id);
        let elements: Vec<f32> = (0..shape.len()).map(|i| next + i as f32).collect();
        next += elements.len() as f32;
        let stored = shape.pack(&elements);
        numbers[offset as usize / 4..][..stored.len()].copy_from_slice(&stored);
    }
    numbers
}

#[test]
fn arenas_are_whole_and_alike_on_every_device() {
    let network = &small_networks()[0].network;
    let graph = update(network);
    let weights: Tensors = initial_values(network, 5).into_iter().collect();
    let mut expected: Option<[Vec<f32>; 2]> = None;
    for device in devices() {
        let name = device.name();
        let mut engine = Engine::new(device, vec![graph.clone()], &Choices::default()).unwrap();
        // Values written one by one are laid out alike on every device.
        engine.write_tensors(network, TensorKind::Weights, &weights);
        let found = [Arena::Parameters, Arena::Statistics].map(|arena| read(&engine, arena));
        assert_eq!(
            expected.get_or_insert_with(|| found.clone()),
            &found,
            "{name}"
        );
        // An arena written whole is read back whole, and each value is at its offset.
        for (count, arena) in (1u8..).zip(Arena::ALL) {
            let numbers = numbers(&graph, arena, 1e4 * f32::from(count));
            engine.write_arena(arena, &numbers);
            assert_eq!(read(&engine, arena), numbers, "{name}: {arena:?}");
            let (offsets, _) = graph.arena_offsets(arena);
            for (id, offset) in graph.arena(arena).into_iter().zip(offsets) {
                let value = graph.value(id);
                let stored = &numbers[offset as usize / 4..][..value.shape.stored_len()];
                let found = engine.read_values(engine.value(&value.name));
                let found = pollster::block_on(found).unwrap();
                assert_eq!(found, value.shape.unpack(stored), "{name}: {}", value.name);
            }
        }
        // Clearing one touches no other.
        engine.clear_arena(Arena::Momentum);
        for (count, arena) in (1u8..).zip(Arena::ALL) {
            let written = numbers(&graph, arena, 1e4 * f32::from(count));
            let expected = match arena {
                Arena::Momentum => vec![0.0; written.len()],
                _ => written,
            };
            assert_eq!(read(&engine, arena), expected, "{name}: {arena:?}");
        }
    }
}

/// The next step's micro-batches must start from zero sums.
#[test]
fn an_update_applies_the_sums_and_clears_them() {
    let graph = update(&small_networks()[0].network);
    for device in devices() {
        let name = device.name();
        let mut engine = Engine::new(device, vec![graph.clone()], &Choices::default()).unwrap();
        engine.write_arena(Arena::Sums, &numbers(&graph, Arena::Sums, 1.0));
        engine.run(0).unwrap();
        let sums = read(&engine, Arena::Sums);
        let zero = |sums: &[f32]| sums.iter().all(|sum| sum.to_bits() == 0);
        assert!(!sums.is_empty() && zero(&sums), "{name}");
        // The velocities were zero: now they hold the sums.
        assert!(!zero(&read(&engine, Arena::Momentum)), "{name}");
    }
}
