//! Files and directories that are held open from the moment they were judged, and what tells them from others of the same name.

use std::{
    fs::{self, File, Metadata},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// What tells one file from another, and its content now from its content before. The time of the last change is the kernel's:
/// unlike that of the last modification nobody can set it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Identity {
    /// Of what a path leads to now, links followed.
    ///
    /// # Errors
    ///
    /// The path leads nowhere.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&fs::metadata(path)?))
    }

    pub(super) fn of(meta: &Metadata) -> Self {
        Self { device: meta.dev(), inode: meta.ino(), size: meta.size(), changed: (meta.ctime(), meta.ctime_nsec()) }
    }

    /// Whether both are of the same file, whatever became of its content.
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// Opens what a path leads to, links followed, as a mere handle: nothing happens to what it names, be it a device or a pipe.
pub(super) fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_PATH).open(path)
}

/// Where what is open lies: absolute, without links. The kernel's word, which no link that changes meanwhile can bend.
pub(super) fn path_of(file: &File) -> io::Result<PathBuf> {
    fs::read_link(in_proc(file))
}

/// A path that leads to what is open, for calls that take no descriptor. Good as long as it is open.
pub(super) fn in_proc(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
