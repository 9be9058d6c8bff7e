//! How many jobs run at a time: of all, and of each group. Those that wait get their turn in the order in which they came, but for
//! those whose group is busy, which let others go first.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::oneshot;

use super::SpawnError;

/// All lanes.
#[derive(Debug)]
pub(super) struct Lanes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    groups: BTreeMap<String, usize>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    running_of: BTreeMap<String, usize>,
    waiting: VecDeque<Waiting>,
    is_closed: bool,
}

#[derive(Debug)]
struct Waiting {
    group: Option<String>,
    turn: oneshot::Sender<Permit>,
}

/// The right to run, for as long as it is held.
#[derive(Debug)]
pub(super) struct Permit {
    lanes: Arc<Inner>,
    group: Option<String>,
}

/// What comes of asking for the right to run.
pub(super) enum Entry {
    /// Now.
    Now(Permit),
    /// When it is sent; never, if all lanes are closed.
    Later(oneshot::Receiver<Permit>),
}

impl Lanes {
    pub(super) fn new(most: usize, groups: &BTreeMap<String, usize>) -> Self {
        Self(Arc::new(Inner { most, groups: groups.clone(), state: Mutex::default() }))
    }

    /// Whether there is such a group.
    pub(super) fn check(&self, group: Option<&str>) -> Result<(), SpawnError> {
        match group.filter(|name| !self.0.groups.contains_key(*name)) {
            Some(name) => Err(SpawnError::NoGroup(name.to_owned())),
            None => Ok(()),
        }
    }

    /// Asks for the right to run, in a group or without one; where it has to be waited for, behind at most `most_waiting` others.
    pub(super) fn enter(&self, group: Option<&str>, most_waiting: usize) -> Result<Entry, SpawnError> {
        self.check(group)?;
        let group = group.map(str::to_owned);
        let mut state = self.0.state();
        if state.is_closed {
            return Err(SpawnError::ShuttingDown);
        }
        if self.0.has_room(&state, group.as_deref()) {
            return Ok(Entry::Now(self.0.admit(&mut state, group)));
        }
        // Who was stopped meanwhile waits no more.
        state.waiting.retain(|waiting| !waiting.turn.is_closed());
        if state.waiting.len() >= most_waiting {
            return Err(self.0.full(&state, group.as_deref(), most_waiting));
        }
        let (turn, later) = oneshot::channel();
        state.waiting.push_back(Waiting { group, turn });
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

    fn has_room(&self, state: &State, group: Option<&str>) -> bool {
        let is_full = |name| state.running_of.get(name) >= self.groups.get(name);
        state.running < self.most && !group.is_some_and(is_full)
    }

    /// Says what is full: the group, if there would be room without it.
    fn full(&self, state: &State, group: Option<&str>, queued: usize) -> SpawnError {
        match group.and_then(|name| self.groups.get_key_value(name)).filter(|_| state.running < self.most) {
            Some((name, most)) => SpawnError::TooMany { running: *most, limit: format!("jobs.groups.{name}"), queued },
            None => SpawnError::TooMany { running: self.most, limit: "jobs.max_running".to_owned(), queued },
        }
    }

    fn admit(self: &Arc<Self>, state: &mut State, group: Option<String>) -> Permit {
        state.running += 1;
        if let Some(name) = &group {
            *state.running_of.entry(name.clone()).or_default() += 1;
        }
        Permit { lanes: self.clone(), group }
    }

    /// Somebody has left; gives those their turn for whom there is room now.
    fn leave(self: &Arc<Self>, group: Option<&str>) {
        let mut admitted = Vec::new();
        let mut state = self.state();
        state.running -= 1;
        if let Some(running) = group.and_then(|name| state.running_of.get_mut(name)) {
            *running -= 1;
        }
        let mut at = 0;
        while let Some(waiting) = state.waiting.get(at) {
            if self.has_room(&state, waiting.group.as_deref())
                && let Some(Waiting { group, turn }) = state.waiting.remove(at)
            {
                admitted.push((turn, self.admit(&mut state, group)));
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
        self.lanes.leave(self.group.as_deref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes() -> Lanes {
        Lanes::new(2, &BTreeMap::from([("build".to_owned(), 1)]))
    }

    fn now(lanes: &Lanes, group: Option<&str>) -> Permit {
        let Ok(Entry::Now(permit)) = lanes.enter(group, 9) else { panic!("there is room") };
        permit
    }

    fn later(lanes: &Lanes, group: Option<&str>) -> oneshot::Receiver<Permit> {
        let Ok(Entry::Later(turn)) = lanes.enter(group, 9) else { panic!("there is no room") };
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
        let lanes = lanes();
        let _running = (now(&lanes, None), now(&lanes, None));
        assert!(matches!(lanes.enter(None, 0), Err(SpawnError::TooMany { running: 2, queued: 0, .. })));
        assert!(matches!(lanes.enter(Some("deploy"), 9), Err(SpawnError::NoGroup(_))));
        let mut turn = later(&lanes, None);
        lanes.close();
        assert!(turn.try_recv().is_err());
        assert!(matches!(lanes.enter(None, 9), Err(SpawnError::ShuttingDown)));
    }
}
