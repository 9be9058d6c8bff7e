//! Jobs: processes that were approved, their output, and their end.
//!
//! Nothing is started but an [`Approved`](crate::policy::Approved), and nothing is kept of its output but [`Chunk`]s. One task owns
//! each child; everybody else holds a [`Job`], which tells its status and output.

mod control;
mod history;
mod intake;
mod job;
mod keeper;
mod lanes;
pub mod output;
mod overseer;
mod process;
mod pump;
mod registry;
mod starts;
mod terminal;
mod wait;

use std::{path::PathBuf, time::Duration};

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use uuid::Uuid;

pub use control::{ControlError, Signal, Stop};
pub use history::{History, Record};
pub use job::{Beginning, Job, Reading};
use keeper::StartError;
pub use keeper::{Keeper, KeeperError, THIS_PROGRAM, keep};
pub use process::{Stdin, Streams};
pub use registry::{Order, Registry};
pub use starts::{Judge, Unwanted, Wanted, start_program};
pub use terminal::Size;
pub use wait::{Met, Until};

use crate::{policy::Chunk, script::MOST_SHELL_BYTES};

/// How long one write to a job's input may wait for the job to read.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// A job's id: a random UUID, so that it can not be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobId(pub Uuid);

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a job is doing. All but `Queued` and `Running` are final and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Approved; it starts when others have ended.
    Queued,
    /// Started, and not final yet.
    Running,
    /// Ended by itself with exit code 0.
    Completed,
    /// Ended by itself with another code, or by a signal that was not to stop it; or could not be started when its turn came.
    Failed,
    /// Stopped by request.
    Killed,
    /// Stopped because its time was up.
    TimedOut,
    /// Its server died; nothing of it was left running.
    Lost,
}

impl State {
    /// Whether it will never change.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// Its name in results and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::TimedOut => "timed_out",
            Self::Lost => "lost",
        }
    }

    /// The state of this name.
    fn named(name: &str) -> Option<Self> {
        let all = [Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::Killed, Self::TimedOut, Self::Lost];
        all.into_iter().find(|state| state.name() == name)
    }
}

/// A job's status at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// Process id of its leader.
    pub pid: Option<u32>,
    /// Exit code, if it exited.
    pub exit_code: Option<i32>,
    /// Number of the signal that ended it, if one did.
    pub signal: Option<i32>,
    /// When it was asked for.
    pub submitted: DateTime<Utc>,
    /// When it was started.
    pub started: Option<DateTime<Utc>>,
    /// When it became final.
    pub ended: Option<DateTime<Utc>>,
    /// Why it could not be started when its turn came, or how the policy failed whose fault stopped it; the text is not filtered.
    pub fault: Option<String>,
}

/// One of a job's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamName {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl StreamName {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// Its name in results and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Where a job's output goes besides its buffers; the job waits for it.
pub type Outlet = mpsc::Sender<(StreamName, Chunk)>;

/// Why a job could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// As many run and wait as may.
    #[error(
        "{running} jobs are running already, as many as `{limit}` allows, and {queued} are waiting (`{queue}`); \
         wait for one to end, or kill one"
    )]
    TooMany {
        /// Jobs that may run.
        running: usize,
        /// What says so: for all, for one principal, or for the group.
        limit: String,
        /// Jobs that may wait.
        queued: usize,
        /// What says so: for all, or for one principal.
        queue: &'static str,
    },
    /// There is no such group.
    #[error("there is no group \"{0}\"; the configuration names groups in `jobs.groups`")]
    NoGroup(String),
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
    /// It had to wait, and when its turn came it was not approved any more.
    #[error("when its turn came it was judged again, and {0}")]
    Refused(String),
    /// Nobody could ask about the programs of a script.
    #[error("could not listen for the starts of its programs: {0}")]
    Starts(#[source] std::io::Error),
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
    /// It is not started yet.
    #[error("the job is queued and not started yet; wait until it runs")]
    Queued,
    /// The job does not read.
    #[error("the job did not read its input within {} s; what was sent stays in its pipe", WRITE_DEADLINE.as_secs())]
    NotReading,
    /// The job has yet to read what was sent before.
    #[error("the job has not read what was sent to it before, so nothing was sent now")]
    Busy,
    /// The terminal would cut a line.
    #[error("a terminal takes lines of at most {} bytes, so nothing was sent", terminal::MOST_LINE_BYTES)]
    LongLine,
    /// The pipe failed.
    #[error("could not write to the job: {0}")]
    Io(#[source] std::io::Error),
}
