//! Waiting until files change.

use std::{
    collections::BTreeSet,
    io, mem,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use tokio::sync::oneshot;

/// How long it waits for more to be written: a compiler writes in pieces.
const QUIET: Duration = Duration::from_millis(200);
/// Deepest directory that is watched, below one that is named.
const MOST_DEPTH: usize = 8;
/// Most directories that are watched.
const MOST_DIRECTORIES: usize = 1000;

/// Sees what is written from the moment it is made.
pub struct Watch(OwnedFd);

impl Watch {
    /// Watches these directories, with what is below them, and those of these files, as far as they are there.
    ///
    /// # Errors
    ///
    /// What the system said when it was asked to watch.
    pub fn new(paths: &[PathBuf]) -> io::Result<Self> {
        let watcher = inotify::init(CreateFlags::CLOEXEC)?;
        for directory in directories(paths).iter().filter(|directory| directory.is_dir()) {
            // Files alone: directories come and go where temporary ones are made.
            inotify::add_watch(&watcher, directory, WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO)?;
        }
        Ok(Self(watcher))
    }

    /// Returns when something was written.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub async fn changed(self) -> io::Result<()> {
        let (sender, changed) = oneshot::channel();
        // A thread of its own, since reading waits; it ends with the process.
        thread::spawn(move || {
            let mut buffer = [mem::MaybeUninit::<u8>::uninit(); 4096];
            let read = Reader::new(&self.0, &mut buffer).next().map(|_| ());
            thread::sleep(QUIET);
            _ = sender.send(read);
        });
        changed.await.map_err(io::Error::other)?.map_err(io::Error::from)
    }
}

fn directories(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for path in paths {
        if path.is_dir() {
            below(path, 0, &mut all);
        } else {
            all.insert(path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")).to_owned());
        }
    }
    all
}

fn below(directory: &Path, depth: usize, all: &mut BTreeSet<PathBuf>) {
    if depth > MOST_DEPTH || all.len() >= MOST_DIRECTORIES || !all.insert(directory.to_owned()) {
        return;
    }
    for entry in directory.read_dir().into_iter().flatten().flatten() {
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !is_hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&entry.path(), depth + 1, all);
        }
    }
}
