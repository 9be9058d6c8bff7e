//! Jobs: processes that were approved, their output, and their end.
//!
//! Nothing is started but an [`Approved`], and nothing is kept of its output but [`Chunk`]s. One task owns each child; everybody
//! else holds a [`Job`], which tells its status and output.

mod buffer;
mod intake;
mod keeper;
mod process;
mod pump;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use buffer::{Buffer, Cursor, Excerpt};
use keeper::StartError;
pub use keeper::{Keeper, THIS_PROGRAM, keep};
pub use process::Stdin;
use pump::{Input, Pump};

use crate::{
    config,
    policy::{Approved, ApprovedInput, Chunk, Findings, types},
    script::MOST_SHELL_BYTES,
};

/// How long one write to a job's input may wait for the job to read.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// What was sent since the last newline is remembered up to this many bytes.
const MOST_PENDING_BYTES: usize = 64 * 1024;
/// What a stop of all jobs may take beyond one grace period.
const STOP_SLACK: Duration = Duration::from_secs(2);

/// A job's id: a random UUID, so that it can not be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobId(pub Uuid);

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a job is doing. All but `Running` are final and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Started, and not final yet.
    Running,
    /// Ended by itself with exit code 0.
    Completed,
    /// Ended by itself with another code, or by a signal that portcullis did not send.
    Failed,
    /// Stopped by request.
    Killed,
    /// Stopped because its time was up.
    TimedOut,
}

impl State {
    /// Its name in results and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::TimedOut => "timed_out",
        }
    }
}

/// A job's status at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// Process id of its leader.
    pub pid: Option<u32>,
    /// Exit code, if it exited.
    pub exit_code: Option<i32>,
    /// Number of the signal that ended it, if one did.
    pub signal: Option<i32>,
    /// When it was started.
    pub started: DateTime<Utc>,
    /// When it became final.
    pub ended: Option<DateTime<Utc>>,
}

/// One of a job's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamName {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Where a job's output goes besides its buffers; the job waits for it.
pub type Outlet = mpsc::Sender<(StreamName, Chunk)>;

/// Why a job could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// As many run as may.
    #[error("{0} jobs are running already, as many as are allowed (`jobs.max_running`); wait for one to end, or kill one")]
    TooMany(usize),
    /// The server is ending.
    #[error("portcullis is shutting down and starts nothing any more")]
    ShuttingDown,
    /// It was tried and failed.
    #[error("could not start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why it did not start.
        #[source]
        source: StartError,
    },
    /// The directory to start in is not where it was when the command was judged.
    #[error("could not start in {}: it was moved or removed after the command was judged; send the command again", .0.display())]
    Moved(PathBuf),
    /// Scripts are refused.
    #[error("this needs a shell, and the configuration offers none (`jobs.shell`); send one command without shell syntax")]
    NoShell,
    /// The shell can not be executed.
    #[error("could not open the shell {}: {}", .0.display(), .1)]
    Shell(PathBuf, #[source] std::io::Error),
    /// The text is longer than a shell can be given.
    #[error(
        "the script has {0} bytes in its final form; a shell takes at most {MOST_SHELL_BYTES}; put it into a file or send it in parts"
    )]
    TooLong(usize),
}

/// Why input could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The job has ended, or its input is closed.
    #[error("the job takes no more input: it has ended or its input was closed")]
    Closed,
    /// The job does not read.
    #[error("the job did not read its input within {} s; what was sent stays in its pipe", WRITE_DEADLINE.as_secs())]
    NotReading,
    /// The job has yet to read what was sent before.
    #[error("the job has not read what was sent to it before, so nothing was sent now")]
    Busy,
    /// The pipe failed.
    #[error("could not write to the job: {0}")]
    Io(#[source] std::io::Error),
}

/// A job as everybody but its own task sees it.
#[derive(Debug)]
pub struct Job {
    id: JobId,
    shown: String,
    contract: Arc<types::Job>,
    findings: Arc<Findings>,
    status: watch::Receiver<Status>,
    stdout: Mutex<Buffer>,
    stderr: Mutex<Buffer>,
    /// Changes with every piece of output.
    grown: watch::Sender<()>,
    input: mpsc::Sender<Input>,
    /// Input is judged and written one at a time, or lines could be smuggled past the policies in turns.
    turn: Semaphore,
    pending: Mutex<Vec<u8>>,
    stop: CancellationToken,
}

impl Job {
    /// Its id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// The canonical text of its command, filtered.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The job as policies see it.
    pub fn contract(&self) -> &types::Job {
        &self.contract
    }

    /// What was taken out of its output, counted by kind while it runs.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Its status now.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits until it is final.
    pub async fn ended(&self) -> Status {
        let mut status = self.status.clone();
        let ended = status.wait_for(|status| status.state != State::Running).await;
        ended.map_or_else(|_| self.status(), |status| status.clone())
    }

    /// Reads one of its streams.
    pub fn output(&self, name: StreamName) -> MutexGuard<'_, Buffer> {
        match name {
            StreamName::Stdout => &self.stdout,
            StreamName::Stderr => &self.stderr,
        }
        .lock()
        .expect("no holder of this lock panics")
    }

    /// Tells when output comes.
    pub fn growth(&self) -> watch::Receiver<()> {
        self.grown.subscribe()
    }

    /// Asks its task to stop it. Returns at once; can be called any number of times.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for the turn to send input; it lasts as long as the permit.
    pub async fn input_turn(&self) -> Result<SemaphorePermit<'_>, WriteError> {
        self.turn.acquire().await.map_err(|_| WriteError::Closed)
    }

    /// What was sent since the last newline.
    pub fn pending_input(&self) -> Vec<u8> {
        self.pending.lock().expect("no holder of this lock panics").clone()
    }

    /// Writes approved input, for as long as the job takes to read it but no longer than a few seconds.
    pub async fn write(&self, approved: ApprovedInput) -> Result<(), WriteError> {
        let (done, written) = oneshot::channel();
        let sent = approved.bytes().to_vec();
        self.send(Input::Write(approved, done))?;
        // What was not sent is no part of any line.
        self.remember_pending(&sent);
        match tokio::time::timeout(WRITE_DEADLINE, written).await {
            Ok(Ok(result)) => result.map_err(WriteError::Io),
            Ok(Err(_)) => Err(WriteError::Closed),
            Err(_) => Err(WriteError::NotReading),
        }
    }

    /// Ends its input.
    pub fn close_input(&self) -> Result<(), WriteError> {
        self.send(Input::Close)
    }

    fn send(&self, input: Input) -> Result<(), WriteError> {
        self.input.try_send(input).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => WriteError::Busy,
            mpsc::error::TrySendError::Closed(_) => WriteError::Closed,
        })
    }

    fn remember_pending(&self, sent: &[u8]) {
        let mut pending = self.pending.lock().expect("no holder of this lock panics");
        match memchr::memrchr(b'\n', sent) {
            Some(newline) => *pending = sent[newline + 1..].to_vec(),
            None => pending.extend_from_slice(sent),
        }
        let surplus = pending.len().saturating_sub(MOST_PENDING_BYTES);
        pending.drain(..surplus);
    }

    fn keep(&self, name: StreamName, chunk: &Chunk) {
        self.output(name).push(chunk);
        self.grown.send_replace(());
    }
}

/// All jobs of this server.
pub struct Registry {
    limits: config::Jobs,
    keeper: Keeper,
    running: Arc<Semaphore>,
    jobs: Mutex<Jobs>,
}

#[derive(Default)]
struct Jobs {
    list: Vec<Arc<Job>>,
    is_closed: bool,
}

impl Registry {
    /// An empty registry, whose jobs `keeper` starts.
    pub fn new(limits: config::Jobs, keeper: Keeper) -> Self {
        Self { running: Arc::new(Semaphore::new(limits.max_running)), limits, keeper, jobs: Mutex::default() }
    }

    /// Starts what was approved.
    ///
    /// # Cancel safety
    ///
    /// What was started when this is dropped is killed.
    pub async fn spawn(&self, approved: Approved, stdin: Stdin, outlet: Option<Outlet>) -> Result<Arc<Job>, SpawnError> {
        let permit = self.running.clone().try_acquire_owned().map_err(|error| match error {
            tokio::sync::TryAcquireError::NoPermits => SpawnError::TooMany(self.limits.max_running),
            tokio::sync::TryAcquireError::Closed => SpawnError::ShuttingDown,
        })?;
        let (child, pipes) = process::start(&self.keeper, &approved, stdin, self.limits.shell.as_deref()).await?;
        let (status, watched) = watch::channel(Status {
            state: State::Running,
            pid: Some(child.leader()),
            exit_code: None,
            signal: None,
            started: Utc::now(),
            ended: None,
        });
        let (input, receiver) = mpsc::channel(1);
        let job = Arc::new(Job {
            id: JobId(approved.id()),
            shown: approved.shown().to_owned(),
            contract: approved.job().clone(),
            findings: approved.findings().clone(),
            status: watched,
            stdout: Mutex::new(Buffer::new(self.limits.output_bytes)),
            stderr: Mutex::new(Buffer::new(self.limits.output_bytes)),
            grown: watch::Sender::new(()),
            input,
            turn: Semaphore::new(1),
            pending: Mutex::default(),
            stop: CancellationToken::new(),
        });
        let pump = Pump {
            job: job.clone(),
            status,
            stdout: approved.stdout_filter(),
            stderr: approved.stderr_filter(),
            input: receiver,
            outlet,
            timeout: approved.request().timeout,
            grace: self.limits.grace,
            stop: job.stop.clone(),
            permit,
        };
        tokio::spawn(pump.run(child, pipes));
        self.add(job.clone());
        Ok(job)
    }

    /// The job of this id, unless there never was one or it is forgotten.
    pub fn find(&self, id: JobId) -> Option<Arc<Job>> {
        let mut jobs = self.jobs();
        self.forget(&mut jobs.list);
        jobs.list.iter().find(|job| job.id == id).cloned()
    }

    /// All jobs that are not forgotten, newest first.
    pub fn list(&self) -> Vec<Arc<Job>> {
        let mut jobs = self.jobs();
        self.forget(&mut jobs.list);
        jobs.list.iter().rev().cloned().collect()
    }

    /// Stops all jobs at once, within one grace period, and starts nothing any more.
    pub async fn shut_down(&self) {
        self.running.close();
        self.jobs().is_closed = true;
        for job in self.list() {
            job.stop();
        }
        let all = async {
            while let Some(job) = self.list().into_iter().find(|job| job.status().state == State::Running) {
                job.ended().await;
            }
        };
        if tokio::time::timeout(self.limits.grace + STOP_SLACK, all).await.is_err() {
            tracing::error!("some jobs could not be stopped in time");
        }
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().expect("no holder of this lock panics")
    }

    fn add(&self, job: Arc<Job>) {
        let mut jobs = self.jobs();
        if jobs.is_closed {
            // It was being started while all were stopped.
            job.stop();
        }
        jobs.list.push(job);
        self.forget(&mut jobs.list);
    }

    /// Drops finished jobs, output and all, that are too old or too many; the oldest first.
    fn forget(&self, jobs: &mut Vec<Arc<Job>>) {
        let now = Utc::now();
        let ended = |job: &Arc<Job>| job.status.borrow().ended;
        let is_old =
            |job: &Arc<Job>| ended(job).is_some_and(|ended| (now - ended).to_std().unwrap_or_default() > self.limits.keep_for);
        jobs.retain(|job| !is_old(job));
        let mut surplus = jobs.iter().filter(|job| ended(job).is_some()).count().saturating_sub(self.limits.keep_finished);
        jobs.retain(|job| {
            let goes = surplus > 0 && ended(job).is_some();
            surplus -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests;
