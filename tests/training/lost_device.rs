//! A device that is lost during a run.

use pyr_wgpu::engine::{Device, EngineError};
use pyr_wgpu::gpu::GpuError;
use pyr_wgpu::train::{TrainError, Trainer};

use crate::common;
use crate::common::runs::{Run, bits, finish};

/// Whether an error is the loss of the device, and says why.
fn is_loss(error: &TrainError) -> bool {
    let TrainError::Engine(EngineError::Gpu(GpuError::Lost(reason))) = error else {
        return false;
    };
    !reason.is_empty()
}

/// A lost device is an error of the next call that needs it, never a panic or an endless wait. The
/// run continues from its last state on another device, to the same bits.
#[test]
fn a_run_survives_the_loss_of_its_device() {
    let mut run = Run::random(8, 20, 8);
    run.options.recipe.epochs = 2;
    let Some(device) = common::separate_gpu() else {
        return;
    };
    let whole = pollster::block_on(finish(run.trainer(&device, &run.start())));
    type Use = fn(&mut Trainer) -> Result<(), TrainError>;
    let uses: [(&str, Use); 4] = [
        // The host waits for a step when more than a few are in flight.
        ("steps", |trainer| {
            for _ in 0..10 {
                if trainer.epoch_done() {
                    trainer.next_epoch();
                }
                pollster::block_on(trainer.step())?;
            }
            Ok(())
        }),
        ("metrics", |trainer| {
            pollster::block_on(trainer.collect()).map(drop)
        }),
        ("state", |trainer| {
            pollster::block_on(trainer.snapshot()).map(drop)
        }),
        ("evaluation", |trainer| {
            loop {
                if pollster::block_on(trainer.evaluate_batch())?.1.is_some() {
                    return Ok(());
                }
            }
        }),
    ];
    for (what, call) in uses {
        let device = common::separate_gpu().unwrap();
        let mut trainer = run.trainer(&device, &run.start());
        pollster::block_on(trainer.step()).unwrap();
        let saved = pollster::block_on(trainer.snapshot()).unwrap();
        pollster::block_on(trainer.step()).unwrap();
        if what == "evaluation" {
            pollster::block_on(trainer.evaluate_batch()).unwrap();
        }
        common::destroy(&device);
        let error = call(&mut trainer).expect_err(what);
        assert!(is_loss(&error), "{what}: {error}");
        // And stays one.
        let error = pollster::block_on(trainer.collect()).unwrap_err();
        assert!(is_loss(&error), "{what}: {error}");
        drop(trainer);
        let rest = pollster::block_on(finish(run.trainer(&reopened(), &saved)));
        assert!(
            bits(&rest[1].1) == bits(&whole[1].1),
            "{what}: the bits differ"
        );
    }
    // At any moment, from another thread.
    for delay in [0, 3, 30] {
        let device = common::separate_gpu().unwrap();
        let mut trainer = run.trainer(&device, &run.start());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(delay));
                common::destroy(&device);
            });
            let check = common::deadline("error of a lost device");
            let error = loop {
                check();
                let state = pollster::block_on(trainer.step()).map(drop);
                let state = state.and_then(|()| pollster::block_on(trainer.snapshot()).map(drop));
                if let Err(error) = state {
                    break error;
                }
                if trainer.epoch_done() {
                    trainer.next_epoch();
                }
            };
            assert!(is_loss(&error), "{error}");
        });
    }
}

fn reopened() -> Device {
    common::separate_gpu().expect("it was there before")
}
