//! Several ranks, here threads of a process: their agreements and sums, and training on them.

use pyr_wgpu::engine::{Device, TensorKind};
use pyr_wgpu::graph::Precision;
use pyr_wgpu::ranks::{Encoding, Failure};
use pyr_wgpu::train::{Snapshot, Totals, TrainError, Trainer};

use crate::common::fast_devices;
use crate::common::ranks::on_ranks;
use crate::common::runs::{Run, bits};
use crate::replicas::shared;

/// Numbers whose sum depends on the order of addition.
fn numbers(rank: usize, count: usize) -> Vec<f32> {
    let number = |index: usize| {
        (((index * 31 + rank * 17) % 97) as f32 - 48.0) * 1.1f32.powi(rank as i32 * 9)
    };
    (0..count).map(number).collect()
}

#[test]
fn sums_are_added_in_the_order_of_the_ranks() {
    for count in 1..=5 {
        for length in [0, 1, 3, 4, 1000] {
            let mut expected = numbers(0, length);
            for rank in 1..count {
                for (sum, number) in expected.iter_mut().zip(numbers(rank, length)) {
                    *sum += number;
                }
            }
            let found = on_ranks(count, |ranks| {
                ranks.agree(&[]).unwrap();
                let mut own = numbers(ranks.rank(), length);
                ranks.all_reduce(&mut own, Encoding::Single);
                own
            });
            for own in found {
                assert!(
                    own.iter()
                        .map(|x| x.to_bits())
                        .eq(expected.iter().map(|x| x.to_bits()))
                );
            }
        }
    }
}

/// Each rank's numbers are rounded to halves, and so is their sum, wherever the parts of the ranks and
/// the blocks begin; all ranks have the same bits.
#[test]
fn sums_in_half_precision_are_within_their_bound() {
    for count in 1..=5 {
        for length in [0, 1, 3, 1000, 20_001] {
            let found = on_ranks(count, |ranks| {
                ranks.agree(&[]).unwrap();
                let mut own = numbers(ranks.rank(), length);
                ranks.all_reduce(&mut own, Encoding::Half);
                let mut exact: Vec<f32> = (0..length).map(|n| (n % 409) as f32 - 204.0).collect();
                ranks.all_reduce(&mut exact, Encoding::Half);
                (own, exact)
            });
            let rows: Vec<Vec<f32>> = (0..count).map(|rank| numbers(rank, length)).collect();
            let largest = rows.iter().flatten().fold(0.0, |a, b| b.abs().max(a));
            let half = (-11f64).exp2();
            let least = (count + 1) as f64 * f64::from(largest) * (-39f64).exp2();
            for (own, exact) in &found {
                assert!(
                    own.iter()
                        .zip(&found[0].0)
                        .all(|(a, b)| a.to_bits() == b.to_bits())
                );
                for (index, number) in own.iter().enumerate() {
                    let parts = rows.iter().map(|row| f64::from(row[index]));
                    let sum: f64 = parts.clone().sum();
                    let all: f64 = parts.map(f64::abs).sum();
                    // Single precision adds much less.
                    let rounded = half * all;
                    let bound = rounded + half * (sum.abs() + rounded) + least;
                    let bound = bound + count as f64 * all * f64::from(f32::EPSILON);
                    let error = (f64::from(*number) - sum).abs();
                    assert!(error <= bound, "{count} {length} {index}: {number} {sum}");
                }
                // Integers below 2048 are halves.
                let sums = (0..length).map(|n| count as f32 * ((n % 409) as f32 - 204.0));
                assert!(sums.eq(exact.iter().copied()), "{count} {length}");
            }
        }
    }
}

/// Two ranks with the same images have equal gradients, so that rounding them and their sum changes
/// each by at most 2^-10 of itself, or 2^-39 of the largest, but for terms of a higher order.
#[test]
fn gradients_travel_in_half_precision() {
    let mut run = Run::new(8, 16, 8);
    run.replaced = Some([(1..16).collect(), vec![0; 15]]);
    let mut train = |gradients| {
        run.options.gradients = gradients;
        let states = on_ranks(2, |ranks| {
            ranks.set_replicas(1).unwrap();
            let mut trainer = run.trainer_of(&[Device::cpu()], Some(ranks), &run.start());
            pollster::block_on(async {
                trainer.step().await.unwrap();
                trainer.snapshot().await.unwrap()
            })
        });
        assert!(shared(&run, &states[0]) == shared(&run, &states[1]));
        states.into_iter().next().unwrap()
    };
    let [single, half] = [Precision::F32, Precision::F16].map(&mut train);
    let before = run.start().weights;
    let decay = f64::from(run.options.recipe.weight_decay);
    let momentum = |state: &Snapshot| state.optimizer[&TensorKind::Momentum].clone();
    let (mut largest, mut differences, mut changed) = (0.0f64, Vec::new(), 0);
    let halves = momentum(&half);
    for (name, values) in momentum(&single) {
        let others = halves[&name].iter().zip(&before[&name]);
        for (value, (other, before)) in values.iter().zip(others) {
            let [value, other, before] = [value, other, before].map(|number| f64::from(*number));
            let gradient = (value - decay * before).abs();
            largest = largest.max(gradient);
            let single = 4.0 * f64::from(f32::EPSILON) * (value.abs() + gradient);
            differences.push(((value - other).abs(), gradient, single));
            changed += usize::from(value != other);
        }
    }
    for (difference, gradient, single) in &differences {
        let bound = gradient * (-10f64).exp2() * (1.0 + (-10f64).exp2());
        let bound = bound + 2.0 * largest * (-39f64).exp2() + single;
        assert!(*difference <= bound, "{difference:e} of {gradient:e}");
    }
    assert!(
        2 * changed > differences.len(),
        "{changed} of {}",
        differences.len()
    );
}

#[test]
fn all_ranks_get_copies_texts_and_words() {
    let found = on_ranks(3, |ranks| {
        let rank = ranks.rank();
        let words = ranks.agree(&[rank as u32, 7]).unwrap();
        let mut copy = numbers(rank, 10);
        ranks.broadcast_numbers(&mut copy);
        let mut gathered = numbers(rank, [2, 0, 3][rank]);
        ranks.all_gather_numbers(&mut gathered, &[2, 0, 3]);
        assert_eq!(gathered, [numbers(0, 2), numbers(2, 3)].concat());
        let texts = ranks.all_gather(&b"abcdefgh"[..3 * rank]).unwrap();
        let sent = ranks.broadcast(format!("from {rank}").as_bytes()).unwrap();
        ranks.set_replicas(rank + 1).unwrap();
        (words, copy, texts, sent, ranks.placement())
    });
    for (rank, (words, copy, texts, sent, placement)) in found.into_iter().enumerate() {
        let words: Vec<&[u32]> = words.iter().map(|words| &words[..3]).collect();
        assert_eq!(words, [[0, 7, 0], [1, 7, 0], [2, 7, 0]]);
        assert_eq!(copy, numbers(0, 10));
        assert_eq!(texts, [&b""[..], b"abc", b"abcdef"]);
        assert_eq!(sent, b"from 0");
        assert_eq!(placement, ([0..1, 1..3, 3..6][rank].clone(), 6));
    }
}

/// A rank that fails ends the others at their next agreement, with its message and code; of several,
/// the lowest one counts.
#[test]
fn a_failure_reaches_all_ranks() {
    let found = on_ranks(4, |ranks| match ranks.rank() {
        1 => ranks.fail(4, Some("no data")),
        3 => ranks.fail(7, None),
        _ => {
            let failure = ranks.all_gather(b"text").unwrap_err();
            assert_eq!(ranks.agree(&[]).unwrap_err(), failure);
            assert_eq!(ranks.fail(1, Some("later")), failure);
            failure
        }
    });
    let expected = Failure {
        rank: 1,
        host: "host1".to_owned(),
        code: 4,
        text: Some("no data".to_owned()),
    };
    assert_eq!(found, vec![expected; 4]);
}

/// Trains some epochs' steps and evaluates each epoch; returns the state and the totals of the tests.
pub(crate) fn epochs(trainer: &mut Trainer, count: usize) -> (Snapshot, Vec<Totals>) {
    pollster::block_on(async {
        let mut tested = Vec::new();
        for _ in 0..count {
            while !trainer.epoch_done() {
                trainer.step().await.unwrap();
            }
            tested.push(loop {
                if let (_, Some(totals)) = trainer.evaluate_batch().await.unwrap() {
                    break totals;
                }
            });
            trainer.next_epoch();
        }
        (trainer.snapshot().await.unwrap(), tested)
    })
}

/// Ranks compute the bits of one process with as many devices: parameters, optimiser state, running
/// statistics of the first, counts, and the sharded evaluation. The last batch of an epoch has fewer
/// images than there are replicas.
#[test]
fn ranks_equal_one_process_with_their_devices() {
    for device in fast_devices() {
        for counts in [&[1, 1][..], &[1, 1, 1], &[2, 1]] {
            // One replica on each rank, or the sums of each are added first.
            let total = counts.iter().sum();
            let run = Run::random(8, 17, 8);
            let found = on_ranks(counts.len(), |ranks| {
                let own = vec![device.clone(); counts[ranks.rank()]];
                ranks.set_replicas(own.len()).unwrap();
                let mut trainer = run.trainer_of(&own, Some(ranks), &run.start());
                assert_eq!(trainer.shares().iter().sum::<usize>(), 8);
                epochs(&mut trainer, 2)
            });
            let all = vec![device.clone(); total];
            let (expected, tested) = epochs(&mut run.trainer_on(&all, &run.start()), 2);
            assert_eq!(
                bits(&found[0].0),
                bits(&expected),
                "{counts:?} {}",
                device.name()
            );
            for (state, totals) in &found {
                assert!(shared(&run, state) == shared(&run, &expected));
                assert_eq!(state.position, expected.position);
                assert_eq!(*totals, tested);
                assert_eq!(totals[0].images, 13);
            }
        }
    }
}

/// Where devices differ, all ranks have the parameters of the first.
#[test]
fn ranks_on_different_devices_keep_the_same_parameters() {
    let run = Run::random(8, 16, 8);
    let found = on_ranks(2, |ranks| {
        let own = match ranks.rank() {
            0 => Device::cpu(),
            _ => Device::Reference,
        };
        ranks.set_replicas(1).unwrap();
        let mut trainer = run.trainer_of(&[own], Some(ranks), &run.start());
        epochs(&mut trainer, 2)
    });
    let [first, second] = &found[..] else {
        unreachable!()
    };
    for parameter in run.network().trained_parameters() {
        let of = |state: &Snapshot| state.weights[&parameter.name].clone();
        assert_eq!(of(&first.0), of(&second.0), "{}", parameter.name);
    }
    assert_eq!(first.1, second.1);
}

/// A run that stops on two ranks resumes on one process, or on four, with the same images: no step
/// and no count is lost.
#[test]
fn ranks_stop_together_and_resume_in_other_numbers() {
    let device = &Device::cpu();
    let run = Run::random(8, 24, 8);
    let stopped = on_ranks(2, |ranks| {
        ranks.set_replicas(1).unwrap();
        let own = std::slice::from_ref(device);
        let mut trainer = run.trainer_of(own, Some(ranks), &run.start());
        pollster::block_on(async {
            trainer.step().await.unwrap();
            assert!(!trainer.stops());
            if ranks.rank() == 1 {
                trainer.ask_to_stop();
            }
            assert!(!trainer.stops(), "before the others know");
            trainer.step().await.unwrap();
            assert!(trainer.stops());
            trainer.snapshot().await.unwrap()
        })
    });
    assert_eq!(stopped[0].position, stopped[1].position);
    assert_eq!(stopped[0].position.totals().images, 16);
    for count in [1, 4] {
        let found = on_ranks(count, |ranks| {
            ranks.set_replicas(1).unwrap();
            let own = std::slice::from_ref(device);
            let ranks = (count > 1).then_some(ranks);
            let mut trainer = run.trainer_of(own, ranks, &stopped[0]);
            pollster::block_on(async {
                trainer.step().await.unwrap();
                assert!(trainer.epoch_done());
                trainer.collect().await.unwrap()
            })
        });
        assert!(found.iter().all(|totals| totals.images == 24));
    }
}

/// What fails on one rank ends the others in their next step or evaluation, with its message.
#[test]
fn the_failure_of_a_rank_ends_the_others() {
    let device = &Device::cpu();
    let run = Run::random(8, 24, 8);
    for in_evaluation in [false, true] {
        let found = on_ranks(3, |ranks| {
            ranks.set_replicas(1).unwrap();
            let own = std::slice::from_ref(device);
            let mut trainer = run.trainer_of(own, Some(ranks), &run.start());
            pollster::block_on(trainer.step()).unwrap();
            if ranks.rank() == 2 {
                return ranks.fail(7, Some("the device was lost"));
            }
            let error = pollster::block_on(async {
                match in_evaluation {
                    true => trainer.evaluate_batch().await.unwrap_err(),
                    false => trainer.step().await.unwrap_err(),
                }
            });
            let TrainError::Rank(failure) = error else {
                panic!("{error}")
            };
            failure
        });
        for failure in found {
            assert_eq!((failure.rank, failure.code), (2, 7));
            assert_eq!(failure.text.as_deref(), Some("the device was lost"));
        }
    }
}
