//! Room for connections: most of it for who has shown a token, the rest for strangers. Of these the one that came first goes when
//! one more comes, so that they can not shut out who has a token, which is shown at once. Nor can a principal shut out another:
//! where all places are taken, who has the most gives one up to who has fewer. Who asks for nothing goes too.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::principal::Principal;

/// Connections on which no token was shown yet. Each takes a descriptor and some 64 KiB.
const MOST_STRANGERS: usize = 128;
/// Connections of who has shown one.
const MOST_KNOWN: usize = 384;
/// How long a connection may be open without a request, and a request without all of its headers.
const SILENT: Duration = Duration::from_secs(10);

/// Room for so many connections.
pub(super) struct Room {
    strangers: Arc<Semaphore>,
    /// Of each principal, in the order in which they came; who is gone is among them until the next settles.
    known: Mutex<HashMap<Principal, Vec<Weak<Seat>>>>,
    /// In the order in which they came; who is no stranger any more or gone is among them until the next comes.
    queue: Mutex<VecDeque<(Weak<OwnedSemaphorePermit>, CancellationToken)>>,
}

/// What a connection has of it.
pub(super) struct Place {
    room: Arc<Room>,
    seat: Arc<Seat>,
    /// Of a stranger; none: it has settled.
    permit: Mutex<Option<Arc<OwnedSemaphorePermit>>>,
}

/// What is known of a connection as long as it lasts.
struct Seat {
    /// Cancelled when another needs its place.
    over: CancellationToken,
    /// Cancelled when its client sends nothing more.
    left: CancellationToken,
    quiet: Arc<Quiet>,
}

/// Since when nothing is asked on a connection; none: something is being answered.
struct Quiet(watch::Sender<Option<Instant>>);

/// A request, from its headers on until all of its answer was sent.
pub(super) struct Asked(Arc<Quiet>);

impl Room {
    pub(super) fn new() -> Self {
        Self { strangers: Arc::new(Semaphore::new(MOST_STRANGERS)), known: Mutex::default(), queue: Mutex::default() }
    }

    /// A place for who has just come; who was a stranger for the longest time leaves it if need be.
    pub(super) async fn enter(self: &Arc<Self>) -> Place {
        self.make_place();
        let permit = self.strangers.clone().acquire_owned().await.expect("it is never closed");
        let (permit, over) = (Arc::new(permit), CancellationToken::new());
        self.queue().push_back((Arc::downgrade(&permit), over.clone()));
        let seat = Arc::new(Seat { over, left: CancellationToken::new(), quiet: Arc::new(Quiet::now()) });
        Place { room: self.clone(), seat, permit: Mutex::new(Some(permit)) }
    }

    /// Takes a principal's connection in among those of who has shown a token. Where all places are taken, who has the most gives
    /// one up, unless this principal would then have as many. Says whether there was one.
    fn settle(&self, principal: &Principal, seat: &Arc<Seat>) -> bool {
        let mut known = self.known.lock().expect("no holder of this lock panics");
        known.retain(|_, seats| {
            seats.retain(|seat| seat.upgrade().is_some_and(|seat| !seat.over.is_cancelled()));
            !seats.is_empty()
        });
        let own = known.get(principal).map_or(0, Vec::len);
        if known.values().map(Vec::len).sum::<usize>() >= MOST_KNOWN {
            match known.values_mut().max_by_key(|seats| seats.len()) {
                Some(most) if most.len() > own + 1 => give_up(most),
                _ => return false,
            }
        }
        known.entry(principal.clone()).or_default().push(Arc::downgrade(seat));
        true
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

/// Ends the connection on which nothing was asked for the longest time, or, where something is being answered on all, the one that
/// came first.
fn give_up(seats: &mut Vec<Weak<Seat>>) {
    let now = Instant::now();
    let since = |seat: &Weak<Seat>| seat.upgrade().and_then(|seat| seat.quiet.since()).unwrap_or(now);
    if let Some((first, _)) = seats.iter().enumerate().min_by_key(|(_, seat)| since(seat))
        && let Some(seat) = seats.remove(first).upgrade()
    {
        seat.over.cancel();
    }
}

impl Place {
    /// Takes a place among those who have shown a token, for as long as the connection lasts. Says whether there was one.
    pub(super) fn settle(&self, principal: &Principal) -> bool {
        let mut permit = self.permit.lock().expect("no holder of this lock panics");
        if permit.is_some() && self.room.settle(principal, &self.seat) {
            *permit = None;
        }
        permit.is_none()
    }

    /// Cancelled when the client has closed its side while something was being answered.
    pub(super) fn left(&self) -> &CancellationToken {
        &self.seat.left
    }

    /// Whether something is being answered.
    pub(super) fn is_asked(&self) -> bool {
        self.seat.quiet.since().is_none()
    }

    /// Waits until something is being answered.
    pub(super) async fn answers(&self) {
        let mut quiet = self.seat.quiet.0.subscribe();
        quiet.wait_for(Option::is_none).await.expect("this place holds the sender");
    }

    /// Takes note of a request. A connection has one at a time.
    pub(super) fn asked(&self) -> Asked {
        self.seat.quiet.0.send_replace(None);
        Asked(self.seat.quiet.clone())
    }

    /// Waits until another needs the place, or nothing was asked for [`SILENT`].
    pub(super) async fn over(&self) {
        tokio::select! {
            () = self.seat.over.cancelled() => {}
            () = self.seat.quiet.lasts(SILENT) => {}
        }
    }
}

impl Quiet {
    fn now() -> Self {
        Self(watch::Sender::new(Some(Instant::now())))
    }

    fn since(&self) -> Option<Instant> {
        *self.0.borrow()
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
        self.0.0.send_replace(Some(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_over(place: &Place) -> bool {
        place.seat.over.is_cancelled()
    }

    fn principal(name: &str) -> Principal {
        Principal::named(name)
    }

    async fn settled(room: &Arc<Room>, name: &str) -> Place {
        let place = room.enter().await;
        assert!(place.settle(&principal(name)), "{name}");
        place
    }

    #[tokio::test]
    async fn the_stranger_that_came_first_goes() {
        let room = Arc::new(Room::new());
        let first = settled(&room, "ada").await;
        assert!(first.settle(&principal("ada")));
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
            oldest.seat.over.cancelled().await;
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
            known.push(settled(&room, "ada").await);
        }
        let one_more = room.enter().await;
        assert!(!one_more.settle(&principal("ada")));
        known.pop();
        assert!(one_more.settle(&principal("ada")));
    }

    #[tokio::test]
    async fn who_has_the_most_gives_way_to_who_has_fewer() {
        let room = Arc::new(Room::new());
        let (mut of_ada, mut of_bob, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..MOST_KNOWN {
            of_ada.push(settled(&room, "ada").await);
            asked.extend((number != 5).then(|| of_ada[number].asked()));
        }
        of_bob.push(settled(&room, "bob").await);
        assert_eq!(of_ada.iter().position(is_over), Some(5), "the one on which nothing is asked");
        of_bob.push(settled(&room, "bob").await);
        assert_eq!(of_ada.iter().position(is_over), Some(0), "the one that came first");
        while of_bob.len() < MOST_KNOWN / 2 {
            of_bob.push(settled(&room, "bob").await);
        }
        assert!(!room.enter().await.settle(&principal("bob")) && !room.enter().await.settle(&principal("ada")));
        assert_eq!(of_ada.iter().filter(|place| is_over(place)).count(), MOST_KNOWN / 2);
        let _eve = settled(&room, "eve").await;
        assert_eq!(of_ada.iter().chain(&of_bob).filter(|place| is_over(place)).count(), MOST_KNOWN / 2 + 1);
    }

    #[tokio::test]
    async fn a_request_is_noticed_while_it_is_answered() {
        let place = Arc::new(Room::new()).enter().await;
        for _ in 0..2 {
            assert!(tokio::time::timeout(Duration::ZERO, place.answers()).await.is_err());
            let ((), asked) = tokio::join!(place.answers(), async { place.asked() });
            place.answers().await;
            drop(asked);
        }
    }

    #[tokio::test]
    async fn who_asks_for_nothing_goes() {
        let place = Arc::new(Room::new()).enter().await;
        let (short, asked) = (Duration::from_millis(20), place.asked());
        assert!(tokio::time::timeout(short * 5, place.seat.quiet.lasts(short)).await.is_err());
        drop(asked);
        let begun = Instant::now();
        place.seat.quiet.lasts(short).await;
        assert!(begun.elapsed() >= short);
    }
}
