//! The warden of one job: starts it, is the parent of whatever it leaves without one, and ends when nobody of it is left.

use std::{
    collections::HashSet,
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    event::PollFlags,
    io::Errno,
    net::{RecvFlags, recv},
    process::{
        Pid, Signal, WaitOptions, getpid, getppid, kill_process_group, set_child_subreaper, set_parent_process_death_signal,
        setsid, wait,
    },
};

use super::{
    execute::execute,
    family,
    message::{Fault, Reach, Report, Step, frame, receive, receive_message, send, signal_of_byte},
    system::{Pauses, Signals},
};

/// Signals taken from the server at a time.
const MOST_SIGNALS: usize = 16;

/// What goes on in a warden.
pub struct Warden {
    signals: Signals,
    /// None: the server has closed it, or is gone.
    socket: Option<OwnedFd>,
    keeper: Pid,
    /// None: it has ended, and its number may be another's.
    leader: Option<Pid>,
    /// Whether all of the job is to be killed.
    is_ending: bool,
    pauses: Pauses,
}

/// Who is left of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Somebody,
    Nobody,
}

/// Is a warden until its job has ended and left nobody. `keeper` is the process that forked this one, `jobs` the socket that jobs
/// come by, `taken` is counted up when one has come.
///
/// # Errors
///
/// The system refused what a warden needs; nothing was started, or all of it is left to the keeper.
pub fn run(jobs: OwnedFd, taken: OwnedFd, signals: Signals, keeper: Pid) -> io::Result<()> {
    // In a group of its own, so that it can be told from its job and the keeper from it.
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    set_parent_process_death_signal(Some(Signal::CONT))?;
    let Some(socket) = await_job(&jobs, &signals, keeper)? else { return Ok(()) };
    rustix::io::write(&taken, &1_u64.to_ne_bytes())?;
    // Who holds it would keep the server from seeing the keeper's end.
    drop((jobs, taken));
    let number = |pid: Pid| pid.as_raw_nonzero().get().unsigned_abs();
    // Before anything of the job runs, which could stop this process and with it every report.
    tell(Some(&socket), &Report::Ready { warden: number(getpid()) });
    let started = match receive_message(&socket) {
        Ok(None) => return Ok(()),
        Ok(Some((order, handles))) => execute(&order, &handles),
        Err(_) => Err(Fault::Order),
    };
    match started {
        Ok(leader) => {
            tell(Some(&socket), &Report::Started { leader: number(leader) });
            Warden { signals, socket: Some(socket), keeper, leader: Some(leader), is_ending: false, pauses: Pauses::new() }
                .watch()
        }
        Err(fault) => {
            tell(Some(&socket), &Report::Refused(fault));
            Ok(())
        }
    }
}

/// The socket of the next job. None: the server or the keeper is gone.
fn await_job(jobs: &OwnedFd, signals: &Signals, keeper: Pid) -> io::Result<Option<OwnedFd>> {
    while getppid() == Some(keeper) {
        signals.wait(&[(jobs, PollFlags::IN)], None)?;
        match next_job(jobs) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(job) => return Ok(job),
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// The socket of a job that is wanted. None: the server is gone.
fn next_job(jobs: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let mut handles = Vec::new();
    let received = receive(jobs, &mut [0], &mut handles)?;
    Ok(handles.pop().filter(|_| received > 0))
}

/// Says of every job that is wanted now that the system makes no process for it. To be called where there is no warden.
pub fn refuse_all(jobs: &OwnedFd, errno: Errno) {
    while let Ok(Some(socket)) = next_job(jobs) {
        tell(Some(&socket), &Report::Refused(Fault::System { step: Step::Process, errno: errno.raw_os_error() }));
    }
}

/// Whoever does not listen any more is told nothing.
fn tell(socket: Option<&OwnedFd>, report: &Report) {
    if let (Some(socket), Ok(report)) = (socket, frame(report)) {
        _ = send(socket.as_fd(), &report, &[]);
    }
}

impl Warden {
    fn watch(mut self) -> io::Result<()> {
        while self.reap() == Left::Somebody {
            if self.is_ending {
                family::signal(Signal::KILL, &HashSet::new())?;
            }
            self.wait()?;
        }
        Ok(())
    }

    /// Asks how children ended, those that the job left included, and tells of its leader.
    fn reap(&mut self) -> Left {
        let mut ended = None;
        let left = loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((child, status))) if Some(child) == self.leader => ended = Some(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break Left::Somebody,
                Err(_) => break Left::Nobody,
            }
        };
        if let Some(status) = ended {
            self.leader = None;
            tell(self.socket.as_ref(), &Report::Exited { status: status.as_raw(), is_last: left == Left::Nobody });
        }
        left
    }

    fn wait(&mut self) -> io::Result<()> {
        let pause = self.is_ending.then(|| self.pauses.next());
        let awaited = self.socket.iter().map(|socket| (socket, PollFlags::IN)).collect::<Vec<_>>();
        if self.signals.wait(&awaited, pause)?.iter().any(|found| !found.is_empty()) {
            self.listen()?;
        }
        self.is_ending |= getppid() != Some(self.keeper);
        Ok(())
    }

    /// Takes what the server sent: signals to pass on, of which KILL is meant for good.
    fn listen(&mut self) -> io::Result<()> {
        let mut numbers = [0; MOST_SIGNALS];
        let Some(socket) = &self.socket else { return Ok(()) };
        let sent = recv(socket, &mut numbers, RecvFlags::DONTWAIT).map_or(0, |(read, _)| read);
        if sent == 0 {
            self.socket = None;
            self.is_ending = true;
        }
        for byte in &numbers[..sent] {
            match signal_of_byte(*byte) {
                Some((Signal::KILL, Reach::All)) | None => self.is_ending = true,
                Some((signal, Reach::All)) => _ = family::signal(signal, &HashSet::new())?,
                // It leads no group only if it has just ended.
                Some((signal, Reach::Leader)) => _ = self.leader.map(|leader| kill_process_group(leader, signal)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream};

    use super::*;
    use crate::jobs::keeper::message::unframe;

    #[test]
    fn without_a_process_every_waiting_job_is_refused() {
        let (ours, jobs) = UnixStream::pair().unwrap();
        jobs.set_nonblocking(true).unwrap();
        let wanted = [(); 3].map(|()| {
            let (server, warden) = UnixStream::pair().unwrap();
            send(&ours, &[0], &[warden.as_fd()]).unwrap();
            server
        });
        refuse_all(&jobs.into(), Errno::AGAIN);
        for mut server in wanted {
            let mut read = Vec::new();
            server.read_to_end(&mut read).unwrap();
            let report = unframe(&mut read).unwrap().unwrap();
            let Report::Refused(fault) = report else { panic!("{report:?}") };
            assert!(fault.to_string().starts_with("making a process: "), "{fault}");
        }
    }
}
