//! Triggers: the byte strings without which a line can not interest a filter, found natively at the speed of the pipe.
//!
//! A filter's sandbox is entered for lines that contain one, so this is what every byte of output passes.

mod fingerprints;

use fingerprints::{Fingerprints, LEAST_BYTES, MOST_OFFSET};

/// Most triggers of one filter; more would be a policy that wants to slow every stream.
const MOST_TRIGGERS: usize = 1024;
/// Shortest and longest trigger, in bytes. Two bytes occur everywhere.
const TRIGGER_BYTES: std::ops::RangeInclusive<usize> = LEAST_BYTES..=64;

/// How what sets colours begins: programs put it into the midst of words.
const ESCAPE: u8 = 0x1b;

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
    /// For each byte, the triggers that may begin with it.
    by_first_byte: Vec<Vec<u16>>,
    fingerprints: Fingerprints,
    longest: usize,
}

impl Triggers {
    /// Checks the list and prepares the search.
    pub fn new(triggers: Vec<Trigger>) -> Result<Self, TriggerError> {
        check(&triggers)?;
        let longest = triggers.iter().map(|trigger| trigger.text.len()).max().unwrap_or(0);
        Ok(Self { by_first_byte: by_first_byte(&triggers), fingerprints: Fingerprints::new(&triggers), triggers, longest })
    }

    /// Whether there are none, so that the filter wants to see everything.
    pub fn is_empty(&self) -> bool {
        self.triggers.is_empty()
    }

    /// The first of the list.
    pub(super) fn first(&self) -> Option<&Trigger> {
        self.triggers.first()
    }

    /// Where the first trigger begins.
    pub(super) fn find(&self, haystack: &[u8]) -> Option<usize> {
        let begin = |at| self.begin(haystack, at);
        let mut found = self.fingerprints.next(haystack, 0, begin)?;
        let mut first = found.begin;
        // A fingerprint found later may belong to a trigger that begins earlier, but only so far behind.
        let near = |first: usize| &haystack[..haystack.len().min(first + MOST_OFFSET + LEAST_BYTES)];
        while let Some(next) = self.fingerprints.next(near(first), found.at + 1, begin) {
            first = first.min(next.begin);
            found = next;
        }
        Some(first)
    }

    /// Where the first trigger begins that has its fingerprint at `at`.
    fn begin(&self, haystack: &[u8], at: usize) -> Option<usize> {
        let possible = self.fingerprints.at(haystack.get(at..)?);
        let begins = possible.filter_map(|fingerprint| {
            let begin = at.checked_sub(usize::from(fingerprint.offset))?;
            self.triggers[usize::from(fingerprint.trigger)].stands_at(&haystack[begin..]).then_some(begin)
        });
        begins.min()
    }

    /// Where the longest suffix begins that is a proper beginning of a trigger: what must be kept back because the next bytes
    /// may complete it. The length of `bytes` if there is none.
    pub(super) fn unfinished_from(&self, bytes: &[u8]) -> usize {
        let earliest = bytes.len().saturating_sub(self.longest.saturating_sub(1));
        let begins = |from: &usize| self.starting_with(bytes[*from]).any(|trigger| trigger.begins_with(&bytes[*from..]));
        (earliest..bytes.len()).find(begins).unwrap_or(bytes.len())
    }

    /// Where the first trigger begins before `stop` that an escape there or behind parts. `stop` if there is none.
    pub(super) fn parted_from(&self, bytes: &[u8], stop: usize) -> usize {
        let earliest = stop.saturating_sub(self.longest.saturating_sub(1));
        let near = &bytes[..bytes.len().min(stop + self.longest)];
        let Some(escape) = memchr::memchr(ESCAPE, &near[stop..]).map(|at| stop + at) else { return stop };
        let begins = |from: &usize| self.starting_with(bytes[*from]).any(|trigger| trigger.begins_with(&bytes[*from..escape]));
        (earliest..stop).find(begins).unwrap_or(stop)
    }

    fn starting_with(&self, first: u8) -> impl Iterator<Item = &Trigger> {
        self.by_first_byte[usize::from(first)].iter().map(|index| &self.triggers[usize::from(*index)])
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
}

fn by_first_byte(triggers: &[Trigger]) -> Vec<Vec<u16>> {
    let starting_with = |first: u8| {
        let starts = |(_, trigger): &(u16, &Trigger)| trigger.equals(&[first], &trigger.text[..1]);
        (0..).zip(triggers).filter(starts).map(|(index, _)| index).collect()
    };
    (0..=u8::MAX).map(starting_with).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn triggers(texts: &[(&str, bool)]) -> Triggers {
        let list = texts.iter().map(|(text, ignore_case)| Trigger { text: text.as_bytes().to_vec(), ignore_case: *ignore_case });
        Triggers::new(list.collect()).unwrap()
    }

    fn finds(triggers: &Triggers, haystack: &[u8]) -> Vec<usize> {
        let mut from = 0;
        let next = || {
            let at = from + triggers.find(&haystack[from..])?;
            from = at + 1;
            Some(at)
        };
        std::iter::from_fn(next).collect()
    }

    fn plainly(triggers: &Triggers, haystack: &[u8]) -> Vec<usize> {
        let begins = |at: &usize| triggers.triggers.iter().any(|trigger| trigger.stands_at(&haystack[*at..]));
        (0..haystack.len()).filter(begins).collect()
    }

    #[test]
    fn finds_what_a_plain_search_finds() {
        let triggers =
            triggers(&[("AKIA", false), ("eyJ", false), ("password", true), ("pass-it", true), ("token", true), ("://", false)]);
        let haystack = b"akia AKIA passw pAssWord eyeyJ toke TOKENtoken pas PASSWORD eyJ http://x".repeat(40);
        assert_eq!(finds(&triggers, &haystack), plainly(&triggers, &haystack));
        for length in 0..100 {
            assert_eq!(finds(&triggers, &haystack[..length]), plainly(&triggers, &haystack[..length]), "{length} bytes");
        }
    }

    #[test]
    fn a_trigger_that_begins_earlier_counts_though_its_fingerprint_is_later() {
        let triggers = triggers(&[("aaaaaaazqx", false), ("aazq", false), ("eee", false)]);
        for haystack in ["aaaaaaazqx", "xx aaaaaaazqx", "eaaaaaaazqxeee", "aazqaaaaaaazqx"] {
            assert_eq!(finds(&triggers, haystack.as_bytes()), plainly(&triggers, haystack.as_bytes()), "{haystack}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_triggers_are_found_in_any_text(
            texts in proptest::collection::vec(("[abcAB_-]{3,9}", proptest::bool::ANY), 1..90),
            haystack in "[abcAB_-]{0,400}",
        ) {
            let list = texts.into_iter().map(|(text, ignore_case)| Trigger { text: text.into_bytes(), ignore_case });
            let triggers = Triggers::new(list.collect()).unwrap();
            proptest::prop_assert_eq!(finds(&triggers, haystack.as_bytes()), plainly(&triggers, haystack.as_bytes()));
        }
    }

    #[test]
    fn keeps_back_only_what_may_become_a_trigger() {
        let triggers = triggers(&[("AKIA", false), ("secret", true)]);
        for (text, kept) in
            [("", ""), ("x AKI", "AKI"), ("x AKIA", "A"), ("SECRE", "SECRE"), ("akia", ""), ("s", "s"), ("secret", "")]
        {
            assert_eq!(&text[triggers.unfinished_from(text.as_bytes())..], kept, "in {text:?}");
        }
    }

    #[test]
    fn a_trigger_begins_where_an_escape_parts_it() {
        let triggers = triggers(&[("xkeysib-", false), ("key", true), ("secret", true), ("\x1b[1", false)]);
        for (text, stop, begin) in [
            ("a SEC\x1b[1mret", 5, 2),
            ("a SEC\x1b[1mret", 4, 2),
            ("xkeysi\x1b[1mb-", 1, 0),
            ("xkeysi b-\x1b[1m", 1, 1),
            ("a sec\x1b", 5, 2),
            ("a sek\x1b[1mret", 5, 4),
            ("\x1b[1mkey", 4, 4),
            ("sec\x1b[?25h ke", 10, 10),
            ("", 0, 0),
        ] {
            assert_eq!(triggers.parted_from(text.as_bytes(), stop), begin, "in {text:?}");
        }
    }

    #[test]
    fn refuses_what_the_contract_excludes() {
        let one = |text: &[u8]| Triggers::new(vec![Trigger { text: text.to_vec(), ignore_case: false }]).err();
        assert_eq!(one(b"ab"), Some(TriggerError::Length(0, 2)));
        assert_eq!(one(&[b'x'; 65]), Some(TriggerError::Length(0, 65)));
        assert_eq!(one(b"a\nb"), Some(TriggerError::Newline(0)));
        let many = vec![Trigger { text: b"abc".to_vec(), ignore_case: false }; 1025];
        assert_eq!(Triggers::new(many).err(), Some(TriggerError::TooMany(1025)));
    }
}
