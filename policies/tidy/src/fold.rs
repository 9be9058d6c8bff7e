//! Equal lines in a row, counted.

/// The lines that came last.
pub struct Fold {
    /// How many equal ones are shown; 0: all.
    after: usize,
    last: Option<Vec<u8>>,
    /// How many of them were shown, and how many were not.
    shown: usize,
    hidden: usize,
}

impl Fold {
    /// Before the first line.
    pub fn new(after: usize) -> Self {
        Self { after, last: None, shown: 0, hidden: 0 }
    }

    /// Takes a line; `ended`: with a newline. What is not ended is the last one, and nothing if it is empty.
    pub fn line(&mut self, line: &[u8], ended: bool, out: &mut Vec<u8>) {
        let is_repeated = self.after > 0 && self.last.as_deref() == Some(line);
        if !ended && line.is_empty() {
            return self.tell(out);
        }
        if is_repeated && self.shown == self.after {
            self.hidden += 1;
            if !ended {
                self.tell(out);
            }
            return;
        }
        self.tell(out);
        self.shown = if is_repeated { self.shown + 1 } else { 1 };
        if !is_repeated && self.after > 0 {
            self.last = Some(line.to_vec());
        }
        out.extend_from_slice(line);
        if ended {
            out.push(b'\n');
        }
    }

    /// Says what was not shown. One line alone is shorter than a word about it.
    fn tell(&mut self, out: &mut Vec<u8>) {
        let hidden = std::mem::take(&mut self.hidden);
        match (hidden, self.last.as_deref()) {
            (0, _) | (_, None) => {}
            (1, Some(line)) => {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
            (hidden, Some(b"")) => out.extend(format!("[… {hidden} more empty lines]\n").bytes()),
            (hidden, _) => out.extend(format!("[… {hidden} more lines like this]\n").bytes()),
        }
    }
}
