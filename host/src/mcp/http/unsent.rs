//! Bytes of answers that wait for their client to take them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of answers of a principal that may wait: who asks on many connections without reading could else make the server hold a
/// large one for each.
const MOST_BYTES: u32 = 64 << 20;
/// An answer of so many bytes counts for nothing: of those there are no more than requests in progress.
const SMALL_BYTES: usize = 64 << 10;

/// What waits of a principal.
#[derive(Clone)]
pub(super) struct Unsent(Arc<Semaphore>);

/// The right of an answer, or of a piece of one, to wait, for as long as it is held; none: it is small.
pub(super) struct Waiting(Option<OwnedSemaphorePermit>);

impl Unsent {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MOST_BYTES as usize)))
    }

    /// Lets so many bytes wait; not if too many wait already. What is more than may wait at all has all the room for itself.
    pub(super) fn hold(&self, bytes: usize) -> Option<Waiting> {
        if bytes <= SMALL_BYTES {
            return Some(Waiting::nothing());
        }
        let bytes = u32::try_from(bytes).unwrap_or(MOST_BYTES).min(MOST_BYTES);
        self.0.clone().try_acquire_many_owned(bytes).ok().map(|permit| Waiting(Some(permit)))
    }
}

impl Waiting {
    pub(super) fn nothing() -> Self {
        Self(None)
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_waits_and_no_more() {
        let (unsent, half) = (Unsent::new(), MOST_BYTES as usize / 2);
        let first = unsent.hold(half).unwrap();
        let _second = unsent.hold(half).unwrap();
        assert!(unsent.hold(SMALL_BYTES + 1).is_none() && unsent.hold(SMALL_BYTES).is_some());
        drop(first);
        assert!(unsent.hold(half).is_some());
        assert!(Unsent::new().hold(usize::MAX).is_some());
    }
}
