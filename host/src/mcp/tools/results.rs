//! What the tools answer.

mod told;

use std::{borrow::Cow, collections::BTreeMap};

use schemars::JsonSchema;
use serde::Serialize;

pub(super) use told::Told;

use crate::{
    audit::stamp,
    jobs::{
        Job, Met, Reading, State,
        output::{Excerpt, Found, Gap, Line, Match, Part},
    },
    service::Service,
};

#[derive(Serialize, JsonSchema)]
pub(super) struct ExecuteResult {
    /// Names the job in all other tools; absent if nothing was executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(super) job_id: Option<String>,
    /// Why nothing was executed; absent if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(super) not_executed: Option<&'static str>,
    /// What was started: the command in the form the policies approved.
    pub(super) runs: String,
    /// Whether a policy changed the command.
    pub(super) rewritten: bool,
    /// How many jobs are before it in the queue; absent if it was started at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "usize")]
    pub(super) queued_behind: Option<usize>,
    /// What it printed while the call waited; absent if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "JobOutput")]
    pub(super) output: Option<JobOutput>,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::mcp) struct JobStatus {
    /// The job.
    pub(super) job_id: String,
    /// queued, running, completed (exit code 0), failed, killed (by request), timed_out or lost (its server was killed).
    pub(super) status: String,
    /// What was started.
    pub(super) command: String,
    /// When it was started, or asked for if it is queued, RFC 3339.
    pub(super) started: String,
    /// When it ended, RFC 3339; absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(super) ended: Option<String>,
    /// How long it ran, or has run so far, in milliseconds.
    pub(super) duration_ms: u64,
    /// Process id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub(super) pid: Option<u32>,
    /// Exit code, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub(super) exit_code: Option<i32>,
    /// Number of the signal that ended it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub(super) signal: Option<i32>,
    /// The group it runs in, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(super) group: Option<String>,
    /// How many jobs are before it in the queue; absent unless it is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "usize")]
    pub(super) queued_behind: Option<usize>,
    /// What was taken out of its output by the policies, and how often; absent if nothing was.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) redacted: BTreeMap<String, u64>,
    /// Why it could not be started when its turn came, or which policy failed on its output, so that it was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(super) fault: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct JobList {
    /// All jobs that are remembered, newest first.
    pub(super) jobs: Vec<JobStatus>,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::mcp) struct JobOutput {
    /// Standard output, filtered. Where bytes fell out stands a line that says how many.
    pub(super) stdout: String,
    /// Standard error, the same.
    pub(super) stderr: String,
    /// Both in the order in which they came; only if asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) merged: Vec<Piece>,
    /// Where to go on reading.
    pub(in crate::mcp) next_cursor: String,
    /// Bytes that fell out within what is answered: more came than is kept.
    pub(super) dropped_bytes: u64,
    /// Bytes that the job has printed, of the streams that were read.
    pub(super) total_bytes: u64,
    /// Whether there is more than is answered; next_cursor leads on to it, or it stands before the last lines.
    pub(in crate::mcp) truncated: bool,
    /// Whether bytes that are not UTF-8 were replaced.
    pub(super) lossy: bool,
    /// The job's status when this was read.
    pub(in crate::mcp) status: String,
    /// Its exit code, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub(super) exit_code: Option<i32>,
}

/// What came of one stream, without anything of the other in between.
#[derive(Serialize, JsonSchema)]
pub(in crate::mcp) struct Piece {
    /// stdout or stderr.
    stream: &'static str,
    /// When it began to come, RFC 3339.
    time: String,
    /// The text.
    text: String,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct WaitResult {
    /// How the wait ended: ended (the job did), matched, silent or time_up.
    pub(super) met: &'static str,
    /// What the job printed, and its status.
    #[serde(flatten)]
    pub(super) output: JobOutput,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct SearchResult {
    /// The lines that match, in their order, standard output first.
    matches: Vec<MatchResult>,
    /// Whether more lines match.
    truncated: bool,
    /// Bytes that fell out before they could be searched.
    dropped_bytes: u64,
}

#[derive(Serialize, JsonSchema)]
struct MatchResult {
    /// stdout or stderr.
    stream: &'static str,
    /// The line's number, from 1, counted from the beginning of the stream.
    line: u64,
    /// The line, or the part of it around the match.
    text: String,
    /// Lines before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    before: Vec<String>,
    /// Lines after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    after: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct KillResult {
    /// killed, already_terminated or not_found.
    pub(super) status: String,
}

impl JobStatus {
    pub(in crate::mcp) async fn of(job: &Job, queued_before: impl FnOnce() -> usize, service: &Service) -> Self {
        let status = job.status();
        let fault = match &status.fault {
            Some(fault) => Some(service.scrub(fault).await),
            None => None,
        };
        let command = service.shown(job).await;
        Self {
            job_id: job.id().to_string(),
            status: status.state.name().to_owned(),
            command,
            started: stamp(status.started.unwrap_or(status.submitted)),
            ended: status.ended.map(stamp),
            duration_ms: u64::try_from(job.duration().as_millis()).unwrap_or(u64::MAX),
            pid: status.pid,
            exit_code: status.exit_code,
            signal: status.signal,
            group: job.group().map(str::to_owned),
            queued_behind: queued_behind(job, queued_before),
            redacted: job.findings().counts(),
            fault,
        }
    }
}

/// How many jobs are before it in the queue; none unless it is queued.
pub(super) fn queued_behind(job: &Job, queued_before: impl FnOnce() -> usize) -> Option<usize> {
    (job.state() == State::Queued).then(queued_before)
}

impl JobOutput {
    pub(in crate::mcp) fn of(reading: &Reading) -> Self {
        let excerpts =
            || [&reading.stdout, &reading.stderr].into_iter().chain(reading.merged.iter().map(|(_, entry)| &entry.excerpt));
        let merged = reading.merged.iter().map(|(time, entry)| Piece {
            stream: entry.name.name(),
            time: stamp(*time),
            text: text(&entry.excerpt),
        });
        Self {
            stdout: text(&reading.stdout),
            stderr: text(&reading.stderr),
            merged: merged.collect(),
            next_cursor: reading.next.to_string(),
            dropped_bytes: excerpts().map(Excerpt::dropped).sum(),
            total_bytes: reading.total,
            truncated: reading.is_cut,
            lossy: excerpts().any(is_lossy),
            status: reading.status.state.name().to_owned(),
            exit_code: reading.status.exit_code,
        }
    }
}

impl JobOutput {
    /// Whether the job is final and nothing of what was asked for is missing.
    pub(super) fn is_all(&self) -> bool {
        !self.truncated && self.dropped_bytes == 0 && !matches!(self.status.as_str(), "queued" | "running")
    }

    /// The text of what was read, without what stands beside it.
    pub(in crate::mcp) fn text(&self) -> String {
        let merged = self.merged.iter().map(|piece| piece.text.as_str());
        [self.stdout.as_str(), &self.stderr].into_iter().chain(merged).collect()
    }
}

impl WaitResult {
    pub(super) fn of(met: Met, output: JobOutput) -> Self {
        Self { met: met.name(), output }
    }
}

impl SearchResult {
    pub(super) fn of(found: &Found) -> Self {
        let lines = |lines: &[Line]| lines.iter().map(|line| decoded(&line.text).into_owned()).collect();
        let result = |found: &Match| MatchResult {
            stream: found.name.name(),
            line: found.line.number,
            text: decoded(&found.line.text).into_owned(),
            before: lines(&found.before),
            after: lines(&found.after),
        };
        Self { matches: found.matches.iter().map(result).collect(), truncated: found.is_cut, dropped_bytes: found.dropped }
    }
}

fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn is_lossy(excerpt: &Excerpt) -> bool {
    excerpt.parts.iter().any(|part| matches!(part, Part::Bytes(bytes) if std::str::from_utf8(bytes).is_err()))
}

/// An excerpt as text, with a line of its own where bytes fell out.
fn text(excerpt: &Excerpt) -> String {
    let mut text = String::new();
    for part in &excerpt.parts {
        match part {
            Part::Bytes(bytes) => text.push_str(&decoded(bytes)),
            Part::Gap(gap) => {
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push('\n');
                }
                text.push_str(&marker(gap));
            }
        }
    }
    text
}

fn marker(gap: &Gap) -> String {
    match gap.lines {
        Some(lines) => format!("[portcullis: {} bytes with {lines} line ends fell out here]\n", gap.bytes),
        None => format!("[portcullis: {} bytes fell out here]\n", gap.bytes),
    }
}
