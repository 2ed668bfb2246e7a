//! Processes that train together: what they agree on, and sums over all of them.
//!
//! A rank is a process of a parallel program, as in MPI. [`Ranks`] needs only that every rank can send
//! a message to every other one, which a [`Transport`] does: MPI on clusters (feature `mpi`), channels in tests.
//!
//! Sums of floats are added in the order of the ranks, so that they have the same bits on every rank
//! and in every run: each rank adds up its own part of the numbers (reduce-scatter) and sends it to the
//! others (all-gather), which moves no more bytes than a ring does.
//!
//! A rank that fails says so instead of what the others expect, so that all end with the same error.
//! Therefore everything that can fail on one rank alone is done before the next agreement, and
//! nothing between an agreement and the exchange that follows it.

mod encoding;
#[cfg(feature = "mpi")]
pub mod mpi;

pub use encoding::Encoding;

use std::cell::RefCell;
use std::mem;
use std::ops::Range;
use std::rc::Rc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Sends messages between ranks.
pub trait Transport {
    /// The number of this rank, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn count(&self) -> usize;

    /// The name of the machine.
    fn host(&self) -> String;

    /// Sends `sent[r]` to every other rank `r`, and fills `received[r]` with its message, whose length
    /// is known. Empty messages are not sent.
    ///
    /// A rank that does not answer ends all of them, since there is nothing to return to: with the exit
    /// code that `on_silence` returns, which is called with its number.
    fn exchange(
        &mut self,
        sent: &[&[u32]],
        received: &mut [Vec<u32>],
        on_silence: &dyn Fn(usize) -> u8,
    );
}

/// Why a rank ended without success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The rank.
    pub rank: usize,
    /// The name of its machine.
    pub host: String,
    /// Its exit code.
    pub code: u8,
    /// Its message, if it has one.
    pub text: Option<String>,
}

/// All ranks, as one of them sees them; a copy is another handle.
#[derive(Clone)]
pub struct Ranks(Rc<RefCell<Inner>>);

/// Reports a rank that does not answer, and the failure that this rank was about to tell, if there is
/// one; returns the exit code.
pub type OnSilence = Box<dyn Fn(usize, Option<&Failure>) -> u8>;

struct Inner {
    transport: Box<dyn Transport>,
    on_silence: OnSilence,
    /// The failure that this rank is telling.
    telling: Option<Failure>,
    /// Messages of the other ranks, kept from one exchange to the next.
    received: Vec<Vec<u32>>,
    /// Encoded numbers for each rank, likewise.
    encoded: Vec<Vec<u32>>,
    /// Decoded numbers of a rank, likewise.
    decoded: Vec<f32>,
    /// Replicas of each rank, once they are known.
    replicas: Vec<usize>,
    /// The failure with which the ranks end, once one has failed.
    failure: Option<Failure>,
}

/// Words of an agreement, of which the first says whether the rank has failed.
const AGREED: usize = 16;

/// Words with which a rank can agree.
pub const WORDS: usize = AGREED - 1;

impl Ranks {
    /// All ranks of a transport.
    pub fn new(transport: impl Transport + 'static, on_silence: OnSilence) -> Ranks {
        let messages = vec![Vec::new(); transport.count()];
        Ranks(Rc::new(RefCell::new(Inner {
            transport: Box::new(transport),
            on_silence,
            telling: None,
            received: messages.clone(),
            encoded: messages,
            decoded: Vec::new(),
            replicas: Vec::new(),
            failure: None,
        })))
    }

    /// The number of this rank, from 0.
    pub fn rank(&self) -> usize {
        self.0.borrow().transport.rank()
    }

    /// The number of ranks.
    pub fn count(&self) -> usize {
        self.0.borrow().transport.count()
    }

    /// The failure with which the ranks end, if one has failed.
    pub fn failure(&self) -> Option<Failure> {
        self.0.borrow().failure.clone()
    }

    /// The replicas of each rank; empty before [`Ranks::set_replicas`].
    pub fn replicas(&self) -> Vec<usize> {
        self.0.borrow().replicas.clone()
    }

    /// The numbers of this rank's replicas among all of them, and how many there are.
    ///
    /// # Panics
    /// Before [`Ranks::set_replicas`].
    pub fn placement(&self) -> (Range<usize>, usize) {
        let inner = self.0.borrow();
        let rank = inner.transport.rank();
        let first = inner.replicas[..rank].iter().sum();
        let total = inner.replicas.iter().sum();
        (first..first + inner.replicas[rank], total)
    }

    /// Tells the others how many replicas this rank has.
    ///
    /// # Errors
    /// If a rank has failed.
    pub fn set_replicas(&self, own: usize) -> Result<(), Failure> {
        let counts = self.agree(&[own as u32])?;
        let counts = counts.iter().map(|words| words[0] as usize);
        self.0.borrow_mut().replicas = counts.collect();
        Ok(())
    }

    /// Exchanges at most [`WORDS`] words, after which no rank has failed; returns those of all ranks in
    /// order, with zeros after the last one.
    ///
    /// # Errors
    /// If a rank has failed.
    ///
    /// # Panics
    /// If there are more words.
    pub fn agree(&self, words: &[u32]) -> Result<Vec<[u32; WORDS]>, Failure> {
        self.0.borrow_mut().agree(words)
    }

    /// Tells the others that this rank has failed, instead of what they expect. Returns the failure with
    /// which all ranks end: that of the lowest rank that has failed.
    pub fn fail(&self, code: u8, text: Option<&str>) -> Failure {
        let mut inner = self.0.borrow_mut();
        let own = Failure {
            rank: inner.transport.rank(),
            host: inner.transport.host(),
            code,
            text: text.map(str::to_owned),
        };
        inner.telling = Some(own.clone());
        inner.agree(&[]).err().unwrap_or(own)
    }

    /// Waits until all ranks do, also after a failure.
    pub fn barrier(&self) {
        self.0.borrow_mut().exchange_equal(&[0]);
    }

    /// The number of this rank among those on its machine, and how many these are.
    ///
    /// # Errors
    /// If a rank has failed.
    pub fn local_rank(&self) -> Result<(usize, usize), Failure> {
        let own = self.0.borrow().transport.host();
        let hosts = self.all_gather(own.as_bytes())?;
        let same = |hosts: &[Vec<u8>]| hosts.iter().filter(|host| **host == own.as_bytes()).count();
        Ok((same(&hosts[..self.rank()]), same(&hosts)))
    }

    /// Sends bytes to all ranks; returns those of every rank, in order.
    ///
    /// # Errors
    /// If a rank has failed.
    pub fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        let mut inner = self.0.borrow_mut();
        inner.agree(&[])?;
        Ok(inner.all_gather(bytes))
    }

    /// Sends bytes of rank 0, whose arguments count, to all others.
    ///
    /// # Errors
    /// If a rank has failed.
    pub fn broadcast(&self, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        let own: &[u8] = match self.rank() {
            0 => bytes,
            _ => &[],
        };
        Ok(self.all_gather(own)?.swap_remove(0))
    }

    /// Adds numbers over all ranks, in the order of the ranks; each rank has the result. All ranks call
    /// it with as many numbers, after an agreement that none has failed: the others would wait for one
    /// that does not.
    ///
    /// In half precision the numbers of every rank are rounded, added in single precision, and their
    /// sum is rounded.
    pub fn all_reduce(&self, numbers: &mut [f32], encoding: Encoding) {
        self.0.borrow_mut().combine(numbers, encoding, add);
    }

    /// Replaces numbers by those of all ranks, one rank after another. All ranks call it after an
    /// agreement that none has failed, and know how many numbers each has: `lengths`.
    ///
    /// # Panics
    /// If this rank has another number of them, which is a bug.
    pub fn all_gather_numbers(&self, numbers: &mut Vec<f32>, lengths: &[usize]) {
        self.0.borrow_mut().all_gather_numbers(numbers, lengths);
    }

    /// Replaces numbers by those of rank 0, under the conditions of [`Ranks::all_reduce`].
    pub fn broadcast_numbers(&self, numbers: &mut [f32]) {
        self.0
            .borrow_mut()
            .combine(numbers, Encoding::Single, |_, _| ());
    }
}

/// Adds numbers to as many sums, on all cores.
pub fn add(sums: &mut [f32], numbers: &[f32]) {
    let parts = sums.par_chunks_mut(PART).zip(numbers.par_chunks(PART));
    parts.for_each(|(sums, numbers)| {
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum += number;
        }
    });
}

/// Numbers that a core adds at a time.
const PART: usize = 1 << 14;

impl Inner {
    fn agree(&mut self, words: &[u32]) -> Result<Vec<[u32; WORDS]>, Failure> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let mut sent = [0; AGREED];
        sent[0] = self.telling.is_some().into();
        sent[1..][..words.len()].copy_from_slice(words);
        let all = self.exchange_equal(&sent);
        if all.iter().all(|words| words[0] == 0) {
            let words = all.iter().map(|words| {
                let words = words[1..].try_into();
                words.expect("an agreement has its length")
            });
            return Ok(words.collect());
        }
        let text = self
            .telling
            .as_ref()
            .map(|failure| serde_json::to_vec(failure).expect("plain data"));
        let texts = self.all_gather(&text.unwrap_or_default());
        let mut failed = texts.iter().filter(|text| !text.is_empty());
        let first = failed.next().expect("a rank has said that it failed");
        let failure: Failure = serde_json::from_slice(first).expect("a rank wrote it");
        self.failure = Some(failure.clone());
        Err(failure)
    }

    /// Sends bytes to all ranks; returns those of every rank, in order.
    fn all_gather(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let length = [bytes.len() as u32, (bytes.len() as u64 >> 32) as u32];
        let lengths = self.exchange_equal(&length);
        let lengths = lengths
            .iter()
            .map(|words| u64::from(words[0]) as usize | (u64::from(words[1]) << 32) as usize);
        let lengths: Vec<usize> = lengths.collect();
        let mut words = vec![0; bytes.len().div_ceil(4)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        self.exchange_words(&words, lengths.iter().map(|length| length.div_ceil(4)));
        let all = self.received.iter().zip(lengths);
        all.map(|(words, length)| bytemuck::cast_slice(words)[..length].to_vec())
            .collect()
    }

    /// Sends the same words to all ranks; returns those of every rank, of which there are as many.
    fn exchange_equal(&mut self, words: &[u32]) -> &[Vec<u32>] {
        let lengths = vec![words.len(); self.received.len()];
        self.exchange_words(words, lengths);
        &self.received
    }

    fn all_gather_numbers(&mut self, numbers: &mut Vec<f32>, lengths: &[usize]) {
        let own = lengths[self.transport.rank()];
        assert_eq!(numbers.len(), own, "numbers of this rank");
        self.exchange_words(bytemuck::cast_slice(numbers), lengths.iter().copied());
        numbers.clear();
        for received in &self.received {
            numbers.extend_from_slice(bytemuck::cast_slice(received));
        }
    }

    /// Sends words to all ranks, and receives those of every rank, whose numbers are known; its own are
    /// among them.
    fn exchange_words(&mut self, words: &[u32], lengths: impl IntoIterator<Item = usize>) {
        for (received, length) in self.received.iter_mut().zip(lengths) {
            received.resize(length, 0);
        }
        let sent = vec![words; self.received.len()];
        self.exchange(&sent);
        self.received[self.transport.rank()].copy_from_slice(words);
    }

    fn exchange(&mut self, sent: &[&[u32]]) {
        let Inner {
            transport,
            on_silence,
            telling,
            received,
            ..
        } = self;
        let on_silence = |rank| on_silence(rank, telling.as_ref());
        transport.exchange(sent, received, &on_silence);
    }

    /// Each rank combines its part of the numbers of all ranks (reduce-scatter): a function changes
    /// those of the first rank by those of each other, in order. Then all ranks have all parts
    /// (all-gather).
    fn combine(
        &mut self,
        numbers: &mut [f32],
        encoding: Encoding,
        combine: fn(&mut [f32], &[f32]),
    ) {
        let (rank, count) = (self.transport.rank(), self.transport.count());
        let length = numbers.len();
        let part = |rank: usize| length * rank / count..length * (rank + 1) / count;
        let own = part(rank);
        let mut encoded = mem::take(&mut self.encoded);
        let mut decoded = mem::take(&mut self.decoded);

        for received in &mut self.received {
            received.resize(encoding.words(own.len()), 0);
        }
        let parts = encoded.iter_mut().enumerate();
        let sent = parts.map(|(rank, buffer)| encoding.encode(&numbers[part(rank)], buffer));
        let sent: Vec<&[u32]> = sent.collect();
        self.exchange(&sent);
        self.received[rank].copy_from_slice(sent[rank]);
        let combined = &mut numbers[own.clone()];
        for (other, words) in self.received.iter().enumerate() {
            let others = encoding.decode(words, own.len(), &mut decoded);
            match other {
                0 => combined.copy_from_slice(others),
                _ => combine(combined, others),
            }
        }

        for (rank, received) in self.received.iter_mut().enumerate() {
            received.resize(encoding.words(part(rank).len()), 0);
        }
        let words = encoding.encode(&numbers[own], &mut encoded[rank]);
        self.exchange(&vec![words; count]);
        self.received[rank].copy_from_slice(words);
        for (rank, words) in self.received.iter().enumerate() {
            let numbers = &mut numbers[part(rank)];
            numbers.copy_from_slice(encoding.decode(words, numbers.len(), &mut decoded));
        }
        (self.encoded, self.decoded) = (encoded, decoded);
    }
}
