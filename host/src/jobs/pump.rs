//! The one task that owns a child: its pipes, its time, its end.

use std::{process::ExitStatus, sync::Arc, time::Duration};

use chrono::Utc;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin},
    sync::{OwnedSemaphorePermit, mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Job, Outlet, State, Status, StreamName,
    process::{Group, Signalled},
};
use crate::policy::{ApprovedInput, Chunk, OutputFilter, PIECE_BYTES};

/// How long nothing must come before a filter that sees everything is given a line that is not complete.
const SILENCE: Duration = Duration::from_millis(100);
/// What the kernel is asked to hold between a job and its reader, so that the job can write on while its output is filtered.
const PIPE_BYTES: usize = 1 << 20;

/// Everything the task needs besides the child.
pub(super) struct Pump {
    pub(super) job: Arc<Job>,
    pub(super) status: watch::Sender<Status>,
    pub(super) stdout: OutputFilter,
    pub(super) stderr: OutputFilter,
    pub(super) input: mpsc::Receiver<Input>,
    pub(super) outlet: Option<Outlet>,
    pub(super) timeout: Option<Duration>,
    pub(super) grace: Duration,
    pub(super) stop: CancellationToken,
    /// Held while the job runs.
    pub(super) permit: OwnedSemaphorePermit,
}

/// Something for the job's standard input.
pub(super) enum Input {
    /// Bytes to write; answered when the pipe has taken them.
    Write(ApprovedInput, oneshot::Sender<std::io::Result<()>>),
    /// End of file.
    Close,
}

/// Why a job ended.
enum Ending {
    Exited(std::io::Result<ExitStatus>),
    Stopped(std::io::Result<ExitStatus>),
    TimedOut(std::io::Result<ExitStatus>),
}

impl Pump {
    /// Runs until the child and its pipes have ended; then, and only then, the job is final.
    pub(super) async fn run(self, mut child: Child) {
        let Self { job, status, stdout, stderr, input, outlet, timeout, grace, stop, permit } = self;
        let group = Group::of(&child);
        let pipes = (child.stdout.take(), child.stderr.take());
        let writer = tokio::spawn(write_input(child.stdin.take(), input));
        let output = async {
            tokio::join!(
                drain(pipes.0, stdout, &job, StreamName::Stdout, outlet.as_ref()),
                drain(pipes.1, stderr, &job, StreamName::Stderr, outlet.as_ref()),
            )
        };
        tokio::pin!(output);
        let ending = end(&mut child, group, timeout, grace, &stop);
        tokio::pin!(ending);
        let mut is_drained = false;
        let ending = loop {
            tokio::select! {
                _ = &mut output, if !is_drained => is_drained = true,
                ending = &mut ending => break ending,
            }
        };
        writer.abort();
        let left = group.map(Group::terminate);
        if !is_drained {
            // Somebody else may hold the pipes open: members of the group until they are killed, others for as long as they like.
            let is_late = tokio::time::timeout(grace, &mut output).await.is_err();
            if left == Some(Signalled::Delivered) {
                group.map(Group::kill);
            }
            if is_late && tokio::time::timeout(grace, &mut output).await.is_err() {
                tracing::warn!(job = %job.id(), "the job has ended, and a process that left its group still holds its output; it is read no further");
            }
        } else if left == Some(Signalled::Delivered) {
            tokio::time::sleep(grace).await;
            group.map(Group::kill);
        }
        drop(permit);
        status.send_modify(|status| status.finish(&ending));
    }
}

/// Waits for the first of exit, stop and deadline, and makes the last two come true.
async fn end(child: &mut Child, group: Option<Group>, timeout: Option<Duration>, grace: Duration, stop: &CancellationToken) -> Ending {
    let deadline = async {
        match timeout {
            Some(timeout) => tokio::time::sleep_until(Instant::now() + timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        exit = child.wait() => Ending::Exited(exit),
        () = stop.cancelled() => Ending::Stopped(terminate(child, group, grace).await),
        () = deadline => Ending::TimedOut(terminate(child, group, grace).await),
    }
}

/// TERM, grace, KILL, to the whole group.
async fn terminate(child: &mut Child, group: Option<Group>, grace: Duration) -> std::io::Result<ExitStatus> {
    group.map(Group::terminate);
    match tokio::time::timeout(grace, child.wait()).await {
        Ok(exit) => exit,
        Err(_) => {
            group.map(Group::kill);
            child.wait().await
        }
    }
}

/// Reads a stream to its end, through its filter, into the job's buffer. The reader waits for the filter, and so, in the end, does
/// the job: nothing grows.
async fn drain(pipe: Option<impl AsyncRead + Unpin + std::os::fd::AsFd>, mut filter: OutputFilter, job: &Job, name: StreamName, outlet: Option<&Outlet>) {
    let Some(mut pipe) = pipe else { return };
    // Refused beyond the system's allowance for the user; the pipe then stays as it was.
    _ = rustix::pipe::fcntl_setpipe_size(&pipe, PIPE_BYTES);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = if filter.awaits_silence() {
            match tokio::time::timeout(SILENCE, pipe.read(&mut piece)).await {
                Ok(read) => read,
                Err(_) => {
                    deliver(filter.silence().await, job, name, outlet).await;
                    continue;
                }
            }
        } else {
            pipe.read(&mut piece).await
        };
        match read {
            Ok(0) => break,
            Ok(read) => deliver(filter.push(&piece[..read]).await, job, name, outlet).await,
            Err(error) => {
                tracing::warn!(job = %job.id(), %error, "could not read the job's output to its end");
                break;
            }
        }
    }
    deliver(filter.end().await, job, name, outlet).await;
}

async fn deliver(chunk: &Chunk, job: &Job, name: StreamName, outlet: Option<&Outlet>) {
    if chunk.bytes().is_empty() {
        return;
    }
    job.keep(name, chunk);
    if let Some(outlet) = outlet {
        // Nobody listening any more is no reason to stop the job.
        _ = outlet.send((name, chunk.clone())).await;
    }
}

/// Writes what is approved, in order, until told to close.
async fn write_input(stdin: Option<ChildStdin>, mut input: mpsc::Receiver<Input>) {
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
    fn finish(&mut self, ending: &Ending) {
        use std::os::unix::process::ExitStatusExt;
        let (Ending::Exited(exit) | Ending::Stopped(exit) | Ending::TimedOut(exit)) = ending;
        self.ended = Some(Utc::now());
        self.exit_code = exit.as_ref().ok().and_then(ExitStatus::code);
        self.signal = exit.as_ref().ok().and_then(ExitStatusExt::signal);
        self.state = match ending {
            Ending::Stopped(_) => State::Killed,
            Ending::TimedOut(_) => State::TimedOut,
            Ending::Exited(_) if self.exit_code == Some(0) => State::Completed,
            Ending::Exited(_) => State::Failed,
        };
    }
}
