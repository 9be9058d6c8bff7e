//! The record: a JSON line for every decision, written before its effect, and for every job's end.
//!
//! All texts that reach it were filtered by the output policies. If a line can not be written, what it records does not happen.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Mutex,
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::{
    jobs::{Job, Status, StreamName},
    policy::{Answer, Denial},
};

/// The open log.
pub struct Audit {
    path: PathBuf,
    file: Mutex<File>,
}

/// Why the record could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("could not write the audit log {path}: {source}")]
pub struct AuditError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// What was judged.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A command.
    Command,
    /// Input to a job.
    Input,
}

/// The outcome of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every policy approved.
    Allow,
    /// A person would have to approve.
    Ask,
    /// Refused.
    Deny,
}

/// A decision, with the same fields whatever the outcome.
#[derive(Debug)]
pub struct Decided<'a> {
    /// What was judged.
    pub subject: Subject,
    /// The job it is for, or will be.
    pub job_id: Option<String>,
    /// Who asked, as the client says of itself.
    pub client: &'a str,
    /// What was sent, filtered.
    pub sent: &'a str,
    /// The final form, filtered; none for what no policy saw.
    pub runs: Option<&'a str>,
    /// The outcome.
    pub outcome: Outcome,
    /// Who refused or asked, and why.
    pub denial: Option<&'a Denial>,
    /// Every answer of every policy.
    pub trail: &'a [Answer],
}

#[derive(Serialize)]
struct DecisionLine<'a> {
    time: String,
    event: &'static str,
    subject: Subject,
    job_id: Option<&'a str>,
    client: &'a str,
    sent: &'a str,
    runs: Option<&'a str>,
    decision: Outcome,
    policy: Option<&'a str>,
    code: Option<&'a str>,
    message: Option<&'a str>,
    policies: Vec<AnswerLine<'a>>,
}

#[derive(Serialize)]
struct AnswerLine<'a> {
    round: usize,
    policy: &'a str,
    mode: &'static str,
    verdict: &'static str,
    code: Option<&'a str>,
    micros: u128,
}

#[derive(Serialize)]
struct NotStartedLine<'a> {
    time: String,
    event: &'static str,
    job_id: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct EndLine<'a> {
    time: String,
    event: &'static str,
    job_id: String,
    command: &'a str,
    state: &'static str,
    exit_code: Option<i32>,
    signal: Option<i32>,
    submitted: String,
    started: Option<String>,
    ended: Option<String>,
    stdout_bytes: u64,
    stderr_bytes: u64,
    redacted: BTreeMap<String, u64>,
}

impl<'a> AnswerLine<'a> {
    fn of(answer: &'a Answer) -> Self {
        Self {
            round: answer.round,
            policy: &answer.policy,
            mode: answer.mode.name(),
            verdict: answer.verdict.name(),
            code: answer.reason.as_ref().map(|(code, _)| code.as_str()),
            micros: answer.took.as_micros(),
        }
    }
}

impl Audit {
    /// Opens the log for appending, readable by its owner alone; makes file and folder if there are none.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let failed = |source| AuditError { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        }
        let file = open(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// Records a decision.
    pub fn decided(&self, decided: &Decided<'_>) -> Result<(), AuditError> {
        let denial = decided.denial;
        self.append(&DecisionLine {
            time: stamp(Utc::now()),
            event: "decision",
            subject: decided.subject,
            job_id: decided.job_id.as_deref(),
            client: decided.client,
            sent: decided.sent,
            runs: decided.runs,
            decision: decided.outcome,
            policy: denial.and_then(|denial| denial.policy.as_deref()),
            code: denial.map(|denial| denial.code.as_str()),
            message: denial.map(|denial| denial.message.as_str()),
            policies: decided.trail.iter().map(AnswerLine::of).collect(),
        })
    }

    /// Records a job's end.
    pub fn ended(&self, job: &Job, status: &Status) -> Result<(), AuditError> {
        let bytes = |name| job.output().track(name).total();
        self.append(&EndLine {
            time: stamp(Utc::now()),
            event: "job_end",
            job_id: job.id().to_string(),
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
        })
    }

    /// Records that an approved command was not started, and why; the text is filtered.
    pub fn not_started(&self, job_id: &str, message: &str) -> Result<(), AuditError> {
        self.append(&NotStartedLine { time: stamp(Utc::now()), event: "not_started", job_id, message })
    }

    /// One write per line, so that lines of several servers do not mix. A log that was moved away is begun anew; of a line that did
    /// not fit nothing is left.
    fn append(&self, line: &impl Serialize) -> Result<(), AuditError> {
        let failed = |source| AuditError { path: self.path.clone(), source };
        let mut bytes = serde_json::to_vec(line).map_err(|error| failed(error.into()))?;
        bytes.push(b'\n');
        let mut file = self.file.lock().expect("no holder of this lock panics");
        if !is_at(&self.path, &file) {
            *file = open(&self.path).map_err(failed)?;
        }
        let length = file.metadata().map_err(failed)?.len();
        file.write_all(&bytes).map_err(|source| {
            // A device such as /dev/full has no length to restore.
            _ = file.set_len(length);
            failed(source)
        })
    }
}

/// Whether the open file is still the one at this path.
fn is_at(path: &Path, file: &File) -> bool {
    match (fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(open)) => (there.dev(), there.ino()) == (open.dev(), open.ino()),
        _ => false,
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Times in records and results: RFC 3339, UTC, milliseconds.
pub fn stamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
