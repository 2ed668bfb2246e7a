//! A thread that writes to one of the standard streams.
//!
//! Writing to a pipe that nobody reads, or to a stopped terminal, takes as long as the reader likes.
//! Here only this thread waits, and others decide how long they wait for it.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Jobs beyond this number are dropped.
const MAX_QUEUED: usize = 1000;

/// Interval at which [`BackgroundWriter::wait`] asks whether to give up.
const TICK: Duration = Duration::from_millis(20);

/// Something that writes.
pub(super) type Job = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// A thread, started by its first job, that does jobs in order.
pub(super) struct BackgroundWriter {
    state: Mutex<State>,
    /// Notified when a job was added or done.
    changed: Condvar,
}

struct State {
    waiting: VecDeque<Job>,
    /// When the job that is being done began.
    began: Option<Instant>,
    has_thread: bool,
    /// The first error since it was last taken.
    error: Option<io::Error>,
}

impl BackgroundWriter {
    pub(super) const fn new() -> BackgroundWriter {
        BackgroundWriter {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                began: None,
                has_thread: false,
                error: None,
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Jobs run outside the lock, so the state is consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job. Returns whether there was room; if not, the job is dropped.
    pub(super) fn send(&'static self, job: Job) -> bool {
        self.add(job, MAX_QUEUED)
    }

    /// Adds a job even if there is no room; at most one for each job that [`Self::send`] added.
    pub(super) fn send_last(&'static self, job: Job) {
        self.add(job, usize::MAX);
    }

    fn add(&'static self, job: Job, room: usize) -> bool {
        let mut state = self.state();
        if state.waiting.len() >= room {
            return false;
        }
        state.waiting.push_back(job);
        if !state.has_thread {
            let thread = thread::Builder::new().spawn(|| {
                loop {
                    self.work();
                    let idle = |state: &mut State| state.waiting.is_empty();
                    drop(self.changed.wait_while(self.state(), idle));
                }
            });
            state.has_thread = thread.is_ok();
        }
        let has_thread = state.has_thread;
        drop(state);
        self.changed.notify_all();
        if !has_thread {
            // The system gives no thread: this one writes, and waits for the reader.
            self.work();
        }
        true
    }

    /// Does the jobs that wait.
    fn work(&self) {
        let mut state = self.state();
        while let Some(job) = state.waiting.pop_front() {
            state.began = Some(Instant::now());
            drop(state);
            // A job that panics must not end the thread, for which others wait.
            let done = catch_unwind(AssertUnwindSafe(job));
            let done = done.unwrap_or_else(|_| Err(io::Error::other("a write panicked")));
            state = self.state();
            state.began = None;
            if let Err(error) = done {
                state.error.get_or_insert(error);
            }
            self.changed.notify_all();
        }
    }

    /// Whether every job has been done.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.waiting.is_empty() && state.began.is_none()
    }

    /// Waits until every job has been done. Gives up when `give_up` says so, given how long the
    /// present job has taken; returns whether every job has been done.
    pub(super) fn wait(&self, give_up: impl Fn(Duration) -> bool) -> bool {
        let mut state = self.state();
        loop {
            if state.waiting.is_empty() && state.began.is_none() {
                return true;
            }
            let taken = state.began.map_or(Duration::ZERO, |began| began.elapsed());
            if give_up(taken) {
                return false;
            }
            let woken = self.changed.wait_timeout(state, TICK);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The first error of a job since the last call.
    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.state().error.take()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn jobs_are_done_in_order_and_errors_kept() {
        static STREAM: BackgroundWriter = BackgroundWriter::new();
        let (sender, receiver) = channel();
        for number in 0..100 {
            let sender = sender.clone();
            assert!(STREAM.send(Box::new(move || {
                sender.send(number).unwrap();
                match number % 50 {
                    49 => Err(io::Error::other(number.to_string())),
                    _ => Ok(()),
                }
            })));
        }
        assert!(STREAM.wait(|_| false) && STREAM.is_idle());
        let done: Vec<i32> = receiver.try_iter().collect();
        assert_eq!(done, Vec::from_iter(0..100));
        assert_eq!(STREAM.take_error().unwrap().to_string(), "49");
        assert!(STREAM.take_error().is_none());
    }

    #[test]
    fn nobody_waits_for_a_job_that_stands_still() {
        static STREAM: BackgroundWriter = BackgroundWriter::new();
        let (gate, closed) = channel::<()>();
        assert!(STREAM.send(Box::new(move || {
            closed.recv().unwrap_or_default();
            Ok(())
        })));
        let start = Instant::now();
        assert!(!STREAM.wait(|taken| taken > Duration::from_millis(50)));
        assert!(start.elapsed() >= Duration::from_millis(50));
        let more = (0..).take_while(|_| STREAM.send(Box::new(|| Ok(()))));
        assert_eq!(more.count(), MAX_QUEUED);
        let (sender, receiver) = channel();
        STREAM.send_last(Box::new(move || {
            sender.send(()).unwrap();
            Ok(())
        }));
        drop(gate);
        assert!(STREAM.wait(|_| false));
        receiver.try_recv().unwrap();
    }
}
