//! The one task that owns a child: its pipes, its time, its end.

use std::{process::ExitStatus, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use rustix::process;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Job, Outlet, Signal, State, Status, Stop, StreamName,
    control::{Wish, Wishes},
    intake::{Sink, drain},
    job::Reins,
    keeper::{Child, Reach},
    lanes::Permit,
    process::{Pipes, Writer},
    starts::Starts,
    terminal::Terminal,
};
use crate::policy::{ApprovedInput, OutputFilter};

/// How long what was killed may take to end, be it in the midst of a slow write. Beyond that its warden may be what is stuck.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// A started job, and everything its task needs besides the reins.
pub(super) struct Pump {
    pub(super) job: Arc<Job>,
    pub(super) child: Child,
    pub(super) pipes: Pipes,
    /// Of a script: answers what its shell wants to start.
    pub(super) starts: Option<Starts>,
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
    pub(super) async fn run(self, Reins { status, input, wishes }: Reins) {
        let Self { job, child, pipes, starts, stdout, stderr, outlet, timeout, grace, permit } = self;
        let terminal = pipes.terminal().cloned();
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
        let ending = Ending { child, terminal: terminal.clone(), grace, wishes }.run(timeout);
        tokio::pin!(ending);
        let mut is_drained = false;
        let ending = loop {
            tokio::select! {
                _ = &mut output, if !is_drained => is_drained = true,
                ending = &mut ending => break ending,
            }
        };
        drop(starts);
        writer.abort();
        terminal.inspect(|terminal| terminal.release());
        all_gone.cancel();
        if !is_drained {
            output.await;
        }
        job.close_output();
        drop(permit);
        status.send_modify(|status| status.finish(&ending));
    }
}

/// The way of a job to its end.
struct Ending {
    child: Child,
    terminal: Option<Arc<Terminal>>,
    grace: Duration,
    wishes: Wishes,
}

impl Ending {
    /// Waits for the first of exit, stop and deadline, passing signals on, and sees to it that nothing of the job is left.
    async fn run(mut self, timeout: Option<Duration>) -> Ended {
        let deadline = async {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(deadline);
        let (cause, stop, exited) = loop {
            tokio::select! {
                exit = self.child.exited() => break (Cause::Exited, Stop::default(), Some((exit, Utc::now()))),
                () = &mut deadline => break (Cause::TimedOut, Stop::default(), None),
                wish = self.wishes.next() => match wish {
                    Wish::Stop(stop) => break (Cause::Stopped, stop, None),
                    Wish::Signal(signal) => self.pass_on(signal),
                },
            }
        };
        let (exit, at) = self.clear(stop, exited).await;
        Ended { cause, exit, at }
    }

    fn pass_on(&self, signal: Signal) {
        match (&self.terminal, signal) {
            (Some(terminal), Signal::Int | Signal::Quit) => {
                if let Err(error) = terminal.interrupt(signal.named()) {
                    tracing::warn!(%error, "could not send a signal by a job's terminal");
                }
            }
            _ => self.child.signal(signal.named(), Reach::Leader),
        }
    }

    /// A signal, grace, KILL, to whatever there is of the job. Gives how its leader ended, and when.
    async fn clear(&mut self, stop: Stop, mut exited: Option<(Exit, DateTime<Utc>)>) -> (Exit, DateTime<Utc>) {
        let mut kill_at = Instant::now() + stop.grace(self.grace);
        if !self.child.is_gone() {
            self.begin_stop(stop);
        }
        loop {
            tokio::select! {
                () = gone(&mut self.child, &mut exited) => break,
                () = tokio::time::sleep_until(kill_at) => {
                    self.kill(&mut exited).await;
                    break;
                }
                wish = self.wishes.next() => match wish {
                    Wish::Stop(stop) => {
                        self.begin_stop(stop);
                        kill_at = kill_at.min(Instant::now() + stop.grace(self.grace));
                    }
                    Wish::Signal(signal) => self.pass_on(signal),
                },
            }
        }
        exited.unwrap_or_else(|| (None, Utc::now()))
    }

    fn begin_stop(&self, stop: Stop) {
        self.child.signal(stop.signal.named(), Reach::All);
        if self.terminal.is_some() && stop.signal == Signal::Term {
            self.child.signal(process::Signal::HUP, Reach::All);
        }
    }

    async fn kill(&mut self, exited: &mut Option<(Exit, DateTime<Utc>)>) {
        self.child.signal(process::Signal::KILL, Reach::All);
        if tokio::time::timeout(LAST_BREATH, gone(&mut self.child, exited)).await.is_err() {
            self.child.abandon();
        }
    }
}

/// Waits until nobody of the job is left, and learns on the way how its leader ended.
///
/// # Cancel safety
///
/// Can be dropped and called again at any time.
async fn gone(child: &mut Child, exited: &mut Option<(Exit, DateTime<Utc>)>) {
    if exited.is_none() {
        *exited = Some((child.exited().await, Utc::now()));
    }
    child.gone().await;
}

/// Writes what is approved, in order, until told to close.
async fn write_input(mut stdin: Writer, mut input: mpsc::Receiver<Input>) {
    while !matches!(stdin, Writer::Nothing)
        && let Some(next) = input.recv().await
    {
        match next {
            // The asker may have given up waiting.
            Input::Write(approved, done) => _ = done.send(stdin.write(approved.bytes()).await),
            Input::Close => stdin = stdin.end().await,
        }
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
