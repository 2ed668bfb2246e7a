//! What an engine promises on every device: arenas are whole, in one layout.

mod common;

use common::networks::small_networks;
use common::runs::devices;
use pyr_wgpu::engine::{Engine, TensorKind, Tensors};
use pyr_wgpu::graph::lasting::ARENA_ALIGNMENT;
use pyr_wgpu::graph::{Arena, Graph, Passes};
use pyr_wgpu::kernels::Choices;
use pyr_wgpu::model::{Input, Mode, Network, initial_values};

/// A training step by micro-batches, and the update: together they have every arena.
fn graphs(network: &Network) -> Vec<Graph> {
    let passes = Passes::default();
    let micro = network.graph(3, &Input::Tensor, Mode::MicroBatch, passes);
    [micro, network.update_graph(passes)]
        .map(|graph| graph.unwrap_or_else(|e| panic!("{e}")))
        .into()
}

/// Every arena of the network `small`, with a number of its own in each word that belongs to a
/// value, read back.
fn written(engine: &mut Engine, graph: &Graph) -> Vec<Vec<f32>> {
    let mut next = 0.0;
    let arenas = Arena::ALL.map(|arena| {
        let before = pollster::block_on(engine.read_arena(arena)).unwrap();
        let mut numbers = vec![0.0; before.len()];
        let (offsets, bytes) = graph.arena_offsets(arena);
        assert_eq!(numbers.len() as u64, bytes / 4, "{arena:?}");
        for (id, offset) in graph.arena(arena).into_iter().zip(offsets) {
            assert_eq!(offset % ARENA_ALIGNMENT, 0);
            let shape = graph.shape(id);
            let elements: Vec<f32> = (0..shape.len()).map(|i| next + i as f32).collect();
            next += elements.len() as f32;
            let start = offset as usize / 4;
            numbers[start..start + shape.stored_len()].copy_from_slice(&shape.pack(&elements));
        }
        engine.write_arena(arena, &numbers);
        let after = pollster::block_on(engine.read_arena(arena)).unwrap();
        assert_eq!(after, numbers, "{arena:?}");
        numbers
    });
    arenas.into()
}

#[test]
fn arenas_are_written_and_read_whole() {
    let network = &small_networks()[0].network;
    let graphs = graphs(network);
    for device in devices() {
        let mut engine = Engine::new(device, graphs.clone(), &Choices::default()).unwrap();
        let arenas = written(&mut engine, &graphs[0]);
        // Each value lies where the layout says, and nowhere else.
        for (arena, numbers) in Arena::ALL.into_iter().zip(&arenas) {
            let (offsets, _) = graphs[0].arena_offsets(arena);
            for (id, offset) in graphs[0].arena(arena).into_iter().zip(offsets) {
                let value = graphs[0].value(id);
                let handle = engine.value(&value.name);
                let found = pollster::block_on(engine.read_values(handle)).unwrap();
                let stored = &numbers[offset as usize / 4..][..value.shape.stored_len()];
                let name = (device.name(), &value.name);
                assert_eq!(found, value.shape.unpack(stored), "{name:?}");
            }
        }
        engine.clear_arena(Arena::Momentum);
        let cleared = pollster::block_on(engine.read_arena(Arena::Momentum)).unwrap();
        assert!(cleared.iter().all(|number| number.to_bits() == 0));
        let others = pollster::block_on(engine.read_arena(Arena::Gradients)).unwrap();
        assert_eq!(others, arenas[1], "{}", device.name());
    }
}

/// What one device holds, another one takes over; the words between values are zeros.
#[test]
fn every_device_lays_arenas_out_alike() {
    let network = &small_networks()[0].network;
    let weights: Tensors = initial_values(network, 5).into_iter().collect();
    let mut first: Option<[Vec<f32>; 2]> = None;
    for device in devices() {
        let graphs = graphs(network);
        let mut engine = Engine::new(device, graphs, &Choices::default()).unwrap();
        engine.write_tensors(network, TensorKind::Weights, &weights);
        let arenas = [Arena::Parameters, Arena::Statistics];
        let read = arenas.map(|arena| pollster::block_on(engine.read_arena(arena)).unwrap());
        let first = first.get_or_insert_with(|| read.clone());
        assert_eq!(*first, read, "{}", device.name());
    }
}

/// The update leaves sums of zero: the next step's micro-batches add to nothing.
#[test]
fn an_update_clears_the_sums() {
    let network = &small_networks()[0].network;
    let graphs = graphs(network);
    for device in devices() {
        let mut engine = Engine::new(device, graphs.clone(), &Choices::default()).unwrap();
        written(&mut engine, &graphs[0]);
        let read = |engine: &Engine, arena| pollster::block_on(engine.read_arena(arena)).unwrap();
        let momentum = read(&engine, Arena::Momentum);
        engine.run(1).unwrap();
        let sums = read(&engine, Arena::Sums);
        assert!(!sums.is_empty() && sums.iter().all(|number| number.to_bits() == 0));
        // They were applied first.
        assert_ne!(
            read(&engine, Arena::Momentum),
            momentum,
            "{}",
            device.name()
        );
    }
}
