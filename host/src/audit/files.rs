//! The files of a log, read line by line, the oldest first. Whoever reads holds one line at a time, whatever the files hold.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Take},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    vec,
};

use rustix::fs::OFlags;

use super::{
    AuditError, MOST_LINE_BYTES,
    log::{Lock, is_at, rotated},
};
use crate::files;

/// How often the log may be replaced while it is opened.
const MOST_TURNS: usize = 100;

/// Files as they were at one moment: what is appended later is not read.
pub struct Files {
    list: Vec<LogFile>,
    /// The number of the oldest that was rotated away; 0: none was, or they were named one by one.
    rotations: u32,
}

/// The lines of files, one after the other. After an error there are none.
pub struct Lines {
    files: vec::IntoIter<LogFile>,
    current: Option<Reading>,
}

/// A line, and where it stands.
#[derive(Debug)]
pub struct Line {
    /// Where.
    pub place: Place,
    /// What.
    pub text: Text,
}

/// Where a line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// The line in it, from 1; 0: before the first.
    pub line: u64,
}

/// What a line holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Text {
    /// Its bytes, without the newline.
    Whole(Vec<u8>),
    /// The end of a file, which ends without a newline.
    Torn(Vec<u8>),
    /// More than any record has; so many bytes.
    TooLong(u64),
}

/// Up to where a log was read.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    file: (u64, u64),
    offset: u64,
    lines: u64,
}

struct LogFile {
    path: Arc<Path>,
    file: Arc<File>,
    length: u64,
    /// How much of it is passed over: bytes, and the lines in them.
    offset: u64,
    lines: u64,
}

struct Reading {
    place: Place,
    bytes: BufReader<Take<Arc<File>>>,
    position: Position,
}

impl Files {
    /// The log at this path, and before it the files that were rotated away from it.
    ///
    /// # Errors
    /// There is no log, it is no regular file, or its lock is held for seconds.
    pub fn of_log(path: &Path) -> Result<Self, AuditError> {
        let failed = |source| failed(path, source);
        for _ in 0..MOST_TURNS {
            let newest = Arc::new(files::open(OpenOptions::new().read(true), OFlags::NOFOLLOW, path).map_err(failed)?);
            // Nobody rotates while it is held.
            let _lock = Lock::shared(&newest).map_err(failed)?;
            if !is_at(path, &newest) {
                continue;
            }
            let (mut list, rotations) = rotated_files(path)?;
            list.push(LogFile::of(path, newest).map_err(failed)?);
            return Ok(Self { list, rotations });
        }
        Err(failed(io::Error::other("it is replaced again and again")))
    }

    /// These files, in this order.
    ///
    /// # Errors
    /// One of them is not there, is no regular file, or its lock is held for seconds.
    pub fn named(paths: &[PathBuf]) -> Result<Self, AuditError> {
        let file = |path: &PathBuf| {
            let file = Arc::new(open(path)?);
            // One that is written to ends at the end of a line then.
            let _lock = Lock::shared(&file)?;
            LogFile::of(path, file.clone())
        };
        let open = |path: &PathBuf| file(path).map_err(|source| failed(path, source));
        paths.iter().map(open).collect::<Result<_, _>>().map(|list| Self { list, rotations: 0 })
    }

    /// Without what was read before. If the file where that ended is gone, all of the newest one is new.
    pub fn after(mut self, position: Position) -> Self {
        let known = self.list.iter().position(|file| file.identity().is_ok_and(|identity| identity == position.file));
        self.list.drain(..known.unwrap_or(self.list.len().saturating_sub(1)));
        if let Some(first) = self.list.first_mut().filter(|first| known.is_some() && position.offset <= first.length) {
            (first.offset, first.lines) = (position.offset, position.lines);
        }
        self
    }

    /// Where the newest of them begins, for what is to be said of all.
    pub fn newest(&self) -> Place {
        Place { file: self.list.last().map_or_else(|| Path::new("").into(), |file| file.path.clone()), line: 0 }
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Whether older ones were removed, as rotation does when `keep` of them are there.
    pub fn is_pruned(&self, keep: u32) -> bool {
        self.rotations >= keep
    }

    /// Their lines.
    pub fn lines(self) -> Lines {
        Lines { files: self.list.into_iter(), current: None }
    }
}

impl Lines {
    /// Up to where whole lines were read; none before the first.
    pub fn position(&self) -> Option<Position> {
        self.current.as_ref().map(|reading| reading.position)
    }

    fn read(&mut self) -> Result<Option<Line>, AuditError> {
        loop {
            if let Some(reading) = &mut self.current
                && let Some(text) = reading.line().map_err(|source| failed(&reading.place.file, source))?
            {
                return Ok(Some(Line { place: reading.place.clone(), text }));
            }
            // The last file stays open, for the position in it.
            let Some(file) = self.files.next() else { return Ok(None) };
            let path = file.path.clone();
            self.current = Some(file.read().map_err(|source| failed(&path, source))?);
        }
    }
}

impl Iterator for Lines {
    type Item = Result<Line, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.read().transpose();
        if matches!(line, Some(Err(_))) {
            *self = Self { files: Vec::new().into_iter(), current: None };
        }
        line
    }
}

impl LogFile {
    fn of(path: &Path, file: Arc<File>) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { path: path.into(), file, length, offset: 0, lines: 0 })
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        self.file.metadata().map(|meta| (meta.dev(), meta.ino()))
    }

    fn read(self) -> io::Result<Reading> {
        let position = Position { file: self.identity()?, offset: self.offset, lines: self.lines };
        (&*self.file).seek(SeekFrom::Start(self.offset))?;
        let bytes = BufReader::new(self.file.take(self.length - self.offset));
        Ok(Reading { place: Place { file: self.path, line: self.lines }, bytes, position })
    }
}

impl Reading {
    fn line(&mut self) -> io::Result<Option<Text>> {
        let mut line = Vec::new();
        let mut read = (&mut self.bytes).take(MOST_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line)? as u64;
        if read == 0 {
            return Ok(None);
        }
        self.place.line += 1;
        let text = if line.pop_if(|last| *last == b'\n').is_some() {
            Text::Whole(line)
        } else if read <= MOST_LINE_BYTES as u64 {
            return Ok(Some(Text::Torn(line)));
        } else {
            read += self.bytes.skip_until(b'\n')? as u64;
            Text::TooLong(read)
        };
        self.position.offset += read;
        self.position.lines += 1;
        Ok(Some(text))
    }
}

impl Text {
    /// Its bytes, if it is not too long to be a record.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Whole(bytes) | Self::Torn(bytes) => Some(bytes),
            Self::TooLong(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.display().fmt(f)?;
        if self.line > 0 { write!(f, ":{}", self.line) } else { Ok(()) }
    }
}

fn failed(path: &Path, source: io::Error) -> AuditError {
    AuditError::Read { path: path.to_owned(), source }
}

/// Opens a regular file for reading.
pub(super) fn open(path: &Path) -> io::Result<File> {
    files::open(OpenOptions::new().read(true), OFlags::empty(), path)
}

/// The files that were moved away from a log, the oldest first, and the number of that.
fn rotated_files(path: &Path) -> Result<(Vec<LogFile>, u32), AuditError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let in_folder = |source| failed(folder, source);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder).map_err(in_folder)? {
        let name = entry.map_err(in_folder)?.file_name();
        let number = name.to_str().and_then(|name| name.rsplit_once('.')?.1.parse::<u32>().ok());
        numbers.extend(number.filter(|number| rotated(path, *number).file_name() == Some(&name)));
    }
    numbers.sort_unstable_by(|left, right| right.cmp(left));
    let file = |number: u32| {
        let path = rotated(path, number);
        let opened = open(&path).and_then(|file| LogFile::of(&path, Arc::new(file)));
        opened.map_err(|source| failed(&path, source))
    };
    let oldest = numbers.first().copied().unwrap_or(0);
    Ok((numbers.into_iter().map(file).collect::<Result<_, _>>()?, oldest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_in_bounded_memory_and_torn_ones_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let long = "x".repeat(3 * MOST_LINE_BYTES);
        fs::write(&path, format!("one\n\n{long}\n{}\nend", &long[..MOST_LINE_BYTES])).unwrap();
        let mut lines = Files::named(&[path]).unwrap().lines();
        let mut next = || lines.next().unwrap().unwrap();
        assert_eq!(next().text, Text::Whole(b"one".to_vec()));
        assert_eq!(next().text, Text::Whole(Vec::new()));
        assert_eq!(next().text, Text::TooLong(long.len() as u64 + 1));
        assert_eq!(next().text.bytes().unwrap().len(), MOST_LINE_BYTES);
        let last = next();
        assert_eq!((last.text, last.place.line), (Text::Torn(b"end".to_vec()), 5));
        assert!(lines.next().is_none());
    }

    #[test]
    fn reading_goes_on_where_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let seen = |lines: &mut Lines| {
            let shown = |line: Result<Line, AuditError>| line.map(|line| (line.place.line, line.text)).unwrap();
            lines.map(shown).collect::<Vec<_>>()
        };
        let whole = |line, text: &str| (line, Text::Whole(text.into()));
        fs::write(&path, "a\nb\nto").unwrap();
        let mut lines = Files::of_log(&path).unwrap().lines();
        assert_eq!(seen(&mut lines), [whole(1, "a"), whole(2, "b"), (3, Text::Torn("to".into()))]);
        // The log goes on, is rotated, and goes on in the new file.
        fs::write(&path, "a\nb\ntorn\n").unwrap();
        fs::rename(&path, rotated(&path, 1)).unwrap();
        fs::write(&path, "new\n").unwrap();
        let mut more = Files::of_log(&path).unwrap().after(lines.position().unwrap()).lines();
        assert_eq!(seen(&mut more), [whole(3, "torn"), whole(1, "new")]);
        fs::remove_file(rotated(&path, 1)).unwrap();
        let mut rest = Files::of_log(&path).unwrap().after(lines.position().unwrap()).lines();
        assert_eq!(seen(&mut rest), [whole(1, "new")]);
    }
}
