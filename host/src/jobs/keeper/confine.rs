//! How a process confines itself, between its beginning and its program: see [`crate::fence`].

use std::{
    mem::offset_of,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use rustix::io::Errno;

use super::{message::send, system::last_error};
use crate::fence::MACHINE;

/// From this number on there are the calls of another interface of the same machine, x32, which has executions of its own.
const OTHER_INTERFACE: u32 = 0x4000_0000;
/// What an execution that is refused says.
const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | libc::EACCES.unsigned_abs();

/// How many steps the filter has.
const STEPS: usize = 13;

/// How a process is confined.
pub struct Confinement<'a> {
    /// What keeps it from executing anything but its program.
    pub executions: Option<Executions<'a>>,
    /// Rules of Landlock.
    pub rules: Option<BorrowedFd<'a>>,
}

impl Confinement<'_> {
    /// Confines the calling process, which can not be taken back. It gains no rights by what it executes from then on. Allocates
    /// nothing.
    pub fn enter(&self) -> Result<(), Errno> {
        if self.executions.is_some() || self.rules.is_some() {
            gain_nothing()?;
        }
        self.rules.map_or(Ok(()), enter)?;
        self.executions.as_ref().map_or(Ok(()), Executions::enter)
    }

    /// The sixth argument of the execution, which the kernel does not look at.
    pub fn key(&self) -> u64 {
        self.executions.as_ref().map_or(0, |executions| executions.key)
    }
}

fn gain_nothing() -> Result<(), Errno> {
    #[expect(unsafe_code, reason = "the safe function is in a part of rustix that nothing else here needs")]
    // SAFETY: the call touches no memory.
    let set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1 as libc::c_ulong, 0 as libc::c_ulong, 0 as libc::c_ulong, 0 as libc::c_ulong)
    };
    if set == 0 { Ok(()) } else { Err(last_error()) }
}

fn enter(rules: BorrowedFd<'_>) -> Result<(), Errno> {
    #[expect(unsafe_code, reason = "no safe function enters rules of Landlock")]
    // SAFETY: the call touches no memory.
    let entered = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0 as libc::c_uint) };
    if entered == 0 { Ok(()) } else { Err(last_error()) }
}

/// `struct seccomp_data`.
#[repr(C)]
struct Call {
    number: libc::c_int,
    machine: u32,
    at: u64,
    args: [[u32; 2]; 6],
}

/// A filter of system calls: nothing is executed but by `execveat` with a number as its sixth argument, of which it takes five. An
/// overseer, if there is one, is asked about what else is to be executed.
pub struct Executions<'a> {
    filter: [libc::sock_filter; STEPS],
    key: u64,
    overseer: Option<BorrowedFd<'a>>,
}

impl<'a> Executions<'a> {
    /// The filter for this number. Whoever guesses it can execute whatever there is.
    pub fn new(key: u64, overseer: Option<BorrowedFd<'a>>) -> Self {
        let [first, second] = halves(key);
        let number = |call: libc::c_long| u32::try_from(call).unwrap_or_default();
        let argument = offset_of!(Call, args) + 5 * size_of::<u64>();
        let filter = [
            load(offset_of!(Call, machine)),
            jump(libc::BPF_JEQ, MACHINE.unwrap_or_default(), 0, 10),
            load(offset_of!(Call, number)),
            jump(libc::BPF_JGE, OTHER_INTERFACE, 8, 0),
            jump(libc::BPF_JEQ, number(libc::SYS_execve), 5, 0),
            jump(libc::BPF_JEQ, number(libc::SYS_execveat), 0, 5),
            load(argument),
            jump(libc::BPF_JEQ, first, 0, 2),
            load(argument + size_of::<u32>()),
            jump(libc::BPF_JEQ, second, 1, 0),
            answer(if overseer.is_some() { libc::SECCOMP_RET_USER_NOTIF } else { REFUSED }),
            answer(libc::SECCOMP_RET_ALLOW),
            answer(REFUSED),
        ];
        Self { filter, key, overseer }
    }

    fn enter(&self) -> Result<(), Errno> {
        let Some(overseer) = self.overseer else { return self.filter(0).map(drop) };
        let asking = self.filter(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
        #[expect(unsafe_code, reason = "the kernel hands on nothing but a number")]
        // SAFETY: with this flag the kernel gives a descriptor, which is nobody else's.
        let asking = unsafe { OwnedFd::from_raw_fd(asking) };
        match send(overseer, &[0], &[asking.as_fd()]) {
            Ok(_) => Ok(()),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }

    fn filter(&self, flags: libc::c_ulong) -> Result<i32, Errno> {
        let program = libc::sock_fprog { len: STEPS as libc::c_ushort, filter: self.filter.as_ptr().cast_mut() };
        #[expect(unsafe_code, reason = "no safe function enters a filter")]
        // SAFETY: the kernel copies the filter, which has so many steps and lives through the call, and writes nothing.
        let entered =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&program)) };
        i32::try_from(entered).ok().filter(|entered| *entered >= 0).ok_or_else(last_error)
    }
}

/// As they lie in memory.
fn halves(key: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = key.to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

fn load(at: usize) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, u32::try_from(at).unwrap_or_default(), 0, 0)
}

/// Steps over so many if what is loaded compares so, and over so many if not.
fn jump(compare: u32, with: u32, if_so: u8, if_not: u8) -> libc::sock_filter {
    step(libc::BPF_JMP | compare | libc::BPF_K, with, if_so, if_not)
}

fn answer(what: u32) -> libc::sock_filter {
    step(libc::BPF_RET | libc::BPF_K, what, 0, 0)
}

fn step(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).unwrap_or_default(), jt, jf, k }
}
