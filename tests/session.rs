//! A training session as its callers use it: events in order, saves and stops when they are due,
//! and a record that can be read back. `tests/training` tests what the steps compute; here the
//! CPU device runs them.

mod common;

use std::cell::Cell;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use common::runs::{CLASSES, Memory, Run, bits, finish, learnt, session, talkative};
use pyr_wgpu::engine::Device;
use pyr_wgpu::graph::Precision;
use pyr_wgpu::kernels::Choices;
use pyr_wgpu::model::Description;
use pyr_wgpu::run::{Config, DataRecord, DeviceEnvironment, Environment, RunDirectory, SavedState};
use pyr_wgpu::train::{
    AutoAugment, Beginning, Event, SCHEMA, Save, SaveInterval, Session, SessionOptions, Store,
    Trainer,
};

/// Three steps and two test batches an epoch, two epochs.
fn small() -> Run {
    let mut run = Run::random(8, 20, 8);
    run.options.recipe.epochs = 2;
    run
}

fn trainer(run: &Run) -> Trainer {
    run.trainer(&Device::cpu(), &run.start())
}

/// All events of a session.
fn events(mut session: Session) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(event) = pollster::block_on(session.next(&mut Memory::default())).unwrap() {
        events.push(event);
    }
    events
}

fn tag(event: &Event) -> String {
    let value: serde_json::Value = serde_json::from_str(&event.to_json()).unwrap();
    value["event"].as_str().unwrap().to_owned()
}

fn tags(events: &[Event]) -> String {
    let tags: Vec<String> = events.iter().map(tag).collect();
    tags.join(" ")
}

#[test]
fn events_come_in_order_with_their_units() {
    let events = events(session(trainer(&small())));
    let epoch = "progress progress progress testing epoch saved";
    assert_eq!(tags(&events), format!("started {epoch} {epoch} finished"));
    let Event::Started(beginning) = &events[0] else {
        panic!("{:?}", events[0]);
    };
    let first = Beginning {
        schema: SCHEMA,
        epoch: 1,
        step: 0,
        run: None,
    };
    assert_eq!(*beginning, first);
    let (Event::Progress(one), Event::Progress(three)) = (&events[1], &events[3]) else {
        panic!("{events:?}");
    };
    assert_eq!((one.step, one.images, one.images_per_epoch), (1, 8, 20));
    assert_eq!(one.recent_loss, one.train_loss);
    // Eight images, eight, and four.
    let (Event::Progress(two), third) = (&events[2], three.recent_loss) else {
        panic!("{events:?}");
    };
    let mean = (8.0 * one.recent_loss + 8.0 * two.recent_loss + 4.0 * third) / 20.0;
    assert!((mean - three.train_loss).abs() < 1e-5 * mean, "{events:?}");
    let Event::Epoch(row) = &events[5] else {
        panic!("{:?}", events[5]);
    };
    assert_eq!((row.epoch, row.train_loss), (1, three.train_loss));
    // Percent of 20 training and 13 test images.
    for (error, images) in [(row.train_top1_error, 20.0), (row.test_top1_error, 13.0)] {
        let wrong = error / 100.0 * images;
        assert!(
            (wrong - wrong.round()).abs() < 1e-9 && wrong > 1.0,
            "{row:?}"
        );
    }
    let Some(Event::Finished {
        best_epoch,
        best_top1_error,
        ..
    }) = events.last()
    else {
        panic!("{events:?}");
    };
    let errors: Vec<f64> = events
        .iter()
        .filter_map(|event| match event {
            Event::Epoch(row) => Some(row.test_top1_error),
            _ => None,
        })
        .collect();
    assert_eq!(*best_top1_error, errors[0].min(errors[1]));
    assert_eq!(errors[*best_epoch as usize - 1], *best_top1_error);
}

/// A run ends after so many epochs without a lower error than the best, not before.
#[test]
fn patience_ends_a_run() {
    let mut run = small();
    run.options.recipe.epochs = 50;
    run.options.recipe.patience = Some(2);
    let events = events(session(trainer(&run)));
    let mut best = (0, f64::INFINITY);
    let mut epochs = 0;
    for event in &events {
        if let Event::Epoch(row) = event {
            assert!(
                epochs - best.0 < 2,
                "epoch {epochs} should have been the last"
            );
            epochs = row.epoch;
            if row.test_top1_error < best.1 {
                best = (epochs, row.test_top1_error);
            }
        }
    }
    assert!(epochs == best.0 + 2 && epochs < 50, "{epochs} {best:?}");
    let Some(Event::Finished {
        best_epoch,
        best_top1_error,
        patience: Some(2),
        ..
    }) = events.last()
    else {
        panic!("{events:?}");
    };
    assert_eq!((*best_epoch, *best_top1_error), best);
    let recipe = &run.options.recipe;
    assert!(recipe.is_over(3, Some(1)) && !recipe.is_over(3, Some(2)));
    // The last epoch ends it in any case.
    assert_eq!(recipe.stale_epochs(50, Some(1)), None);
    assert!(recipe.is_over(50, Some(50)) && !recipe.is_over(8, None));
}

/// The speed of an epoch is that of its training, however short it is; the epoch takes longer,
/// since it includes the test.
#[test]
fn speed_is_images_over_time() {
    for tick in [1, 1000] {
        let now = Rc::new(Cell::new(Duration::ZERO));
        let clock = Box::new(move || {
            now.set(now.get() + Duration::from_millis(tick));
            now.get()
        });
        let options = talkative(SaveInterval::Epoch);
        let events = events(Session::start(trainer(&small()), options, clock));
        let rows = events.iter().filter_map(|event| match event {
            Event::Epoch(row) => Some(row),
            _ => None,
        });
        for row in rows {
            let training = 20.0 / row.images_per_second;
            let epoch = row.epoch_seconds;
            assert!(
                training > 0.3 * epoch && training < 0.9 * epoch,
                "{training} s of {epoch} s"
            );
        }
    }
}

/// Between two events there is as much work as the interval allows, but no save is missed.
#[test]
fn saves_come_when_they_are_due() {
    let saved = |save: SaveInterval, max_steps: u32| -> Vec<(u32, u32)> {
        let now = Rc::new(Cell::new(Duration::ZERO));
        let clock = Rc::clone(&now);
        let mut options = talkative(save);
        options.max_steps = max_steps;
        options.interval = Duration::from_secs(1000);
        // Every reading of the clock advances it by a second.
        let clock = Box::new(move || {
            clock.set(clock.get() + Duration::from_secs(1));
            clock.get()
        });
        let events = events(Session::start(trainer(&small()), options, clock));
        events
            .iter()
            .filter_map(|event| match event {
                Event::Saved { epoch, step } => Some((*epoch, *step)),
                _ => None,
            })
            .collect()
    };
    for max_steps in [1, 100] {
        assert_eq!(saved(SaveInterval::Never, max_steps), []);
        assert_eq!(saved(SaveInterval::Epoch, max_steps), [(2, 0), (3, 0)]);
        let each = [(1, 2), (2, 0), (2, 2), (3, 0)];
        assert_eq!(saved(SaveInterval::Steps(2), max_steps), each);
        let always = saved(SaveInterval::Time(Duration::from_secs(1)), max_steps);
        assert_eq!(always, [(1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0)]);
    }
}

/// An evaluation under way is finished first.
#[test]
fn a_stop_saves_what_is_done() {
    for (at, rest, position) in [
        ("started", "saved stopped", (1, 0)),
        ("progress", "saved stopped", (1, 1)),
        ("testing", "epoch saved stopped", (2, 0)),
    ] {
        let mut session = session(trainer(&small()));
        let mut memory = Memory::default();
        let mut next = |session: &mut Session| pollster::block_on(session.next(&mut memory));
        while tag(&next(&mut session).unwrap().unwrap()) != at {}
        session.stop();
        let mut heard = Vec::new();
        while let Some(event) = next(&mut session).unwrap() {
            heard.push(event);
        }
        assert_eq!(tags(&heard), rest);
        let (epoch, step) = position;
        assert_eq!(heard.last(), Some(&Event::Stopped { epoch, step }));
        assert_eq!(memory.0.len(), 1);
    }
}

/// A store on a full disk.
struct Full;

impl Store for Full {
    type Error = Box<dyn Error>;

    fn save(&mut self, _: Save<'_>) -> Result<(), Box<dyn Error>> {
        Err("full".into())
    }
}

#[test]
fn a_failing_store_ends_the_session() {
    let mut session = session(trainer(&small()));
    let mut next = || pollster::block_on(session.next(&mut Full));
    let error = loop {
        match next() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the session continues without saving"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.to_string(), "full");
    assert!(next().unwrap().is_none());
}

/// A run that diverges saves nothing from then on, whatever is due.
#[test]
fn a_diverging_run_saves_nothing() {
    let mut run = small();
    run.options.preprocessing.mean = [128.0; 3];
    run.options.recipe.auto_augment = AutoAugment::None;
    // An image of the second step overflows.
    run.contrast = Some(run.order(1)[1][0] as usize);
    let mut start = run.start();
    let weights = start.weights.get_mut("conv1.weight").unwrap();
    weights.iter_mut().for_each(|weight| *weight *= 1e20);
    let trainer = run.trainer(&Device::cpu(), &start);
    let options = SessionOptions {
        max_steps: 100,
        interval: Duration::from_secs(1000),
        ..talkative(SaveInterval::Steps(1))
    };
    let mut session = Session::start(trainer, options, Box::new(|| Duration::ZERO));
    let mut memory = Memory::default();
    let mut next = || pollster::block_on(session.next(&mut memory));
    let error = loop {
        match next() {
            Ok(event) => assert!(event.is_some(), "the session ends without an error"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("in epoch 1, step 2: "), "{error}");
    assert!(next().unwrap().is_none());
    // The state after the first step.
    let positions: Vec<_> = memory.0.iter().map(|saved| saved.position.step).collect();
    assert_eq!(positions, [1]);
}

const DATA: DataRecord = DataRecord {
    test_images: 13,
    fingerprints: [1, 2],
};

/// A run directory, with what is stored with its states.
struct Kept {
    run: RunDirectory,
    config: Config,
    description: Description,
}

impl Store for Kept {
    type Error = Box<dyn Error>;

    fn save(&mut self, save: Save<'_>) -> Result<(), Box<dyn Error>> {
        Ok(self.run.save(&self.config, &self.description, DATA, save)?)
    }
}

impl Kept {
    fn create(path: &Path, run: &Run) -> Kept {
        let description = Description {
            network: run.spec.clone(),
            classes: (0..CLASSES).map(|class| class.to_string()).collect(),
            preprocessing: run.options.preprocessing,
        };
        let directory = RunDirectory::create(Some(path), "unused").unwrap();
        let config = Config {
            from: None,
            reset_classifier: false,
            freeze_until: None,
            dataset: "noise".to_owned(),
            data: None,
            augmentation: Default::default(),
            seed: run.options.seed,
            micro_batch: None,
            shares: Vec::new(),
            sync_batch_norm: false,
            gradients: Precision::F32,
            fuse: true,
            recompute: false,
            precision: run.options.passes.precision,
            network: run.spec.clone(),
            recipe: run.options.recipe.clone(),
        };
        let environment =
            Environment::new(vec![DeviceEnvironment::new(&Device::cpu())], Vec::new());
        let classes = &description.classes;
        let begun = directory.begin(&config, &environment, &[Choices::default()], classes);
        begun.unwrap();
        Kept {
            run: directory,
            config,
            description,
        }
    }

    /// Records events up to one for which `until` holds.
    fn record(&mut self, session: &mut Session, until: impl Fn(&Event) -> bool) {
        while let Some(event) = pollster::block_on(session.next(self)).unwrap() {
            self.run.record(&event).unwrap();
            if until(&event) {
                return;
            }
        }
    }

    fn resume(&self, run: &Run) -> Session {
        let SavedState {
            snapshot, progress, ..
        } = self.run.load(&run.network()).unwrap();
        self.run.forget_from(snapshot.position.epoch).unwrap();
        let trainer = run.trainer(&Device::cpu(), &snapshot);
        let clock = Box::new(|| Duration::ZERO);
        Session::resume(
            trainer,
            progress.best,
            talkative(SaveInterval::Epoch),
            clock,
        )
    }
}

/// A run that is stopped, killed and twice resumed ends with the bits of an uninterrupted one, and
/// its record has every epoch once.
#[test]
fn a_run_is_recorded_and_read_back() {
    let temporary = tempfile::tempdir().unwrap();
    let mut run = small();
    run.options.recipe.epochs = 3;
    let whole = pollster::block_on(finish(trainer(&run)));
    let mut kept = Kept::create(&temporary.path().join("run"), &run);

    let mut first = session(trainer(&run));
    kept.record(&mut first, |event| match event {
        Event::Progress(p) => (p.epoch, p.step) == (2, 2),
        _ => false,
    });
    first.stop();
    kept.record(&mut first, |_| false);

    let mut second = kept.resume(&run);
    kept.record(&mut second, |event| matches!(event, Event::Epoch(_)));
    drop(second);

    let mut third = kept.resume(&run);
    kept.record(&mut third, |_| false);

    let last = kept.run.load(&run.network()).unwrap();
    let best = last.progress.best;
    assert!(bits(&last.snapshot) == bits(&whole[2].1), "the bits differ");
    let history = kept.run.history().unwrap();
    assert_eq!(
        tags(&history.events),
        "started epoch saved saved stopped resumed resumed epoch saved epoch saved finished"
    );
    let rows: Vec<_> = history.epochs().collect();
    let expected: Vec<_> = whole.iter().map(|(row, _)| row).collect();
    for (row, expected) in rows.iter().zip(&expected) {
        assert_eq!(learnt(row), learnt(expected));
    }
    assert_eq!(rows.len(), 3);
    let lowest = rows.iter().map(|row| row.test_top1_error);
    assert_eq!(best.unwrap().test_top1_error, lowest.fold(100.0, f64::min));
    let table = fs::read_to_string(kept.run.file("metrics.csv")).unwrap();
    assert_eq!(table.lines().count(), 4, "{table}");
}

/// Lines of the first schema are read; damaged lines and newer schemas are named in the error.
#[test]
fn records_of_other_times() {
    let temporary = tempfile::tempdir().unwrap();
    let kept = Kept::create(&temporary.path().join("run"), &small());
    let path = kept.run.file("events.jsonl");
    let add = |text: &str| {
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, before + text).unwrap();
    };
    add(concat!(
        r#"{"epoch":1,"event":"started","run":"runs/demo-1","step":0}"#,
        "\n",
        r#"{"data_wait_seconds":0.0,"device_bytes":9,"epoch":1,"epoch_seconds":2.5,"event":"epoch","images_per_second":3.5,"learning_rate":0.05000000074505806,"test_loss":1.5,"test_top1_error":50.0,"test_top5_error":null,"train_loss":1.25,"train_top1_error":40.0}"#,
        "\n",
        r#"{"error":"the disk is full","event":"failed"}"#,
        "\n",
        r#"{"epoch":2,"event":"sa"#,
    ));
    let history = kept.run.history().unwrap();
    assert_eq!(tags(&history.events), "started epoch failed");
    // A session that resumes starts a line of its own.
    fs::write(kept.run.file("metrics.csv"), "").unwrap();
    kept.run.forget_from(2).unwrap();
    let stopped = Event::Stopped { epoch: 2, step: 1 };
    kept.run.record(&stopped).unwrap();
    let history = kept.run.history().unwrap();
    assert_eq!(tags(&history.events), "started epoch failed stopped");
    add("{");
    assert_eq!(history.epochs().next().unwrap().learning_rate, 0.05);

    let error = |text: &str| {
        add(text);
        kept.run.history().unwrap_err().to_string()
    };
    let damaged = error("\n");
    assert!(damaged.contains("events.jsonl, line 5"), "{damaged}");
    fs::remove_file(&path).unwrap();
    let future = error("{\"event\":\"started\",\"schema\":9999,\"epoch\":1,\"step\":0}\n");
    assert!(future.contains("schema 9999"), "{future}");
}
