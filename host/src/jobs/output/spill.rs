//! Output in files of the job's own: what memory had to drop, and what outlives the server.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Mutex,
};

use bytes::Bytes;

use super::{
    Excerpt, Gap, Part,
    stretch::{Block, Mark},
};
use crate::{
    digest::Digest,
    jobs::StreamName,
    policy::{OutputFilter, Piece},
};

/// Bytes that are read of a file at a time where all of it is looked through.
const BLOCK_BYTES: u64 = 256 * 1024;
/// Bytes that a filter is given at a time.
const PIECE_BYTES: u64 = 64 * 1024;

/// The files of a job's two streams, from each stream's first byte on.
#[derive(Debug)]
pub struct Spill {
    stdout: Mutex<Spilled>,
    stderr: Mutex<Spilled>,
    limit: u64,
    /// The policies that files of an earlier server passed last.
    renewed: tokio::sync::Mutex<Option<Digest>>,
}

#[derive(Debug)]
struct Spilled {
    path: PathBuf,
    /// Open for as long as there may be something to write, not for as long as the job is remembered.
    file: Option<File>,
    /// Bytes that may be read.
    written: u64,
    /// Nothing more is written: the limit is met, or the disk refused.
    is_closed: bool,
}

impl Spill {
    /// Files for a new job, of at most so many bytes each; made when there is something to write.
    pub fn new(paths: [PathBuf; 2], limit: u64) -> Self {
        let [stdout, stderr] = paths.map(|path| Mutex::new(Spilled { path, file: None, written: 0, is_closed: false }));
        Self { stdout, stderr, limit, renewed: tokio::sync::Mutex::default() }
    }

    /// The files of an earlier server's job, as far as there are any. Nothing more is written, and until they are [renewed](Self::renew)
    /// nothing is read.
    pub fn existing(paths: [PathBuf; 2]) -> Self {
        let spill = Self::new(paths, 0);
        spill.close();
        spill
    }

    /// Bytes that a stream's file has, whoever wrote them.
    pub fn found(&self, name: StreamName) -> u64 {
        self.of(name).path.symlink_metadata().ok().filter(fs::Metadata::is_file).map_or(0, |meta| meta.len())
    }

    /// Makes what an earlier server left readable: passes each file, whole, through the filter of now, and puts what comes out in its
    /// place where that differs. Done once for each set of policies. Tells `then` how many bytes each file had before, and has now; one
    /// that can not be filtered is not read.
    pub async fn renew(
        &self,
        set: Digest,
        filter: impl Fn(StreamName) -> OutputFilter,
        mut then: impl FnMut(StreamName, u64, u64),
    ) {
        let mut renewed = self.renewed.lock().await;
        if *renewed == Some(set) {
            return;
        }
        for name in StreamName::ALL {
            let length = self.found(name);
            let path = self.of(name).path.clone();
            let filtered = if length == 0 { Ok(0) } else { filtered(&path, length, filter(name)).await };
            match filtered {
                Ok(written) => {
                    self.of(name).written = written;
                    then(name, length, written);
                }
                Err(error) => {
                    self.of(name).written = 0;
                    tracing::warn!(path = %path.display(), %error, "output of an earlier server can not be filtered, and is not shown");
                }
            }
        }
        *renewed = Some(set);
    }

    fn of(&self, name: StreamName) -> std::sync::MutexGuard<'_, Spilled> {
        match name {
            StreamName::Stdout => &self.stdout,
            StreamName::Stderr => &self.stderr,
        }
        .lock()
        .expect("no holder of this lock panics")
    }

    /// Bytes in a stream's file.
    pub fn written(&self, name: StreamName) -> u64 {
        self.of(name).written
    }

    /// Adds to the end of a stream's file, as far as its limit allows. Where the disk refuses, the file ends there, and the job goes on.
    pub fn push(&self, name: StreamName, bytes: &[u8]) {
        let mut spilled = self.of(name);
        if spilled.is_closed {
            return;
        }
        let room = usize::try_from(self.limit - spilled.written).unwrap_or(usize::MAX);
        spilled.is_closed = room <= bytes.len();
        if let Err(error) = spilled.write(&bytes[..bytes.len().min(room)]) {
            tracing::warn!(path = %spilled.path.display(), %error, "output can not be kept in a file any more");
            spilled.is_closed = true;
        }
    }

    /// Nothing more will be written.
    pub fn close(&self) {
        for name in StreamName::ALL {
            let mut spilled = self.of(name);
            (spilled.file, spilled.is_closed) = (None, true);
        }
    }

    /// What is kept of a stream of so many bytes, in its order: these blocks, which memory holds, and where they lack something what the
    /// file has of it.
    pub(in crate::jobs) fn whole(&self, name: StreamName, blocks: Vec<Block>, total: u64) -> impl Iterator<Item = Block> {
        let mut before = Block::default();
        let end = Block::new(Mark { at: total, line: 0 }, Bytes::new());
        blocks.into_iter().chain([end]).flat_map(move |block| {
            let is_missing = before.next() < block.start.at;
            let spilled = is_missing.then(|| self.blocks(name, before.end(), block.start.at));
            before = block.clone();
            spilled.into_iter().flatten().chain([block])
        })
    }

    /// What the file has of a stream from one position to another.
    fn blocks(&self, name: StreamName, mut next: Mark, to: u64) -> impl Iterator<Item = Block> {
        std::iter::from_fn(move || {
            let bytes = self.of(name).read(next.at, (to - next.at).min(BLOCK_BYTES));
            let block = Block::new(next, bytes.into());
            next = block.end();
            (!block.bytes.is_empty()).then_some(block)
        })
    }

    /// Puts bytes from the file in the place of the first gap, as far as it has them and `most` allows; what stands behind and has no
    /// room is left to the next excerpt. `from` is where the excerpt begins. For the `end` of a stream, a gap of which the file has
    /// not all is left as it is: what stands behind is what was asked for.
    pub fn fill(&self, name: StreamName, from: u64, excerpt: &mut Excerpt, most: usize, end: bool) {
        let Some(at) = excerpt.parts.iter().position(|part| matches!(part, Part::Gap(_))) else { return };
        let Part::Gap(Gap { bytes: missing, .. }) = excerpt.parts[at] else { return };
        let before: usize =
            excerpt.parts[..at].iter().map(|part| if let Part::Bytes(bytes) = part { bytes.len() } else { 0 }).sum();
        let begin = from + before as u64;
        let found = self.of(name).read(begin, missing.min((most - before) as u64));
        let is_whole = found.len() as u64 == missing;
        if found.is_empty() || (end && !is_whole) {
            return;
        }
        let mut rest = excerpt.parts.split_off(at);
        excerpt.next = begin + found.len() as u64;
        excerpt.extend(found);
        if let Some(Part::Bytes(mut behind)) = rest.pop().filter(|_| is_whole && rest.len() == 1) {
            behind.truncate(most - excerpt.len());
            excerpt.next += behind.len() as u64;
            excerpt.extend(behind);
        }
    }
}

/// Passes a file of so many bytes through a filter, and puts what comes out in its place. Says how much that is.
async fn filtered(path: &Path, length: u64, mut filter: OutputFilter) -> io::Result<u64> {
    let mut new = Renewal { old: File::open(path)?, path, written: 0, file: None };
    let mut at = 0;
    while at < length {
        let mut bytes = vec![0; (length - at).min(PIECE_BYTES) as usize];
        tokio::task::block_in_place(|| new.old.read_exact_at(&mut bytes, at))?;
        at += bytes.len() as u64;
        let chunk = filter.push(Piece::from(bytes)).await;
        tokio::task::block_in_place(|| new.push(chunk.bytes()))?;
    }
    let chunk = filter.end().await;
    tokio::task::block_in_place(|| new.push(chunk.bytes()).and_then(|()| new.finish(length)))
}

/// What becomes of a file. There is a new one only if something differs.
struct Renewal<'a> {
    old: File,
    path: &'a Path,
    written: u64,
    file: Option<File>,
}

impl Renewal<'_> {
    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() && !self.is_next(bytes)? {
            self.begin()?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
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
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.new_path())?;
        io::copy(&mut (&self.old).take(self.written), &mut file)?;
        self.file = Some(file);
        Ok(())
    }

    fn finish(&mut self, length: u64) -> io::Result<u64> {
        if self.file.is_none() && self.written < length {
            self.begin()?;
        }
        if self.file.is_some() {
            fs::rename(self.new_path(), self.path)?;
        }
        Ok(self.written)
    }

    /// Of this process: another server may be at it too.
    fn new_path(&self) -> PathBuf {
        self.path.with_extension(format!("{}.new", std::process::id()))
    }
}

impl Spilled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(OpenOptions::new().append(true).create_new(true).mode(0o600).open(&self.path)?),
        };
        // Of a write that fails in its midst, what came to the disk counts: it is where it belongs.
        let written = file.write_all(bytes);
        self.written = if written.is_ok() { self.written + bytes.len() as u64 } else { file.metadata()?.len() };
        written
    }

    fn read(&self, from: u64, most: u64) -> Vec<u8> {
        let length = self.written.saturating_sub(from).min(most);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        if bytes.is_empty() {
            return bytes;
        }
        match File::open(&self.path).and_then(|file| file.read_exact_at(&mut bytes, from)) {
            Ok(()) => bytes,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "output can not be read from its file");
                Vec::new()
            }
        }
    }
}
