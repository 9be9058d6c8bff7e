//! The end of the log, where lines are appended: by several servers at the same time, each line behind the one before.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::{fs::OFlags, process::geteuid};
use uuid::Uuid;

use super::{
    MOST_LINE_BYTES,
    link::{Head, Link},
};
use crate::{config, files};

/// Longest wait for others who append. They take microseconds; but whoever may read the log can hold its lock, and a decision must
/// not wait for that.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Between two looks at a lock, at most.
const LONGEST_LOOK: Duration = Duration::from_millis(10);
/// How often the log may be replaced under an append.
const MOST_TURNS: usize = 100;
/// What is put in front of the fields of a line, at most, in bytes, and its newline.
const MOST_LINK_BYTES: u64 = 128;
/// Where the last lines are looked for, in bytes from the end: a few short ones; a long one; a torn one and the one before.
const WINDOWS: [u64; 3] = [4 << 10, 64 << 10, 2 * (MOST_LINE_BYTES as u64 + 1)];

/// A log that lines can be appended to.
pub(super) struct Log {
    config: config::Audit,
    tail: Mutex<Tail>,
}

/// The open file, and what is known of its end.
struct Tail {
    file: Arc<File>,
    end: End,
    /// How long the file was when its end was looked at; none: it has to be looked at.
    length: Option<u64>,
    /// The last line that was written or found here, whatever has become of it.
    last: Option<Head>,
}

/// What a file ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It has no lines.
    Nothing,
    /// A line that the next one links to, perhaps without its newline.
    Line { head: Head, is_whole: bool },
    /// Nothing that the chain could go on from.
    Foreign,
}

/// A lock on a file, for as long as this lives.
pub(super) struct Lock(Arc<File>);

impl Log {
    /// Opens the file, making it for its owner alone if there is none.
    pub(super) fn open(config: &config::Audit) -> io::Result<Self> {
        let tail = Tail::open(&config.path)?;
        Ok(Self { config: config.clone(), tail: Mutex::new(tail) })
    }

    /// Appends an object of at least one field as a line: in one write, or not at all. Where the log is no longer what it was,
    /// moved away or cut, the line still links to the last one that was there, so that `audit verify` shows what is gone.
    pub(super) fn append(&self, fields: &str) -> io::Result<()> {
        // Counted from before the wait for other threads, or they would wait one after the other.
        let deadline = Instant::now() + LONGEST_WAIT;
        let mut tail = self.tail.lock().expect("no holder of this lock panics");
        for _ in 0..MOST_TURNS {
            let _lock = Lock::exclusive(&tail.file, deadline)?;
            if is_at(&self.config.path, &tail.file) {
                tail.look(&self.config)?;
                if !self.is_full(&tail, fields) {
                    return tail.write(fields);
                }
                self.rotate()?;
            }
            *tail = Tail { last: tail.last, ..Tail::open(&self.config.path)? };
        }
        Err(io::Error::other("it is replaced again and again"))
    }

    fn is_full(&self, tail: &Tail, fields: &str) -> bool {
        let length = tail.length.unwrap_or(0);
        let is_long = |most: u64| length > 0 && length.saturating_add(fields.len() as u64 + MOST_LINK_BYTES) > most;
        tail.end == End::Foreign || self.config.max_bytes.is_some_and(is_long)
    }

    /// Moves each file one number up, the log itself to 1, and removes those beyond what is kept. To be called with the lock.
    fn rotate(&self) -> io::Result<()> {
        let path = &self.config.path;
        for number in 1..=self.config.keep {
            clear(&rotated(path, number))?;
        }
        for number in (1..self.config.keep).rev() {
            match fs::rename(rotated(path, number), rotated(path, number + 1)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
        fs::rename(path, rotated(path, 1))?;
        // There are some where more were kept before.
        let mut beyond = self.config.keep + 1..;
        while beyond.next().is_some_and(|number| fs::remove_file(rotated(path, number)).is_ok()) {}
        Ok(())
    }
}

impl Tail {
    /// A link is not followed: the configuration named what it leads to, and who puts one there later wants the record elsewhere.
    fn open(path: &Path) -> io::Result<Self> {
        let file = files::open(OpenOptions::new().read(true).append(true).create(true).mode(0o600), OFlags::NOFOLLOW, path)?;
        if file.metadata()?.uid() != geteuid().as_raw() {
            return Err(io::Error::other("it belongs to another user"));
        }
        Ok(Self { file: Arc::new(file), end: End::Nothing, length: None, last: None })
    }

    /// Looks at the end of the file, unless it is as this server left it.
    fn look(&mut self, config: &config::Audit) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if self.length == Some(length) {
            return Ok(());
        }
        let end = match End::of_file(&self.file, length)? {
            End::Nothing => End::of_rotated(&config.path),
            End::Foreign => {
                tracing::warn!(path = %config.path.display(), "the audit log does not end in a record; it is set aside, and one begun anew");
                End::Foreign
            }
            end => end,
        };
        self.end = self.last.map_or(end, |last| end.not_before(last));
        self.last = self.end.head().or(self.last);
        self.length = Some(length);
        Ok(())
    }

    /// Writes a line, and puts an end to a torn one before it. Of what did not fit nothing is left.
    fn write(&mut self, fields: &str) -> io::Result<()> {
        let (head, newline) = match self.end {
            End::Nothing | End::Foreign => (Head::START, ""),
            End::Line { head, is_whole } => (head, if is_whole { "" } else { "\n" }),
        };
        let line = Link::line(head, fields);
        let next = head.and(line.as_bytes()).filter(|_| line.len() <= MOST_LINE_BYTES);
        let next = next.ok_or_else(|| io::Error::other(format!("a line of {} bytes is too long for it", line.len())))?;
        let before = self.length.take().unwrap_or(0);
        // If that fails too, the next line finds a torn one.
        (&*self.file).write_all(format!("{newline}{line}\n").as_bytes()).inspect_err(|_| _ = self.file.set_len(before))?;
        (self.end, self.last) = (End::Line { head: next, is_whole: true }, Some(next));
        // If it can not be told, the end is looked at again.
        self.length = self.file.metadata().map(|meta| meta.len()).ok();
        Ok(())
    }
}

impl End {
    fn of_file(file: &File, length: u64) -> io::Result<Self> {
        for window in WINDOWS {
            let window = window.min(length);
            let mut bytes = vec![0; usize::try_from(window).expect("windows are small")];
            file.read_exact_at(&mut bytes, length - window)?;
            if let Some(end) = Self::of(&bytes, window == length) {
                return Ok(end);
            }
        }
        Ok(Self::Foreign)
    }

    /// What the newest file that was moved away ends with, for the new one goes on from there. If that can not be read there is
    /// nothing to go on from, which `audit verify` will show.
    fn of_rotated(path: &Path) -> Self {
        let end = super::files::open(&rotated(path, 1)).and_then(|file| Self::of_file(&file, file.metadata()?.len()));
        match end {
            Ok(Self::Line { head, .. }) => Self::Line { head, is_whole: true },
            _ => Self::Nothing,
        }
    }

    /// What to go on from, when this is found after a line that was there: what others wrote behind it, else that line.
    fn not_before(self, last: Head) -> Self {
        match self {
            Self::Line { head, is_whole } if head.number <= last.number => Self::Line { head: last, is_whole },
            Self::Nothing => Self::Line { head: last, is_whole: true },
            end => end,
        }
    }

    fn head(self) -> Option<Head> {
        match self {
            Self::Line { head, .. } => Some(head),
            Self::Nothing | Self::Foreign => None,
        }
    }

    /// What these last bytes of a file end with; none if more of it has to be seen. Lines behind the last record that are none were
    /// torn: each counts as one.
    fn of(bytes: &[u8], is_all: bool) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::Nothing);
        }
        let is_whole = bytes.ends_with(b"\n");
        let lines: Vec<&[u8]> = bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n').collect();
        let last = lines.last()?;
        let first = usize::from(!is_all);
        let found = (first..lines.len()).rev().find_map(|at| Some((at, Link::of(lines[at])?.number)));
        let (torn, number) = match found {
            Some((at, number)) => (lines.len() - 1 - at, number),
            None if is_all => (lines.len(), 0),
            None => return None,
        };
        let number = number.checked_add(torn as u64).filter(|number| *number < u64::MAX);
        let before = Head { number: number?.saturating_sub(1), ..Head::START };
        Some(before.and(last).map_or(Self::Foreign, |head| Self::Line { head, is_whole }))
    }
}

impl Lock {
    /// For one who appends.
    fn exclusive(file: &Arc<File>, deadline: Instant) -> io::Result<Self> {
        Self::take(file, deadline, File::try_lock)
    }

    /// For one who reads.
    pub(super) fn shared(file: &Arc<File>) -> io::Result<Self> {
        Self::take(file, Instant::now() + LONGEST_WAIT, File::try_lock_shared)
    }

    /// Looks again and again: the system's own wait has no limit, and a thread in it no end.
    fn take(file: &Arc<File>, deadline: Instant, attempt: impl Fn(&File) -> Result<(), TryLockError>) -> io::Result<Self> {
        let mut look = Duration::from_micros(50);
        loop {
            match attempt(file) {
                Ok(()) => return Ok(Self(file.clone())),
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(look),
                Err(TryLockError::WouldBlock) => {
                    let text = "another process holds its lock and does not give it back; `fuser` or /proc/locks tell which";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
            }
            look = (look * 2).min(LONGEST_LOOK);
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file would do it too.
        _ = self.0.unlock();
    }
}

/// Whether the open file is still the one at this path, and not behind a link.
pub(super) fn is_at(path: &Path, file: &File) -> bool {
    match (fs::symlink_metadata(path), file.metadata()) {
        (Ok(there), Ok(open)) => (there.dev(), there.ino()) == (open.dev(), open.ino()),
        _ => false,
    }
}

/// Moves a folder out of the way of a file that is to be rotated: nothing of the log is in it, and no decision should fail for it.
fn clear(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".aside-{}", Uuid::new_v4()));
    let aside = PathBuf::from(aside);
    tracing::warn!(folder = %path.display(), now = %aside.display(), "a folder is in the way of the audit log's rotation and is renamed");
    let failed = |error| io::Error::other(format!("the folder {} is in the way of its rotation: {error}", path.display()));
    fs::rename(path, &aside).map_err(failed)
}

/// The name of a file that was moved away; 1 is the newest.
pub(super) fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Files, Verifier};

    fn log(path: &Path, max_bytes: u64) -> Log {
        Log::open(&config::Audit { path: path.to_owned(), max_bytes: Some(max_bytes), keep: 100 }).unwrap()
    }

    /// Number of the last line, if the chain is whole from the first on.
    fn length(path: &Path) -> u64 {
        let files = Files::of_log(path).unwrap();
        let end = files.newest();
        let mut verifier = Verifier::new(None);
        files.lines().for_each(|line| verifier.line(&line.unwrap()));
        let findings = verifier.finish(&end);
        assert_eq!((findings.first, findings.faults.named, findings.torn.count), (Some(1), vec![], 0));
        findings.head.number
    }

    #[test]
    fn many_write_one_chain_while_it_is_rotated() {
        const WRITERS: usize = 4;
        const LINES: usize = 150;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| {
                    // Each with a file of its own, as servers have.
                    let log = log(&path, 1500);
                    (0..LINES).for_each(|number| log.append(&format!(r#"{{"event":"{number}"}}"#)).unwrap());
                });
            }
        });
        assert!(rotated(&path, 20).exists());
        assert_eq!(length(&path), (WRITERS * LINES) as u64);
    }

    #[test]
    fn a_wait_for_the_lock_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = log(&path, 1 << 30);
        log.append(r#"{"event":"x"}"#).unwrap();
        let holder = File::open(&path).unwrap();
        holder.lock_shared().unwrap();
        thread::scope(|scope| {
            // Side by side: they wait at the same time, not one after the other.
            let waiting: Vec<_> = (0..8).map(|_| scope.spawn(|| log.append(r#"{"event":"x"}"#))).collect();
            for waiting in waiting {
                assert_eq!(waiting.join().unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
            }
        });
        drop(holder);
        log.append(r#"{"event":"x"}"#).unwrap();
        assert_eq!(length(&path), 2);
    }

    #[test]
    fn what_is_too_long_to_be_read_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = log(&path, 1 << 30);
        log.append(r#"{"event":"x"}"#).unwrap();
        let error = log.append(&format!(r#"{{"event":"{}"}}"#, "x".repeat(MOST_LINE_BYTES))).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
        log.append(r#"{"event":"x"}"#).unwrap();
        assert_eq!(length(&path), 2);
    }

    #[test]
    fn the_end_of_a_file_tells_what_to_go_on_from() {
        let record = Link::line(Head { number: 8, ..Head::START }, r#"{"event":"x"}"#);
        let head = |number: u64, line: &str| Head { number: number - 1, ..Head::START }.and(line.as_bytes()).unwrap();
        let line = |number, line: &str, is_whole| Some(End::Line { head: head(number, line), is_whole });
        for (bytes, is_all, end) in [
            (String::new(), true, Some(End::Nothing)),
            (format!("{record}\n"), true, line(9, &record, true)),
            (record.clone(), true, line(9, &record, false)),
            (record.clone(), false, None),
            (format!("cut\n{record}\n"), false, line(9, &record, true)),
            (format!("{record}\ntorn"), true, line(10, "torn", false)),
            (format!("{record}\n\n"), true, line(10, "", true)),
            (format!("x\n{record}\ntorn\nagain\n"), false, line(11, "again", true)),
            ("a\nb".to_owned(), true, line(2, "b", false)),
            ("a\nb".to_owned(), false, None),
            (record.replace(":9,", &format!(":{},", u64::MAX)), true, None),
        ] {
            assert_eq!(End::of(bytes.as_bytes(), is_all), end, "{bytes:?}");
        }
    }
}
