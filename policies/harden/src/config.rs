//! git's configuration files, read as git reads them.
//!
//! The grammar is that of git's own `config.c`, character by character, because a setting that git sees and this does not is a way
//! round the judgement. Where git would stop with an error, this does too.

/// One line that sets something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Lower case, `core` of `core.bare`.
    pub section: String,
    /// `origin` of `remote.origin.url`, as written; bytes that are no UTF-8 replaced.
    pub subsection: Option<String>,
    /// Lower case.
    pub key: String,
    /// None where there is no `=`, which means true; bytes that are no UTF-8 replaced.
    pub value: Option<String>,
}

impl Setting {
    /// The name as `git config` takes it.
    pub fn name(&self) -> String {
        match &self.subsection {
            Some(subsection) => format!("{}.{subsection}.{}", self.section, self.key),
            None => format!("{}.{}", self.section, self.key),
        }
    }
}

/// All settings in their order.
///
/// # Errors
///
/// The number of the line that git would refuse too. NUL bytes, at which git would stop reading a value, are refused as well.
pub fn parse(bytes: &[u8]) -> Result<Vec<Setting>, usize> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = Reader { bytes: text, at: 0, line: 1 };
    let settings = if bytes.contains(&0) { None } else { reader.settings() };
    settings.ok_or(reader.line)
}

/// The bytes that git's own `isspace` knows.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A place in the text. `None` of its functions, but for [`Reader::next`], stands for a mistake.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl Reader<'_> {
    /// The next byte, a line end of two bytes as one; none at the end, which counts as a line end.
    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        if byte == b'\r' && self.bytes.get(self.at) == Some(&b'\n') {
            self.at += 1;
            self.line += 1;
            return Some(b'\n');
        }
        self.line += usize::from(byte == b'\n');
        Some(byte)
    }

    fn settings(&mut self) -> Option<Vec<Setting>> {
        let mut settings = Vec::new();
        let mut section = Vec::new();
        while let Some(byte) = self.next() {
            match byte {
                byte if is_space(byte) => {}
                b'#' | b';' => self.comment(),
                b'[' => section = self.section()?,
                byte if byte.is_ascii_alphabetic() => settings.push(self.setting(&section, byte)?),
                _ => return None,
            }
        }
        Some(settings)
    }

    fn comment(&mut self) {
        while self.next().is_some_and(|byte| byte != b'\n') {}
    }

    /// What stands in brackets: `core`, `a.b` (old style, lower case) or `remote "origin"`, as `remote.origin`.
    fn section(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        loop {
            match self.next()? {
                b']' => return Some(name),
                byte if is_space(byte) => return self.subsection(name, byte),
                byte if is_key(byte) || byte == b'.' => name.push(byte.to_ascii_lowercase()),
                _ => return None,
            }
        }
    }

    fn subsection(&mut self, mut name: Vec<u8>, first: u8) -> Option<Vec<u8>> {
        let mut byte = first;
        while is_space(byte) {
            if byte == b'\n' {
                return None;
            }
            byte = self.next()?;
        }
        if byte != b'"' {
            return None;
        }
        name.push(b'.');
        loop {
            match self.next()? {
                b'\n' => return None,
                b'"' => return (self.next()? == b']').then_some(name),
                b'\\' => name.push(self.next().filter(|byte| *byte != b'\n')?),
                byte => name.push(byte),
            }
        }
    }

    fn setting(&mut self, section: &[u8], first: u8) -> Option<Setting> {
        let mut key = vec![first];
        let mut byte = self.next();
        while let Some(next) = byte.filter(|byte| is_key(*byte)) {
            key.push(next);
            byte = self.next();
        }
        while matches!(byte, Some(b' ' | b'\t')) {
            byte = self.next();
        }
        let value = match byte {
            None | Some(b'\n') => None,
            Some(b'=') => Some(text(&self.value()?)),
            Some(_) => return None,
        };
        let mut parts = section.splitn(2, |byte| *byte == b'.');
        Some(Setting {
            section: text(parts.next().unwrap_or_default()),
            subsection: parts.next().map(text),
            key: text(&key).to_ascii_lowercase(),
            value,
        })
    }

    /// What stands behind `=`, white space at its ends taken off, quotes and escapes resolved.
    fn value(&mut self) -> Option<Vec<u8>> {
        let (mut value, mut kept) = (Vec::new(), 0);
        let mut is_quoted = false;
        loop {
            match self.next() {
                None | Some(b'\n') if is_quoted => return None,
                None | Some(b'\n') => break,
                Some(byte) if is_space(byte) && !is_quoted => {
                    if !value.is_empty() {
                        value.push(byte);
                    }
                    continue;
                }
                Some(b'#' | b';') if !is_quoted => {
                    self.comment();
                    break;
                }
                Some(b'"') => is_quoted = !is_quoted,
                Some(b'\\') => match self.next() {
                    // The line goes on.
                    None | Some(b'\n') => {}
                    Some(byte) => value.push(escaped(byte)?),
                },
                Some(byte) => value.push(byte),
            }
            kept = value.len();
        }
        value.truncate(kept);
        Some(value)
    }
}

fn escaped(byte: u8) -> Option<u8> {
    match byte {
        b't' => Some(b'\t'),
        b'b' => Some(8),
        b'n' => Some(b'\n'),
        b'\\' | b'"' => Some(byte),
        _ => None,
    }
}
