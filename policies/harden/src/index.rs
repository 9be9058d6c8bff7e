//! What of git's index matters here: the directories through which git reaches the files, and the repositories inside the working
//! tree, which several sub-commands enter to ask for changes.

use std::collections::BTreeSet;

/// What stands in an entry in front of the name of its object.
const FIXED_BYTES: usize = 40;
/// The mode of an entry that is a repository of its own. git asks for no more than the kind in it.
const GITLINK: u32 = 0o160_000;
/// The modes of files, programs and links.
const FILES: [u32; 3] = [0o100_644, 0o100_755, 0o120_000];
/// Set in the flags of an entry that has more of them.
const EXTENDED: u16 = 0x4000;
/// The bits of the flags that hold the length of the path. All of them set: as far as the NUL.
const PATH_LENGTH: u16 = 0x0fff;
/// Most bytes of a path, which is as many as the system opens. Without it, shared beginnings would make a small index a huge one.
const MOST_PATH_BYTES: usize = 4096;
/// Most directories, each of which is looked at.
const MOST_DIRECTORIES: usize = 32_768;

/// What the entries name, below the working tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// The repositories inside the working tree.
    pub repositories: Vec<String>,
    /// Every directory on the way to an entry; in this order each comes behind the one that it is in.
    pub directories: BTreeSet<String>,
}

/// Why nobody can say what git would do with an index.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is none, is cut, has entries in another file, entries of other kinds or lengths than it says, or is too large.
    Unreadable,
    /// The path of an entry, which could lead out of the working tree. git refuses to write such a one, and reads it unasked.
    Path(String),
    /// The path of a directory or repository, which is no text, so that nobody here can look at it.
    NoText(String),
}

impl Index {
    /// Reads it; `id_bytes` is the length of an object's name, 20 or 32.
    ///
    /// # Errors
    ///
    /// What can not be read as git does, and paths that are not plainly below the working tree.
    pub fn read(bytes: &[u8], id_bytes: usize) -> Result<Self, Fault> {
        let mut reader = Reader { bytes, at: 0 };
        let (version, count) = reader.header().ok_or(Fault::Unreadable)?;
        let (mut index, mut path) = (Self::default(), Vec::new());
        for _ in 0..count {
            let mode = reader.entry(version, id_bytes, &mut path).ok_or(Fault::Unreadable)?;
            index.add(mode, &path)?;
        }
        if reader.is_whole(id_bytes) { Ok(index) } else { Err(Fault::Unreadable) }
    }

    fn add(&mut self, mode: u32, path: &[u8]) -> Result<(), Fault> {
        // A split index has empty ones, for the entries of the other file.
        if path.is_empty() || mode != GITLINK && !FILES.contains(&mode) {
            return Err(Fault::Unreadable);
        }
        let is_plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.eq_ignore_ascii_case(b".git");
        let is_text = |path| str::from_utf8(path).map_err(|_| Fault::NoText(String::from_utf8_lossy(path).into_owned()));
        if path.len() > MOST_PATH_BYTES || !path.split(|byte| *byte == b'/').all(is_plain) {
            return Err(Fault::Path(String::from_utf8_lossy(path).into_owned()));
        }
        if mode == GITLINK {
            self.repositories.push(is_text(path)?.to_owned());
        }
        let above = path.iter().rposition(|byte| *byte == b'/').map_or(&[][..], |end| &path[..end]);
        let mut above = is_text(above)?;
        while !above.is_empty() && !self.directories.contains(above) {
            self.directories.insert(above.to_owned());
            above = above.rsplit_once('/').map_or("", |(above, _)| above);
        }
        if self.directories.len() > MOST_DIRECTORIES { Err(Fault::Unreadable) } else { Ok(()) }
    }
}

fn mode(fixed: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(fixed.get(24..28)?.try_into().ok()?))
}

/// A place in the file.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The version and how many entries there are.
    fn header(&mut self) -> Option<(u32, u32)> {
        let version = (self.take(4)? == b"DIRC").then(|| self.number())??;
        let count = (2..=4).contains(&version).then(|| self.number())??;
        Some((version, count))
    }

    /// Passes an entry: its mode, and its path in the place of the one before.
    fn entry(&mut self, version: u32, id_bytes: usize, path: &mut Vec<u8>) -> Option<u32> {
        let begin = self.at;
        let mode = mode(self.take(FIXED_BYTES)?)?;
        self.take(id_bytes)?;
        let flags = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        if flags & EXTENDED != 0 {
            self.take(2)?;
        }
        let kept = if version == 4 { path.len().checked_sub(self.varint()?)? } else { 0 };
        path.truncate(kept);
        path.extend(self.text()?);
        // git takes the number's word for it, also where that goes beyond the NUL.
        let length = flags & PATH_LENGTH;
        if length != PATH_LENGTH && usize::from(length) != path.len() {
            return None;
        }
        if version < 4 {
            self.align(begin);
        }
        Some(mode)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// The bytes up to a NUL, which is passed.
    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.bytes.get(self.at..)?.iter().position(|byte| *byte == 0)?;
        let text = self.take(length)?;
        self.at += 1;
        Some(text)
    }

    /// Passes what fills an entry to a multiple of eight bytes, of which one NUL has been passed.
    fn align(&mut self, begin: usize) {
        self.at = begin + (self.at - begin).next_multiple_of(8);
    }

    /// A number in the way that packs have offsets.
    fn varint(&mut self) -> Option<usize> {
        let mut byte = *self.take(1)?.first()?;
        let mut value = usize::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = *self.take(1)?.first()?;
            value = value.checked_add(1)?.checked_mul(128)? | usize::from(byte & 0x7f);
        }
        Some(value)
    }

    /// Whether what follows the entries are extensions that add none.
    fn is_whole(&mut self, id_bytes: usize) -> bool {
        while self.bytes.len().saturating_sub(self.at) > id_bytes {
            let name = self.take(4);
            let size = self.number().and_then(|size| usize::try_from(size).ok());
            let is_known = !matches!(name, None | Some(b"link" | b"sdir"));
            if !is_known || size.and_then(|size| self.take(size)).is_none() {
                return false;
            }
        }
        true
    }
}
