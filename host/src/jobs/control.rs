//! What a job can be told: to stop, a signal, the size of its terminal.

use std::{
    io,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use rustix::process;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};

use super::terminal::{Size, Terminal};

/// Longest grace that may be asked for: whoever waits for the end should not wait for more than the configuration could say.
const MOST_GRACE: Duration = Duration::from_secs(60);
/// Signals that wait for a job's task, which takes them at once; more than that only come from who sends them without measure.
const MOST_SIGNALS: usize = 8;

/// A signal that a job can be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Signal {
    /// Its terminal is gone; daemons read their configuration anew.
    Hup,
    /// Control-C.
    Int,
    /// Control-\.
    Quit,
    /// Whatever the program says.
    Usr1,
    /// Whatever the program says.
    Usr2,
    /// It should end.
    #[default]
    Term,
    /// It ends.
    Kill,
}

/// How a job is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// The signal that all of it gets first. HUP follows TERM where there is a terminal, since shells ignore TERM there.
    pub signal: Signal,
    /// How long it has between that and KILL, at most a minute; none: as long as configured.
    pub grace: Option<Duration>,
}

/// Why a job was not told.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It is not started yet.
    #[error("the job is queued and not started yet; wait until it runs")]
    Queued,
    /// It has ended.
    #[error("the job has ended")]
    Ended,
    /// Signals are sent faster than the job's task takes them.
    #[error("the job has yet to get the signals that were sent to it before; send it again")]
    Busy,
    /// It has no terminal.
    #[error("the job has no terminal, and so no size; start it with one")]
    NoTerminal,
    /// The system refused.
    #[error("could not change the size of the job's terminal: {0}")]
    Io(#[source] io::Error),
}

/// Where a job is told.
#[derive(Debug)]
pub(super) struct Control {
    stop: watch::Sender<Option<Stop>>,
    signals: mpsc::Sender<Signal>,
    /// The job's task holds it: a job that has ended is remembered without its terminal.
    terminal: OnceLock<Weak<Terminal>>,
}

/// Where its task hears of it.
pub(super) struct Wishes {
    signals: mpsc::Receiver<Signal>,
    stop: watch::Receiver<Option<Stop>>,
}

/// What its task hears.
pub(super) enum Wish {
    Stop(Stop),
    Signal(Signal),
}

/// Both ends of what a job can be told.
pub(super) fn control() -> (Control, Wishes) {
    let (stop, stopped) = watch::channel(None);
    let (signals, receiver) = mpsc::channel(MOST_SIGNALS);
    let control = Control { stop, signals, terminal: OnceLock::new() };
    (control, Wishes { signals: receiver, stop: stopped })
}

impl Signal {
    /// As the system names it.
    pub(super) fn named(self) -> process::Signal {
        match self {
            Self::Hup => process::Signal::HUP,
            Self::Int => process::Signal::INT,
            Self::Quit => process::Signal::QUIT,
            Self::Usr1 => process::Signal::USR1,
            Self::Usr2 => process::Signal::USR2,
            Self::Term => process::Signal::TERM,
            Self::Kill => process::Signal::KILL,
        }
    }
}

impl Stop {
    /// How long it has until KILL, where this is the configured grace.
    pub(super) fn grace(&self, configured: Duration) -> Duration {
        match self.signal {
            Signal::Kill => Duration::ZERO,
            _ => self.grace.unwrap_or(configured).min(MOST_GRACE),
        }
    }
}

impl Control {
    pub(super) fn stop(&self, stop: Stop) {
        self.stop.send_replace(Some(stop));
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<(), ControlError> {
        self.signals.try_send(signal).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ControlError::Busy,
            mpsc::error::TrySendError::Closed(_) => ControlError::Ended,
        })
    }

    pub(super) fn resize(&self, size: Size) -> Result<(), ControlError> {
        let terminal = self.terminal.get().ok_or(ControlError::NoTerminal)?.upgrade().ok_or(ControlError::Ended)?;
        terminal.resize(size).map_err(ControlError::Io)
    }

    /// The terminal, while the job runs.
    pub(super) fn terminal(&self) -> Option<Arc<Terminal>> {
        self.terminal.get()?.upgrade()
    }

    pub(super) fn started_at(&self, terminal: Option<&Arc<Terminal>>) {
        // A job is started once.
        terminal.map(|terminal| self.terminal.set(Arc::downgrade(terminal)));
    }
}

impl Wishes {
    /// Waits for the first stop.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped and called again at any time.
    pub(super) async fn stopped(&mut self) {
        while !matches!(self.next().await, Wish::Stop(_)) {}
    }

    /// The next that is said; of stops the last one.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped and called again at any time.
    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            biased;
            Ok(()) = self.stop.changed() => Wish::Stop(self.stop.borrow_and_update().unwrap_or_default()),
            Some(signal) = self.signals.recv() => Wish::Signal(signal),
            // Who could say something is gone.
            else => std::future::pending().await,
        }
    }
}
