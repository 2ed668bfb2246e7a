//! Messages between ranks over MPI (Open MPI, MPICH and others).

use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

use mpi::Threading;
use mpi::environment::{Universe, processor_name};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Source};

use super::Transport;

/// The program's ranks as MPI has started them.
pub struct Mpi {
    world: SimpleCommunicator,
    /// How long to wait for an answer.
    patience: Duration,
    /// Ends MPI when it is dropped.
    _universe: Universe,
}

/// The tag of all messages: ranks exchange one message at a time, in the same order.
const TAG: i32 = 1;

/// The exit code of a Rust program that has panicked.
const PANIC: i32 = 101;

/// Polls before a waiting rank leaves the processor to others.
const POLLS: u32 = 100;

/// Pause between two polls after that, which a message between machines takes as well.
const PAUSE: Duration = Duration::from_micros(50);

impl Mpi {
    /// Starts MPI, which a process does once. A rank that has not answered for `patience` counts as
    /// silent.
    ///
    /// # Errors
    /// If MPI cannot be used, with the reason.
    pub fn start(patience: Duration) -> Result<Mpi, String> {
        // Other threads compute, and one speaks with the other ranks.
        let started = mpi::initialize_with_threading(Threading::Funneled);
        let (universe, threading) = started.ok_or("MPI was started twice")?;
        if threading < Threading::Funneled {
            return Err("this MPI allows processes with one thread only".to_owned());
        }
        Ok(Mpi {
            world: universe.world(),
            patience,
            _universe: universe,
        })
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        // Ending MPI waits for the other ranks, which wait for what this one would have sent.
        if std::thread::panicking() {
            self.world.abort(PANIC);
        }
    }
}

impl Transport for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn count(&self) -> usize {
        self.world.size() as usize
    }

    fn host(&self) -> String {
        processor_name().unwrap_or_default()
    }

    fn exchange(
        &mut self,
        sent: &[&[u32]],
        received: &mut [Vec<u32>],
        on_silence: &dyn Fn(usize) -> u8,
    ) {
        let rank = self.rank();
        mpi::request::scope(|scope| {
            let mut pending = Vec::new();
            for (other, words) in received.iter_mut().enumerate() {
                if other != rank && !words.is_empty() {
                    let process = self.world.process_at_rank(other as i32);
                    let words = &mut words[..];
                    let request = process.immediate_receive_into_with_tag(scope, words, TAG);
                    pending.push((other, request));
                }
            }
            for (other, words) in sent.iter().enumerate() {
                if other != rank && !words.is_empty() {
                    let process = self.world.process_at_rank(other as i32);
                    let request = process.immediate_send_with_tag(scope, *words, TAG);
                    pending.push((other, request));
                }
            }
            let (mut polls, mut last_answer) = (0, Instant::now());
            while let Some((other, _)) = pending.first() {
                let silent = *other;
                let before = pending.len();
                pending = pending
                    .into_iter()
                    .filter_map(|(other, request)| Some((other, request.test().err()?)))
                    .collect();
                if pending.len() < before {
                    last_answer = Instant::now();
                } else if last_answer.elapsed() > self.patience {
                    let code = on_silence(silent);
                    self.world.abort(code.into());
                }
                match polls < POLLS {
                    true => yield_now(),
                    false => sleep(PAUSE),
                }
                polls += 1;
            }
        });
    }
}
