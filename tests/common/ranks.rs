//! Ranks that are threads of this process.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{scope, sleep};
use std::time::Duration;

use pyr_wgpu::ranks::{Ranks, Transport};

/// A rank that sends through channels, after pauses that differ by rank.
struct Channels {
    rank: usize,
    senders: Vec<Sender<Vec<u32>>>,
    receivers: Vec<Receiver<Vec<u32>>>,
    pause: Duration,
}

impl Transport for Channels {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.senders.len()
    }

    fn host(&self) -> String {
        format!("host{}", self.rank)
    }

    fn exchange(&mut self, sent: &[&[u32]], received: &mut [Vec<u32>], _: &dyn Fn(usize) -> u8) {
        sleep(self.pause);
        for (rank, words) in sent.iter().enumerate() {
            if rank != self.rank && !words.is_empty() {
                self.senders[rank].send(words.to_vec()).unwrap();
            }
        }
        for (rank, words) in received.iter_mut().enumerate() {
            if rank != self.rank && !words.is_empty() {
                let message = self.receivers[rank].recv().unwrap();
                assert_eq!(message.len(), words.len(), "from rank {rank}");
                *words = message;
            }
        }
    }
}

/// Calls a function in as many threads, each a rank; returns the results in order.
pub fn on_ranks<T: Send>(count: usize, work: impl Fn(&Ranks) -> T + Sync) -> Vec<T> {
    let mut senders: Vec<Vec<Sender<Vec<u32>>>> = vec![Vec::new(); count];
    let mut receivers: Vec<Vec<Receiver<Vec<u32>>>> = Vec::new();
    for _ in 0..count {
        let mut own = Vec::new();
        for senders in &mut senders {
            let (sender, receiver) = channel();
            senders.push(sender);
            own.push(receiver);
        }
        receivers.push(own);
    }
    let work = &work;
    scope(|scope| {
        let ranks = senders.into_iter().zip(receivers).enumerate();
        let threads: Vec<_> = ranks
            .map(|(rank, (senders, receivers))| {
                scope.spawn(move || {
                    let pause = Duration::from_millis((7 * rank as u64) % 5);
                    let channels = Channels {
                        rank,
                        senders,
                        receivers,
                        pause,
                    };
                    work(&Ranks::new(channels, Box::new(|_, _| 1)))
                })
            })
            .collect();
        let threads = threads.into_iter();
        threads.map(|thread| thread.join().unwrap()).collect()
    })
}
