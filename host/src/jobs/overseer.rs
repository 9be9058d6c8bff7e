//! Who is asked, of a command that may execute some programs alone, whenever it or its children are about to execute one.
//!
//! The kernel holds the process that asks until it is answered (`SECCOMP_RET_USER_NOTIF`), and refuses it when nobody is left to
//! ask. What a path leads to is found without links that an agent could change, so it is the same for the kernel a moment later.
//! That the process itself has its path changed in between, by another thread, is not kept from one that means harm.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStringExt, fs::FileExt, net::UnixStream as StdStream},
    },
    path::PathBuf,
    sync::Arc,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UnixStream,
};

use super::keeper::receive;
use crate::fence::Passes;

/// Longest path that the kernel takes, in bytes, with the NUL at its end.
const MOST_PATH_BYTES: usize = 4096;

/// Of one command that is about to be started.
pub(super) struct Overseer {
    passes: Passes,
    ours: StdStream,
    /// Where the process that becomes the command hands over what it is asked by.
    pub(super) its: OwnedFd,
}

impl Overseer {
    /// It lets pass what this does.
    pub(super) fn new(passes: Passes) -> io::Result<Self> {
        let (ours, its) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok(Self { passes, ours, its: its.into() })
    }

    /// Answers until the command and all that descends from it have ended, or it turns out not to start.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub(super) async fn watch(self) {
        let Self { passes, ours, its } = self;
        // The other end is closed then when nobody has it any more.
        drop(its);
        let watched = async { answer_all(Arc::new(passes), listener(ours).await?).await };
        if let Err(error) = watched.await {
            tracing::error!(%error, "a confined command executes nothing any more");
        }
    }
}

/// None: the command was not started.
async fn listener(socket: StdStream) -> io::Result<Option<OwnedFd>> {
    let (socket, mut handles) = (UnixStream::from_std(socket)?, Vec::new());
    socket.async_io(Interest::READABLE, || receive(&socket, &mut [0], &mut handles)).await?;
    Ok(handles.pop())
}

async fn answer_all(passes: Arc<Passes>, listener: Option<OwnedFd>) -> io::Result<()> {
    let Some(listener) = listener else { return Ok(()) };
    #[expect(unsafe_code, reason = "a descriptor could be closed elsewhere while it is waited for, which no type here rules out")]
    // SAFETY: it is owned, open, and given up with what waits for it.
    let listener = Arc::new(unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE)? });
    loop {
        let mut ready = listener.readable().await?;
        let state = state(listener.get_ref())?;
        if state.contains(PollFlags::IN) {
            let (listener, passes) = (listener.clone(), passes.clone());
            // It reads another process's memory, and files.
            tokio::task::spawn_blocking(move || answer(listener.get_ref(), &passes)).await.map_err(io::Error::other)??;
        } else if state.intersects(PollFlags::HUP | PollFlags::ERR) {
            return Ok(());
        } else {
            ready.clear_ready();
        }
    }
}

/// Whether somebody asks, or nobody ever will. To be asked in front of each answer: one that waited for a question would hold up a
/// thread.
fn state(listener: &OwnedFd) -> io::Result<PollFlags> {
    let mut polled = [PollFd::new(listener, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default()))?;
    Ok(polled[0].revents())
}

fn answer(listener: &OwnedFd, passes: &Passes) -> io::Result<()> {
    let Some(asked) = next(listener)? else { return Ok(()) };
    let passes = wanted(listener, &asked).is_some_and(|path| passes.let_pass(&path));
    let (error, flags) = if passes { (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32) } else { (-libc::EACCES, 0) };
    let answer = libc::seccomp_notif_resp { id: asked.id, val: 0, error, flags };
    #[expect(unsafe_code, reason = "no safe function answers for the kernel")]
    // SAFETY: the kernel reads the answer, which lives through the call.
    let given = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, std::ptr::from_ref(&answer)) };
    still_there(given).map(drop)
}

/// None: whoever asked is gone.
fn next(listener: &OwnedFd) -> io::Result<Option<libc::seccomp_notif>> {
    #[expect(unsafe_code, reason = "no safe function takes a question of the kernel")]
    // SAFETY: the question is numbers alone, for which zeroes are good; the kernel wants it so, and writes as many bytes as the
    // number of the call tells.
    let (asked, taken) = unsafe {
        let mut asked: libc::seccomp_notif = std::mem::zeroed();
        let taken = libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, std::ptr::from_mut(&mut asked));
        (asked, taken)
    };
    Ok(still_there(taken)?.then_some(asked))
}

/// Whether a call found who asked; a process that a signal interrupts, or kills, does not wait for its answer.
fn still_there(result: libc::c_int) -> io::Result<bool> {
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        _ if result >= 0 => Ok(true),
        Some(libc::ENOENT | libc::EINTR) => Ok(false),
        _ => Err(error),
    }
}

/// The path of what is to be executed; none: it can not be read, or who asked is gone.
fn wanted(listener: &OwnedFd, asked: &libc::seccomp_notif) -> Option<PathBuf> {
    let is_by_path = i64::from(asked.data.nr) == libc::SYS_execve;
    let address = asked.data.args[usize::from(!is_by_path)];
    let memory = File::open(format!("/proc/{}/mem", asked.pid)).ok()?;
    #[expect(unsafe_code, reason = "no safe function asks whether a question still stands")]
    // SAFETY: the kernel reads the number, which lives through the call.
    let stands = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, std::ptr::from_ref(&asked.id)) };
    // Only then is the process of that number the one that asks.
    (stands == 0).then_some(())?;
    let mut bytes = vec![0; MOST_PATH_BYTES];
    let read = memory.read_at(&mut bytes, address).ok()?;
    bytes.truncate(bytes[..read].iter().position(|byte| *byte == 0)?);
    Some(OsString::from_vec(bytes).into())
}
