//! One line as a terminal would show it.

use std::ops::Range;

use crate::Settings;

/// Longest line that may be shown whole, in bytes; so much of both ends of every line is kept while it is not finished.
pub const MAX_SHOWN: usize = 64 * 1024;

/// The last column that sequences lead to: what is further right is no terminal's, and getting there would cost time.
const MAX_COLUMN: usize = 1024;

/// When a line that goes on is made smaller, in bytes: neither its middle nor what was written over is needed.
const MAX_KEPT: usize = 4 * MAX_SHOWN;

/// A line on its way.
pub struct Line {
    settings: Settings,
    /// All that was written, in order of its coming.
    written: Vec<u8>,
    /// What stands in each column: a character, and what has no width behind it.
    cells: Vec<Range<usize>>,
    cursor: usize,
    /// Whether the columns are known: for most lines they are of no interest.
    is_laid_out: bool,
    state: State,
    /// Bytes of the middle that are forgotten.
    forgotten: usize,
}

/// Where in a control sequence the line is.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Text,
    /// Behind ESC.
    Escape,
    /// In a sequence of two or more bytes before its last: ESC and what lies between space and `/`.
    Between,
    /// Behind ESC `[`: parameters, the number first.
    Parameters(Option<usize>),
    /// In a string of the terminal's (a title, a link, a picture): up to BEL or ESC `\`.
    String,
    /// Behind ESC in such a string.
    StringEscape,
}

impl Line {
    /// At its beginning.
    pub fn new(settings: Settings) -> Self {
        let (written, cells) = (Vec::new(), Vec::new());
        Self { settings, written, cells, cursor: 0, is_laid_out: false, state: State::Text, forgotten: 0 }
    }

    /// Takes bytes of this line.
    pub fn take(&mut self, bytes: &[u8]) {
        if self.written.is_empty() && !self.is_laid_out && !bytes.iter().any(|byte| is_special(*byte)) {
            self.written.extend_from_slice(bytes);
            return;
        }
        self.lay_out();
        for byte in bytes {
            self.byte(*byte);
        }
        if self.written.len() > MAX_KEPT {
            self.shrink();
        }
    }

    /// Its last state; the next line begins.
    pub fn finish(&mut self) -> Vec<u8> {
        let written = if self.is_laid_out { self.shown() } else { std::mem::take(&mut self.written) };
        let forgotten = self.forgotten;
        *self = Self::new(self.settings);
        match self.settings.max_line_bytes {
            0 => written,
            most if forgotten == 0 && written.len() <= most => written,
            most => cut(&written, forgotten, most),
        }
    }

    /// If lines are shown whole, however long they are: what must go now, since no line is kept without bounds.
    pub fn overflow(&mut self) -> Vec<u8> {
        if self.settings.max_line_bytes > 0 || self.written.len() < MAX_SHOWN {
            return Vec::new();
        }
        self.lay_out();
        let shown = self.shown();
        *self = Self { is_laid_out: true, state: self.state, ..Self::new(self.settings) };
        shown
    }

    fn lay_out(&mut self) {
        if !self.is_laid_out {
            self.is_laid_out = true;
            for byte in std::mem::take(&mut self.written) {
                self.byte(byte);
            }
        }
    }

    /// The columns in order, without blanks at the end, which are what erasing leaves.
    fn shown(&self) -> Vec<u8> {
        let mut shown: Vec<u8> = self.cells.iter().flat_map(|cell| &self.written[cell.clone()]).copied().collect();
        if self.settings.progress {
            let length = shown.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
            shown.truncate(length);
        }
        shown
    }

    fn byte(&mut self, byte: u8) {
        match self.state {
            State::Text => self.text(byte),
            // No sequence has such a byte: it was broken off.
            State::Escape | State::Between | State::Parameters(_) if byte >= 0x80 => {
                self.state = State::Text;
                self.text(byte);
            }
            state => {
                self.state = self.within(state, byte);
                if !self.settings.controls {
                    self.no_width(byte);
                }
            }
        }
    }

    fn text(&mut self, byte: u8) {
        let Settings { controls, progress, .. } = self.settings;
        match byte {
            b'\x1b' => {
                self.state = State::Escape;
                if !controls {
                    self.no_width(byte);
                }
            }
            b'\r' if progress => self.cursor = 0,
            b'\x08' if progress => self.cursor = self.cursor.saturating_sub(1),
            b'\t' | b'\r' | b'\x08' => self.put(byte),
            // The one-byte forms of sequences, as UTF-8 writes them.
            0x80..=0x9f if controls && self.last_is(0xc2) => self.one_byte_form(byte),
            0x80..=0xbf if self.cursor > 0 && self.is_at_end(self.cursor - 1) => self.no_width(byte),
            0..=0x1f | 0x7f if controls => {}
            _ => self.put(byte),
        }
    }

    fn one_byte_form(&mut self, byte: u8) {
        self.cursor -= 1;
        self.cells.truncate(self.cursor);
        match byte {
            0x9b => self.state = State::Parameters(None),
            0x90 | 0x98 | 0x9d..=0x9f => self.state = State::String,
            _ => {}
        }
    }

    /// A byte of a sequence; what the terminal would do at its end, as far as it is about this line.
    fn within(&mut self, state: State, byte: u8) -> State {
        match (state, byte) {
            (State::Escape | State::Between | State::Parameters(_), b'\x1b') => State::Escape,
            (State::Escape, b'[') => State::Parameters(None),
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => State::String,
            (State::Escape | State::Between, b' '..=b'/') => State::Between,
            (State::Parameters(number), b'0'..=b'9') => {
                let digit = usize::from(byte - b'0');
                State::Parameters(Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit)))
            }
            // Only the first number counts for what is about a line.
            (State::Parameters(_), b' '..=b'?') => State::Parameters(None),
            (State::Parameters(number), _) => {
                if self.settings.progress && self.settings.controls {
                    self.perform(byte, number);
                }
                State::Text
            }
            (State::String | State::StringEscape, b'\x1b') => State::StringEscape,
            (State::StringEscape, b'\\') | (State::String, b'\x07') => State::Text,
            (State::String | State::StringEscape, _) => State::String,
            (State::Text | State::Escape | State::Between, _) => State::Text,
        }
    }

    fn perform(&mut self, command: u8, number: Option<usize>) {
        let count = number.unwrap_or(1).max(1);
        match (command, number.unwrap_or(0)) {
            // Up to here, or all of it, as far as there is any.
            (b'K', 1) if self.cursor < MAX_COLUMN => {
                let blank = self.blank();
                let erased = self.cells.len().min(self.cursor + 1);
                self.cells[..erased].fill(blank);
            }
            (b'K', 1) => {}
            (b'K', 2) => {
                self.cells.clear();
                self.cursor = self.cursor.min(MAX_COLUMN);
            }
            (b'K' | b'J', _) => self.cells.truncate(self.cursor),
            (b'D', _) => self.cursor = self.cursor.saturating_sub(count),
            (b'C', _) => self.cursor = self.cursor.saturating_add(count).min(self.cells.len().max(MAX_COLUMN)),
            (b'G', _) => self.cursor = (count - 1).min(MAX_COLUMN),
            (b'P', _) if self.cells.len() < MAX_COLUMN => {
                let from = self.cursor.min(self.cells.len());
                self.cells.drain(from..from.saturating_add(count).min(self.cells.len()));
            }
            _ => {}
        }
        // Erased from before the middle on.
        if self.cells.len() < MAX_COLUMN {
            self.forgotten = 0;
        }
    }

    /// What stands in a column that was erased or passed over.
    fn blank(&mut self) -> Range<usize> {
        self.written.push(b' ');
        self.written.len() - 1..self.written.len()
    }

    /// Writes a byte at the cursor.
    fn put(&mut self, byte: u8) {
        if self.cursor > self.cells.len() {
            let blank = self.blank();
            self.cells.resize(self.cursor, blank);
        }
        let at = self.written.len();
        self.written.push(byte);
        match self.cells.get_mut(self.cursor) {
            Some(cell) => *cell = at..at + 1,
            None => self.cells.push(at..at + 1),
        }
        self.cursor += 1;
    }

    /// Adds a byte to what stands before the cursor: the rest of a character, a sequence that is kept.
    fn no_width(&mut self, byte: u8) {
        if self.cursor == 0 || !self.is_at_end(self.cursor - 1) {
            return self.put(byte);
        }
        self.written.push(byte);
        self.cells[self.cursor - 1].end += 1;
    }

    /// Whether what stands in this column was written last.
    fn is_at_end(&self, column: usize) -> bool {
        self.cells.get(column).is_some_and(|cell| cell.end == self.written.len())
    }

    fn last_is(&self, byte: u8) -> bool {
        self.cursor > 0 && self.is_at_end(self.cursor - 1) && self.written.last() == Some(&byte)
    }

    /// Forgets what was written over, and of what is left the middle.
    fn shrink(&mut self) {
        let mut kept = Vec::new();
        for cell in &mut self.cells {
            let at = kept.len();
            kept.extend_from_slice(&self.written[cell.clone()]);
            *cell = at..kept.len();
        }
        self.written = kept;
        if self.written.len() <= MAX_KEPT / 2 || self.settings.max_line_bytes == 0 {
            return;
        }
        let head = self.cells.partition_point(|cell| cell.end <= MAX_SHOWN);
        let tail = self.cells.partition_point(|cell| cell.start < self.written.len() - MAX_SHOWN);
        self.forgotten += self.cells[head..tail].iter().map(Range::len).sum::<usize>();
        self.cells.drain(head..tail);
        // One that stood in what is forgotten stands behind the beginning that is left.
        self.cursor = if self.cursor < tail { self.cursor.min(head) } else { self.cursor - (tail - head) };
    }
}

/// Whether a byte makes a line one that must be laid out in columns.
fn is_special(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f || byte == 0xc2
}

/// Both ends of a line, with what is between them counted: at most so many bytes.
fn cut(line: &[u8], forgotten: usize, most: usize) -> Vec<u8> {
    const ROOM: usize = 40;
    // A line whose middle is forgotten may have been erased to less than that since.
    let half = ((most - ROOM) / 2).min(line.len());
    let is_inside = |at: usize| line.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let head = (half.saturating_sub(3)..=half).rev().find(|at| !is_inside(*at)).unwrap_or(half);
    let tail = (line.len() - half).max(head);
    let tail = (tail..=(tail + 3).min(line.len())).find(|at| !is_inside(*at)).unwrap_or(tail);
    let count = tail - head + forgotten;
    [&line[..head], format!("[… {count} bytes cut …]").as_bytes(), &line[tail..]].concat()
}
