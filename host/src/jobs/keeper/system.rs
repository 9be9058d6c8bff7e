//! What the keeper needs of the system and no safe function offers: signals to be read, and new processes. All of it is called by
//! processes of a single thread.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::Pid,
};

/// Highest number of a signal.
const LAST_SIGNAL: i32 = 64;
/// The flag of `clone3` that a process begins in a cgroup: `CLONE_INTO_CGROUP`.
const INTO_CGROUP: u64 = 0x2_0000_0000;
/// Shortest and longest pause between two rounds of killing. What does not end at once may be in a slow write, or be another user's
/// and never end.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));

/// The signals that matter to the keeper, to be read instead of being handled; all others wait for ever.
pub struct Signals(OwnedFd);

impl Signals {
    /// Sets what signals do back to the default, which is what jobs start with, blocks all of them, and opens those that matter:
    /// the end of a child, and CONT, which the kernel sends when the parent ends, since it wakes also who was stopped.
    pub fn open() -> io::Result<Self> {
        #[expect(unsafe_code, reason = "no safe function sets, blocks or opens signals")]
        // SAFETY: zeroes are the default action for the kernel, which refuses it for the signals that have no other; the C
        // library's call would leave two out. Zeroes are a set of signals too, and both sets live through the calls. The descriptor
        // that a call gives, and -1 is none, is nobody else's.
        unsafe {
            let default = [0_u64; 4];
            for signal in 1..=LAST_SIGNAL {
                libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null_mut::<u64>(), size_of::<u64>());
            }
            let (mut all, mut awaited): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&mut all);
            libc::sigaddset(&mut awaited, libc::SIGCHLD);
            libc::sigaddset(&mut awaited, libc::SIGCONT);
            if libc::sigprocmask(libc::SIG_SETMASK, &all, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            match libc::signalfd(-1, &awaited, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                opened => Ok(Self(OwnedFd::from_raw_fd(opened))),
            }
        }
    }

    /// Waits for a signal, for any of these, or for a time to pass. Takes the signals; says what was found of each of these.
    ///
    /// # Errors
    ///
    /// The system can not wait.
    pub fn wait(&self, also: &[(&OwnedFd, PollFlags)], timeout: Option<Duration>) -> io::Result<Vec<PollFlags>> {
        let timeout = timeout.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        let mut awaited = vec![PollFd::new(&self.0, PollFlags::IN)];
        awaited.extend(also.iter().map(|(file, flags)| PollFd::new(*file, *flags)));
        match poll(&mut awaited, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut taken = [0; 4 * size_of::<libc::signalfd_siginfo>()];
        while rustix::io::read(&self.0, &mut taken).is_ok_and(|read| read > 0) {}
        Ok(awaited[1..].iter().map(PollFd::revents).collect())
    }
}

/// Has SIGPIPE end this process again, as it does in every other: the runtime of Rust has it ignored, and what is executed inherits
/// that.
pub fn default_of_pipes() {
    #[expect(unsafe_code, reason = "no safe function sets what a signal does")]
    // SAFETY: the signal is one that exists and can be set, and the default needs no handler.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// The pauses between rounds of killing, each twice as long as the one before.
pub struct Pauses(Duration);

impl Pauses {
    /// From the shortest on.
    pub fn new() -> Self {
        Self(PAUSES.0)
    }

    /// The next one.
    pub fn next(&mut self) -> Duration {
        let next = self.0;
        self.0 = (next * 2).min(PAUSES.1);
        next
    }
}

/// A second process like this one, in a cgroup of its own if one is given. Gives its id here, and none in it.
///
/// # Errors
///
/// The system makes no more processes, or none there.
pub fn fork(group: Option<BorrowedFd<'_>>) -> Result<Option<Pid>, Errno> {
    #[expect(unsafe_code, reason = "no safe function forks")]
    // SAFETY: only processes of a single thread get here, so that no lock is held by a thread that the new one does not have.
    // Zeroes are no flags and nothing wanted; the kernel reads the arguments during the call and shares no memory with the new
    // process.
    let forked = unsafe {
        match group {
            None => libc::fork().into(),
            Some(group) => {
                let mut args: libc::clone_args = std::mem::zeroed();
                args.flags = INTO_CGROUP;
                args.exit_signal = libc::SIGCHLD.unsigned_abs().into();
                args.cgroup = group.as_raw_fd().unsigned_abs().into();
                libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut args), size_of::<libc::clone_args>())
            }
        }
    };
    if forked < 0 { Err(last_error()) } else { Ok(i32::try_from(forked).ok().and_then(Pid::from_raw)) }
}

/// Marks every descriptor from 3 on to be closed when a program is executed, or closes them at once. Allocates nothing.
///
/// # Errors
///
/// The system can not (Linux before 5.11).
pub fn seal(closing: Closing) -> Result<(), Errno> {
    let flags = match closing {
        Closing::Now => 0,
        Closing::OnExecute => libc::CLOSE_RANGE_CLOEXEC,
    };
    #[expect(unsafe_code, reason = "no safe function closes descriptors that nobody here knows of")]
    // SAFETY: the call touches no memory. At once is said where nothing but the standard streams is in use, see there.
    let sealed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, flags) };
    if sealed == 0 { Ok(()) } else { Err(last_error()) }
}

/// Makes these standard input, output and error. None of them may be one of these three already. Allocates nothing.
///
/// # Errors
///
/// The system refuses, and some may be connected.
pub fn connect(streams: [BorrowedFd<'_>; 3]) -> Result<(), Errno> {
    for (number, stream) in (0..).zip(streams) {
        #[expect(unsafe_code, reason = "no safe function puts a descriptor in the place of a standard stream")]
        // SAFETY: the call touches no memory, and nothing here relies on what the standard streams were.
        let connected = unsafe { libc::dup2(stream.as_raw_fd(), number) };
        if connected < 0 {
            return Err(last_error());
        }
    }
    Ok(())
}

/// Why the last call of the C library failed. Allocates nothing.
pub fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// When descriptors are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// By [`seal`] itself: by a process that has just begun and owns none.
    Now,
    /// When a program is executed.
    OnExecute,
}
