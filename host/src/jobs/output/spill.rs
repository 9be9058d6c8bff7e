//! Output in files of the job's own: what memory had to drop, and what outlives the server.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use rustix::fs::OFlags;
use tokio::sync::OwnedMutexGuard;

use super::{
    Excerpt, Gap, Part,
    renewal::{self, Standing},
    stretch::{Block, Mark},
};
use crate::{digest::Digest, files, jobs::StreamName, policy::OutputFilter};

/// Bytes that are read of a file at a time where all of it is looked through.
const BLOCK_BYTES: u64 = 256 * 1024;

/// The files of a job's two streams, from each stream's first byte on.
#[derive(Debug)]
pub struct Spill {
    stdout: Mutex<Spilled>,
    stderr: Mutex<Spilled>,
    limit: u64,
    renewed: Arc<tokio::sync::Mutex<Option<Digest>>>,
}

/// Held while the files of an earlier server are renewed, or it is seen whether they are: the policies that they passed last.
pub type Renewal = OwnedMutexGuard<Option<Digest>>;

#[derive(Debug)]
struct Spilled {
    path: PathBuf,
    /// Open for as long as there may be something to write, not for as long as the job is remembered.
    file: Option<File>,
    /// Bytes that may be read.
    written: u64,
    /// Of an earlier server's: which file it was that passed the filters, and its bytes that are counted in what the job printed.
    passed: Option<Standing>,
    counted: u64,
    /// Nothing more is written: the limit is met, or the disk refused.
    is_closed: bool,
}

impl Spill {
    /// Files for a new job, of at most so many bytes each; made when there is something to write.
    pub fn new(paths: [PathBuf; 2], limit: u64) -> Self {
        let [stdout, stderr] =
            paths.map(|path| Mutex::new(Spilled { path, file: None, written: 0, passed: None, counted: 0, is_closed: false }));
        Self { stdout, stderr, limit, renewed: Arc::default() }
    }

    /// The files of an earlier server's job, as far as there are any. Nothing more is written, and until they are
    /// [renewed](Self::renew) nothing is read.
    pub fn existing(paths: [PathBuf; 2]) -> Self {
        let spill = Self::new(paths, 0);
        spill.close();
        for name in StreamName::ALL {
            let mut spilled = spill.of(name);
            spilled.counted = Standing::at(&spilled.path).map_or(0, |found| found.length);
        }
        spill
    }

    /// The right to renew the files of an earlier server's job; waits while another has it.
    pub async fn renewal(&self) -> Renewal {
        self.renewed.clone().lock_owned().await
    }

    /// Whether what can be read of files of an earlier server passed these policies.
    pub fn is_renewed(&self, renewal: &Renewal, set: Digest) -> bool {
        **renewal == Some(set) && StreamName::ALL.into_iter().all(|name| self.of(name).stands())
    }

    /// Makes what an earlier server left readable: passes each file, whole, through the filter of now, and puts what comes out in
    /// its place where that differs. Tells `then` how many bytes of a file were counted before, and how many it has now.
    ///
    /// # Errors
    ///
    /// A file can not be read or written, or a filter failed: nothing can be read then.
    pub async fn renew(
        &self,
        mut renewal: Renewal,
        set: Digest,
        filter: impl Fn(StreamName) -> OutputFilter,
        mut then: impl FnMut(StreamName, u64, u64),
    ) -> io::Result<()> {
        *renewal = None;
        for name in StreamName::ALL {
            let path = {
                let mut spilled = self.of(name);
                spilled.written = 0;
                spilled.path.clone()
            };
            let passed = match Standing::at(&path) {
                Some(_) => Some(renewal::renew(&path, filter(name)).await?),
                None => None,
            };
            let length = passed.map_or(0, |passed| passed.length);
            let mut spilled = self.of(name);
            (spilled.passed, spilled.written) = (passed, length);
            then(name, std::mem::replace(&mut spilled.counted, length), length);
        }
        *renewal = Some(set);
        Ok(())
    }

    fn of(&self, name: StreamName) -> std::sync::MutexGuard<'_, Spilled> {
        match name {
            StreamName::Stdout => &self.stdout,
            StreamName::Stderr => &self.stderr,
        }
        .lock()
        .expect("no holder of this lock panics")
    }

    /// Bytes of a stream that an earlier server's file had when it was last looked at.
    pub fn counted(&self, name: StreamName) -> u64 {
        self.of(name).counted
    }

    /// Bytes of a stream's file that can be read: somebody may have cut it.
    pub(in crate::jobs) fn readable(&self, name: StreamName) -> u64 {
        let spilled = self.of(name);
        spilled.written.min(Standing::at(&spilled.path).map_or(0, |found| found.length))
    }

    /// Adds to the end of a stream's file, as far as its limit allows. Where the disk refuses, the file ends there, and the job
    /// goes on.
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

    /// What is kept of a stream of so many bytes, in its order: these blocks, which memory holds, and where they lack something
    /// what the file has of it.
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

    /// Puts bytes from the file in the place of the first gap, as far as it has them and `most` allows; what stands behind and has
    /// no room is left to the next excerpt. `from` is where the excerpt begins. For the `end` of a stream, a gap of which the file
    /// has not all is left as it is: what stands behind is what was asked for.
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
        let read = files::open(OpenOptions::new().read(true), OFlags::NOFOLLOW, &self.path).and_then(|file| {
            self.check(&file)?;
            file.read_exact_at(&mut bytes, from)
        });
        match read {
            Ok(()) => bytes,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "output can not be read from its file");
                Vec::new()
            }
        }
    }

    /// Whether there stands what passed the filters.
    fn stands(&self) -> bool {
        Standing::at(&self.path) == self.passed
    }

    fn check(&self, file: &File) -> io::Result<()> {
        match self.passed {
            Some(passed) if Standing::of(&file.metadata()?) != passed => {
                Err(io::Error::other("another file stands in its place"))
            }
            _ => Ok(()),
        }
    }
}
