//! The one task that owns a child: its pipes, its time, its end.

use std::{process::ExitStatus, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use rustix::process::Signal;
use tokio::{
    io::AsyncWriteExt,
    net::unix::pipe,
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Job, Outlet, State, Status, StreamName,
    intake::{Sink, drain},
    job::Reins,
    keeper::Child,
    lanes::Permit,
    process::Pipes,
};
use crate::policy::{ApprovedInput, OutputFilter};

/// How long what was killed may take to end, be it in the midst of a slow write. Beyond that its warden may be what is stuck.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// A started job, and everything its task needs besides the reins.
pub(super) struct Pump {
    pub(super) job: Arc<Job>,
    pub(super) child: Child,
    pub(super) pipes: Pipes,
    pub(super) stdout: OutputFilter,
    pub(super) stderr: OutputFilter,
    pub(super) outlet: Option<Outlet>,
    pub(super) timeout: Option<Duration>,
    pub(super) grace: Duration,
    /// Held while the job runs.
    pub(super) permit: Permit,
}

/// Something for the job's standard input.
pub(super) enum Input {
    /// Bytes to write; answered when the pipe has taken them.
    Write(ApprovedInput, oneshot::Sender<std::io::Result<()>>),
    /// End of file.
    Close,
}

/// How a leader ended; none: nobody could tell.
type Exit = Option<ExitStatus>;

/// Why a job ended.
#[derive(Clone, Copy)]
enum Cause {
    Exited,
    Stopped,
    TimedOut,
}

/// How a job ended.
struct Ended {
    cause: Cause,
    exit: Exit,
    /// The moment its leader ended.
    at: DateTime<Utc>,
}

impl Pump {
    /// Runs until the child and its pipes have ended; then, and only then, the job is final.
    pub(super) async fn run(self, Reins { status, input, stop }: Reins) {
        let Self { job, mut child, pipes, stdout, stderr, outlet, timeout, grace, permit } = self;
        let writer = tokio::spawn(write_input(pipes.stdin, input));
        let all_gone = CancellationToken::new();
        let sink = |name| Sink { job: &job, name, outlet: outlet.as_ref(), all_gone: &all_gone };
        let output = async {
            tokio::join!(
                drain(pipes.stdout, stdout, sink(StreamName::Stdout)),
                drain(pipes.stderr, stderr, sink(StreamName::Stderr))
            )
        };
        tokio::pin!(output);
        let ending = end(&mut child, timeout, grace, &stop);
        tokio::pin!(ending);
        let mut is_drained = false;
        let ending = loop {
            tokio::select! {
                _ = &mut output, if !is_drained => is_drained = true,
                ending = &mut ending => break ending,
            }
        };
        writer.abort();
        all_gone.cancel();
        if !is_drained {
            output.await;
        }
        drop(permit);
        status.send_modify(|status| status.finish(&ending));
    }
}

/// Waits for the first of exit, stop and deadline, and sees to it that nothing of the job is left.
async fn end(child: &mut Child, timeout: Option<Duration>, grace: Duration, stop: &CancellationToken) -> Ended {
    let deadline = async {
        match timeout {
            Some(timeout) => tokio::time::sleep_until(Instant::now() + timeout).await,
            None => std::future::pending().await,
        }
    };
    let (cause, exit) = tokio::select! {
        exit = child.exited() => (Cause::Exited, Some((exit, Utc::now()))),
        () = stop.cancelled() => (Cause::Stopped, None),
        () = deadline => (Cause::TimedOut, None),
    };
    let (exit, at) = clear(child, grace, exit).await;
    Ended { cause, exit, at }
}

/// TERM, grace, KILL, to whatever there is of the job. Gives how its leader ended, and when.
async fn clear(child: &mut Child, grace: Duration, exited: Option<(Exit, DateTime<Utc>)>) -> (Exit, DateTime<Utc>) {
    let kill_at = Instant::now() + grace;
    if !child.is_gone() {
        child.signal(Signal::TERM);
    }
    let mut exited = exited;
    if exited.is_none() {
        exited = tokio::time::timeout_at(kill_at, child.exited()).await.ok().map(|exit| (exit, Utc::now()));
    }
    if tokio::time::timeout_at(kill_at, child.gone()).await.is_err() {
        child.signal(Signal::KILL);
        if exited.is_none() {
            exited = tokio::time::timeout(LAST_BREATH, child.exited()).await.ok().map(|exit| (exit, Utc::now()));
        }
        if tokio::time::timeout(LAST_BREATH, child.gone()).await.is_err() {
            child.abandon();
        }
    }
    exited.unwrap_or_else(|| (None, Utc::now()))
}

/// Writes what is approved, in order, until told to close.
async fn write_input(stdin: Option<pipe::Sender>, mut input: mpsc::Receiver<Input>) {
    let Some(mut stdin) = stdin else { return };
    while let Some(Input::Write(approved, done)) = input.recv().await {
        let written = async {
            stdin.write_all(approved.bytes()).await?;
            stdin.flush().await
        };
        // The asker may have given up waiting.
        _ = done.send(written.await);
    }
}

impl Status {
    fn finish(&mut self, Ended { cause, exit, at }: &Ended) {
        use std::os::unix::process::ExitStatusExt;
        self.ended = Some(*at);
        self.exit_code = exit.as_ref().and_then(ExitStatus::code);
        self.signal = exit.as_ref().and_then(ExitStatusExt::signal);
        self.state = match cause {
            Cause::Stopped => State::Killed,
            Cause::TimedOut => State::TimedOut,
            Cause::Exited if self.exit_code == Some(0) => State::Completed,
            Cause::Exited => State::Failed,
        };
    }
}
