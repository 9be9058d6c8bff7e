//! Triggers: the byte strings without which a line can not interest a filter, found natively at the speed of the pipe.
//!
//! A filter's sandbox is entered for lines that contain one, so this is what every byte of output passes. The search is Teddy
//! (the packed searcher of `aho-corasick`) over a few bytes of each trigger in each case it may have, then a comparison.

use aho_corasick::{
    AhoCorasick, Span,
    packed::{Config, MatchKind, Searcher},
};

/// Most triggers of one filter; more would be a policy that wants to slow every stream.
const MOST_TRIGGERS: usize = 256;
/// Shortest and longest trigger, in bytes. Two bytes occur everywhere.
const TRIGGER_BYTES: std::ops::RangeInclusive<usize> = 3..=64;
/// Bytes of a trigger that ignores case which are searched for in all their cases: sixteen forms at most.
const NEEDLE_BYTES: usize = 4;
/// Most needles of one searcher: beyond this Teddy gives way to something slower.
const MOST_NEEDLES: usize = 64;

/// One trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The bytes, without a newline.
    pub text: Vec<u8>,
    /// Whether ASCII letters match in either case.
    pub ignore_case: bool,
}

/// Why a list of triggers was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TriggerError {
    /// Too many.
    #[error("it names {0} triggers; at most {MOST_TRIGGERS} are allowed")]
    TooMany(usize),
    /// One is too short or too long.
    #[error("its trigger {0} has {1} bytes; {least} to {most} are allowed", least = TRIGGER_BYTES.start(), most = TRIGGER_BYTES.end())]
    Length(usize, usize),
    /// One can never occur inside a line.
    #[error("its trigger {0} holds a newline, which no line does")]
    Newline(usize),
}

/// A filter's triggers, ready to be searched for. Empty: the filter sees everything.
pub struct Triggers {
    triggers: Vec<Trigger>,
    searchers: Vec<Needles>,
    longest: usize,
}

impl Triggers {
    /// Checks the list and prepares the search.
    pub fn new(triggers: Vec<Trigger>) -> Result<Self, TriggerError> {
        check(&triggers)?;
        let longest = triggers.iter().map(|trigger| trigger.text.len()).max().unwrap_or(0);
        Ok(Self { searchers: Needles::of(&triggers), triggers, longest })
    }

    /// Whether there are none, so that the filter wants to see everything.
    pub fn is_empty(&self) -> bool {
        self.triggers.is_empty()
    }

    /// Starts a search through one piece of a stream.
    pub(super) fn scan<'a>(&'a self, haystack: &'a [u8]) -> Scan<'a> {
        Scan { triggers: self, haystack, next: vec![Next::Unknown; self.searchers.len()] }
    }

    /// Where the longest suffix begins that is a proper beginning of a trigger: what must be kept back because the next bytes
    /// may complete it. The length of `bytes` if there is none.
    pub(super) fn unfinished_from(&self, bytes: &[u8]) -> usize {
        let earliest = bytes.len().saturating_sub(self.longest.saturating_sub(1));
        let begins = |from: &usize| self.triggers.iter().any(|trigger| trigger.begins_with(&bytes[*from..]));
        (earliest..bytes.len()).find(begins).unwrap_or(bytes.len())
    }

    fn matches_at(&self, haystack: &[u8], at: usize) -> bool {
        self.triggers.iter().any(|trigger| trigger.stands_at(&haystack[at..]))
    }
}

impl Trigger {
    fn stands_at(&self, bytes: &[u8]) -> bool {
        bytes.get(..self.text.len()).is_some_and(|head| self.equals(head, &self.text))
    }

    fn begins_with(&self, bytes: &[u8]) -> bool {
        bytes.len() < self.text.len() && self.equals(bytes, &self.text[..bytes.len()])
    }

    fn equals(&self, bytes: &[u8], text: &[u8]) -> bool {
        if self.ignore_case { bytes.eq_ignore_ascii_case(text) } else { bytes == text }
    }

    fn needles(&self) -> Vec<Vec<u8>> {
        if !self.ignore_case {
            return vec![self.text.clone()];
        }
        let head = &self.text[..self.text.len().min(NEEDLE_BYTES)];
        head.iter().fold(vec![Vec::new()], |needles, byte| {
            let (lower, upper) = (byte.to_ascii_lowercase(), byte.to_ascii_uppercase());
            let cases: &[u8] = if lower == upper { &[lower] } else { &[lower, upper] };
            needles
                .iter()
                .flat_map(|needle| cases.iter().map(|case| [needle.as_slice(), &[*case]].concat()))
                .collect()
        })
    }
}

/// A search through one piece, from left to right. Each searcher's next find is remembered, so that a piece with many finds of
/// one is not searched again and again for those of another.
pub(super) struct Scan<'a> {
    triggers: &'a Triggers,
    haystack: &'a [u8],
    next: Vec<Next>,
}

#[derive(Clone, Copy)]
enum Next {
    Unknown,
    At(usize),
    None,
}

impl Scan<'_> {
    /// Where the first trigger at or behind `from` begins. Calls must not go backwards.
    pub(super) fn find(&mut self, from: usize) -> Option<usize> {
        (0..self.next.len()).filter_map(|which| self.find_of(which, from)).min()
    }

    fn find_of(&mut self, which: usize, from: usize) -> Option<usize> {
        match self.next[which] {
            Next::None => return None,
            Next::At(at) if at >= from => return Some(at),
            Next::At(_) | Next::Unknown => {}
        }
        let mut from = from;
        let found = loop {
            match self.triggers.searchers[which].find(self.haystack, from) {
                None => break None,
                Some(at) if self.triggers.matches_at(self.haystack, at) => break Some(at),
                Some(at) => from = at + 1,
            }
        };
        self.next[which] = found.map_or(Next::None, Next::At);
        found
    }
}

fn check(triggers: &[Trigger]) -> Result<(), TriggerError> {
    if triggers.len() > MOST_TRIGGERS {
        return Err(TriggerError::TooMany(triggers.len()));
    }
    for (index, Trigger { text, .. }) in triggers.iter().enumerate() {
        if !TRIGGER_BYTES.contains(&text.len()) {
            return Err(TriggerError::Length(index, text.len()));
        }
        if text.contains(&b'\n') {
            return Err(TriggerError::Newline(index));
        }
    }
    Ok(())
}

/// A searcher for up to [`MOST_NEEDLES`] needles.
enum Needles {
    Packed(Searcher),
    /// For processors without the instructions that Teddy needs.
    Automaton(AhoCorasick),
}

impl Needles {
    fn of(triggers: &[Trigger]) -> Vec<Self> {
        let mut needles: Vec<Vec<u8>> = triggers.iter().flat_map(Trigger::needles).collect();
        // Long ones together: Teddy looks at as many bytes as the shortest of its needles has, up to four.
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        needles.chunks(MOST_NEEDLES).map(Self::new).collect()
    }

    fn new(needles: &[Vec<u8>]) -> Self {
        let packed = Config::new().match_kind(MatchKind::LeftmostFirst).only_teddy(true).builder().extend(needles).build();
        packed.map_or_else(
            || Self::Automaton(AhoCorasick::new(needles).expect("64 short needles are far below the automaton's limits")),
            Self::Packed,
        )
    }

    fn find(&self, haystack: &[u8], from: usize) -> Option<usize> {
        let rest = Span { start: from, end: haystack.len() };
        match self {
            Self::Packed(searcher) => searcher.find_in(haystack, rest).map(|found| found.start()),
            Self::Automaton(automaton) => {
                automaton.find(aho_corasick::Input::new(haystack).span(rest)).map(|found| found.start())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triggers(texts: &[(&str, bool)]) -> Triggers {
        let list = texts.iter().map(|(text, ignore_case)| Trigger { text: text.as_bytes().to_vec(), ignore_case: *ignore_case });
        Triggers::new(list.collect()).unwrap()
    }

    fn finds(triggers: &Triggers, haystack: &[u8]) -> Vec<usize> {
        let mut scan = triggers.scan(haystack);
        let mut from = 0;
        std::iter::from_fn(|| scan.find(from).inspect(|at| from = at + 1)).collect()
    }

    #[test]
    fn finds_what_a_plain_search_finds() {
        let triggers = triggers(&[("AKIA", false), ("eyJ", false), ("password", true), ("pass-it", true), ("token", true)]);
        let haystack = b"akia AKIA passw pAssWord eyeyJ toke TOKENtoken pas PASSWORD eyJ".repeat(40);
        let naive = |at: &usize| triggers.matches_at(&haystack, *at);
        assert_eq!(finds(&triggers, &haystack), (0..haystack.len()).filter(naive).collect::<Vec<_>>());
    }

    #[test]
    fn the_fallback_finds_the_same() {
        let needles: Vec<Vec<u8>> = ["abcd", "abx", "zzz"].iter().map(|text| text.as_bytes().to_vec()).collect();
        let automaton = Needles::Automaton(AhoCorasick::new(&needles).unwrap());
        let packed = Needles::new(&needles);
        let haystack = b"ab abx abcd zz zzz ".repeat(20);
        for from in 0..haystack.len() {
            assert_eq!(automaton.find(&haystack, from), packed.find(&haystack, from), "from {from}");
        }
    }

    #[test]
    fn keeps_back_only_what_may_become_a_trigger() {
        let triggers = triggers(&[("AKIA", false), ("secret", true)]);
        for (text, kept) in [("", ""), ("x AKI", "AKI"), ("x AKIA", "A"), ("SECRE", "SECRE"), ("akia", ""), ("s", "s"), ("secret", "")] {
            assert_eq!(&text[triggers.unfinished_from(text.as_bytes())..], kept, "in {text:?}");
        }
    }

    #[test]
    fn refuses_what_the_contract_excludes() {
        let one = |text: &[u8]| Triggers::new(vec![Trigger { text: text.to_vec(), ignore_case: false }]).err();
        assert_eq!(one(b"ab"), Some(TriggerError::Length(0, 2)));
        assert_eq!(one(&[b'x'; 65]), Some(TriggerError::Length(0, 65)));
        assert_eq!(one(b"a\nb"), Some(TriggerError::Newline(0)));
        let many = vec![Trigger { text: b"abc".to_vec(), ignore_case: false }; 257];
        assert_eq!(Triggers::new(many).err(), Some(TriggerError::TooMany(257)));
    }
}
