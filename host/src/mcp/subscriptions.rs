//! Clients that want to be told when a part of a job changes.
//!
//! One that is told reads what came; so it is told once for all that came within a moment, and for the last time when the job is
//! final.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use rmcp::{
    ErrorData, RoleServer,
    model::{ResourceUpdatedNotificationParam, SubscriptionFilter},
    service::{Peer, SubscriptionContext},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    resources::{Address, Part},
    server::Server,
};
use crate::jobs::{Job, Status};

/// How long changes are gathered before a client is told of them.
const MOMENT: Duration = Duration::from_millis(250);
/// Most addresses that all clients of a principal may be told of: of each job some, if one keeps all of them in view.
const MOST: usize = 1024;

/// What a connection wants to be told of.
pub(super) struct Subscriptions {
    /// Of one that began with `initialize`; one that listens has its own in the call that does.
    lasting: Mutex<HashMap<String, AbortOnDropHandle<()>>>,
    /// Held by each for as long as it lasts; shared by all connections of the principal.
    room: Arc<Semaphore>,
    /// The places of what is acknowledged and not yet told of: rmcp tells the client of them in between.
    acknowledged: Mutex<Vec<OwnedSemaphorePermit>>,
}

/// A part of a job that is looked at.
struct Watch {
    job: Arc<Job>,
    part: Part,
    growth: watch::Receiver<()>,
    status: watch::Receiver<Status>,
    is_over: bool,
    /// Whether what is there already is told of too: a client that listens knows that it is heard before this looks, and what came
    /// between the two would be lost.
    is_first: bool,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self::within(Arc::new(Semaphore::new(MOST)))
    }
}

impl Subscriptions {
    /// Those of another connection of the same principal.
    pub(super) fn of_another(&self) -> Self {
        Self::within(self.room.clone())
    }

    fn within(room: Arc<Semaphore>) -> Self {
        Self { lasting: Mutex::default(), room, acknowledged: Mutex::default() }
    }

    fn acknowledged(&self) -> MutexGuard<'_, Vec<OwnedSemaphorePermit>> {
        self.acknowledged.lock().expect("no holder of this lock panics")
    }

    /// Takes a place, if there is one, for what will be acknowledged.
    fn take(&self) -> bool {
        let place = self.room.clone().try_acquire_owned().ok();
        let is_taken = place.is_some();
        self.acknowledged().extend(place);
        is_taken
    }

    /// The places that were taken for so many.
    fn taken(&self, many: usize) -> Vec<OwnedSemaphorePermit> {
        let mut all = self.acknowledged();
        let others = all.len().saturating_sub(many);
        all.split_off(others)
    }

    fn lasting(&self) -> MutexGuard<'_, HashMap<String, AbortOnDropHandle<()>>> {
        self.lasting.lock().expect("no holder of this lock panics")
    }
}

impl Watch {
    fn new(job: Arc<Job>, part: Part, is_first: bool) -> Self {
        let (mut growth, mut status) = (job.growth(), job.changes());
        growth.mark_unchanged();
        let is_over = status.borrow_and_update().state.is_final();
        Self { job, part, growth, status, is_over, is_first }
    }

    /// Waits for the next change, and a moment longer; false if there will be none.
    async fn changed(&mut self) -> bool {
        let before = self.part.size(&self.job);
        if std::mem::take(&mut self.is_first) && before.map_or(self.is_over, |bytes| bytes > 0) {
            return true;
        }
        if self.is_over {
            return false;
        }
        loop {
            tokio::select! {
                changed = self.status.changed() => if changed.is_err() { return false },
                changed = self.growth.changed(), if before.is_some() => if changed.is_err() { return false },
            }
            self.is_over = self.status.borrow_and_update().state.is_final();
            if self.is_over {
                return true;
            }
            if before != self.part.size(&self.job) || self.part == Part::Record {
                break;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(MOMENT) => {}
            _ = self.job.ended() => {}
        }
        self.is_over = self.status.borrow_and_update().state.is_final();
        self.growth.mark_unchanged();
        true
    }
}

impl Server {
    /// What of these addresses this client can be told of. It has a place for each from now on.
    pub(super) fn accepted(&self, asked: &SubscriptionFilter) -> SubscriptionFilter {
        let is_there = |uri: &&String| uri.parse::<Address>().is_ok_and(|address| self.find(address.job.0).is_some());
        let mut seen = HashSet::new();
        let uris = asked.resource_subscriptions.iter().flatten().filter(|uri| seen.insert(*uri)).take(MOST).filter(is_there);
        let uris = uris.take_while(|_| self.subscriptions.take()).cloned();
        let mut accepted = SubscriptionFilter::new();
        accepted.resource_subscriptions = asked.resource_subscriptions.is_some().then(|| uris.collect());
        accepted
    }

    /// Tells of changes as long as the client listens.
    pub(super) async fn tell_of(&self, listener: SubscriptionContext) {
        let mut tasks = JoinSet::new();
        // It repeats what was asked for twice.
        let uris: HashSet<_> = listener.accepted().resource_subscriptions.iter().flatten().collect();
        let places = self.subscriptions.taken(uris.len());
        for (uri, place) in uris.into_iter().zip(places) {
            let Ok((job, address)) = self.at(uri).await else { continue };
            let (mut watch, sink, uri) = (Watch::new(job, address.part, true), listener.sink().clone(), uri.clone());
            tasks.spawn(async move {
                let _place = place;
                while watch.changed().await && sink.notify_resource_updated(uri.clone()).await.is_ok() {}
            });
        }
        tokio::select! {
            () = listener.cancelled() => {}
            () = self.gone.cancelled() => {}
        }
    }

    /// Tells a client of changes of this address from now on.
    pub(super) async fn subscribe_to(&self, uri: String, peer: Peer<RoleServer>) -> Result<(), ErrorData> {
        let (job, address) = self.at(&uri).await?;
        let mut lasting = self.subscriptions.lasting();
        lasting.retain(|_, task| !task.is_finished());
        if lasting.contains_key(&uri) {
            return Ok(());
        }
        let Ok(room) = self.subscriptions.room.clone().try_acquire_owned() else {
            let text = format!("{MOST} subscriptions are as many as may be; end one of them first");
            return Err(ErrorData::invalid_request(text, None));
        };
        let (mut watch, changed) = (Watch::new(job, address.part, false), uri.clone());
        let telling = async move {
            let _room = room;
            let tell = || peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(changed.clone()));
            while watch.changed().await && tell().await.is_ok() {}
        };
        lasting.insert(uri, AbortOnDropHandle::new(tokio::spawn(telling)));
        Ok(())
    }

    /// Tells a client no more of changes of this address.
    pub(super) fn unsubscribe_from(&self, uri: &str) {
        self.subscriptions.lasting().remove(uri);
    }
}
