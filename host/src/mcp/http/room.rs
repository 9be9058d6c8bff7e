//! Room for connections: most of it for who has shown a token, the rest for strangers. Of these the one that came first goes when
//! one more comes, so that they can not shut out who has a token, which is shown at once. Who asks for nothing goes too.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Connections on which no token was shown yet. Each takes a descriptor and some 64 KiB.
const MOST_STRANGERS: usize = 128;
/// Connections of who has shown one.
const MOST_KNOWN: usize = 384;
/// How long a connection may be open without a request, and a request without all of its headers.
const SILENT: Duration = Duration::from_secs(10);

/// Room for so many connections.
pub(super) struct Room {
    strangers: Arc<Semaphore>,
    known: Arc<Semaphore>,
    /// In the order in which they came; who is no stranger any more or gone is among them until the next comes.
    queue: Mutex<VecDeque<(Weak<OwnedSemaphorePermit>, CancellationToken)>>,
}

/// What a connection has of it.
pub(super) struct Place {
    room: Arc<Room>,
    permit: Mutex<Arc<OwnedSemaphorePermit>>,
    over: CancellationToken,
    quiet: Arc<Quiet>,
}

/// Since when nothing is asked on a connection; none: something is being answered.
struct Quiet(Mutex<Option<Instant>>);

/// A request, from its headers on until all of its answer was sent.
pub(super) struct Asked(Arc<Quiet>);

impl Room {
    pub(super) fn new() -> Self {
        Self {
            strangers: Arc::new(Semaphore::new(MOST_STRANGERS)),
            known: Arc::new(Semaphore::new(MOST_KNOWN)),
            queue: Mutex::default(),
        }
    }

    /// A place for who has just come; who was a stranger for the longest time leaves it if need be.
    pub(super) async fn enter(self: &Arc<Self>) -> Place {
        self.make_place();
        let permit = self.strangers.clone().acquire_owned().await.expect("it is never closed");
        let (permit, over) = (Arc::new(permit), CancellationToken::new());
        self.queue().push_back((Arc::downgrade(&permit), over.clone()));
        Place { room: self.clone(), permit: Mutex::new(permit), over, quiet: Arc::new(Quiet::now()) }
    }

    fn make_place(&self) {
        let mut queue = self.queue();
        queue.retain(|(permit, _)| permit.strong_count() > 0);
        if self.strangers.available_permits() == 0
            && let Some((_, over)) = queue.pop_front()
        {
            over.cancel();
        }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<(Weak<OwnedSemaphorePermit>, CancellationToken)>> {
        self.queue.lock().expect("no holder of this lock panics")
    }
}

impl Place {
    /// Takes a place among those who have shown a token, for as long as the connection lasts. Says whether there was one.
    pub(super) fn settle(&self) -> bool {
        let mut permit = self.permit.lock().expect("no holder of this lock panics");
        if Arc::ptr_eq(permit.semaphore(), &self.room.known) {
            return true;
        }
        let Ok(known) = self.room.known.clone().try_acquire_owned() else { return false };
        *permit = Arc::new(known);
        true
    }

    /// Takes note of a request. A connection has one at a time.
    pub(super) fn asked(&self) -> Asked {
        *self.quiet.since() = None;
        Asked(self.quiet.clone())
    }

    /// Waits until another needs the place, or nothing was asked for [`SILENT`].
    pub(super) async fn over(&self) {
        tokio::select! {
            () = self.over.cancelled() => {}
            () = self.quiet.lasts(SILENT) => {}
        }
    }
}

impl Quiet {
    fn now() -> Self {
        Self(Mutex::new(Some(Instant::now())))
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Waits until it was quiet for so long. It looks at most that often, instead of setting a timer anew with each request, which
    /// wakes a second thread.
    async fn lasts(&self, long: Duration) {
        loop {
            let now = Instant::now();
            let end = self.since().unwrap_or(now) + long;
            if end <= now {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        *self.0.since() = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_over(place: &Place) -> bool {
        place.over.is_cancelled()
    }

    #[tokio::test]
    async fn the_stranger_that_came_first_goes() {
        let room = Arc::new(Room::new());
        let first = room.enter().await;
        assert!(first.settle() && first.settle());
        let mut strangers = VecDeque::new();
        for _ in 0..MOST_STRANGERS {
            strangers.push_back(room.enter().await);
        }
        assert!(!strangers.iter().any(is_over));
        for _ in 0..3 {
            let next = tokio::spawn({
                let room = room.clone();
                async move { room.enter().await }
            });
            let oldest = strangers.pop_front().unwrap();
            oldest.over.cancelled().await;
            assert!(!next.is_finished());
            drop(oldest);
            strangers.push_back(next.await.unwrap());
        }
        assert!(!is_over(&first) && !strangers.iter().any(is_over));
    }

    #[tokio::test]
    async fn there_is_room_for_so_many() {
        let room = Arc::new(Room::new());
        let mut known = Vec::new();
        for _ in 0..MOST_KNOWN {
            let place = room.enter().await;
            assert!(place.settle());
            known.push(place);
        }
        let one_more = room.enter().await;
        assert!(!one_more.settle());
        known.pop();
        assert!(one_more.settle());
    }
    #[tokio::test]
    async fn who_asks_for_nothing_goes() {
        let place = Arc::new(Room::new()).enter().await;
        let (short, asked) = (Duration::from_millis(20), place.asked());
        assert!(tokio::time::timeout(short * 5, place.quiet.lasts(short)).await.is_err());
        drop(asked);
        let begun = Instant::now();
        place.quiet.lasts(short).await;
        assert!(begun.elapsed() >= short);
    }
}
