//! Waiting until files change.

use std::{
    collections::BTreeSet,
    io, mem,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use tokio::sync::oneshot;

/// How long nothing more must change before it counts: a compiler writes in pieces.
const QUIET: Duration = Duration::from_millis(200);
/// Deepest directory that is watched, below one that is named.
const MOST_DEPTH: usize = 8;
/// Most directories that are watched.
const MOST_DIRECTORIES: usize = 1000;

/// Returns when something changes in these directories or in those of these files.
///
/// # Errors
///
/// What the system said when it was asked to watch.
pub async fn changed(paths: &[PathBuf]) -> io::Result<()> {
    let watcher = inotify::init(CreateFlags::CLOEXEC)?;
    let wanted = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE | WatchFlags::DELETE;
    for directory in directories(paths) {
        inotify::add_watch(&watcher, &directory, wanted)?;
    }
    let (sender, changed) = oneshot::channel();
    // A thread of its own, since reading waits; it ends with the process.
    thread::spawn(move || {
        let mut buffer = [mem::MaybeUninit::<u8>::uninit(); 4096];
        let read = Reader::new(&watcher, &mut buffer).next().map(|event| _ = event.events());
        thread::sleep(QUIET);
        _ = sender.send(read);
    });
    changed.await.map_err(io::Error::other)?.map_err(io::Error::from)
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
