//! The signals that end this process, caught so that jobs are stopped first; a server takes HUP as the wish to reload its policies.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Added to the number of a signal for an exit code, as shells do.
pub const SIGNALLED: u8 = 128;

/// TERM, INT and HUP, caught from the moment this is made. XFSZ is caught too, and forgotten.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    ///
    /// The system can not.
    pub fn catch() -> std::io::Result<Self> {
        // Where files may not grow, a write fails then; else this process would end, and with it every job.
        drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next of them.
    ///
    /// # Cancel safety
    ///
    /// No signal is lost when this is dropped.
    pub async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.hang_up.recv() => SignalKind::hangup(),
        }
    }
}

/// The exit code of a process that this signal ended.
pub fn exit_code(signal: SignalKind) -> u8 {
    u8::try_from(signal.as_raw_value()).map_or(SIGNALLED, |number| SIGNALLED.saturating_add(number))
}
