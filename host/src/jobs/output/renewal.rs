//! What an earlier server kept, made fit to be read: each file passes the filters of now, as a whole.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::{
    files,
    policy::{OutputFilter, PIECE_BYTES, Piece},
};

/// What the names of files end with that are not whole yet, behind the number of the process that writes them.
const UNFINISHED: &str = "new";

/// Which file it is: another one in its place is another one's work, and passed who knows what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    device: u64,
    inode: u64,
    pub(super) length: u64,
}

impl Standing {
    pub(super) fn of(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino(), length: found.len() }
    }

    /// That of the regular file at a path, if there is one.
    pub(super) fn at(path: &Path) -> Option<Self> {
        path.symlink_metadata().ok().filter(Metadata::is_file).map(|found| Self::of(&found))
    }
}

/// Passes a file through a filter, and puts what comes out in its place where that differs. Says which file stands there then.
///
/// # Errors
///
/// It can not be read, what comes out can not be written, or the filter failed. Then it is left as it is.
pub(super) async fn renew(path: &Path, mut filter: OutputFilter) -> io::Result<Standing> {
    let mut replacement = Replacement::of(path)?;
    let mut at = 0;
    loop {
        let bytes = tokio::task::block_in_place(|| replacement.old_bytes(at))?;
        if bytes.is_empty() {
            break;
        }
        at += bytes.len() as u64;
        let chunk = filter.push(Piece::from(bytes)).await;
        tokio::task::block_in_place(|| replacement.push(chunk.bytes()))?;
        tokio::task::yield_now().await;
    }
    let chunk = filter.end().await;
    // What a filter that failed withholds may be shown by one that does not.
    if let Some(failure) = filter.failure() {
        return Err(io::Error::other(failure.to_owned()));
    }
    tokio::task::block_in_place(|| {
        replacement.push(chunk.bytes())?;
        replacement.finish()
    })
}

/// Whether a name is that of a file which a process that is gone did not finish.
pub(in crate::jobs) fn is_abandoned(name: &str) -> bool {
    let writer = name.strip_suffix(UNFINISHED).and_then(|name| name.strip_suffix('.')?.rsplit('.').next());
    let writer = writer.and_then(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?));
    writer.is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

/// What becomes of a file. There is a new one only if something differs.
struct Replacement {
    old: File,
    path: PathBuf,
    written: u64,
    new: Option<New>,
}

impl Replacement {
    fn of(path: &Path) -> io::Result<Self> {
        let old = files::open(OpenOptions::new().read(true), OFlags::NOFOLLOW, path)?;
        Ok(Self { old, path: path.to_owned(), written: 0, new: None })
    }

    fn old_bytes(&self, at: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; PIECE_BYTES];
        let count = self.old.read_at(&mut bytes, at)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.new.is_none() && !self.is_next(bytes)? {
            self.begin()?;
        }
        if let Some(new) = &mut self.new {
            new.file.write_all(bytes)?;
        }
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Whether the old file goes on like this.
    fn is_next(&self, bytes: &[u8]) -> io::Result<bool> {
        let mut old = vec![0; bytes.len()];
        match self.old.read_exact_at(&mut old, self.written) {
            Ok(()) => Ok(old == bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Begins the new file with what was the same so far.
    fn begin(&mut self) -> io::Result<()> {
        let mut new = New::beside(&self.path)?;
        io::copy(&mut (&self.old).take(self.written), &mut new.file)?;
        self.new = Some(new);
        Ok(())
    }

    fn finish(mut self) -> io::Result<Standing> {
        if self.new.is_none() && self.written < self.old.metadata()?.len() {
            self.begin()?;
        }
        let Some(new) = self.new else { return Ok(Standing::of(&self.old.metadata()?)) };
        let standing = Standing::of(&new.file.metadata()?);
        new.put(&self.path)?;
        Ok(standing)
    }
}

/// A file that is gone again unless it is put in the place of another.
struct New {
    file: File,
    path: PathBuf,
}

impl New {
    /// What stands there under its name is removed, and neither followed nor opened: a link would lead elsewhere, and the opening
    /// of a pipe would last for ever.
    fn beside(path: &Path) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.{UNFINISHED}", std::process::id()));
        let path = PathBuf::from(name);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path })
    }

    fn put(&self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)
    }
}

impl Drop for New {
    fn drop(&mut self) {
        // Of one that was put somewhere there is none.
        _ = fs::remove_file(&self.path);
    }
}
