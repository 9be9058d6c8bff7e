//! What the suites share: a place to act in, three ways to talk to a server, and things to compare with.

pub mod client;
pub mod golden;
pub mod http;
pub mod scene;
pub mod wire;

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// How long a condition may take to come true before a test gives up. Generous: machines are slow, and what is true is seen at
/// once.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

/// Looks until there is something to see, and gives up with `what` at the deadline.
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, what, look)
}

/// [`eventually`], with a deadline of its own.
#[track_caller]
pub fn within<T>(deadline: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(LOOK);
    }
}

/// Makes a named pipe.
#[track_caller]
pub fn named_pipe(at: &Path) {
    assert!(Command::new("mkfifo").arg(at).status().unwrap().success());
}

/// The end of a named pipe that is written, once somebody reads it. A plain opening would wait for ever for who never comes.
#[track_caller]
pub fn once_read(pipe: &Path) -> fs::File {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    eventually("somebody reads the pipe", || OpenOptions::new().write(true).custom_flags(nonblocking).open(pipe).ok())
}

/// Whether a process runs. A zombie does not: nobody may be there to collect it.
pub fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X'])))
}

/// Waits until a process is gone.
#[track_caller]
pub fn gone(pid: u32) {
    eventually(&format!("process {pid} ends"), || (!is_alive(pid)).then_some(()));
}

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// [`signal`] to a process that may be gone.
pub fn signal_if_there(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.map(|pid| rustix::process::kill_process(pid, signal));
}

/// A token that looks like a secret, made here so that it stands in no file of the repository.
pub fn secret() -> String {
    format!("glpat-{}", "x".repeat(20))
}
