//! What of git's index matters here: the repositories inside the working tree, which several sub-commands enter to ask for changes.

/// What stands in an entry in front of the name of its object.
const FIXED_BYTES: usize = 40;
/// The mode of an entry that is a repository of its own.
const GITLINK: u32 = 0o160_000;
/// Set in the flags of an entry that has more of them.
const EXTENDED: u16 = 0x4000;

/// The paths of the repositories inside the working tree, as the index names them.
///
/// `id_bytes` is the length of an object's name, 20 or 32. None for what is no index, is cut, has entries in another file, or
/// whole directories for entries: then nobody can say.
pub fn gitlinks(bytes: &[u8], id_bytes: usize) -> Option<Vec<String>> {
    let mut reader = Reader { bytes, at: 0 };
    let version = (reader.take(4)? == b"DIRC").then(|| reader.number())??;
    let count = (2..=4).contains(&version).then(|| reader.number())??;
    let (mut links, mut path) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let begin = reader.at;
        let mode = mode(reader.take(FIXED_BYTES)?)?;
        reader.take(id_bytes)?;
        let flags = u16::from_be_bytes(reader.take(2)?.try_into().ok()?);
        if flags & EXTENDED != 0 {
            reader.take(2)?;
        }
        let kept = if version == 4 { path.len().checked_sub(reader.varint()?)? } else { 0 };
        path.truncate(kept);
        path.extend(reader.text()?);
        if version < 4 {
            reader.align(begin);
        }
        if mode == GITLINK {
            links.push(String::from_utf8(path.clone()).ok()?);
        }
    }
    reader.is_whole(id_bytes).then_some(links)
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
