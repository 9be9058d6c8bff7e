//! What filters took out of a job's output, counted by kind.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

/// Most kinds that are told apart. A policy that invents more would make a record of a job without bounds.
const MOST_KINDS: usize = 256;
/// What is beyond them is counted as this.
const OTHER: &str = "other";

/// The counts of one job, of both its streams; they grow while it runs. Never what was taken out.
#[derive(Debug, Default)]
pub struct Findings(Mutex<BTreeMap<String, u64>>);

impl Findings {
    /// How many there were of each kind, until now.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.lock().clone()
    }

    pub(super) fn add(&self, kind: &str, count: u32) {
        let mut counts = self.lock();
        let kind = if counts.len() < MOST_KINDS || counts.contains_key(kind) { kind } else { OTHER };
        match counts.get_mut(kind) {
            Some(known) => *known = known.saturating_add(count.into()),
            None => _ = counts.insert(kind.to_owned(), count.into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_summed_up_and_bounded() {
        let findings = Findings::default();
        for number in 0..1000 {
            findings.add(&format!("kind-{number}"), 2);
        }
        findings.add("kind-7", 1);
        let counts = findings.counts();
        assert_eq!(counts.len(), MOST_KINDS + 1);
        assert_eq!((counts["kind-7"], counts[OTHER]), (3, 2 * (1000 - MOST_KINDS as u64)));
    }
}
