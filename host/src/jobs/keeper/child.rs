//! A started job as the server holds it.

use std::{
    io,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::ExitStatus,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::UnixStream,
};

use super::{
    StartError,
    message::{Reach, Report, send, signal_to_byte, unframe},
};

/// A warden, and its job: the leader and all that descends from it. All of it is killed when this is dropped, whatever the job did
/// to its warden.
#[derive(Debug)]
pub struct Child {
    socket: UnixStream,
    /// What came of a report.
    read: Vec<u8>,
    leader: u32,
    /// A pidfd: no other process that came by its id is ever hit.
    warden: OwnedFd,
    exit: Option<ExitStatus>,
    is_gone: bool,
}

impl Child {
    /// Waits for a warden to say that it waits for an order. Nothing of the job runs yet.
    pub(super) async fn ready(mut socket: UnixStream) -> Result<Self, StartError> {
        let mut read = Vec::new();
        let warden = match report(&mut socket, &mut read).await {
            Some(Report::Ready { warden }) => i32::try_from(warden).ok().and_then(Pid::from_raw).ok_or_else(too_early)?,
            Some(Report::Refused(fault)) => return Err(fault.into()),
            Some(Report::Started { .. } | Report::Exited { .. }) | None => return Err(too_early().into()),
        };
        let warden = pidfd_open(warden, PidfdFlags::empty()).map_err(io::Error::from)?;
        Ok(Self { socket, read, leader: 0, warden, exit: None, is_gone: false })
    }

    /// Sends the order, framed, with its handles, and waits for the warden to say that the job runs.
    pub(super) async fn start(mut self, order: &[u8], handles: &[BorrowedFd<'_>]) -> Result<Self, StartError> {
        // The handles go with the first bytes, for which there is room, since nothing was sent yet.
        let sent = self.socket.async_io(Interest::WRITABLE, || send(&self.socket, order, handles)).await?;
        self.socket.write_all(&order[sent..]).await?;
        match self.report().await {
            Some(Report::Started { leader }) => {
                self.leader = leader;
                Ok(self)
            }
            Some(Report::Refused(fault)) => Err(fault.into()),
            Some(Report::Ready { .. } | Report::Exited { .. }) | None => Err(too_early().into()),
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

    /// Sends a signal to the job. KILL to all of it is repeated until nobody is left.
    pub fn signal(&self, signal: Signal, reach: Reach) {
        // If its warden does not take it, it is gone, or will be made an end of.
        _ = send(&self.socket, &[signal_to_byte(signal, reach)], &[]);
    }

    /// Ends a warden that does not do its work, stopped by its own job perhaps: the keeper kills what it leaves.
    pub fn abandon(&self) {
        // It may be gone already.
        _ = pidfd_send_signal(&self.warden, Signal::KILL);
    }

    async fn hear(&mut self) {
        match self.report().await {
            Some(Report::Exited { status, is_last }) => {
                self.exit = Some(ExitStatus::from_raw(status));
                self.is_gone = is_last;
            }
            Some(Report::Ready { .. } | Report::Started { .. } | Report::Refused(_)) => {}
            None => self.is_gone = true,
        }
    }

    /// The next report; none when there will be none.
    async fn report(&mut self) -> Option<Report> {
        report(&mut self.socket, &mut self.read).await
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.is_gone {
            self.abandon();
        }
    }
}

fn too_early() -> io::Error {
    io::Error::other("its warden ended before it began; too many processes may be running")
}

/// The next report; none when there will be none. `read` is what came of it so far.
async fn report(socket: &mut UnixStream, read: &mut Vec<u8>) -> Option<Report> {
    loop {
        match unframe(read) {
            Ok(Some(report)) => return Some(report),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "a warden does not make sense");
                return None;
            }
        }
        if !socket.read_buf(read).await.is_ok_and(|read| read > 0) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::net::UnixStream as StdStream,
        process::{Child as Process, Command},
        time::Duration,
    };

    use rstest::rstest;
    use tokio::time::timeout;

    use super::*;
    use crate::jobs::keeper::message::{Fault, frame};

    /// A process that does nothing, in the place of a warden that its job has stopped, and what it says.
    async fn stopped(reports: &[Report]) -> (Process, StdStream, Child) {
        let process = Command::new("sleep").arg("1000").spawn().unwrap();
        let (ours, its) = StdStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        for report in [Report::Ready { warden: process.id() }].iter().chain(reports) {
            send(&its, &frame(report).unwrap(), &[]).unwrap();
        }
        let child = Child::ready(UnixStream::from_std(ours).unwrap()).await.unwrap();
        (process, its, child)
    }

    fn was_killed(mut process: Process) {
        assert_eq!(process.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    }

    #[rstest]
    #[case::silent(&[])]
    #[case::refusing(&[Report::Refused(Fault::Order)])]
    #[case::out_of_turn(&[Report::Exited { status: 0, is_last: false }])]
    #[tokio::test]
    async fn a_start_that_fails_kills_the_warden(#[case] reports: &[Report]) {
        let (process, _its, child) = stopped(reports).await;
        let started = timeout(Duration::from_millis(100), child.start(b"an order", &[])).await;
        assert!(!matches!(started, Ok(Ok(_))));
        was_killed(process);
    }

    #[tokio::test]
    async fn whoever_drops_a_job_kills_its_warden() {
        let (process, _its, child) = stopped(&[Report::Started { leader: 1 }]).await;
        let child = child.start(b"an order", &[]).await.unwrap();
        assert_eq!(child.leader(), 1);
        drop(child);
        was_killed(process);
    }

    #[tokio::test]
    async fn no_order_is_sent_before_a_warden_is_ready() {
        let (ours, its) = StdStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ready = Child::ready(UnixStream::from_std(ours).unwrap());
        assert!(timeout(Duration::from_millis(100), ready).await.is_err());
        // A warden that takes the job now finds nobody there.
        assert!(super::super::message::receive_message::<crate::jobs::keeper::Order>(&its).unwrap().is_none());
    }
}
