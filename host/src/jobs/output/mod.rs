//! The output of a job, kept up to a limit: each stream by itself, and the order in which they came.
//!
//! ```text
//! Chunk ─▶ Output ─┬▶ Track stdout ─┬▶ head: Stretch   blocks of bytes, lines before each, arrivals
//!                  └▶ Track stderr  └▶ tail: Stretch   rolls; between the two is the gap
//! ```
//!
//! Positions are bytes since the beginning of a stream (or of both, in their order), whatever fell out since; a line is found by
//! the number of lines before each block. Nothing but filtered bytes gets here.

mod budget;
mod cursor;
mod merged;
mod renewal;
mod search;
mod spill;
mod stretch;
mod track;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};

pub use budget::Budget;
pub use cursor::{Cursor, CursorError, View};
pub use merged::Entry;
pub(super) use renewal::is_abandoned;
pub use search::{Found, Line, Match, Search};
pub use spill::{Renewal, Spill};
pub(super) use stretch::missing;
pub use track::Track;

use super::StreamName;

/// When something came: milliseconds since the job was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u32);

/// A part of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// Bytes, and where some are missing, in their order; never bytes next to bytes.
    pub parts: Vec<Part>,
    /// The position behind it.
    pub next: u64,
}

/// A part of an excerpt.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Some bytes; never none.
    Bytes(Vec<u8>),
    /// Here bytes fell out.
    Gap(Gap),
}

/// What fell out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many bytes.
    pub bytes: u64,
    /// How many lines ended in them, if that is known.
    pub lines: Option<u64>,
}

impl Excerpt {
    /// How many bytes it holds.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| if let Part::Bytes(bytes) = part { bytes.len() } else { 0 }).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes fell out.
    pub fn dropped(&self) -> u64 {
        self.parts.iter().map(|part| if let Part::Gap(gap) = part { gap.bytes } else { 0 }).sum()
    }

    /// Adds bytes that follow on what it holds; they are one part with bytes before them.
    fn extend(&mut self, bytes: Vec<u8>) {
        match self.parts.last_mut() {
            Some(Part::Bytes(before)) => before.extend(bytes),
            _ if bytes.is_empty() => {}
            _ => self.parts.push(Part::Bytes(bytes)),
        }
    }

    /// Adds an excerpt that begins where this one ends.
    pub(super) fn append(&mut self, rest: Self) {
        for part in rest.parts {
            match part {
                Part::Bytes(bytes) => self.extend(bytes),
                Part::Gap(_) => self.parts.push(part),
            }
        }
        self.next = rest.next;
    }

    /// Leaves out what stands before the last `lines` lines, if nothing is missing in it; a last line without a newline counts.
    pub fn keep_last_lines(&mut self, lines: u64) {
        if let [Part::Bytes(bytes)] = &mut self.parts[..] {
            let inner = &bytes[..bytes.len().saturating_sub(1)];
            let before = memchr::memrchr_iter(b'\n', inner).nth(usize::try_from(lines).unwrap_or(usize::MAX).saturating_sub(1));
            bytes.drain(..before.map_or(0, |newline| newline + 1));
        }
    }

    /// Leaves out the end of a character whose beginning is not in it.
    pub fn skip_to_character(&mut self) {
        if let Some(Part::Bytes(bytes)) = self.parts.first_mut() {
            bytes.drain(..end_of_character(bytes));
            if bytes.is_empty() {
                self.parts.remove(0);
            }
        }
    }

    /// Leaves a character of which only the beginning is there to the next excerpt. Where there is nothing else, that would stay so
    /// if the rest `is_there`, but has no room.
    pub fn trim_to_character(&mut self, is_there: bool) {
        let is_all = self.parts.len() == 1;
        let Some(Part::Bytes(bytes)) = self.parts.last_mut() else { return };
        let cut = unfinished_character(bytes);
        if is_all && is_there && cut == bytes.len() {
            return;
        }
        bytes.truncate(bytes.len() - cut);
        self.next -= cut as u64;
        if bytes.is_empty() {
            self.parts.pop();
        }
    }
}

/// How many bytes at the beginning may be the end of a UTF-8 character.
fn end_of_character(bytes: &[u8]) -> usize {
    bytes.iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count()
}

/// How many bytes at the end are the beginning of a UTF-8 character whose rest is missing.
fn unfinished_character(bytes: &[u8]) -> usize {
    let recent = &bytes[bytes.len().saturating_sub(3)..];
    let is_begun = |from: usize| match std::str::from_utf8(&recent[from..]) {
        Ok(_) => false,
        Err(error) => error.valid_up_to() == 0 && error.error_len().is_none(),
    };
    (0..recent.len()).find(|from| is_begun(*from)).map_or(0, |from| recent.len() - from)
}

/// The output of one job.
#[derive(Debug)]
pub struct Output {
    stdout: Track,
    stderr: Track,
    /// Bytes of both.
    total: u64,
    began: Instant,
    budget: Arc<Budget>,
}

impl Output {
    /// An empty one, with a limit for each stream and a share in what all jobs may hold together.
    pub fn new(limit: usize, budget: Arc<Budget>) -> Self {
        Self { stdout: Track::new(limit), stderr: Track::new(limit), total: 0, began: Instant::now(), budget }
    }

    /// One of which nothing is kept any more, but for how much it was.
    pub fn gone(stdout: u64, stderr: u64, budget: Arc<Budget>) -> Self {
        let mut output = Self::new(0, budget);
        (output.stdout, output.stderr, output.total) = (Track::gone(stdout), Track::gone(stderr), stdout + stderr);
        output
    }

    /// Of what is gone of a stream, so many bytes became others, of that number.
    pub fn replace_gone(&mut self, name: StreamName, before: u64, now: u64) {
        let total = self.track(name).total().saturating_sub(before).saturating_add(now);
        *self.track_mut(name) = Track::gone(total);
        self.total = self.stdout.total() + self.stderr.total();
    }

    /// Adds to the end of a stream.
    pub fn push(&mut self, name: StreamName, bytes: &Bytes) {
        let stamp = self.stamp(Instant::now());
        let (total, before) = (self.total, self.kept());
        self.track_mut(name).push(bytes, total, stamp);
        self.total += bytes.len() as u64;
        self.budget.change(before, self.kept());
    }

    /// Nothing more will come.
    pub fn close(&mut self) {
        self.stdout.close();
        self.stderr.close();
    }

    /// Bytes of both streams that are kept.
    pub fn kept(&self) -> usize {
        self.stdout.kept() + self.stderr.kept()
    }

    /// Whether all jobs together hold more than they may.
    pub fn is_over_budget(&self) -> bool {
        self.budget.surplus() > 0
    }

    /// Drops what it holds beyond the limit of all jobs, as far as it can.
    pub fn shrink_to_budget(&mut self) {
        let before = self.kept();
        for name in StreamName::ALL {
            let surplus = self.budget.surplus().saturating_sub(before - self.kept());
            self.track_mut(name).give_back(surplus);
        }
        self.budget.change(before, self.kept());
    }

    fn stamp(&self, at: Instant) -> Stamp {
        Stamp(u32::try_from((at - self.began).as_millis()).unwrap_or(u32::MAX))
    }

    /// A moment, as this job counts time.
    pub fn stamp_of(&self, time: DateTime<Utc>) -> Stamp {
        let age = (Utc::now() - time).to_std().unwrap_or_default();
        Instant::now().checked_sub(age).map_or(Stamp(0), |at| self.stamp(at.max(self.began)))
    }

    /// When that was.
    pub fn time_of(&self, stamp: Stamp) -> DateTime<Utc> {
        Utc::now() - self.began.elapsed() + std::time::Duration::from_millis(stamp.0.into())
    }

    /// One stream.
    pub fn track(&self, name: StreamName) -> &Track {
        match name {
            StreamName::Stdout => &self.stdout,
            StreamName::Stderr => &self.stderr,
        }
    }

    fn track_mut(&mut self, name: StreamName) -> &mut Track {
        match name {
            StreamName::Stdout => &mut self.stdout,
            StreamName::Stderr => &mut self.stderr,
        }
    }

    /// Bytes of both streams that ever came.
    pub fn total(&self) -> u64 {
        self.total
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.budget.change(self.kept(), 0);
    }
}

#[cfg(test)]
mod tests;
