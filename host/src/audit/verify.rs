//! Whether a log is as it was written: each line linked to the one before.

use std::fmt;

use super::{
    files::{Line, Place, Text},
    link::{Head, Link},
};
use crate::digest::Digest;

/// Most faults, and most torn lines, that are named one by one. Whoever garbles a log could else make the report as long as the
/// log.
const MOST_NAMED: usize = 100;

/// Goes through the lines of a log in their order.
#[derive(Debug)]
pub struct Verifier {
    /// What was kept of the log elsewhere, until it is met.
    wanted: Option<Head>,
    findings: Findings,
    /// The last record.
    last: Option<(Head, Place)>,
    /// What came behind it and is no record.
    strays: Strays,
}

/// What was found.
#[derive(Debug)]
pub struct Findings {
    /// Number of the first line, torn ones in front of the first record counted; none if there is no record.
    pub first: Option<u64>,
    /// The last record.
    pub head: Head,
    /// What is wrong, in the order of the lines.
    pub faults: Named<Fault>,
    /// Lines that whoever wrote the next one found to be torn, and said so by linking to them: portcullis or the machine stopped
    /// while they were written, so that what they would have recorded did not happen.
    pub torn: Named<()>,
}

/// Things with their places; beyond a hundred they are only counted.
#[derive(Debug)]
pub struct Named<T> {
    /// The first of them.
    pub named: Vec<(Place, T)>,
    /// How many there are in all.
    pub count: u64,
}

/// What is wrong at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The line after this one does not link to it.
    Changed(u64),
    /// Numbers that should stand before this line.
    Missing {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// The number does not follow the one before.
    OutOfOrder {
        /// The number.
        number: u64,
        /// The one before.
        after: u64,
    },
    /// The chain begins a second time.
    Anew,
    /// The first of all lines has something before it that is not there.
    NoBeginning,
    /// Not what portcullis writes.
    NoRecord,
    /// The last line ends without a newline and is no record.
    TornEnd,
    /// The line is another than the one that the head names.
    NotTheHead(u64),
    /// The log ends before the head.
    CutEnd(Head),
    /// The log begins after the head.
    HeadNotKept(Head),
}

/// Lines that are no records, between two that are.
#[derive(Debug, Default)]
struct Strays {
    places: Vec<Place>,
    count: u64,
    /// Of the last one; none if it is too long to have been torn.
    hash: Option<Digest>,
    ends_torn: bool,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { named: Vec::new(), count: 0 }
    }
}

impl<T> Named<T> {
    fn add(&mut self, place: &Place, what: T) {
        self.count += 1;
        if self.named.len() < MOST_NAMED {
            self.named.push((place.clone(), what));
        }
    }
}

impl Verifier {
    /// With the head that the log had at some time, if that is known.
    pub fn new(wanted: Option<Head>) -> Self {
        let findings = Findings { first: None, head: Head::START, faults: Named::default(), torn: Named::default() };
        Self { wanted: wanted.filter(|head| *head != Head::START), findings, last: None, strays: Strays::default() }
    }

    /// Looks at the next line.
    pub fn line(&mut self, line: &Line) {
        match line.text.bytes().map(|bytes| (bytes, Link::of(bytes))) {
            Some((bytes, Some(link))) => self.record(&line.place, link, bytes),
            _ => self.strays.add(line),
        }
    }

    /// What was found, when there are no more lines. `end` is where something is said that has no line.
    pub fn finish(mut self, end: &Place) -> Findings {
        let strays = std::mem::take(&mut self.strays);
        match strays.places.last() {
            Some(place) if strays.count == 1 && strays.ends_torn => self.findings.faults.add(place, Fault::TornEnd),
            _ => self.foreign(&strays),
        }
        if let Some(wanted) = self.wanted {
            let is_before = self.findings.first.is_some_and(|first| wanted.number < first);
            let place = self.last.map_or_else(|| end.clone(), |(_, place)| place);
            let fault = if is_before { Fault::HeadNotKept(wanted) } else { Fault::CutEnd(wanted) };
            // One that should stand in between was told to be missing already.
            if is_before || wanted.number > self.findings.head.number {
                self.findings.faults.add(&place, fault);
            }
        }
        self.findings
    }

    fn record(&mut self, place: &Place, link: Link, bytes: &[u8]) {
        let strays = std::mem::take(&mut self.strays);
        let last = self.last.take();
        let before = last.as_ref().map_or(Head::START, |(head, _)| *head);
        let expected = strays.behind(before);
        if link.follows(expected) {
            strays.places.iter().for_each(|place| self.findings.torn.add(place, ()));
            self.findings.torn.count += strays.count - strays.places.len() as u64;
        } else {
            self.foreign(&strays);
            // What passed over lines that are none of the log's is told by them.
            let fault = self.broken(link, last.as_ref(), expected.number).filter(|_| !link.follows(before));
            if let Some(fault) = fault {
                let at = last.as_ref().filter(|_| matches!(fault, Fault::Changed(_))).map_or(place, |(_, place)| place);
                self.findings.faults.add(at, fault);
            }
        }
        let head = Head { number: link.number, hash: Digest::of(bytes) };
        if self.wanted.is_some_and(|wanted| wanted.number == head.number) && self.wanted.take() != Some(head) {
            self.findings.faults.add(place, Fault::NotTheHead(head.number));
        }
        let torn = if link.follows(expected) { strays.count } else { 0 };
        self.findings.first.get_or_insert(head.number - torn);
        self.findings.head = head;
        self.last = Some((head, place.clone()));
    }

    /// What it means that a record does not link to what stands before it; nothing if that is no record and was told already.
    fn broken(&self, link: Link, last: Option<&(Head, Place)>, before: u64) -> Option<Fault> {
        let begins = link.number == 1 && link.previous == Head::START.hash;
        match last {
            // The lines before the first one may have been rotated away.
            None if link.number > 1 || begins => None,
            None => Some(Fault::NoBeginning),
            Some(_) if begins => Some(Fault::Anew),
            Some(_) if link.number <= before => Some(Fault::OutOfOrder { number: link.number, after: before }),
            Some(_) if link.number > before + 1 => Some(Fault::Missing { from: before + 1, to: link.number - 1 }),
            Some((head, _)) => (head.number == before).then_some(Fault::Changed(before)),
        }
    }

    fn foreign(&mut self, strays: &Strays) {
        for place in &strays.places {
            self.findings.faults.add(place, Fault::NoRecord);
        }
        self.findings.faults.count += strays.count - strays.places.len() as u64;
    }
}

impl Link {
    fn follows(self, head: Head) -> bool {
        head.number.checked_add(1) == Some(self.number) && self.previous == head.hash
    }
}

impl Strays {
    fn add(&mut self, line: &Line) {
        self.count += 1;
        if self.places.len() < MOST_NAMED {
            self.places.push(line.place.clone());
        }
        self.hash = line.text.bytes().map(Digest::of);
        self.ends_torn = matches!(line.text, Text::Torn(_));
    }

    /// What a record behind them links to.
    fn behind(&self, head: Head) -> Head {
        let hash = if self.count == 0 { head.hash } else { self.hash.unwrap_or(Head::START.hash) };
        Head { number: head.number.saturating_add(self.count), hash }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(number) => write!(f, "number {number} was changed: the line after it does not link to it"),
            Self::Missing { from, to } if from == to => write!(f, "number {from} is missing before this line"),
            Self::Missing { from, to } => write!(f, "numbers {from} to {to} are missing before this line"),
            Self::OutOfOrder { number, after } => write!(f, "number {number} stands behind number {after}: out of order"),
            Self::Anew => f.write_str("the chain begins anew, and does not go on from the line before"),
            Self::NoBeginning => f.write_str("the line before it is missing"),
            Self::NoRecord => f.write_str("this is no record"),
            Self::TornEnd => {
                f.write_str("the last line is torn: it was being written when portcullis or the machine stopped, or was cut")
            }
            Self::NotTheHead(number) => {
                write!(
                    f,
                    "number {number} is not the line that the head names: it or one before it was changed, and all since linked anew"
                )
            }
            Self::CutEnd(head) => write!(f, "the log ends here, before number {} of the head: its end was cut off", head.number),
            Self::HeadNotKept(head) => {
                write!(f, "the log begins after number {} of the head, which so says nothing of it", head.number)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::{prelude::*, sample::Index};

    use super::*;
    use crate::audit::Files;

    /// What somebody may do to a log.
    #[derive(Clone, Debug)]
    enum Edit {
        Byte(Index, u8),
        Insert(Index, Vec<u8>),
        Remove(Index, Index),
        Swap(Index, Index),
        Copy(Index, Index),
    }

    fn edits() -> impl Strategy<Value = Edit> {
        let at = any::<Index>;
        let text = prop_oneof![any::<Vec<u8>>(), Just(b"\n".to_vec()), Just(b"{}\n".to_vec()), Just(b" ".to_vec())];
        prop_oneof![
            (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
            (at(), text).prop_map(|(at, text)| Edit::Insert(at, text)),
            (at(), at()).prop_map(|(from, to)| Edit::Remove(from, to)),
            (at(), at()).prop_map(|(one, other)| Edit::Swap(one, other)),
            (at(), at()).prop_map(|(from, to)| Edit::Copy(from, to)),
        ]
    }

    fn edit(log: &[u8], edit: &Edit) -> Vec<u8> {
        let mut bytes = log.to_vec();
        let mut lines: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
        match edit {
            Edit::Byte(at, byte) => bytes[at.index(log.len())] = *byte,
            Edit::Insert(at, text) => _ = bytes.splice(at.index(log.len())..at.index(log.len()), text.iter().copied()),
            Edit::Remove(from, to) => {
                let (from, to) = (from.index(log.len()), to.index(log.len()));
                bytes.drain(from.min(to)..from.max(to));
            }
            Edit::Swap(one, other) => {
                let count = lines.len();
                lines.swap(one.index(count), other.index(count));
                bytes = lines.concat();
            }
            Edit::Copy(from, to) => {
                lines.insert(to.index(lines.len()), lines[from.index(lines.len())]);
                bytes = lines.concat();
            }
        }
        bytes
    }

    fn found(log: &[u8], wanted: Option<Head>) -> Findings {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), log).unwrap();
        let files = Files::named(&[file.path().to_owned()]).unwrap();
        let end = files.newest();
        let mut verifier = Verifier::new(wanted);
        files.lines().for_each(|line| verifier.line(&line.unwrap()));
        verifier.finish(&end)
    }

    fn chain(count: usize) -> (Vec<u8>, Head) {
        let (mut log, mut head) = (Vec::new(), Head::START);
        for number in 0..count {
            let line = Link::line(head, &format!(r#"{{"event":"{number}"}}"#));
            head = head.and(line.as_bytes()).unwrap();
            log.extend_from_slice(line.as_bytes());
            log.push(b'\n');
        }
        (log, head)
    }

    proptest! {
        /// But for a beginning that is gone, as after a rotation.
        #[test]
        fn against_its_head_nothing_can_be_done_to_a_log(count in 1usize..8, edits in prop::collection::vec(edits(), 1..4)) {
            let (log, head) = chain(count);
            let edited = edits.iter().fold(log.clone(), |log, one| if log.is_empty() { log } else { edit(&log, one) });
            let findings = found(&edited, Some(head));
            let with_newline = [edited.strip_suffix(b"\n").unwrap_or(&edited), b"\n"].concat();
            let is_rest = !edited.is_empty() && log.ends_with(&with_newline)
                && (with_newline.len() == log.len() || log[log.len() - with_newline.len() - 1] == b'\n');
            prop_assert_eq!(findings.faults.count == 0, is_rest, "{:?}", findings);
        }
    }

    #[test]
    fn a_head_of_lines_that_are_no_longer_kept_says_nothing() {
        let (log, head) = chain(5);
        let early = found(&log[..log.iter().position(|byte| *byte == b'\n').unwrap() + 1], None).head;
        let rest: Vec<u8> = log.split_inclusive(|byte| *byte == b'\n').skip(2).flatten().copied().collect();
        assert_eq!(found(&rest, Some(head)).faults.count, 0);
        assert_eq!(found(&rest, Some(early)).faults.named[0].1, Fault::HeadNotKept(early));
        assert_eq!(found(b"", Some(early)).faults.named[0].1, Fault::CutEnd(early));
        assert_eq!(found(b"", None).head, Head::START);
    }

    #[test]
    fn a_garbled_log_makes_no_endless_report() {
        let findings = found(&b"x\n".repeat(10_000), None);
        assert_eq!((findings.faults.count, findings.faults.named.len()), (10_000, MOST_NAMED));
    }
}
