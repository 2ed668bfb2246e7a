//! What decides the bits of a run, and what must not change them.

use pyr_wgpu::engine::{Device, TensorKind};
use pyr_wgpu::graph::ActivationCheckpointing;
use pyr_wgpu::train::Snapshot;

use crate::check_update;
use crate::common::runs::{Memory, Run, bits, devices, finish, learnt, precisions, session};

/// A run that stops in the middle of an epoch and resumes from its snapshot alone ends with the
/// bits of an uninterrupted run.
#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let cases = precisions().into_iter();
    for ((device, precision), resident) in cases.flat_map(|d| [(d, true), (d, false)]) {
        for micro_batch in [None, Some(3)] {
            let mut run = Run::random(8, 20, 8);
            run.options.passes.precision = precision;
            run.resident = resident;
            run.options.micro_batch = micro_batch;
            let what = format!(
                "{}, {precision}, resident {resident}, micro {micro_batch:?}",
                device.name()
            );
            pollster::block_on(async {
                let whole = finish(run.trainer(device, &run.start())).await;
                assert_eq!(whole.len(), 3);

                let mut first = run.trainer(device, &run.start());
                assert_eq!(first.steps_per_epoch(), 3);
                for _ in 0..3 {
                    first.step().await.unwrap();
                }
                first.next_epoch();
                for _ in 0..2 {
                    first.step().await.unwrap();
                }
                let snapshot = first.snapshot().await.unwrap();
                assert_eq!((snapshot.position.epoch, snapshot.position.step), (2, 2));
                assert_eq!(snapshot.position.totals().images, 16);
                drop(first);

                let mut second = run.trainer(device, &snapshot);
                assert_eq!(
                    bits(&second.snapshot().await.unwrap()),
                    bits(&snapshot),
                    "{what}"
                );
                let rest = finish(second).await;
                assert_eq!(rest.len(), 2);
                for ((ours, state), (reference, expected)) in rest.iter().zip(&whole[1..]) {
                    assert_eq!(learnt(ours), learnt(reference), "{what}");
                    assert!(bits(state) == bits(expected), "{what}: the bits differ");
                }
                let last = rest[1].1.position;
                let chunks = if micro_batch.is_some() { 8 } else { 3 };
                assert_eq!(
                    (last.epoch, last.step, last.batches_tracked),
                    (4, 0, 3 * chunks),
                    "{what}"
                );
            });
        }
    }
}

#[test]
fn seeds_decide_all_bits() {
    for device in devices() {
        let train = |seed: u64, start: &Snapshot| {
            let mut run = Run::random(8, 12, 8);
            run.options.seed = seed;
            run.options.recipe.epochs = 2;
            let epochs = pollster::block_on(finish(run.trainer(device, start)));
            bits(&epochs[1].1)
        };
        let start = Run::random(8, 12, 8).start();
        let reference = train(7, &start);
        assert!(
            train(7, &start) == reference,
            "{}: the same seed gives other bits",
            device.name()
        );
        // Even from the same weights another seed shuffles, crops and drops differently; the
        // upper half of a seed matters too.
        for other in [8, 7 + (1 << 32)] {
            assert!(
                train(other, &start) != reference,
                "{}: seed {other}",
                device.name()
            );
        }
    }
}

/// Where images are stored and how many threads read them changes no bit; fusion, and a
/// micro-batch of the whole batch, change at most the rounding.
#[test]
fn what_must_not_matter_does_not() {
    for device in devices() {
        let train = |change: &dyn Fn(&mut Run)| {
            let mut run = Run::random(8, 12, 8);
            run.options.recipe.epochs = 1;
            change(&mut run);
            pollster::block_on(finish(run.trainer(device, &run.start())))
                .remove(0)
                .1
        };
        let reference = train(&|_| {});
        let check = |what: &str, change: &dyn Fn(&mut Run)| {
            let same = bits(&train(change)) == bits(&reference);
            assert!(same, "{}: {what} changes bits", device.name());
        };
        check("sending every batch", &|run| run.resident = false);
        check("reading with five threads", &|run| {
            run.resident = false;
            run.options.workers = 5;
        });
        check("computing units again", &|run| {
            run.options.passes.checkpointing = ActivationCheckpointing::Units;
        });
        check("computing nothing again", &|run| {
            run.options.passes.checkpointing = ActivationCheckpointing::Off;
        });
        let start = Run::random(8, 12, 8).start();
        let resembles = |what: &str, change: &dyn Fn(&mut Run)| {
            let state = train(change);
            let what = format!("{}: {what}", device.name());
            check_update(&what, &start.weights, &state.weights, &reference.weights);
            let [start, state, reference] = [&start, &state, &reference]
                .map(|snapshot| &snapshot.optimizer[&TensorKind::Momentum]);
            check_update(&what, start, state, reference);
        };
        // A driver may contract products and sums in one kernel and not in the other.
        resembles("fusion", &|run| run.options.passes.fuse = false);
        match device {
            // The sum of one gradient is that gradient.
            Device::Gpu(_) | Device::Cpu(_) => {
                check("one micro-batch", &|run| run.options.micro_batch = Some(8))
            }
            // The reference rounds gradients to single precision only at the end of a graph.
            Device::Reference => {
                resembles("one micro-batch", &|run| run.options.micro_batch = Some(8));
            }
        }
    }
}

#[test]
fn memory_stays_as_it_was() {
    for device in devices() {
        let run = Run::random(8, 20, 8);
        let mut session = session(run.trainer(device, &run.start()));
        let bytes = session.trainer().engine().bytes();
        assert!(bytes > 0);
        let mut memory = Memory::default();
        while pollster::block_on(session.next(&mut memory))
            .unwrap()
            .is_some()
        {
            assert_eq!(session.trainer().engine().bytes(), bytes);
        }
        assert_eq!(memory.0.len(), 3);
    }
}
