//! All jobs of this server: which run, which wait, which are remembered.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};

use chrono::Utc;
use tokio::sync::oneshot;

use super::{
    History, Job, JobId, Keeper, Outlet, Record, SpawnError, State, Status, Stop, Streams,
    job::Reins,
    lanes::{Entry, Lanes, Permit},
    output::{Budget, Output},
    process,
    pump::Pump,
    starts::{Judge, Starts},
};
use crate::{
    config,
    policy::{Approved, types::Launch},
    principal::Principal,
};

/// What a stop of all jobs may take beyond one grace period.
const STOP_SLACK: Duration = Duration::from_secs(2);
/// How often at least finished jobs are looked through for those whose time is over.
const CLEAN_UP: Duration = Duration::from_secs(60);

/// How a job is to run.
#[derive(Debug)]
pub struct Order {
    /// What it reads from and writes to.
    pub streams: Streams,
    /// Where its output goes besides.
    pub outlet: Option<Outlet>,
    /// The group whose limit it counts for.
    pub group: Option<String>,
}

/// All jobs of this server.
pub struct Registry {
    limits: config::Jobs,
    each: config::Principals,
    keeper: Keeper,
    lanes: Lanes,
    budget: Arc<Budget>,
    /// What each principal's jobs keep, in that of all.
    budgets: Mutex<HashMap<Principal, Arc<Budget>>>,
    shelf: Arc<Shelf>,
}

/// The jobs that are remembered.
#[derive(Debug)]
pub(super) struct Shelf {
    keep_finished: usize,
    keep_for: Duration,
    budget: Arc<Budget>,
    /// None: it is not kept.
    history: Option<History>,
    jobs: Mutex<Jobs>,
}

#[derive(Debug, Default)]
struct Jobs {
    list: Vec<Arc<Job>>,
    is_closed: bool,
}

impl Registry {
    /// A registry whose jobs `keeper` starts, and which remembers what the history knows of earlier ones. `each` principal has a
    /// share of what all may use. Needs a runtime.
    pub fn new(
        limits: config::Jobs,
        each: config::Principals,
        keeper: Keeper,
        history: Option<(History, Vec<Record>)>,
    ) -> Arc<Self> {
        let budget = Arc::new(Budget::new(limits.output_total_bytes));
        let (keep_finished, keep_for) = (limits.keep_finished, limits.keep_for);
        let (history, past) = history.unzip();
        let past = past.into_iter().flatten().filter_map(|record| {
            let spill = history.as_ref()?.old_spill(record.id);
            Some(Job::past(record, spill, budget.clone()))
        });
        let jobs = Mutex::new(Jobs { list: past.collect(), is_closed: false });
        let shelf = Arc::new(Shelf { keep_finished, keep_for, budget: budget.clone(), history, jobs });
        tokio::spawn(clean_up(Arc::downgrade(&shelf), keep_for.min(CLEAN_UP)));
        let lanes = Lanes::new((limits.max_running, limits.max_queued), &each, &limits.groups);
        Arc::new(Self { lanes, limits, each, keeper, budget, budgets: Mutex::default(), shelf })
    }

    /// Starts what was approved, or queues it where as many run as may. What waited is judged again when its turn comes: an agent
    /// could change what was judged for as long as it keeps others running.
    ///
    /// # Cancel safety
    ///
    /// What was started when this is dropped is killed.
    pub async fn submit<J: Judge>(
        self: &Arc<Self>,
        approved: Approved,
        order: Order,
        judge: Arc<J>,
    ) -> Result<Arc<Job>, SpawnError> {
        let owner = Principal::named(&approved.request().client.principal);
        let entry = self.lanes.enter(JobId(approved.id()), &owner, order.group.as_deref())?;
        let output = Output::new(self.limits.output_bytes, self.budget_of(&owner));
        let spill = self.shelf.history.as_ref().and_then(|history| history.new_spill(JobId(approved.id())));
        let (job, reins) = Job::new(&approved, order.group.clone(), output, spill, Arc::downgrade(&self.shelf));
        match entry {
            Entry::Now(permit) => {
                let pump = self.start(&job, &approved, order, &reins, permit, judge).await?;
                tokio::spawn(pump.run(reins));
            }
            Entry::Later(turn) => {
                _ = tokio::spawn(self.clone().queue(turn, job.clone(), approved, order, reins, judge));
            }
        }
        self.shelf.add(job.clone());
        self.record(&job, None);
        Ok(job)
    }

    fn budget_of(&self, owner: &Principal) -> Arc<Budget> {
        let mut budgets = self.budgets.lock().expect("no holder of this lock panics");
        let new = || Arc::new(Budget::within(self.budget.clone(), self.each.output_bytes));
        budgets.entry(owner.clone()).or_insert_with(new).clone()
    }

    /// Whether a job of this group, or of none, could be asked for at all.
    ///
    /// # Errors
    ///
    /// There is no such group.
    pub fn check_group(&self, group: Option<&str>) -> Result<(), SpawnError> {
        self.lanes.check(group)
    }

    /// Notes in the history how a job stands; `fault` is that of its status, filtered.
    pub fn record(&self, job: &Job, fault: Option<&str>) {
        if let Some(history) = &self.shelf.history {
            history.put(job, fault);
        }
    }

    /// Records how much output a job of an earlier server has by now.
    pub fn recount(&self, job: &Job) {
        if let Some(history) = &self.shelf.history {
            history.recount(job);
        }
    }

    async fn start<J: Judge>(
        &self,
        job: &Arc<Job>,
        approved: &Approved,
        order: Order,
        reins: &Reins,
        permit: Permit,
        judge: Arc<J>,
    ) -> Result<Pump, SpawnError> {
        let is_script = approved.job().launch == Launch::Shell;
        let starts = is_script.then(|| Starts::open(approved.job().clone(), judge)).transpose().map_err(SpawnError::Starts)?;
        let starter = starts.as_ref().map(|starts| starts.starter(self.keeper.program())).unwrap_or_default();
        let (child, pipes) = process::start(&self.keeper, approved, &starter, order.streams, &self.limits).await?;
        job.started_at(pipes.terminal());
        reins.status.send_modify(|status| {
            status.state = State::Running;
            status.pid = Some(child.leader());
            status.started = Some(Utc::now());
        });
        Ok(Pump {
            job: job.clone(),
            child,
            pipes,
            starts,
            stdout: approved.stdout_filter(),
            stderr: approved.stderr_filter(),
            outlet: order.outlet,
            timeout: approved.request().timeout,
            grace: self.limits.grace,
            permit,
        })
    }

    /// Waits for a job's turn, and starts it then unless it was stopped before.
    async fn queue<J: Judge>(
        self: Arc<Self>,
        turn: oneshot::Receiver<Permit>,
        job: Arc<Job>,
        earlier: Approved,
        order: Order,
        mut reins: Reins,
        judge: Arc<J>,
    ) {
        let permit = tokio::select! {
            biased;
            () = reins.wishes.stopped() => None,
            permit = turn => permit.ok(),
        };
        let Some(permit) = permit else {
            return reins.status.send_modify(Status::killed_in_queue);
        };
        let approved = tokio::select! {
            biased;
            () = reins.wishes.stopped() => return reins.status.send_modify(Status::killed_in_queue),
            approved = judge.again(&earlier) => approved.map_err(SpawnError::Refused),
        };
        let started = async { self.start(&job, &approved?, order, &reins, permit, judge).await };
        match started.await {
            Ok(pump) => pump.run(reins).await,
            Err(error) => reins.status.send_modify(|status| {
                status.state = State::Failed;
                status.ended = Some(Utc::now());
                status.fault = Some(error.to_string());
            }),
        }
    }

    /// The job of this owner and id, unless there never was one or it is forgotten.
    pub fn find(&self, owner: &Principal, id: JobId) -> Option<Arc<Job>> {
        self.shelf.forget();
        self.shelf.jobs().list.iter().find(|job| job.id() == id && job.owner() == owner).cloned()
    }

    /// All jobs of an owner that are not forgotten, newest first.
    pub fn list(&self, owner: &Principal) -> Vec<Arc<Job>> {
        self.shelf.forget();
        self.shelf.jobs().list.iter().rev().filter(|job| job.owner() == owner).cloned().collect()
    }

    /// The jobs of an owner that wait, and how many have their turn before each, whoever's they are: as things stand, and if groups
    /// and principals have room for theirs. The number is all that is told of others.
    pub fn waiting(&self, owner: &Principal) -> HashMap<JobId, usize> {
        self.lanes.before(owner)
    }

    /// Stops all jobs at once, within one grace period, and starts nothing any more.
    pub async fn shut_down(&self) {
        let jobs = {
            let mut all = self.shelf.jobs();
            all.is_closed = true;
            all.list.clone()
        };
        for job in &jobs {
            job.stop(Stop::default());
        }
        // Only now, or a queued one would not know that it was stopped.
        self.lanes.close();
        let all = async {
            for job in &jobs {
                job.ended().await;
            }
        };
        if tokio::time::timeout(self.limits.grace + STOP_SLACK, all).await.is_err() {
            tracing::error!("some jobs could not be stopped in time");
        }
    }

    /// Waits until the history is written; what happens later is not in it.
    pub fn close_history(&self) {
        if let Some(history) = &self.shelf.history {
            history.close();
        }
    }
}

impl Status {
    /// It was stopped before its turn came.
    fn killed_in_queue(&mut self) {
        self.state = State::Killed;
        self.ended = Some(Utc::now());
    }
}

impl Shelf {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().expect("no holder of this lock panics")
    }

    fn add(&self, job: Arc<Job>) {
        let mut jobs = self.jobs();
        if jobs.is_closed {
            // It was being started while all were stopped.
            job.stop(Stop::default());
        }
        jobs.list.push(job);
        drop(jobs);
        self.forget();
    }

    /// Drops finished jobs, output and all, that are too old or too many of one owner; the oldest first.
    fn forget(&self) {
        let now = Utc::now();
        let is_old =
            |job: &Arc<Job>| job.ended_at().is_some_and(|ended| (now - ended).to_std().unwrap_or_default() > self.keep_for);
        let mut jobs = self.jobs();
        let mut surplus = jobs.surplus(self.keep_finished);
        self.drop_if(&mut jobs, |job| {
            let surplus = surplus.get_mut(job.owner()).filter(|surplus| **surplus > 0 && job.is_final());
            let is_surplus = surplus.map(|surplus| *surplus -= 1).is_some();
            is_surplus || is_old(job)
        });
    }

    /// Drops finished jobs, the oldest first, until the others keep no more output than they may together: those of the owner of
    /// this one, and others only if that was not enough for what all may keep.
    pub(super) fn make_room(&self, job: &Job) {
        let mut jobs = self.jobs();
        while job.output().is_over_budget()
            && let Some(oldest) = jobs.oldest_finished_with_output(|other| other.owner() == job.owner())
        {
            self.drop_if(&mut jobs, |job| job.id() == oldest);
        }
        while self.budget.surplus() > 0
            && let Some(oldest) = jobs.oldest_finished_with_output(|_| true)
        {
            self.drop_if(&mut jobs, |job| job.id() == oldest);
        }
    }

    fn drop_if(&self, jobs: &mut Jobs, mut goes: impl FnMut(&Arc<Job>) -> bool) {
        jobs.list.retain(|job| {
            let goes = goes(job);
            if goes && let Some(history) = &self.history {
                history.forget(job.id());
            }
            !goes
        });
    }
}

impl Jobs {
    fn oldest_finished_with_output(&self, counts: impl Fn(&Job) -> bool) -> Option<JobId> {
        self.finished().find(|job| counts(job) && job.output().kept() > 0).map(|job| job.id())
    }

    /// How many finished jobs each owner has beyond as many as are kept; nobody, if they are no more together.
    fn surplus(&self, kept: usize) -> HashMap<Principal, usize> {
        let mut counts = HashMap::new();
        if self.finished().count() > kept {
            self.finished().for_each(|job| *counts.entry(job.owner().clone()).or_default() += 1);
        }
        counts.values_mut().for_each(|count: &mut usize| *count = count.saturating_sub(kept));
        counts
    }

    fn finished(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.list.iter().filter(|job| job.is_final())
    }
}

/// Forgets in time also where nobody asks.
async fn clean_up(shelf: Weak<Shelf>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        match shelf.upgrade() {
            Some(shelf) => shelf.forget(),
            None => return,
        }
    }
}
