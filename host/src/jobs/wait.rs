//! Waiting for something of a job.

use std::time::Duration;

use regex::bytes::Regex;
use tokio::sync::watch;

use super::{
    Job, StreamName,
    output::{Cursor, CursorError, Excerpt, Part, View},
};

/// A line that is not complete is kept for a pattern up to this many bytes.
const MOST_LINE_BYTES: usize = 64 * 1024;
/// Bytes that a pattern is given at a time: a slow one takes a second for them, which is how long the end of the server may wait
/// for it.
const PAGE_BYTES: usize = 96 * 1024;
/// So few are looked at at once.
const FEW_BYTES: usize = 1024;
/// How long what is there already is looked at, however short the wait.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// What is waited for. That the job ends is always waited for too.
#[derive(Clone, Debug)]
pub enum Until {
    /// Nothing else.
    End,
    /// Output comes, and then none for so long.
    Silence(Duration),
    /// A line of output matches, be it complete or not.
    Pattern(Regex),
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// The job is final.
    Ended,
    /// No output came for so long.
    Silent,
    /// A line matches.
    Matched,
    /// The time is up.
    TimeUp,
}

impl Met {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Silent => "silent",
            Self::Matched => "matched",
            Self::TimeUp => "time_up",
        }
    }
}

impl Job {
    /// Waits for this, or for its end, but no longer than so long. Silence and patterns look at what came behind `from`; to the job
    /// it makes no difference.
    pub async fn wait(&self, until: &Until, from: Cursor, longest: Duration) -> Result<Met, CursorError> {
        let begin = from.in_streams(self.id(), View::Both, &self.output())?;
        let (growth, mut next) = (self.growth(), [begin.0, begin.1]);
        if let Until::Pattern(pattern) = until
            && tokio::time::timeout(FIRST_LOOK, self.matches(pattern, &mut next)).await == Ok(true)
        {
            return Ok(Met::Matched);
        }
        let met = async {
            match until {
                Until::End => std::future::pending().await,
                Until::Silence(length) => self.silent(begin, *length, growth).await,
                Until::Pattern(pattern) => self.matched(pattern, &mut next, growth).await,
            }
        };
        let met = tokio::select! {
            biased;
            _ = self.ended() => match until {
                // What it printed last counts, whenever it was looked at.
                Until::Pattern(pattern) => {
                    let matches = tokio::time::timeout(longest.max(FIRST_LOOK), self.matches(pattern, &mut next)).await;
                    matches.map_or(Met::TimeUp, |matches| if matches { Met::Matched } else { Met::Ended })
                }
                Until::End | Until::Silence(_) => Met::Ended,
            },
            met = tokio::time::timeout(longest, met) => met.unwrap_or(Met::TimeUp),
        };
        Ok(met)
    }

    async fn silent(&self, begin: (u64, u64), length: Duration, mut growth: watch::Receiver<()>) -> Met {
        let came = {
            let output = self.output();
            output.track(StreamName::Stdout).total() + output.track(StreamName::Stderr).total() > begin.0 + begin.1
        };
        if !came && growth.changed().await.is_err() {
            return std::future::pending().await;
        }
        while let Ok(Ok(())) = tokio::time::timeout(length, growth.changed()).await {}
        Met::Silent
    }

    async fn matched(&self, pattern: &Regex, next: &mut [u64; 2], mut growth: watch::Receiver<()>) -> Met {
        loop {
            if self.matches(pattern, next).await {
                return Met::Matched;
            }
            if growth.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Whether a line matches from these positions in the streams on, which are moved to the last line's beginning.
    async fn matches(&self, pattern: &Regex, next: &mut [u64; 2]) -> bool {
        for (name, next) in StreamName::ALL.into_iter().zip(next) {
            if self.stream_matches(pattern, name, next).await {
                return true;
            }
        }
        false
    }

    async fn stream_matches(&self, pattern: &Regex, name: StreamName, next: &mut u64) -> bool {
        loop {
            // The byte before tells whether a line begins there.
            let seen = usize::from(*next > 0);
            let excerpt = self.look(name, *next - seen as u64, PAGE_BYTES + seen);
            let end = excerpt.next;
            let Some(last) =
                excerpt.parts.iter().rev().find_map(|part| if let Part::Bytes(bytes) = part { Some(bytes) } else { None })
            else {
                return false;
            };
            let partial = last.len() - memchr::memrchr(b'\n', last).map_or(0, |newline| newline + 1);
            if has_match(pattern, excerpt, seen).await {
                return true;
            }
            let is_last = end == self.output().track(name).total();
            *next = (end - partial.min(MOST_LINE_BYTES) as u64).max(*next);
            if is_last {
                return false;
            }
        }
    }
}

/// Whether a line matches; the first `seen` bytes belong to what was looked at before. Much of it is looked at where it holds up
/// nobody: a pattern can be slow.
async fn has_match(pattern: &Regex, excerpt: Excerpt, seen: usize) -> bool {
    if excerpt.len() <= FEW_BYTES {
        return any_line_matches(pattern, &excerpt, seen);
    }
    let pattern = pattern.clone();
    tokio::task::spawn_blocking(move || any_line_matches(&pattern, &excerpt, seen)).await.unwrap_or(false)
}

fn any_line_matches(pattern: &Regex, excerpt: &Excerpt, seen: usize) -> bool {
    let mut seen = Some(seen);
    excerpt.parts.iter().any(|part| match (part, seen.take().unwrap_or(0)) {
        (Part::Bytes(bytes), 0) => lines(bytes).any(|line| pattern.is_match(line)),
        (Part::Bytes(bytes), seen) => {
            let mut lines = lines(bytes);
            // None of it, if what was seen is the end of the line before.
            let rest = lines.next().filter(|line| line.len() >= seen);
            rest.is_some_and(|line| pattern.is_match_at(line, seen)) || lines.any(|line| pattern.is_match(line))
        }
        (Part::Gap(_), _) => false,
    })
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n')
}
