//! Files that are watched for changes, by inotify on their directories: editors and package managers put a new file in the place of
//! the old one, which a watch of the file itself would not see. Straight from the system: the usual library for it has a licence
//! that is not among those allowed here, and threads of its own.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;

/// Room for events that are read at once.
const EVENT_BYTES: usize = 4096;
/// Not while a file is written, but when it is whole.
const WRITTEN: WatchFlags = WatchFlags::CLOSE_WRITE.union(WatchFlags::MOVED_TO).union(WatchFlags::ONLYDIR);
/// Also that a file goes, and its mode and owner, which decide whether it is trusted.
const ANY: WatchFlags =
    WRITTEN.union(WatchFlags::MOVED_FROM).union(WatchFlags::CREATE).union(WatchFlags::DELETE).union(WatchFlags::ATTRIB);

/// A watch; one of nothing never sees anything.
#[derive(Default)]
pub(super) struct Watch(Option<Watched>);

struct Watched {
    inotify: AsyncFd<OwnedFd>,
    /// What to look for: the number of a directory's watch, and a name in it; none: every file in it.
    names: HashSet<(i32, Option<OsString>)>,
}

impl Watch {
    /// A watch of these files, which are given by absolute paths, and of links by their own.
    ///
    /// # Errors
    ///
    /// What the system said when it was asked to watch.
    pub(super) fn of_files(files: &[PathBuf]) -> io::Result<Self> {
        Self::of(ANY, files.iter().filter_map(|file| Some((file.parent()?, Some(file.file_name()?)))))
    }

    /// A watch of what is written in these directories, but not below them.
    ///
    /// # Errors
    ///
    /// What the system said when it was asked to watch.
    pub(super) fn of_directories<'a>(directories: impl Iterator<Item = &'a Path>) -> io::Result<Self> {
        Self::of(WRITTEN, directories.map(|directory| (directory, None)))
    }

    fn of<'a>(changes: WatchFlags, places: impl Iterator<Item = (&'a Path, Option<&'a OsStr>)>) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let mut names = HashSet::new();
        for (directory, name) in places {
            names.insert((inotify::add_watch(&inotify, directory, changes)?, name.map(OsStr::to_owned)));
        }
        #[expect(unsafe_code, reason = "tokio waits for descriptors, and can not know who closes them")]
        // SAFETY: an owned descriptor stays open and the same until it is dropped, which happens after it is registered no more.
        let inotify = unsafe { AsyncFd::register(inotify)? };
        Ok(Self(Some(Watched { inotify, names })))
    }

    /// Waits until something may have changed.
    ///
    /// # Cancel safety
    ///
    /// No change is lost when this is dropped.
    pub(super) async fn changed(&mut self) {
        let Self(Some(watched)) = self else { return std::future::pending().await };
        loop {
            // Fails when the runtime ends, and then nothing is to be seen.
            let Ok(mut ready) = watched.inotify.readable().await else { return std::future::pending().await };
            if look(watched.inotify.get_ref(), &watched.names) {
                return;
            }
            ready.clear_ready();
        }
    }
}

/// Reads all events there are; says whether one concerns a name.
fn look(inotify: &OwnedFd, names: &HashSet<(i32, Option<OsString>)>) -> bool {
    let mut room = [MaybeUninit::uninit(); EVENT_BYTES];
    let mut events = Reader::new(inotify, &mut room);
    let mut is_seen = false;
    while let Ok(event) = events.next() {
        // Of events that fell out, and of a directory that is gone, nobody knows what they were.
        let is_unclear = event.events().intersects(ReadFlags::QUEUE_OVERFLOW | ReadFlags::IGNORED);
        let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
        is_seen |= is_unclear || names.contains(&(event.wd(), None)) || names.contains(&(event.wd(), name));
    }
    is_seen
}
