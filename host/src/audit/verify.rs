//! Whether a log is as it was written: each line linked to the one before.

use std::fmt;

use super::{
    files::{Line, Place, Text},
    link::{Head, Link},
};
use crate::digest::Digest;

/// Most faults, and most torn lines, that are named one by one. Whoever garbles a log could else make the report as long as the log.
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
    /// Number of the first record; none if there is no record.
    pub first: Option<u64>,
    /// The last record.
    pub head: Head,
    /// What is wrong, in the order of the lines.
    pub faults: Named<Fault>,
    /// Lines that whoever wrote the next one found to be torn, and said so by linking to them: portcullis or the machine stopped while
    /// they were written, so that what they would have recorded did not happen.
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
            if let Some(fault) = self.broken(link, last.as_ref(), expected.number) {
                let at = last.as_ref().filter(|_| matches!(fault, Fault::Changed(_))).map_or(place, |(_, place)| place);
                self.findings.faults.add(at, fault);
            }
        }
        let head = Head { number: link.number, hash: Digest::of(bytes) };
        if self.wanted.is_some_and(|wanted| wanted.number == head.number) && self.wanted.take() != Some(head) {
            self.findings.faults.add(place, Fault::NotTheHead(head.number));
        }
        self.findings.first.get_or_insert(head.number);
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
