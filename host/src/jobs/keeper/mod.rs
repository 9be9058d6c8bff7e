//! The keeper: a small process of this same binary that starts all jobs and outlives none of them.
//!
//! ```text
//! server ──────▶ keeper                     forks wardens; kills whatever descends from it when the server is gone
//!    │             ├─ warden ─▶ job         starts the job; whatever the job leaves without a parent becomes the warden's child
//!    └────────────▶├─ warden ─▶ job         a socket from server to warden: the order, signals, how it ended
//!                  └─ warden                waits for the next job
//! ```
//!
//! Server, keeper and wardens are subreapers: a process whose parent ends becomes the child of the nearest of them, not of the
//! system's first process. So all that descends from a job descends from its warden, be it in sessions of its own or forked twice,
//! and the kernel keeps the books: a job is gone when its warden has no child left.
//!
//! | who dies | who sees to it that nothing is left |
//! |---|---|
//! | the server, however | every warden kills its job, and the keeper whatever descends from it |
//! | the keeper | every warden kills its job, and the server whatever descends from it; it starts nothing any more |
//! | a warden | the keeper kills what it left; the job's leader dies with it |
//!
//! Keeper and wardens have one thread, little memory and no policy, so a job starts from a process that is cheap to copy, with no
//! descriptor, variable or terminal of the server.

mod cgroup;
mod child;
mod confine;
mod execute;
mod family;
mod message;
mod process;
mod system;
mod warden;

use std::{
    collections::HashSet,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{net::UnixStream as StdStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child as Process, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Signal, getpid, set_child_subreaper};
use tokio::{io::Interest, net::UnixStream, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use child::Child;
pub use execute::become_it;
#[cfg(test)]
pub use execute::execute;
pub use message::{Execution, Fault, Order, Reach, StreamKind, Target, frame, receive, receive_message, send, unframe};
pub use process::keep;
pub use system::default_of_pipes;

/// How long a warden may take to be ready, and then to start a job; most of that is the system's reading of the program.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// Between two rounds of killing what a dead keeper left.
const PAUSE: Duration = Duration::from_millis(10);
/// Rounds of killing until the server gives up; what can not be killed belongs to another user.
const MOST_ROUNDS: usize = 500;

/// This program, also if its file was replaced meanwhile.
pub const THIS_PROGRAM: &str = "/proc/self/exe";

/// The server's end of the keeper. The keeper ends, and everything with it, when this is dropped.
pub struct Keeper {
    program: PathBuf,
    socket: Arc<UnixStream>,
    lost: CancellationToken,
    _watch: DropGuard,
}

/// Why there is no keeper.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The number of processes of a job can not be limited.
    #[error(
        "jobs.limits.processes: is {most}, which can not be kept: {source}; leave it out, or start portcullis as a systemd unit with \
         `Delegate=pids` and `DelegateSubgroup=portcullis`"
    )]
    Processes {
        /// What is configured.
        most: u64,
        /// What is missing.
        #[source]
        source: io::Error,
    },
    /// It was not started.
    #[error("could not start the process that starts jobs: {0}")]
    Io(#[from] io::Error),
}

/// Why a job was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is nobody to start it.
    #[error("the process that starts jobs is gone, so nothing is started any more; an operator must start portcullis anew")]
    KeeperLost,
    /// It was tried.
    #[error(transparent)]
    Refused(#[from] Fault),
    /// It took too long; whatever ran of it is killed.
    #[error("it took longer than {} s", START_DEADLINE.as_secs())]
    TooSlow,
    /// There are no pipes or terminals for it.
    #[error("opening its streams: {0}")]
    Streams(#[source] io::Error),
    /// What it may execute can not be put down for the kernel.
    #[error("confining what it can execute: {0}")]
    Confinement(#[source] io::Error),
    /// The way to the keeper failed.
    #[error("could not tell the process that starts jobs: {0}")]
    Io(#[from] io::Error),
}

impl Keeper {
    /// Starts a keeper from `program`, which is [`THIS_PROGRAM`] wherever `main` calls [`keep`] first. Returns before it is ready:
    /// jobs can be started at once and wait for it. The calling process becomes a subreaper. Each job may have so many `processes`
    /// at a time.
    ///
    /// # Errors
    ///
    /// The system does not start it, or can not limit the number of processes.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(program: &Path, processes: Option<u64>) -> Result<Self, KeeperError> {
        let groups = match processes {
            Some(most) => Some(cgroup::prepare_counting().map_err(|source| KeeperError::Processes { most, source })?),
            None => cgroups(),
        };
        Ok(Self::start_with(program, groups, processes)?)
    }

    fn start_with(program: &Path, groups: Option<PathBuf>, processes: Option<u64>) -> io::Result<Self> {
        set_child_subreaper(Some(getpid()))?;
        let (ours, its) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let process = Command::new(program)
            .arg0("portcullis")
            .arg(process::KEEP_JOBS)
            .env_clear()
            .envs(groups.iter().map(|folder| (process::CGROUP, folder)))
            .envs(processes.iter().map(|most| (process::PROCESSES, most.to_string())))
            .stdin(Stdio::from(OwnedFd::from(its)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let socket = Arc::new(UnixStream::from_std(ours)?);
        let (lost, over) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn(over.clone().run_until_cancelled_owned(watch(socket.clone(), process, lost.clone(), groups)));
        let program = if program == Path::new(THIS_PROGRAM) { this_program() } else { program.to_owned() };
        Ok(Self { program, socket, lost, _watch: over.drop_guard() })
    }

    /// The program that it was started from, by a path that is good for every process as long as this one lives.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Starts a job. `handles` are those that an [`Order`] names. If no warden is ready in time the keeper is given up, and all
    /// jobs with it: it or the warden is stopped, and would be for every later job.
    ///
    /// # Cancel safety
    ///
    /// What was started when this is dropped is killed, and nothing is started later.
    pub(super) async fn start_job(&self, order: &Order, handles: &[BorrowedFd<'_>]) -> Result<Child, StartError> {
        tokio::select! {
            biased;
            () = self.lost.cancelled() => Err(StartError::KeeperLost),
            started = self.start_in_time(order, handles) => started,
        }
    }

    async fn start_in_time(&self, order: &Order, handles: &[BorrowedFd<'_>]) -> Result<Child, StartError> {
        let order = frame(order)?;
        let Ok(ready) = timeout(START_DEADLINE, self.ask_for_warden()).await else {
            self.lost.cancel();
            return Err(StartError::KeeperLost);
        };
        timeout(START_DEADLINE, ready?.start(&order, handles)).await.map_err(|_| StartError::TooSlow)?
    }

    async fn ask_for_warden(&self) -> Result<Child, StartError> {
        let (ours, its) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let handed_over = self.socket.async_io(Interest::WRITABLE, || send(&*self.socket, &[0], &[its.as_fd()])).await;
        handed_over.map_err(|_| StartError::KeeperLost)?;
        drop(its);
        Child::ready(UnixStream::from_std(ours)?).await
    }
}

fn this_program() -> PathBuf {
    PathBuf::from(format!("/proc/{}/exe", std::process::id()))
}

/// Where jobs get cgroups of their own, if the user may make them; it is told which.
fn cgroups() -> Option<PathBuf> {
    match cgroup::prepare() {
        Ok(folder) => {
            tracing::info!(folder = %folder.display(), "jobs get cgroups of their own");
            Some(folder)
        }
        Err(error) => {
            tracing::info!(%error, "jobs get no cgroups of their own; what descends from them is found by other means");
            None
        }
    }
}

/// Waits for the end of the keeper, which comes before the server's only if somebody killed it, or for it to be given up, and then
/// sees to what it left.
async fn watch(socket: Arc<UnixStream>, mut process: Process, lost: CancellationToken, groups: Option<PathBuf>) {
    // It never says anything, so whatever can be read is the end.
    let ended = async {
        while socket.readable().await.is_ok()
            && socket.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        {}
    };
    lost.run_until_cancelled(ended).await;
    tracing::error!("the process that starts jobs is gone: all jobs are stopped, and nothing is started any more");
    lost.cancel();
    let clearing = tokio::task::spawn_blocking(move || {
        // It may be but stopped, or deaf.
        process.kill()?;
        process.wait()?;
        clear(groups.as_deref())
    });
    match clearing.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "some of what jobs started may run on"),
        Err(error) => tracing::error!(%error, "some of what jobs started may run on"),
    }
}

/// Kills whatever descends from this process, but for its own group, and whatever is in the keeper's cgroups.
fn clear(groups: Option<&Path>) -> io::Result<()> {
    groups.inspect(|folder| cgroup::kill(folder));
    for _ in 0..MOST_ROUNDS {
        if family::signal(Signal::KILL, &HashSet::new())? == 0 {
            groups.inspect(|folder| cgroup::remove(folder));
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    Err(io::Error::other("it does not end when killed"))
}
