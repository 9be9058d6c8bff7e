//! What is recorded: an object of named fields for each event, which docs/audit.md lists.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    digest::Digest,
    policy::{Answer, Denial, is_hidden},
};

/// What was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A command.
    Command,
    /// Input to a job.
    Input,
    /// A program that the script of a job is about to start.
    Start,
}

/// The outcome of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every policy approved.
    Allow,
    /// A person would have to approve.
    Ask,
    /// Refused.
    Deny,
}

/// How a person is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// At the terminal that `portcullis run` was started from.
    Terminal,
    /// Over MCP, with a request of the server's to the client.
    Elicitation,
    /// Over MCP, with a result that demands the call once more and an answer with it.
    InputRequired,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Yes, this time.
    Once,
    /// Yes, and so to the same thing as long as the server runs.
    Always,
    /// No.
    No,
    /// No answer in time, or none that could be understood.
    None,
    /// An answer that does not count: nobody was asked that, or not for this call, or it was used before.
    Void,
}

/// A question to a person, or what came of it.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The question; none where an answer belongs to none.
    pub question: Option<Uuid>,
    /// What it is about.
    pub subject: Subject,
    /// The job whose input it is about.
    pub job_id: Option<String>,
    /// Whose client wants it done.
    pub principal: &'a str,
    /// Who wants it done, as the client says of itself, filtered.
    pub client: &'a str,
    /// How the person is asked.
    pub way: Way,
}

/// A decision, with the same fields whatever the outcome.
#[derive(Debug)]
pub struct Decided<'a> {
    /// What was judged.
    pub subject: Subject,
    /// The job it is for, or will be.
    pub job_id: Option<String>,
    /// Whose client asked.
    pub principal: &'a str,
    /// Who asked, as the client says of itself.
    pub client: &'a str,
    /// What was sent, filtered.
    pub sent: &'a str,
    /// What else it was judged by; none for input.
    pub request: Option<Request>,
    /// The final form, filtered; none for what no policy saw.
    pub runs: Option<&'a str>,
    /// The outcome.
    pub outcome: Outcome,
    /// Who refused or asked, and why.
    pub denial: Option<&'a Denial>,
    /// The question a person said yes to, which made an ask an allow.
    pub question: Option<Uuid>,
    /// The policies that were asked: the digest of their set.
    pub set: Digest,
    /// Every answer of every policy.
    pub trail: &'a [Answer],
}

/// What a command was judged by besides its text and the policies, so that it can be judged again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The text as it came, filtered; none: it is what `sent` shows, which has escapes for hidden characters and line ends.
    pub script: Option<String>,
    /// Why what is recorded is not all that was judged; none: it is.
    pub altered: Option<Altered>,
    /// The directory it would start in, filtered.
    pub cwd: String,
    /// The names of the variables it would start with. Never what they hold.
    pub env: Vec<String>,
    /// Milliseconds it could run at most; none: for ever.
    pub timeout_ms: Option<u64>,
    /// The client's version, as it says, filtered.
    pub client_version: String,
}

/// Why a recorded request is not the one that was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Altered {
    /// The filters took something out.
    Masked,
    /// It was too long to be recorded, or no text.
    Cut,
}

/// A decision as it is written.
#[derive(Serialize)]
pub(super) struct DecisionLine<'a> {
    time: String,
    event: &'static str,
    subject: Subject,
    job_id: Option<&'a str>,
    principal: &'a str,
    client: &'a str,
    sent: &'a str,
    request: Option<&'a Request>,
    runs: Option<&'a str>,
    decision: Outcome,
    policy: Option<&'a str>,
    code: Option<&'a str>,
    message: Option<&'a str>,
    question: Option<Uuid>,
    set: String,
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

/// A question, or the answer to one, as it is written.
#[derive(Serialize)]
pub(super) struct AskedLine<'a> {
    time: String,
    event: &'static str,
    job_id: Option<&'a str>,
    question: Option<Uuid>,
    subject: Subject,
    principal: &'a str,
    client: &'a str,
    way: Way,
    /// Of a question.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<&'a str>,
    /// Of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Reply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

/// That an approved command was not started, as it is written.
#[derive(Serialize)]
pub(super) struct NotStartedLine<'a> {
    time: String,
    event: &'static str,
    job_id: &'a str,
    message: &'a str,
}

/// A change of the policies, or one that failed, as it is written.
#[derive(Serialize)]
pub(super) struct ReloadLine<'a> {
    time: String,
    event: &'static str,
    before: String,
    set: Option<String>,
    message: Option<&'a str>,
}

/// The end of a job as it is written.
#[derive(Serialize)]
pub(super) struct EndLine<'a> {
    pub(super) time: String,
    pub(super) event: &'static str,
    pub(super) job_id: String,
    pub(super) principal: &'a str,
    pub(super) command: &'a str,
    pub(super) state: &'static str,
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) submitted: String,
    pub(super) started: Option<String>,
    pub(super) ended: Option<String>,
    pub(super) stdout_bytes: u64,
    pub(super) stderr_bytes: u64,
    pub(super) redacted: BTreeMap<String, u64>,
    pub(super) fault: Option<&'a str>,
}

impl Outcome {
    /// Its name in results and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

impl Request {
    /// How long it could run at most.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }
}

impl<'a> DecisionLine<'a> {
    pub(super) fn of(decided: &'a Decided<'a>) -> Self {
        let denial = decided.denial;
        Self {
            time: stamp(Utc::now()),
            event: "decision",
            subject: decided.subject,
            job_id: decided.job_id.as_deref(),
            principal: decided.principal,
            client: decided.client,
            sent: decided.sent,
            request: decided.request.as_ref(),
            runs: decided.runs,
            decision: decided.outcome,
            policy: denial.and_then(|denial| denial.policy.as_deref()),
            code: denial.map(|denial| denial.code.as_str()),
            message: denial.map(|denial| denial.message.as_str()),
            question: decided.question,
            set: decided.set.to_string(),
            policies: decided.trail.iter().map(AnswerLine::of).collect(),
        }
    }
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

impl<'a> AskedLine<'a> {
    pub(super) fn question(asked: &'a Asked<'a>, runs: &'a str) -> Self {
        Self { event: "question", runs: Some(runs), ..Self::of(asked) }
    }

    pub(super) fn answer(asked: &'a Asked<'a>, reply: Reply, message: Option<&'a str>) -> Self {
        Self { event: "answer", answer: Some(reply), message, ..Self::of(asked) }
    }

    fn of(asked: &'a Asked<'a>) -> Self {
        Self {
            time: stamp(Utc::now()),
            event: "",
            job_id: asked.job_id.as_deref(),
            question: asked.question,
            subject: asked.subject,
            principal: asked.principal,
            client: asked.client,
            way: asked.way,
            runs: None,
            answer: None,
            message: None,
        }
    }
}

impl<'a> NotStartedLine<'a> {
    pub(super) fn of(job_id: &'a str, message: &'a str) -> Self {
        Self { time: stamp(Utc::now()), event: "not_started", job_id, message }
    }
}

impl<'a> ReloadLine<'a> {
    pub(super) fn of(before: Digest, set: Option<Digest>, message: Option<&'a str>) -> Self {
        let set = set.map(|set| set.to_string());
        Self { time: stamp(Utc::now()), event: "reload", before: before.to_string(), set, message }
    }
}

/// Times in records and results: RFC 3339, UTC, milliseconds.
pub fn stamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// JSON with its hidden characters as escapes: the same JSON, and harmless where it is shown.
pub fn plain(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for c in json.chars() {
        if is_hidden(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| plain.push_str(&format!("\\u{unit:04x}")));
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_escapes_of_the_same_json() {
        let text = "a\u{7f}\u{9b}\u{202e}\u{e0041}\n\"ü";
        let json = serde_json::to_string(text).unwrap();
        let plain = plain(&json);
        assert!(!plain.chars().any(is_hidden), "{plain}");
        assert_eq!(serde_json::from_str::<String>(&plain).unwrap(), text);
    }
}
