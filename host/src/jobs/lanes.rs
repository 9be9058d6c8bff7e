//! How many jobs run at a time: of all, of each principal, and of each group. Where more are wanted, turns go round the principals:
//! the next is that of who has the fewest jobs that run, so that others need not wait until all of somebody's many have run. The
//! jobs of one get theirs in the order in which they came, but for those whose group is busy, which let others go first.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::oneshot;

use super::{JobId, SpawnError};
use crate::{config, principal::Principal};

/// All lanes.
#[derive(Debug)]
pub(super) struct Lanes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// How many run, and how many wait.
    most: (usize, usize),
    /// The same of each principal.
    of_each: (usize, usize),
    groups: BTreeMap<String, usize>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    running_of: BTreeMap<String, usize>,
    /// Of each principal that has had a turn.
    shares: HashMap<Principal, Share>,
    /// How many turns there were.
    turns: u64,
    waiting: VecDeque<Waiting>,
    is_closed: bool,
}

/// What a principal has had of the lanes. The least goes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Share {
    running: usize,
    /// Which turn was its last; 0: it has had none.
    last: u64,
}

/// The jobs of one principal that wait.
struct Line {
    share: Share,
    /// Where the first of them stands in the whole queue.
    first: usize,
    jobs: Vec<JobId>,
}

#[derive(Debug)]
struct Waiting {
    job: JobId,
    who: Who,
    turn: oneshot::Sender<Permit>,
}

/// Whose limits a job counts for.
#[derive(Clone, Debug)]
struct Who {
    owner: Principal,
    group: Option<String>,
}

/// The right to run, for as long as it is held.
#[derive(Debug)]
pub(super) struct Permit {
    lanes: Arc<Inner>,
    who: Who,
}

/// What comes of asking for the right to run.
pub(super) enum Entry {
    /// Now.
    Now(Permit),
    /// When it is sent; never, if all lanes are closed.
    Later(oneshot::Receiver<Permit>),
}

impl Lanes {
    /// So many jobs run at `most`, and so many wait.
    pub(super) fn new(most: (usize, usize), each: &config::Principals, groups: &BTreeMap<String, usize>) -> Self {
        let of_each = (each.max_running, each.max_queued);
        Self(Arc::new(Inner { most, of_each, groups: groups.clone(), state: Mutex::default() }))
    }

    /// Whether there is such a group.
    pub(super) fn check(&self, group: Option<&str>) -> Result<(), SpawnError> {
        match group.filter(|name| !self.0.groups.contains_key(*name)) {
            Some(name) => Err(SpawnError::NoGroup(name.to_owned())),
            None => Ok(()),
        }
    }

    /// Asks for the right to run, in a group or without one, and waits for it where no more may run already.
    pub(super) fn enter(&self, job: JobId, owner: &Principal, group: Option<&str>) -> Result<Entry, SpawnError> {
        self.check(group)?;
        let who = Who { owner: owner.clone(), group: group.map(str::to_owned) };
        let mut state = self.0.state();
        if state.is_closed {
            return Err(SpawnError::ShuttingDown);
        }
        if self.0.has_room(&state, &who) {
            return Ok(Entry::Now(self.0.admit(&mut state, who)));
        }
        state.forget_stopped();
        if let Some(queue) = self.0.full_queue(&state, owner) {
            return Err(self.0.full(&state, &who, queue));
        }
        let (turn, later) = oneshot::channel();
        state.waiting.push_back(Waiting { job, who, turn });
        Ok(Entry::Later(later))
    }

    /// How many jobs, whoever's they are, have their turn before each of this principal's that wait: as things stand, and if
    /// neither groups nor principals are too busy for theirs.
    pub(super) fn before(&self, owner: &Principal) -> HashMap<JobId, usize> {
        let state = self.0.state();
        let mut lines = state.lines();
        let Some(own) = lines.remove(owner) else { return HashMap::new() };
        let before = |place: usize| place + lines.values().map(|line| line.before(&own, place)).sum::<usize>();
        own.jobs.iter().enumerate().map(|(place, job)| (*job, before(place))).collect()
    }

    /// Nobody gets the right to run any more.
    pub(super) fn close(&self) {
        let mut state = self.0.state();
        state.is_closed = true;
        state.waiting.clear();
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn has_room(&self, state: &State, who: &Who) -> bool {
        let is_full = |name: &String| state.running_of.get(name) >= self.groups.get(name);
        state.running < self.most.0 && !self.is_busy(state, &who.owner) && !who.group.as_ref().is_some_and(is_full)
    }

    fn is_busy(&self, state: &State, owner: &Principal) -> bool {
        state.share(owner).running >= self.of_each.0
    }

    /// The limit that keeps this principal from waiting, if one does, and what it is called.
    fn full_queue(&self, state: &State, owner: &Principal) -> Option<(usize, &'static str)> {
        let by = state.waiting.iter().filter(|waiting| waiting.who.owner == *owner).count();
        if state.waiting.len() >= self.most.1 {
            Some((self.most.1, "jobs.max_queued"))
        } else {
            (by >= self.of_each.1).then_some((self.of_each.1, "principals.max_queued"))
        }
    }

    /// Says what is full: the principal or the group, if there would be room without it.
    fn full(&self, state: &State, who: &Who, (queued, queue): (usize, &'static str)) -> SpawnError {
        let group = who.group.as_ref().and_then(|name| self.groups.get_key_value(name));
        let (running, limit) = match group {
            _ if state.running >= self.most.0 => (self.most.0, "jobs.max_running".to_owned()),
            _ if self.is_busy(state, &who.owner) => (self.of_each.0, "principals.max_running".to_owned()),
            Some((name, most)) => (*most, format!("jobs.groups.{name}")),
            None => (self.most.0, "jobs.max_running".to_owned()),
        };
        SpawnError::TooMany { running, limit, queued, queue }
    }

    fn admit(self: &Arc<Self>, state: &mut State, who: Who) -> Permit {
        state.running += 1;
        state.turns += 1;
        let share = state.shares.entry(who.owner.clone()).or_default();
        *share = Share { running: share.running + 1, last: state.turns };
        if let Some(name) = &who.group {
            *state.running_of.entry(name.clone()).or_default() += 1;
        }
        Permit { lanes: self.clone(), who }
    }

    /// Gives the next its turn, if there is room for one that waits.
    fn admit_next(self: &Arc<Self>, state: &mut State) -> Option<(oneshot::Sender<Permit>, Permit)> {
        let ready = state.waiting.iter().enumerate().filter(|(_, waiting)| self.has_room(state, &waiting.who));
        // Of equal shares, the one that came first.
        let (at, _) = ready.min_by_key(|(_, waiting)| state.share(&waiting.who.owner))?;
        let Waiting { who, turn, .. } = state.waiting.remove(at)?;
        Some((turn, self.admit(state, who)))
    }

    /// Somebody has left; gives those their turn for whom there is room now.
    fn leave(self: &Arc<Self>, who: &Who) {
        let mut state = self.state();
        state.leave(who);
        state.forget_stopped();
        let admitted: Vec<_> = std::iter::from_fn(|| self.admit_next(&mut state)).collect();
        drop(state);
        for (turn, permit) in admitted {
            // Who does not want it any more drops it, and leaves in turn.
            _ = turn.send(permit);
        }
    }
}

impl State {
    fn share(&self, owner: &Principal) -> Share {
        self.shares.get(owner).copied().unwrap_or_default()
    }

    fn leave(&mut self, Who { owner, group }: &Who) {
        self.running -= 1;
        if let Some(share) = self.shares.get_mut(owner) {
            share.running -= 1;
        }
        if let Some(running) = group.as_ref().and_then(|name| self.running_of.get_mut(name)) {
            *running -= 1;
        }
    }

    /// Who was stopped waits no more.
    fn forget_stopped(&mut self) {
        self.waiting.retain(|waiting| !waiting.turn.is_closed());
    }

    /// Those that wait, by principal.
    fn lines(&self) -> HashMap<&Principal, Line> {
        let mut lines = HashMap::new();
        let waiting = self.waiting.iter().filter(|waiting| !waiting.turn.is_closed());
        for (first, Waiting { job, who, .. }) in waiting.enumerate() {
            let new = || Line { share: self.share(&who.owner), first, jobs: Vec::new() };
            lines.entry(&who.owner).or_insert_with(new).jobs.push(*job);
        }
        lines
    }
}

impl Line {
    /// How many of these have their turn before the one at this place of another line: as many as it takes to have as many running
    /// as that one has by then, and one more where this line goes first of two with equally many.
    fn before(&self, other: &Self, place: usize) -> usize {
        // Who had fewer running to begin with has just had a turn when they are level.
        let rank = |line: &Self| (Reverse(line.share.running), line.share.last, line.first);
        let level = other.share.running + place + usize::from(rank(self) < rank(other));
        level.saturating_sub(self.share.running).min(self.jobs.len())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.lanes.leave(&self.who);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use uuid::Uuid;

    use super::*;

    fn lanes() -> Lanes {
        lanes_of((2, 9), (2, 9))
    }

    fn lanes_of(most: (usize, usize), (max_running, max_queued): (usize, usize)) -> Lanes {
        let each = config::Principals { max_running, max_queued, output_bytes: 0, requests_per_s: 1 };
        Lanes::new(most, &each, &BTreeMap::from([("build".to_owned(), 1)]))
    }

    fn ada() -> Principal {
        Principal::named("ada")
    }

    fn enter(lanes: &Lanes, owner: &Principal, group: Option<&str>) -> Result<Entry, SpawnError> {
        lanes.enter(JobId(Uuid::new_v4()), owner, group)
    }

    fn now(lanes: &Lanes, group: Option<&str>) -> Permit {
        let Ok(Entry::Now(permit)) = enter(lanes, &ada(), group) else { panic!("there is room") };
        permit
    }

    fn later(lanes: &Lanes, group: Option<&str>) -> oneshot::Receiver<Permit> {
        later_of(lanes, &ada(), group)
    }

    fn later_of(lanes: &Lanes, owner: &Principal, group: Option<&str>) -> oneshot::Receiver<Permit> {
        let Ok(Entry::Later(turn)) = enter(lanes, owner, group) else { panic!("there is no room") };
        turn
    }

    #[test]
    fn who_came_first_goes_first_unless_its_group_is_busy() {
        let lanes = lanes();
        let (building, other) = (now(&lanes, Some("build")), now(&lanes, None));
        let mut turns = [later(&lanes, Some("build")), later(&lanes, None), later(&lanes, None)];
        drop(other);
        // The first waits for its group.
        let second = turns[1].try_recv().unwrap();
        assert!(turns[0].try_recv().is_err() && turns[2].try_recv().is_err());
        drop(building);
        let first = turns[0].try_recv().unwrap();
        assert!(turns[2].try_recv().is_err());
        drop((first, second));
        turns[2].try_recv().unwrap();
    }

    #[test]
    fn who_gave_up_holds_nothing() {
        let lanes = lanes();
        let (first, second) = (now(&lanes, None), now(&lanes, None));
        drop(later(&lanes, None));
        let mut turn = later(&lanes, None);
        drop(first);
        let third = turn.try_recv().unwrap();
        drop((second, third));
        drop((now(&lanes, None), now(&lanes, Some("build"))));
        let state = lanes.0.state();
        assert_eq!((state.running, state.running_of["build"]), (0, 0));
    }

    #[test]
    fn what_can_not_wait_is_refused() {
        let lanes = lanes_of((2, 1), (2, 9));
        let _running = (now(&lanes, None), now(&lanes, None));
        assert!(matches!(enter(&lanes, &ada(), Some("deploy")), Err(SpawnError::NoGroup(_))));
        let mut turn = later(&lanes, None);
        let full = enter(&lanes, &ada(), None);
        assert!(matches!(full, Err(SpawnError::TooMany { running: 2, queued: 1, queue: "jobs.max_queued", .. })));
        lanes.close();
        assert!(turn.try_recv().is_err());
        assert!(matches!(enter(&lanes, &ada(), None), Err(SpawnError::ShuttingDown)));
    }

    #[test]
    fn who_has_many_leaves_room_for_others() {
        let lanes = lanes_of((2, 9), (1, 1));
        let bob = Principal::named("bob");
        let first = now(&lanes, None);
        let mut second = later(&lanes, None);
        let Err(SpawnError::TooMany { running: 1, limit, queued: 1, queue }) = enter(&lanes, &ada(), None) else {
            panic!("one runs, one waits")
        };
        assert_eq!((limit.as_str(), queue), ("principals.max_running", "principals.max_queued"));
        let Ok(Entry::Now(other)) = enter(&lanes, &bob, None) else { panic!("there is room for another") };
        drop(other);
        assert!(second.try_recv().is_err());
        drop(first);
        second.try_recv().unwrap();
    }

    #[test]
    fn turns_go_round_the_principals() {
        let (lanes, bob) = (lanes_of((2, 9), (2, 9)), Principal::named("bob"));
        let mut running = vec![now(&lanes, None), now(&lanes, None)];
        let mut turns = [later(&lanes, None), later(&lanes, None), later_of(&lanes, &bob, None), later_of(&lanes, &bob, None)];
        for next in [2, 0, 3, 1] {
            // The oldest of Ada's ends, then of Bob's, and so on: who has fewer running goes next, or else who has waited longer.
            running.remove(0);
            running.push(turns[next].try_recv().unwrap());
        }
    }

    proptest! {
        #[test]
        fn what_is_told_of_the_queue_is_how_it_goes(
            owners in vec(0..4usize, 0..40),
            shares in vec((0..6usize, 0..3u64), 4),
        ) {
            const ALL: usize = 100;
            let (lanes, names) = (lanes_of((ALL, ALL), (ALL, ALL)), ["a", "b", "c", "d"].map(Principal::named));
            lanes.0.state().running = ALL;
            let mut turns: Vec<_> = owners.iter().map(|&owner| {
                let job = JobId(Uuid::new_v4());
                let Ok(Entry::Later(turn)) = lanes.enter(job, &names[owner], None) else { panic!("there is no room") };
                (job, turn)
            }).collect();
            lanes.0.state().shares =
                names.iter().cloned().zip(shares.iter().map(|&(running, last)| Share { running, last })).collect();
            lanes.0.state().turns = 3;
            let told: HashMap<_, _> = names.iter().flat_map(|name| lanes.before(name)).collect();
            lanes.0.state().running = 0;
            for gone in 0..turns.len() {
                let (turn, permit) = lanes.0.admit_next(&mut lanes.0.state()).unwrap();
                turn.send(permit).unwrap();
                let at = turns.iter_mut().position(|(_, turn)| turn.try_recv().map(std::mem::forget).is_ok()).unwrap();
                prop_assert_eq!(told[&turns.remove(at).0], gone);
            }
        }
    }
}
