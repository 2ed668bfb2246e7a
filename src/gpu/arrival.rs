//! Results of callbacks, as futures.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

/// A one-shot channel from a callback to the future that awaits it.
pub(super) struct Arrival<T>(Arc<Mutex<(Option<T>, Option<Waker>)>>);

impl<T> Clone for Arrival<T> {
    fn clone(&self) -> Arrival<T> {
        Arrival(Arc::clone(&self.0))
    }
}

impl<T> Default for Arrival<T> {
    fn default() -> Arrival<T> {
        Arrival(Arc::default())
    }
}

impl<T> Arrival<T> {
    pub(super) fn arrive(&self, result: T) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0 = Some(result);
        if let Some(waker) = inner.1.take() {
            waker.wake();
        }
    }

    pub(super) async fn arrived(&self) -> T {
        std::future::poll_fn(|context| {
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match inner.0.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    inner.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
