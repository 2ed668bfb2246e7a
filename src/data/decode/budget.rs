//! The memory that concurrent decodes share.

use std::sync::{Condvar, Mutex, PoisonError};

/// A number of bytes, lent in shares.
pub(super) struct Budget {
    total: u64,
    free: Mutex<u64>,
    returned: Condvar,
}

/// Bytes of a budget, returned when dropped.
pub(super) struct Share<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    pub(super) const fn new(bytes: u64) -> Budget {
        Budget {
            total: bytes,
            free: Mutex::new(bytes),
            returned: Condvar::new(),
        }
    }

    /// Bytes of all shares together.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Takes a share, and waits for others to return theirs if too little is free.
    ///
    /// The caller must not ask for more than the whole budget, nor hold another share of it: it
    /// would wait forever.
    pub(super) fn take(&self, bytes: u64) -> Share<'_> {
        // Only subtraction and addition happen under the lock, so a poisoned one is intact.
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = self.returned.wait_while(free, |free| *free < bytes);
        *enough.unwrap_or_else(PoisonError::into_inner) -= bytes;
        Share {
            budget: self,
            bytes,
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let free = self.budget.free.lock();
        *free.unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.budget.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn shares_never_exceed_the_budget() {
        let budget = Budget::new(100);
        let (held, most) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for thread in 0..8 {
                let (budget, held, most) = (&budget, &held, &most);
                scope.spawn(move || {
                    for round in 0..50 {
                        let bytes = (thread * 37 + round * 11) % 100 + 1;
                        let _share = budget.take(bytes);
                        let now = held.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        most.fetch_max(now, Ordering::SeqCst);
                        thread::yield_now();
                        held.fetch_sub(bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        let most = most.into_inner();
        assert!(
            (90..=100).contains(&most),
            "{most} of 100 were held at once"
        );
        assert_eq!(*budget.free.lock().unwrap(), 100);
    }
}
