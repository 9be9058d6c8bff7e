//! Questions to the person at the terminal.

use std::{
    fs::File,
    io::{BufRead, BufReader, IsTerminal, Read, Write},
    time::Duration,
};

use rustix::termios::{QueueSelector, tcflush};
use tokio::signal::unix::SignalKind;

use crate::{
    audit::{Reply, Way},
    policy::{Consent, Denial},
    service::{Question, Service},
    signals::Signals,
};

/// The terminal of this process, whatever its standard input is.
const TERMINAL: &str = "/dev/tty";
/// Longest answer that is read, in bytes.
const MOST_ANSWER_BYTES: u64 = 256;

/// Why something is not done that a person had to approve.
pub(super) enum Refusal {
    /// Nobody can be asked here, and why.
    Unable(String),
    /// It can not be recorded, or not be shown.
    Denied(Denial),
    /// The person said no.
    No,
    /// The person said nothing in this time.
    Silent(Duration),
    /// A signal came instead of an answer.
    Signalled(SignalKind),
}

/// Asks, if there is a terminal to ask at. What is shown has nothing in it that steers the terminal.
pub(super) async fn ask(service: &Service, question: &Question, signals: &mut Signals) -> Result<Consent, Refusal> {
    let terminal = terminal()?;
    let text = service.asks(question, Way::Terminal).map_err(Refusal::Denied)?;
    // What was typed before the question is no answer to it.
    _ = tcflush(&terminal, QueueSelector::IFlush);
    // There, and not on standard error, which could be another's terminal: who sees the question answers it. Nobody to see it is
    // nobody to answer it.
    _ = write!(&terminal, "{text}\n\nDo it? [y/N] ");
    let longest = service.ask().timeout;
    let reading = tokio::task::spawn_blocking(move || answer(&terminal));
    let (reply, refusal) = tokio::select! {
        reply = reading => (reply.unwrap_or(Reply::None), Refusal::No),
        () = tokio::time::sleep(longest) => (Reply::None, Refusal::Silent(longest)),
        signal = signals.next() => (Reply::None, Refusal::Signalled(signal)),
    };
    if !matches!(refusal, Refusal::No) {
        _ = writeln!(std::io::stderr());
    }
    service.answered(question, Way::Terminal, reply).map_err(Refusal::Denied)?.ok_or(refusal)
}

fn terminal() -> Result<File, Refusal> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Refusal::Unable("standard input and standard error are not both terminals".to_owned()));
    }
    File::options().read(true).write(true).open(TERMINAL).map_err(|error| Refusal::Unable(format!("{TERMINAL}: {error}")))
}

/// A line that does not end within what is read says something that is not known: it is no yes, and what is left of it is for
/// nobody.
fn answer(terminal: &File) -> Reply {
    let mut line = String::new();
    let read = BufReader::new(terminal.take(MOST_ANSWER_BYTES)).read_line(&mut line);
    match (read, line.strip_suffix('\n')) {
        (Ok(0) | Err(_), _) => Reply::None,
        (Ok(_), Some(said)) if matches!(said.trim().to_ascii_lowercase().as_str(), "y" | "yes") => Reply::Once,
        (Ok(_), Some(_)) => Reply::No,
        (Ok(_), None) => {
            _ = tcflush(terminal, QueueSelector::IFlush);
            Reply::No
        }
    }
}
