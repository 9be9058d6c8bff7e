//! Starting a process from an approval, and signalling its group.

use std::{process::Stdio, time::Duration};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process_group, test_kill_process_group},
};
use tokio::process::{Child, Command};

use super::SpawnError;
use crate::{policy::Approved, script::Plan};

/// Longest pause between two looks at whether a group is gone.
const MOST_PAUSE: Duration = Duration::from_millis(50);

/// What a job reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// A pipe that approved input is written to.
    Pipe,
    /// Nothing.
    Null,
}

/// Starts the program of an approval in a process group of its own, with exactly the approved variables.
pub(super) fn start(approved: &Approved, stdin: Stdin) -> Result<Child, SpawnError> {
    let request = approved.request();
    let (program, name, args, env) = match request.script.plan() {
        Plan::Direct { program, args, env } => (program.name().to_owned(), program.name().to_owned(), args, env),
        Plan::Shell { text, .. } => {
            let args = ["--noprofile", "--norc", "-p", "+B", "+o", "history", "-c"].map(str::to_owned).to_vec();
            ("/bin/bash".into(), "bash".into(), [args, vec![text]].concat(), Vec::new())
        }
    };
    let mut command = Command::new(&program);
    command
        .arg0(&name)
        .args(args)
        .env_clear()
        .envs(request.env.iter().map(|(name, value)| (name, value)))
        .envs(env)
        .current_dir(&*request.cwd)
        .stdin(if stdin == Stdin::Pipe { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command.spawn().map_err(|source| SpawnError::Start { program: name.display().to_string(), source })
}

/// Makes this process one whose jobs can inherit nothing to write to past the filters: descriptors that it was started with are
/// closed to them, and its terminal, if it has one, is given up. Done once, by what starts the jobs: doing it for each would need
/// code between fork and exec, and a fork costs the more the more output is kept.
///
/// # Errors
///
/// The system can not close inherited descriptors (Linux before 5.11).
pub fn seal() -> std::io::Result<()> {
    #[expect(unsafe_code, reason = "no safe function marks all descriptors")]
    // SAFETY: with this flag the call closes nothing; it changes what later programs inherit, and touches no memory.
    let sealed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if sealed != 0 {
        return Err(std::io::Error::last_os_error());
    }
    if let Ok(terminal) = std::fs::File::open("/dev/tty") {
        leave(&terminal);
    }
    Ok(())
}

fn leave(terminal: &std::fs::File) {
    #[expect(unsafe_code, reason = "no safe function gives up a terminal")]
    // SAFETY: this request takes no argument and gives nothing back.
    let left = unsafe { rustix::ioctl::ioctl(terminal, rustix::ioctl::NoArg::<{ libc::TIOCNOTTY as _ }>::new()) };
    if let Err(error) = left {
        tracing::warn!(%error, "jobs could write to this terminal: it could not be given up");
    }
}

/// A process group, which has the id of the process that leads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group(Pid);

/// Whether there was anyone to take a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signalled {
    /// At least one process.
    Delivered,
    /// The group is empty.
    NobodyLeft,
}

impl Group {
    pub(super) fn of(child: &Child) -> Option<Self> {
        child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).map(Self)
    }

    /// Asks all of the group to end.
    pub(super) fn terminate(self) -> Signalled {
        self.signal(Signal::TERM)
    }

    /// Waits until nobody of the group runs any more.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any time.
    pub(super) async fn gone(self) {
        // Its members are strangers' children by now, for whom there is nothing to wait on but the process table. The parent
        // process that comes with the jobs issue will be told.
        let mut pause = Duration::from_millis(1);
        while self.is_running() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MOST_PAUSE);
        }
    }

    /// Whether somebody of the group runs. One that has ended may stay in the table for long where nobody asks how it ended.
    fn is_running(self) -> bool {
        if test_kill_process_group(self.0) == Err(Errno::SRCH) {
            return false;
        }
        let Ok(processes) = std::fs::read_dir("/proc") else { return true };
        let stats = processes.filter_map(Result::ok).map(|entry| std::fs::read_to_string(entry.path().join("stat")));
        stats.filter_map(Result::ok).any(|stat| self.has_running(&stat))
    }

    /// Whether this line of the process table is of a member that runs: behind the name in brackets stand state, parent, group.
    fn has_running(self, stat: &str) -> bool {
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        let state = fields.next();
        let group = fields.nth(1).and_then(|group| group.parse().ok()).and_then(Pid::from_raw);
        group == Some(self.0) && !matches!(state, Some("Z" | "X"))
    }

    /// Ends all of the group.
    pub(super) fn kill(self) -> Signalled {
        self.signal(Signal::KILL)
    }

    fn signal(self, signal: Signal) -> Signalled {
        // The kernel does not reuse an id while a group bears it. Once the group is empty a stranger could bear it only by leading
        // a group of that very id, between the end of the last member and this call.
        match kill_process_group(self.0, signal) {
            Err(Errno::SRCH) => Signalled::NobodyLeft,
            _ => Signalled::Delivered,
        }
    }
}
