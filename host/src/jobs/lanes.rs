//! How many jobs run at a time: of all, of each principal, and of each group. Those that wait get their turn in the order in which they
//! came, but for those whose principal or group is busy, which let others go first.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::oneshot;

use super::SpawnError;
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
    /// Of each principal that has jobs which run.
    running_by: HashMap<Principal, usize>,
    waiting: VecDeque<Waiting>,
    is_closed: bool,
}

#[derive(Debug)]
struct Waiting {
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

    /// Asks for the right to run, in a group or without one, and waits for it where no more may wait already.
    pub(super) fn enter(&self, owner: &Principal, group: Option<&str>) -> Result<Entry, SpawnError> {
        self.check(group)?;
        let who = Who { owner: owner.clone(), group: group.map(str::to_owned) };
        let mut state = self.0.state();
        if state.is_closed {
            return Err(SpawnError::ShuttingDown);
        }
        if self.0.has_room(&state, &who) {
            return Ok(Entry::Now(self.0.admit(&mut state, who)));
        }
        // Who was stopped meanwhile waits no more.
        state.waiting.retain(|waiting| !waiting.turn.is_closed());
        if let Some(queue) = self.0.full_queue(&state, owner) {
            return Err(self.0.full(&state, &who, queue));
        }
        let (turn, later) = oneshot::channel();
        state.waiting.push_back(Waiting { who, turn });
        Ok(Entry::Later(later))
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
        state.running_by.get(owner).is_some_and(|running| *running >= self.of_each.0)
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
        *state.running_by.entry(who.owner.clone()).or_default() += 1;
        if let Some(name) = &who.group {
            *state.running_of.entry(name.clone()).or_default() += 1;
        }
        Permit { lanes: self.clone(), who }
    }

    /// Somebody has left; gives those their turn for whom there is room now.
    fn leave(self: &Arc<Self>, Who { owner, group }: &Who) {
        let mut admitted = Vec::new();
        let mut state = self.state();
        state.running -= 1;
        if let Some(running) = group.as_ref().and_then(|name| state.running_of.get_mut(name)) {
            *running -= 1;
        }
        if let Some(running) = state.running_by.get_mut(owner) {
            *running -= 1;
        }
        let mut at = 0;
        while let Some(waiting) = state.waiting.get(at) {
            if self.has_room(&state, &waiting.who)
                && let Some(Waiting { who, turn }) = state.waiting.remove(at)
            {
                admitted.push((turn, self.admit(&mut state, who)));
            } else {
                at += 1;
            }
        }
        drop(state);
        for (turn, permit) in admitted {
            // Who does not want it any more drops it, and leaves in turn.
            _ = turn.send(permit);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.lanes.leave(&self.who);
    }
}

#[cfg(test)]
mod tests {
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

    fn now(lanes: &Lanes, group: Option<&str>) -> Permit {
        let Ok(Entry::Now(permit)) = lanes.enter(&ada(), group) else { panic!("there is room") };
        permit
    }

    fn later(lanes: &Lanes, group: Option<&str>) -> oneshot::Receiver<Permit> {
        let Ok(Entry::Later(turn)) = lanes.enter(&ada(), group) else { panic!("there is no room") };
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
        assert!(matches!(lanes.enter(&ada(), Some("deploy")), Err(SpawnError::NoGroup(_))));
        let mut turn = later(&lanes, None);
        let full = lanes.enter(&ada(), None);
        assert!(matches!(full, Err(SpawnError::TooMany { running: 2, queued: 1, queue: "jobs.max_queued", .. })));
        lanes.close();
        assert!(turn.try_recv().is_err());
        assert!(matches!(lanes.enter(&ada(), None), Err(SpawnError::ShuttingDown)));
    }

    #[test]
    fn who_has_many_leaves_room_for_others() {
        let lanes = lanes_of((2, 9), (1, 1));
        let bob = Principal::named("bob");
        let first = now(&lanes, None);
        let mut second = later(&lanes, None);
        let Err(SpawnError::TooMany { running: 1, limit, queued: 1, queue }) = lanes.enter(&ada(), None) else {
            panic!("one runs, one waits")
        };
        assert_eq!((limit.as_str(), queue), ("principals.max_running", "principals.max_queued"));
        let Ok(Entry::Now(other)) = lanes.enter(&bob, None) else { panic!("there is room for another") };
        drop(other);
        assert!(second.try_recv().is_err());
        drop(first);
        second.try_recv().unwrap();
    }
}
