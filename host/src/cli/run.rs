//! `portcullis run`.

use std::{ffi::OsString, sync::Arc, time::Duration};

use clap::Args;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    signal::unix::SignalKind,
    sync::mpsc,
};

use super::{
    CliError,
    ask::{self, ask},
    exit, say, start_error, this_client,
};
use crate::{
    config::Config,
    jobs::{Job, Order, State, Status, Stdin, Stop, StreamName, Streams},
    policy::{Answer, Chunk, Denial, VerdictKind},
    script::PROGRAM_NOT_FOUND,
    service::{Command, Question, Refused, Service, Started, Terms},
    signals::{SIGNALLED, Signals, exit_code},
};

/// Pieces of output on their way to the terminal; beyond, the command waits.
const OUTLET_PIECES: usize = 16;

/// Runs one command through the gate. Its output is filtered; its exit code is this one's.
#[derive(Debug, Args)]
#[command(
    override_usage = "portcullis run -- <COMMAND>...\n       portcullis run -c <SCRIPT>",
    after_help = "\
Exit codes: the command's own; 124 timed out, 126 denied, 127 no such program,
128 + n ended by signal n, 125 portcullis failed, 3 wrong usage or configuration. What the policies did is said on
standard error. The command's standard input is empty. Where a policy wants a person to approve, you are asked, if standard input and
standard error are terminals.

  portcullis run -- git log -3
  portcullis run -c 'grep -rn \"TODO: \" src'"
)]
pub struct Run {
    /// The command as shell text.
    #[arg(short = 'c', value_name = "SCRIPT", conflicts_with = "words")]
    script: Option<String>,
    /// The command as words.
    #[arg(last = true, value_name = "COMMAND", required_unless_present = "script")]
    words: Vec<OsString>,
}

impl Run {
    pub(super) async fn execute(self, config: &Config) -> Result<u8, CliError> {
        // Nobody asks for its record later but in the audit log.
        let config = Config { history: None, ..config.clone() };
        let service = Service::start(&config).await.map_err(start_error)?;
        let mut signals = Signals::catch().map_err(|error| CliError::Failed(format!("could not wait for signals: {error}")))?;
        let command = self.script.map_or(Command::Words(self.words), Command::Text);
        let (outlet, pieces) = mpsc::channel(OUTLET_PIECES);
        let code = match start(&service, command, outlet, &mut signals).await {
            Ok(started) => {
                say(&summary(&started));
                follow(&started.job, pieces, signals).await
            }
            Err(code) => code,
        };
        service.shut_down().await;
        Ok(code)
    }
}

/// Starts the command, if need be with what the person at the terminal says to it; else says why not, and gives the exit code.
async fn start(
    service: &Arc<Service>,
    command: Command,
    outlet: mpsc::Sender<(StreamName, Chunk)>,
    signals: &mut Signals,
) -> Result<Started, u8> {
    let terms = |consent| {
        let order = Order { streams: Streams::Pipes(Stdin::Null), outlet: Some(outlet.clone()), group: None };
        Terms { timeout: None, consent, order }
    };
    let question = match service.run(command.clone(), &this_client(), terms(None)).await {
        Err(Refused::Asks(question)) => question,
        other => return other.map_err(|refused| refusal(&refused)),
    };
    let consent = ask(service, &question, signals).await.map_err(|why| unapproved(&question, why))?;
    service.run(command, &this_client(), terms(Some(consent))).await.map_err(|refused| refusal(&refused))
}

fn unapproved(question: &Question, why: ask::Refusal) -> u8 {
    let reason = question.reason();
    say(&match why {
        ask::Refusal::Signalled(signal) => return exit_code(signal),
        ask::Refusal::Denied(denial) => format!("denied {denial}"),
        ask::Refusal::No => "denied by you".to_owned(),
        ask::Refusal::Silent(longest) => format!("denied, since nobody answered in {} s: {reason}", longest.as_secs()),
        ask::Refusal::Unable(why) => {
            format!("denied, since a person would have to approve and nobody can be asked here ({why}): {reason}")
        }
    });
    exit::NOT_RUN
}

fn refusal(refused: &Refused) -> u8 {
    match refused {
        Refused::Denied(denial @ Denial { policy: None, code, .. }) if code == PROGRAM_NOT_FOUND => {
            say(&denial.message);
            exit::NOT_FOUND
        }
        Refused::Denied(denial) => {
            say(&format!("denied {denial}"));
            exit::NOT_RUN
        }
        Refused::Asks(question) => {
            say(&format!("denied, since the answer was about something else than what would run now: {}", question.reason()));
            exit::NOT_RUN
        }
        Refused::NotStarted(text) => {
            say(text);
            exit::NOT_RUN
        }
        Refused::Rehearsed(rehearsed) => {
            say(&format!("nothing is executed here; it would run {}", rehearsed.runs));
            exit::NOT_RUN
        }
    }
}

/// One line on what the policies did.
fn summary(Started { job, trail }: &Started) -> String {
    let took: Duration = trail.iter().map(|answer| answer.took).sum();
    let by = |kind: VerdictKind| names(trail.iter().filter(|answer| answer.counts_as(kind)));
    let (allowed, rewrote) = (by(VerdictKind::Allow), by(VerdictKind::Rewrite));
    let allowed = if allowed.is_empty() { "by default".to_owned() } else { format!("by {allowed}") };
    let took = format!("{} µs", took.as_micros());
    if rewrote.is_empty() {
        format!("allowed {allowed} in {took}: {}", job.shown())
    } else {
        format!("allowed {allowed}, rewritten by {rewrote} in {took}: {}", job.shown())
    }
}

fn names<'a>(answers: impl Iterator<Item = &'a Answer>) -> String {
    let mut names: Vec<_> = answers.map(|answer| answer.policy.as_str()).collect();
    names.dedup();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// Passes the output on until the job is final; a signal, or a reader that is gone, stops the job.
async fn follow(job: &Job, mut pieces: mpsc::Receiver<(StreamName, Chunk)>, mut signals: Signals) -> u8 {
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    let mut broken_by = None;
    loop {
        let piece = tokio::select! {
            piece = pieces.recv() => piece,
            signal = signals.next(), if broken_by.is_none() => {
                broken_by = stop(job, signal);
                continue;
            }
        };
        let Some((name, chunk)) = piece else { break };
        if broken_by.is_some() {
            // Nobody wants it any more, and the job must not wait for that.
            continue;
        }
        let passed_on = async {
            match name {
                StreamName::Stdout => pass_on(&mut stdout, &chunk).await,
                StreamName::Stderr => pass_on(&mut stderr, &chunk).await,
            }
        };
        broken_by = tokio::select! {
            written = passed_on => written.err().and_then(|_| stop(job, SignalKind::pipe())),
            signal = signals.next() => stop(job, signal),
        };
    }
    let status = job.ended().await;
    broken_by.map_or_else(|| code(&status), exit_code)
}

fn stop(job: &Job, signal: SignalKind) -> Option<SignalKind> {
    job.stop(Stop::default());
    Some(signal)
}

async fn pass_on(out: &mut (impl AsyncWrite + Unpin), chunk: &Chunk) -> std::io::Result<()> {
    out.write_all(chunk.bytes()).await?;
    out.flush().await
}

fn code(status: &Status) -> u8 {
    let low_byte = |number: i32| u8::try_from(number & 0xff).unwrap_or(exit::FAILED);
    match (status.state, status.exit_code, status.signal) {
        (State::TimedOut, ..) => exit::TIMED_OUT,
        (_, Some(code), _) => low_byte(code),
        (_, None, Some(signal)) => SIGNALLED.saturating_add(low_byte(signal)),
        (_, None, None) => exit::FAILED,
    }
}
