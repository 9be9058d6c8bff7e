//! A started job as the server holds it.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::ExitStatus,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{io::AsyncReadExt, net::UnixStream};

use super::{
    StartError,
    message::{Report, send, unframe},
};

/// A job's leader and all that descends from it. All of it is killed when this is dropped.
#[derive(Debug)]
pub struct Child {
    socket: UnixStream,
    /// What came of a report.
    read: Vec<u8>,
    leader: u32,
    /// None: it is gone already.
    warden: Option<OwnedFd>,
    exit: Option<ExitStatus>,
    is_gone: bool,
}

impl Child {
    /// Waits for a warden to say that its job runs.
    pub(super) async fn start(socket: UnixStream) -> Result<Self, StartError> {
        let mut child = Self { socket, read: Vec::new(), leader: 0, warden: None, exit: None, is_gone: false };
        match child.report().await {
            Some(Report::Started { leader, warden }) => {
                let warden = i32::try_from(warden).ok().and_then(Pid::from_raw);
                child.warden = warden.and_then(|warden| pidfd_open(warden, PidfdFlags::empty()).ok());
                child.leader = leader;
                Ok(child)
            }
            Some(Report::Refused(fault)) => Err(fault.into()),
            Some(Report::Exited { .. }) | None => {
                Err(io::Error::other("its warden ended before it began; too many processes may be running").into())
            }
        }
    }

    /// Process id of the leader.
    pub fn leader(&self) -> u32 {
        self.leader
    }

    /// Whether nobody of the job is left, as far as is known without waiting.
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Waits for the leader to end. None: nobody can say how, since the warden is gone.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped and called again at any time.
    pub async fn exited(&mut self) -> Option<ExitStatus> {
        while self.exit.is_none() && !self.is_gone {
            self.hear().await;
        }
        self.exit
    }

    /// Waits until nobody of the job is left.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped and called again at any time.
    pub async fn gone(&mut self) {
        while !self.is_gone {
            self.hear().await;
        }
    }

    /// Sends a signal to all of the job. KILL is repeated until nobody is left.
    pub fn signal(&self, signal: Signal) {
        if let Ok(number) = u8::try_from(signal.as_raw()) {
            // If its warden does not take it, it is gone, or will be made an end of.
            _ = send(&self.socket, &[number], &[]);
        }
    }

    /// Ends a warden that does not do its work, stopped by its own job perhaps: the keeper kills what it leaves.
    pub fn abandon(&self) {
        if let Some(warden) = &self.warden {
            _ = pidfd_send_signal(warden, Signal::KILL);
        }
    }

    async fn hear(&mut self) {
        match self.report().await {
            Some(Report::Exited { status, is_last }) => {
                self.exit = Some(ExitStatus::from_raw(status));
                self.is_gone = is_last;
            }
            Some(Report::Started { .. } | Report::Refused(_)) => {}
            None => self.is_gone = true,
        }
    }

    /// The next report; none when there will be none.
    async fn report(&mut self) -> Option<Report> {
        loop {
            match unframe(&mut self.read) {
                Ok(Some(report)) => return Some(report),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "a warden does not make sense");
                    return None;
                }
            }
            if !self.socket.read_buf(&mut self.read).await.is_ok_and(|read| read > 0) {
                return None;
            }
        }
    }
}
