//! What earlier servers kept of jobs' output, filtered anew before anybody reads it.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::Semaphore;

use super::Service;
use crate::{
    jobs::{Job, StreamName, output::Spill},
    policy::StreamKind,
    principal::Principal,
};

/// How long a reader waits until what an earlier server kept is filtered.
const LONGEST_RENEWAL: Duration = Duration::from_secs(30);

/// Turns for filtering what an earlier server kept, of each principal, so that nobody's much holds up another's little.
#[derive(Default)]
pub(super) struct Renewals(Mutex<HashMap<Principal, Arc<Semaphore>>>);

impl Renewals {
    /// One at a time of each principal: there is more to do than to filter what was.
    fn of(&self, principal: &Principal) -> Arc<Semaphore> {
        let mut all = self.0.lock().expect("no holder of this lock panics");
        all.entry(principal.clone()).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
    }
}

impl Service {
    /// Makes a job's output readable: what an earlier server kept in files passes the filters of now, as a whole, or whoever reads
    /// could choose where the filters begin. That goes on when nobody waits for it any more.
    ///
    /// # Errors
    ///
    /// It can not be read within `longest` or half a minute, or not at all: the text says why.
    pub async fn open_output(self: &Arc<Self>, job: &Arc<Job>, longest: Duration) -> Result<(), String> {
        let Some(left) = job.left() else { return Ok(()) };
        let renewed = tokio::time::timeout(longest.min(LONGEST_RENEWAL), self.renewed(job, left)).await;
        renewed.unwrap_or_else(|_| {
            Err("what an earlier server kept of its output is still being filtered; ask again in a moment".to_owned())
        })
    }

    async fn renewed(self: &Arc<Self>, job: &Arc<Job>, left: &Spill) -> Result<(), String> {
        let chain = self.chain().await;
        let renewal = left.renewal().await;
        if left.is_renewed(&renewal, chain.digest()) {
            return Ok(());
        }
        let (service, job) = (self.clone(), job.clone());
        let task = tokio::spawn(async move {
            let turns = service.renewals.of(job.owner());
            let _turn = turns.acquire().await.expect("it is never closed");
            let filter = |name| {
                let kind = match name {
                    StreamName::Stdout => StreamKind::Stdout,
                    StreamName::Stderr => StreamKind::Stderr,
                };
                chain.output_filter(kind, &Arc::default())
            };
            let renewed = job.renew(renewal, chain.digest(), filter).await;
            service.registry.recount(&job);
            renewed
        });
        let renewed = task.await.map_err(io::Error::other).flatten();
        renewed.map_err(|error| {
            format!("what an earlier server kept of its output can not be filtered, and so not be shown: {error}")
        })
    }
}
