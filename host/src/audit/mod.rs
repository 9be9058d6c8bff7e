//! The record: a JSON line for every decision and every change of the policies, written before its effect, and for every job's end;
//! each line holds the hash of the one before.
//!
//! ```text
//! Audit ─▶ record: the fields ─▶ log: lock, link, rotate, write      cli ◀─ verify ◀─ files: lines, the oldest first
//! ```
//!
//! All texts that reach it were filtered by the output policies. If a line can not be written, what it records does not happen.

mod files;
mod link;
mod log;
mod record;
mod verify;

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde::Serialize;

pub use files::{Files, Line, Lines, Place, Position, Text};
pub use link::{Head, Link, NoHead};
use log::Log;
pub use record::{Altered, Asked, Decided, Outcome, Reply, Request, Subject, Way, plain, stamp};
use record::{AskedLine, DecisionLine, EndLine, NotStartedLine, ReloadLine};
pub use verify::{Fault, Findings, Named, Verifier};

use crate::{
    config,
    digest::Digest,
    jobs::{Job, Status, StreamName},
};

/// Longest line, in bytes without its newline: several times what the longest command makes of one. Nothing longer is written, and
/// nothing longer is read into memory.
pub const MOST_LINE_BYTES: usize = 4 << 20;

/// The open log.
pub struct Audit {
    path: PathBuf,
    log: Log,
}

/// Why the record could not be kept, or not be read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It could not be kept.
    #[error("could not write the audit log {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It could not be read.
    #[error("could not read the audit log {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Audit {
    /// Opens the log for appending, readable by its owner alone; makes file and folder if there are none.
    pub fn open(config: &config::Audit) -> Result<Self, AuditError> {
        let path = config.path.clone();
        let made = path.parent().map_or(Ok(()), make_folder);
        match made.and_then(|()| Log::open(config)) {
            Ok(log) => Ok(Self { path, log }),
            Err(source) => Err(AuditError::Write { path, source }),
        }
    }

    /// Records a decision.
    pub fn decided(&self, decided: &Decided<'_>) -> Result<(), AuditError> {
        self.append(&DecisionLine::of(decided))
    }

    /// Records a question to a person about what would be done, in its final form, filtered.
    pub fn asked(&self, asked: &Asked<'_>, runs: &str) -> Result<(), AuditError> {
        self.append(&AskedLine::question(asked, runs))
    }

    /// Records what came of a question; the message, if any, says why an answer does not count.
    pub fn answered(&self, asked: &Asked<'_>, reply: Reply, message: Option<&str>) -> Result<(), AuditError> {
        self.append(&AskedLine::answer(asked, reply, message))
    }

    /// Records a job's end; `fault` is that of its status, filtered.
    pub fn ended(&self, job: &Job, status: &Status, fault: Option<&str>) -> Result<(), AuditError> {
        let bytes = |name| job.output().track(name).total();
        self.append(&EndLine {
            time: stamp(chrono::Utc::now()),
            event: "job_end",
            job_id: job.id().to_string(),
            principal: job.owner().as_str(),
            command: job.shown(),
            state: status.state.name(),
            exit_code: status.exit_code,
            signal: status.signal,
            submitted: stamp(status.submitted),
            started: status.started.map(stamp),
            ended: status.ended.map(stamp),
            stdout_bytes: bytes(StreamName::Stdout),
            stderr_bytes: bytes(StreamName::Stderr),
            redacted: job.findings().counts(),
            fault,
        })
    }

    /// Records that an approved command was not started, and why; the text is filtered.
    pub fn not_started(&self, job_id: &str, message: &str) -> Result<(), AuditError> {
        self.append(&NotStartedLine::of(job_id, message))
    }

    /// Records that other policies come into force, or the same again: the digests of both sets.
    pub fn reloaded(&self, before: Digest, now: Digest) -> Result<(), AuditError> {
        self.append(&ReloadLine::of(before, Some(now), None))
    }

    /// Records that the policies in force stay, since others could not be taken over, and why; the text is filtered.
    pub fn not_reloaded(&self, in_force: Digest, why: &str) -> Result<(), AuditError> {
        self.append(&ReloadLine::of(in_force, None, Some(why)))
    }

    fn append(&self, line: &impl Serialize) -> Result<(), AuditError> {
        let json = serde_json::to_string(line).map_err(io::Error::from);
        json.and_then(|json| self.log.append(&plain(&json)))
            .map_err(|source| AuditError::Write { path: self.path.clone(), source })
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
