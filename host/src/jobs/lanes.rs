//! How many jobs run at a time: of all, and of each group.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::SpawnError;

/// The right to run, for as long as it is held.
pub(super) struct Permit {
    _group: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
}

/// What a job waits for before it starts.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    group: Option<Arc<Semaphore>>,
    all: Arc<Semaphore>,
}

impl Lane {
    /// The right to run now, if nobody has to be waited for. None: somebody has.
    pub(super) fn try_enter(&self) -> Result<Option<Permit>, SpawnError> {
        let group = match self.group.clone().map(Semaphore::try_acquire_owned).transpose() {
            Err(tokio::sync::TryAcquireError::NoPermits) => return Ok(None),
            Err(tokio::sync::TryAcquireError::Closed) => return Err(SpawnError::ShuttingDown),
            Ok(group) => group,
        };
        match self.all.clone().try_acquire_owned() {
            Ok(all) => Ok(Some(Permit { _group: group, _all: all })),
            Err(tokio::sync::TryAcquireError::NoPermits) => Ok(None),
            Err(tokio::sync::TryAcquireError::Closed) => Err(SpawnError::ShuttingDown),
        }
    }

    /// Waits for the right to run, in the order of those who wait; for the group first, so that nobody keeps a place that all could
    /// use while it waits for its group.
    pub(super) async fn enter(&self) -> Result<Permit, SpawnError> {
        let ending = |_| SpawnError::ShuttingDown;
        let group = match self.group.clone() {
            Some(group) => Some(group.acquire_owned().await.map_err(ending)?),
            None => None,
        };
        Ok(Permit { _group: group, _all: self.all.clone().acquire_owned().await.map_err(ending)? })
    }
}

/// All lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    all: Arc<Semaphore>,
    groups: BTreeMap<String, Arc<Semaphore>>,
}

impl Lanes {
    pub(super) fn new(most: usize, groups: &BTreeMap<String, usize>) -> Self {
        let groups = groups.iter().map(|(name, most)| (name.clone(), Arc::new(Semaphore::new(*most)))).collect();
        Self { all: Arc::new(Semaphore::new(most)), groups }
    }

    /// The lane of a group, or that of jobs without one.
    pub(super) fn of(&self, group: Option<&str>) -> Result<Lane, SpawnError> {
        let group =
            group.map(|name| self.groups.get(name).cloned().ok_or_else(|| SpawnError::NoGroup(name.to_owned()))).transpose()?;
        Ok(Lane { group, all: self.all.clone() })
    }

    /// Nobody gets the right to run any more.
    pub(super) fn close(&self) {
        self.all.close();
        self.groups.values().for_each(|group| group.close());
    }
}
