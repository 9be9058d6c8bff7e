//! The keeper itself: forks wardens, and is the last parent of everything.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::ExitCode,
};

use rustix::{
    event::{EventfdFlags, PollFlags, eventfd},
    fs::Mode,
    io::Errno,
    net::sockopt::{socket_peercred, socket_type},
    process::{
        DumpableBehavior, Pid, Signal, WaitOptions, chdir, getpid, getppid, set_child_subreaper, set_dumpable_behavior,
        set_parent_process_death_signal, setsid, umask, wait,
    },
};

use super::{
    cgroup::{Group, Groups},
    family,
    system::{Closing, Pauses, Signals, connect, fork, seal},
    warden,
};

/// The one argument of the program when it is to be a keeper.
pub const KEEP_JOBS: &str = "keep-jobs";
/// The variable that says where it may make cgroups, if it may.
pub const CGROUP: &str = "CGROUP";
/// The variable that says how many processes a job may have, if that is limited; there are cgroups then.
pub const PROCESSES: &str = "PROCESSES";
/// What new files are never: writable by others. What the server's own user file-creation mask forbids is forbidden besides.
const UMASK: Mode = Mode::WGRP.union(Mode::WOTH);
/// Exit code where somebody called it by hand: wrong usage.
const NOT_FOR_PEOPLE: u8 = 3;
/// Exit code where the system refused what it needs.
const FAILED: u8 = 125;

/// Is the keeper, or a warden that it forked, if this program was started as one; gives the exit code when its work is done. To be
/// called before anything else: before threads, the log, and the parsing of arguments.
pub fn keep() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next().as_deref() != Some(OsStr::new(KEEP_JOBS)) || args.next().is_some() {
        return None;
    }
    if !is_from_server() {
        // If nobody can read it there is nobody to tell that either.
        _ = writeln!(
            io::stderr(),
            "portcullis: `{KEEP_JOBS}` is what portcullis starts for itself to keep jobs; start `portcullis serve` or `portcullis run`"
        );
        return Some(ExitCode::from(NOT_FOR_PEOPLE));
    }
    Some(run().map_or(ExitCode::from(FAILED), |()| ExitCode::SUCCESS))
}

/// Whether standard input is a socket that the parent made.
fn is_from_server() -> bool {
    let stdin = io::stdin();
    socket_type(&stdin).is_ok() && socket_peercred(&stdin).is_ok_and(|peer| Some(peer.pid) == getppid())
}

struct Keeper {
    /// Nothing is read from it here, but its end is seen.
    socket: OwnedFd,
    signals: Signals,
    server: Pid,
    /// All of them, the spare one too, with their groups.
    wardens: HashMap<Pid, Option<PathBuf>>,
    /// None: there are none.
    groups: Option<Groups>,
    /// A warden that waits for the next job, so that no job waits for a warden to be made.
    spare: Option<Pid>,
    /// Counted up by the spare warden when it has got a job.
    taken: OwnedFd,
    /// Whether everything is to be killed.
    is_ending: bool,
    /// Whether a warden was killed, so that what it watched may be here.
    has_strays: bool,
    pauses: Pauses,
}

/// Which process this is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The keeper, and nobody is left.
    Done,
    /// A new process, to be a warden.
    Warden,
}

fn run() -> io::Result<()> {
    let Some(server) = getppid() else { return Ok(()) };
    let socket = settle()?;
    let signals = Signals::open()?;
    set_parent_process_death_signal(Some(Signal::CONT))?;
    let mut keeper = Keeper {
        socket,
        signals,
        server,
        wardens: HashMap::new(),
        groups: groups(),
        spare: None,
        taken: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        is_ending: false,
        has_strays: false,
        pauses: Pauses::new(),
    };
    let keepers_id = getpid();
    match keeper.serve()? {
        Role::Done => {
            keeper.groups.inspect(Groups::remove);
            Ok(())
        }
        Role::Warden => {
            let Keeper { socket, signals, taken, .. } = keeper;
            warden::run(socket, taken, signals, keepers_id)
        }
    }
}

/// Where the server said it may make cgroups.
fn groups() -> Option<Groups> {
    let processes = std::env::var(PROCESSES).ok().and_then(|number| number.parse().ok());
    std::env::var_os(CGROUP).map(|folder| Groups::new(folder.into(), processes))
}

/// Leaves everything behind that came from the server, its terminal and its directory included, but for the socket.
fn settle() -> io::Result<OwnedFd> {
    seal(Closing::Now)?;
    let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    // Whoever is too late for a job must not wait in the reading of it.
    rustix::io::ioctl_fionbio(&socket, true)?;
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    connect([nothing.as_fd(); 3])?;
    setsid()?;
    chdir("/")?;
    set_child_subreaper(Some(getpid()))?;
    // No job can read or change its memory, though it is of the same user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    umask(umask(UMASK) | UMASK);
    Ok(socket)
}

impl Keeper {
    /// Until the server is gone and nobody is left; in a new warden until it is one.
    fn serve(&mut self) -> io::Result<Role> {
        loop {
            let is_deserted = self.reap();
            if self.is_ending && is_deserted {
                return Ok(Role::Done);
            }
            self.kill()?;
            if !self.is_ending && self.spare.is_none() {
                match self.fork() {
                    Ok(Some(role)) => return Ok(role),
                    Ok(None) => {}
                    // Tried again after a pause; whoever wants a job meanwhile is told, and need not take this process for dead.
                    Err(errno) => warden::refuse_all(&self.socket, errno),
                }
            }
            self.wait()?;
        }
    }

    /// A spare warden, in a group of its own if there are any. In the new process: what it is to be.
    fn fork(&mut self) -> Result<Option<Role>, Errno> {
        let are_needed = self.groups.as_ref().is_some_and(Groups::are_needed);
        let group = match self.groups.as_mut().map(Groups::make).transpose() {
            Err(error) if are_needed => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            made => made.ok().flatten(),
        };
        let mut forked = fork(group.as_ref().map(AsFd::as_fd));
        // But for the limit nothing rests on groups: who can not be born into one, in a container that forbids the call perhaps,
        // does without.
        if group.is_some() && !are_needed && forked.is_err_and(|errno| !matches!(errno, Errno::AGAIN | Errno::NOMEM)) {
            forked = fork(None);
        }
        let group = group.map(Group::into_path);
        match forked {
            Ok(None) => Ok(Some(Role::Warden)),
            Ok(Some(warden)) => {
                self.spare = Some(warden);
                self.wardens.insert(warden, group);
                Ok(None)
            }
            Err(errno) => {
                self.end(group);
                Err(errno)
            }
        }
    }

    fn end(&mut self, group: Option<PathBuf>) {
        if let (Some(group), Some(groups)) = (group, &mut self.groups) {
            groups.end(group);
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let has_left = self.groups.as_mut().is_some_and(Groups::look);
        let must_look = self.is_ending || self.has_strays || has_left || self.spare.is_none();
        let pause = must_look.then(|| self.pauses.next());
        let mut awaited = vec![(&self.taken, PollFlags::IN)];
        // Whether something can be read does not matter; that the other end is closed is told without asking.
        awaited.extend((!self.is_ending).then_some((&self.socket, PollFlags::empty())));
        let found = self.signals.wait(&awaited, pause)?;
        if !found[0].is_empty() {
            _ = rustix::io::read(&self.taken, &mut [0; size_of::<u64>()]);
            (self.spare, self.pauses) = (None, Pauses::new());
        }
        self.is_ending |= found.get(1).is_some_and(|end| !end.is_empty());
        self.is_ending |= getppid() != Some(self.server);
        Ok(())
    }

    /// Asks how children ended. Says whether there are none any more.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                // Only one that was killed, or failed, can have left somebody.
                Ok(Some((child, status))) => {
                    self.spare = self.spare.filter(|spare| *spare != child);
                    let warden = self.wardens.remove(&child);
                    if warden.is_some() && status.exit_status() != Some(0) {
                        (self.has_strays, self.pauses) = (true, Pauses::new());
                    }
                    self.end(warden.flatten());
                }
                Err(Errno::INTR) => {}
                Ok(None) => return false,
                Err(_) => {
                    self.has_strays = false;
                    return true;
                }
            }
        }
    }

    /// Kills what has no warden any more, or everything.
    fn kill(&mut self) -> io::Result<()> {
        if self.is_ending {
            self.groups.as_ref().inspect(|groups| groups.kill_all());
            family::signal(Signal::KILL, &HashSet::new())?;
        } else if self.has_strays {
            self.has_strays = family::signal(Signal::KILL, &self.wardens.keys().copied().collect())? > 0;
        }
        Ok(())
    }
}
