//! Where a reader goes on: positions in a job's output, as text that a client carries around.

use std::{fmt, str::FromStr};

use super::Output;
use crate::jobs::{JobId, StreamName};

/// What of a job's output is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Both streams, each by itself.
    Both,
    /// One stream.
    One(StreamName),
    /// Both in the order in which they came.
    Merged,
}

impl View {
    /// Whether it shows this stream.
    pub fn includes(self, name: StreamName) -> bool {
        match self {
            Self::Both | Self::Merged => true,
            Self::One(one) => one == name,
        }
    }
}

/// A position in the output of one job. As text: the beginning of the job's id and bytes since the beginning of standard output
/// (`o`), standard error (`e`) or both in their order (`m`), such as `6ba7b810-o120-e7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The first 32 bits of the job's id.
    job: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Streams { stdout: Option<u64>, stderr: Option<u64> },
    Merged(u64),
}

/// Why a cursor leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// It is none.
    #[error("the cursor is not one that was given; take next_cursor of an answer, as it is, or leave it out")]
    Malformed,
    /// Another job's.
    #[error("the cursor is of another job; take next_cursor of an answer about this one, or leave it out")]
    OtherJob,
    /// Of a view that is not asked for.
    #[error("the cursor is of another `stream`; ask for the stream that it was given with, or leave it out")]
    OtherView,
    /// Beyond what the job printed.
    #[error("the cursor lies beyond what the job has printed; take next_cursor of an answer, as it is, or leave it out")]
    Future,
}

impl Cursor {
    /// Positions in the streams of a view.
    pub fn streams(id: JobId, view: View, stdout: u64, stderr: u64) -> Self {
        let of = |name, at| view.includes(name).then_some(at);
        let place = Place::Streams { stdout: of(StreamName::Stdout, stdout), stderr: of(StreamName::Stderr, stderr) };
        Self { job: beginning(id), place }
    }

    /// A position in the order of both.
    pub fn merged(id: JobId, at: u64) -> Self {
        Self { job: beginning(id), place: Place::Merged(at) }
    }

    /// The positions in standard output and error for a reader of this view; zero where it does not read.
    pub fn in_streams(self, id: JobId, view: View, output: &Output) -> Result<(u64, u64), CursorError> {
        self.check_job(id)?;
        let Place::Streams { stdout, stderr } = self.place else { return Err(CursorError::OtherView) };
        let position = |name, at: Option<u64>| match at {
            _ if !view.includes(name) => Ok(0),
            None => Err(CursorError::OtherView),
            Some(at) if at > output.track(name).total() => Err(CursorError::Future),
            Some(at) => Ok(at),
        };
        Ok((position(StreamName::Stdout, stdout)?, position(StreamName::Stderr, stderr)?))
    }

    /// The position in the order of both.
    pub fn in_merged(self, id: JobId, output: &Output) -> Result<u64, CursorError> {
        self.check_job(id)?;
        match self.place {
            Place::Merged(at) if at > output.total() => Err(CursorError::Future),
            Place::Merged(at) => Ok(at),
            Place::Streams { .. } => Err(CursorError::OtherView),
        }
    }

    fn check_job(self, id: JobId) -> Result<(), CursorError> {
        if self.job == beginning(id) { Ok(()) } else { Err(CursorError::OtherJob) }
    }
}

fn beginning(JobId(id): JobId) -> u32 {
    id.as_fields().0
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.job)?;
        match self.place {
            Place::Merged(at) => write!(f, "-m{at}"),
            Place::Streams { stdout, stderr } => {
                stdout.map_or(Ok(()), |at| write!(f, "-o{at}"))?;
                stderr.map_or(Ok(()), |at| write!(f, "-e{at}"))
            }
        }
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let mut fields = text.split('-');
        let job = fields.next().and_then(|job| u32::from_str_radix(job, 16).ok()).ok_or(CursorError::Malformed)?;
        let (mut stdout, mut stderr, mut merged) = (None, None, None);
        for field in fields {
            let (kind, number) = field.split_at_checked(1).ok_or(CursorError::Malformed)?;
            let at = number.parse().map_err(|_| CursorError::Malformed)?;
            match kind {
                "o" => stdout = Some(at),
                "e" => stderr = Some(at),
                "m" => merged = Some(at),
                _ => return Err(CursorError::Malformed),
            }
        }
        let cursor = Self { job, place: merged.map_or(Place::Streams { stdout, stderr }, Place::Merged) };
        // One form only: what is written otherwise was never given.
        if cursor.to_string() == text && (merged, stdout, stderr) != (None, None, None) {
            Ok(cursor)
        } else {
            Err(CursorError::Malformed)
        }
    }
}
