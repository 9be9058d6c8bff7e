//! Rules of Landlock, by the files that they allow.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// Versions of Landlock: from which on what it confines may move files to other directories, and from which on it can forbid to
/// truncate what is not open for writing.
const LANDLOCK_MOVES: libc::c_long = 2;
const LANDLOCK_TRUNCATES: libc::c_long = 3;
/// `LANDLOCK_CREATE_RULESET_VERSION`.
const ASK_VERSION: libc::c_uint = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const BELOW_PATH: libc::c_int = 1;
/// `LANDLOCK_ACCESS_FS_…`.
pub const EXECUTE: u64 = 1;
pub const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIRECTORY: u64 = 1 << 3;
/// Removing and making files and directories of all kinds.
const CHANGE_DIRECTORY: u64 = 0b1_1111_1111 << 4;
/// Moving to another directory, which a set of rules forbids unless it is named and allowed.
pub const MOVE: u64 = 1 << 13;
/// Of a file that is open for nothing else; from the third version on.
const TRUNCATE: u64 = 1 << 14;
pub const READ: u64 = READ_FILE | READ_DIRECTORY;
pub const OPEN: u64 = READ | WRITE_FILE | CHANGE_DIRECTORY | MOVE | TRUNCATE;
/// What of it can be said of a file.
const OF_FILES: u64 = EXECUTE | READ_FILE | WRITE_FILE | TRUNCATE;

/// A set of rules of Landlock that nobody has entered yet.
pub struct Rules {
    pub set: OwnedFd,
    /// What it forbids but where a rule allows it.
    handled: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Rule {
    allowed: u64,
    parent: i32,
}

impl Rules {
    pub fn new(wanted: u64) -> io::Result<Self> {
        let version = version();
        let later = [(MOVE, LANDLOCK_MOVES), (TRUNCATE, LANDLOCK_TRUNCATES)];
        let handled = later.iter().filter(|(_, since)| version < *since).fold(wanted, |all, (one, _)| all & !one);
        #[expect(unsafe_code, reason = "no safe function makes rules of Landlock")]
        // SAFETY: the kernel reads as many bytes as are told, which live through the call. What it gives, and -1 is none, is a
        // descriptor that is nobody else's.
        let set = unsafe {
            let made = libc::syscall(
                libc::SYS_landlock_create_ruleset,
                std::ptr::from_ref(&handled),
                size_of::<u64>(),
                0 as libc::c_uint,
            );
            match i32::try_from(made) {
                Ok(descriptor) if descriptor >= 0 => OwnedFd::from_raw_fd(descriptor),
                _ => return Err(io::Error::last_os_error()),
            }
        };
        Ok(Self { set, handled })
    }

    /// Allows of this, at and below the file, what the set is about.
    pub fn allow(&self, file: &File, allowed: u64) -> io::Result<()> {
        let fitting = if file.metadata()?.is_dir() { allowed } else { allowed & OF_FILES };
        let rule = Rule { allowed: fitting & self.handled, parent: file.as_raw_fd() };
        // The kernel takes no rule that allows nothing.
        if rule.allowed == 0 {
            return Ok(());
        }
        #[expect(unsafe_code, reason = "no safe function adds a rule of Landlock")]
        // SAFETY: the kernel reads the rule, which is laid out as it has it and lives through the call.
        let added = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.set.as_raw_fd(),
                BELOW_PATH,
                std::ptr::from_ref(&rule),
                0 as libc::c_uint,
            )
        };
        if added == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Which version of Landlock the kernel offers; -1: none.
pub fn version() -> libc::c_long {
    #[expect(unsafe_code, reason = "no safe function asks for Landlock")]
    // SAFETY: with this flag the call reads no memory.
    unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u64>(), 0_usize, ASK_VERSION)
    }
}
