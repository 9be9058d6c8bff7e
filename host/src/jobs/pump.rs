//! The one task that owns a child: its pipes, its time, its end.

use std::{process::ExitStatus, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use rustix::process::Signal;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    sync::{OwnedSemaphorePermit, mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{Job, Outlet, State, Status, StreamName, keeper::Child, process::Pipes};
use crate::policy::{ApprovedInput, Chunk, OutputFilter, PIECE_BYTES};

/// How long nothing must come before a filter that sees everything is given a line that is not complete.
const SILENCE: Duration = Duration::from_millis(100);
/// How long output is still read when all of the job has ended: somebody who was handed its pipes may hold them open for ever.
const LAST_READ: Duration = Duration::from_secs(1);
/// How long what was killed may take to end, be it in the midst of a slow write. Beyond that its warden may be what is stuck.
const LAST_BREATH: Duration = Duration::from_secs(5);
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
    pub(super) async fn run(self, mut child: Child, pipes: Pipes) {
        let Self { job, status, stdout, stderr, input, outlet, timeout, grace, stop, permit } = self;
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

/// Where a stream's output goes.
struct Sink<'a> {
    job: &'a Job,
    name: StreamName,
    outlet: Option<&'a Outlet>,
    /// Cancelled when nothing of the job is left: whatever still comes is from strangers, or was in the pipe.
    all_gone: &'a CancellationToken,
}

/// Reads a stream to its end, through its filter, into the job's buffer. The reader waits for the filter, and so, in the end, does
/// the job: nothing grows.
async fn drain(mut pipe: pipe::Receiver, mut filter: OutputFilter, sink: Sink<'_>) {
    // Refused beyond the system's allowance for the user; the pipe then stays as it was.
    _ = rustix::pipe::fcntl_setpipe_size(&pipe, PIPE_BYTES);
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = PIPE_BYTES;
    loop {
        match next(&mut pipe, &mut piece, filter.awaits_silence(), &mut left, sink.all_gone).await {
            Next::Bytes(read) => sink.deliver(filter.push(&piece[..read]).await).await,
            Next::Silence => sink.deliver(filter.silence().await).await,
            Next::End => break,
            Next::Strangers => {
                tracing::warn!(job = %sink.job.id(), "a process that is none of the job's still holds its output; it is read no further");
                break;
            }
            Next::Failed(error) => {
                tracing::warn!(job = %sink.job.id(), %error, "could not read the job's output to its end");
                break;
            }
        }
    }
    sink.deliver(filter.end().await).await;
}

/// What came of waiting for output.
enum Next {
    Bytes(usize),
    Silence,
    End,
    Strangers,
    Failed(std::io::Error),
}

/// Waits for output. Once nothing of the job is left it reads what the pipe can hold, and no longer than until it pauses.
async fn next(
    pipe: &mut (impl AsyncRead + Unpin),
    piece: &mut [u8],
    awaits_silence: bool,
    left: &mut usize,
    all_gone: &CancellationToken,
) -> Next {
    let is_over = all_gone.is_cancelled();
    let pause = async {
        match (is_over, awaits_silence) {
            (true, _) => tokio::time::sleep(LAST_READ).await,
            (false, true) => tokio::time::sleep(SILENCE).await,
            (false, false) => all_gone.cancelled().await,
        }
    };
    tokio::select! {
        biased;
        read = pipe.read(piece) => match read {
            Ok(0) => Next::End,
            Ok(_) if is_over && *left == 0 => Next::Strangers,
            Ok(read) => {
                if is_over {
                    *left = left.saturating_sub(read);
                }
                Next::Bytes(read)
            }
            Err(error) => Next::Failed(error),
        },
        () = pause => if is_over { Next::Strangers } else { Next::Silence },
    }
}

impl Sink<'_> {
    async fn deliver(&self, chunk: &Chunk) {
        if chunk.bytes().is_empty() {
            return;
        }
        self.job.keep(self.name, chunk);
        if let Some(outlet) = self.outlet {
            // Nobody listening any more is no reason to stop the job.
            _ = outlet.send((self.name, chunk.clone())).await;
        }
    }
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
