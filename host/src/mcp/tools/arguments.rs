//! What the tools are told. Numbers out of range and texts that mean nothing are refused, never bent.

use std::time::Duration;

use chrono::{DateTime, Utc};
use regex::bytes::{Regex, RegexBuilder};
use rmcp::model::{CallToolResult, JsonObject};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::error;
use crate::jobs::{
    Beginning, Signal, Size, Stop, StreamName, Until,
    output::{Cursor, CursorError, View},
};

/// Longest wait of a call, in milliseconds.
const MOST_WAIT_MS: u32 = 600_000;
/// Most bytes that are given of a stream at a time.
const MOST_PAGE_BYTES: u32 = 1 << 20;
/// Most lines of a terminal, and most characters in one.
const MOST_CHARACTERS: u32 = 1000;
/// Longest grace, in milliseconds.
const MOST_GRACE_MS: u32 = 60_000;
/// Longest pattern, in bytes, and most memory for what it compiles to.
const MOST_PATTERN_BYTES: usize = 1024;
const MOST_PATTERN_MEMORY: usize = 1 << 18;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExecuteArguments {
    /// A command as bash reads it: programs and arguments, pipes, lists, redirections, as far as the policies allow them. At most
    /// 64 KiB.
    pub(super) command: String,
    /// Whether the job's standard input is kept open for interact_with_job, or is empty from the beginning.
    #[serde(default)]
    pub(super) stdin: StdinArgument,
    /// How long the job may run, in seconds, within what is configured; by default as long as that.
    #[serde(default)]
    #[schemars(with = "u64", range(min = 1, max = 604800))]
    pub(super) timeout_s: Option<u64>,
    /// Give the job a terminal of this size, for programs that want one: prompts, REPLs, colours. Standard error is then part of
    /// standard output, and so is the echo of what is sent.
    #[serde(default)]
    #[schemars(with = "TerminalSize")]
    pub(super) terminal: Option<TerminalSize>,
    /// A group from the configuration that has a limit of its own on how many of its jobs run at a time.
    #[serde(default)]
    #[schemars(with = "String")]
    pub(super) group: Option<String>,
    /// How long to wait for the job's end before answering, in milliseconds; the answer then has what it printed so far.
    #[serde(default)]
    #[schemars(range(min = 0, max = 600000))]
    pub(super) wait_ms: u32,
    /// Most bytes of each stream that are answered.
    #[serde(default = "page_bytes")]
    #[schemars(range(min = 1, max = 1048576))]
    pub(super) max_bytes: u32,
    /// Whether to leave out what costs much and says little: control sequences, progress but for its last state, repeated lines,
    /// the middle of long lines.
    #[serde(default)]
    pub(super) tidy: bool,
}

/// How large a terminal is, in characters.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TerminalSize {
    /// Lines.
    #[schemars(range(min = 1, max = 1000))]
    rows: u16,
    /// Characters in a line.
    #[schemars(range(min = 1, max = 1000))]
    cols: u16,
}

/// What a job reads.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StdinArgument {
    /// What interact_with_job sends.
    #[default]
    Open,
    /// Nothing.
    Closed,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NoArguments {}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobArguments {
    /// The job_id that execute_command answered.
    pub(super) job_id: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputArguments {
    /// The job_id that execute_command answered.
    pub(super) job_id: String,
    /// Which output: both streams, one of them, or both in the order in which they came.
    #[serde(default)]
    pub(super) stream: StreamArgument,
    /// Go on from here: next_cursor of an earlier answer with the same stream.
    #[serde(default)]
    #[schemars(with = "String")]
    pub(super) cursor: Option<String>,
    /// Only what came at this time (RFC 3339) or later; not together with cursor.
    #[serde(default)]
    #[schemars(with = "String")]
    pub(super) since: Option<String>,
    /// Most bytes of each stream that are answered.
    #[serde(default = "page_bytes")]
    #[schemars(range(min = 1, max = 1048576))]
    pub(super) max_bytes: u32,
    /// Whether to leave out what costs much and says little: control sequences, progress but for its last state, repeated lines,
    /// the middle of long lines.
    #[serde(default)]
    pub(super) tidy: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TailArguments {
    /// The job_id that execute_command answered.
    pub(super) job_id: String,
    /// How many lines from the end, of each stream.
    #[serde(default = "tail_lines")]
    #[schemars(range(min = 1, max = 1000))]
    pub(super) lines: u32,
    /// Which output: both streams, or one of them.
    #[serde(default)]
    pub(super) stream: OneOrBoth,
    /// Most bytes of each stream that are answered; of longer lines the end.
    #[serde(default = "page_bytes")]
    #[schemars(range(min = 1, max = 1048576))]
    pub(super) max_bytes: u32,
    /// Whether to leave out what costs much and says little: control sequences, progress but for its last state, repeated lines,
    /// the middle of long lines.
    #[serde(default)]
    pub(super) tidy: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitArguments {
    /// The job_id that execute_command answered.
    pub(super) job_id: String,
    /// The longest wait, in milliseconds.
    #[serde(default = "job_wait")]
    #[schemars(range(min = 0, max = 600000))]
    pub(super) wait_ms: u32,
    /// Wait until a line matches this regular expression, such as a prompt or `listening on`.
    #[serde(default)]
    #[schemars(with = "String")]
    pub(super) pattern: Option<String>,
    /// Wait until the job has printed something and then nothing for so many milliseconds; not together with pattern.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 1, max = 600000))]
    pub(super) silence_ms: Option<u32>,
    /// Look at what came from here on, and answer it: next_cursor of an earlier answer about both streams. By default all counts,
    /// and the last lines are answered.
    #[serde(default)]
    #[schemars(with = "String")]
    pub(super) cursor: Option<String>,
    /// Most bytes of each stream that are answered.
    #[serde(default = "page_bytes")]
    #[schemars(range(min = 1, max = 1048576))]
    pub(super) max_bytes: u32,
    /// Whether to leave out what costs much and says little: control sequences, progress but for its last state, repeated lines,
    /// the middle of long lines.
    #[serde(default)]
    pub(super) tidy: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchArguments {
    /// The job_id that execute_command answered.
    pub(super) job_id: String,
    /// A regular expression (the syntax of Rust's regex: no backtracking, no look-around), applied to each line.
    pub(super) pattern: String,
    /// Whether upper and lower case are the same.
    #[serde(default)]
    pub(super) ignore_case: bool,
    /// Which output: both streams, or one of them.
    #[serde(default)]
    pub(super) stream: OneOrBoth,
    /// Lines to show before and after each match.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10))]
    pub(super) context: u32,
    /// Matches at most.
    #[serde(default = "search_limit")]
    #[schemars(range(min = 1, max = 200))]
    pub(super) limit: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InteractArguments {
    /// The job_id that execute_command answered.
    pub(super) job_id: String,
    /// Text for the job's standard input, at most 256 KiB; none: nothing is sent but the key.
    #[serde(default)]
    #[schemars(with = "String")]
    pub(super) input: Option<String>,
    /// Whether to add a newline to the text.
    #[serde(default = "yes")]
    pub(super) newline: bool,
    /// A key to press after the text. Without a terminal there are only ctrl-c and ctrl-\, which are signals, and ctrl-d, which
    /// closes standard input.
    #[serde(default)]
    #[schemars(with = "Key")]
    pub(super) key: Option<Key>,
    /// Whether to close the job's standard input afterwards; at a terminal that is ctrl-d.
    #[serde(default)]
    pub(super) close: bool,
    /// Change the size of the job's terminal first.
    #[serde(default)]
    #[schemars(with = "TerminalSize")]
    pub(super) resize: Option<TerminalSize>,
    /// How long to wait for output to come and fall silent, in milliseconds.
    #[serde(default = "answer_wait")]
    #[schemars(range(min = 0, max = 600000))]
    pub(super) wait_ms: u32,
    /// Answer as soon as a line of the output matches this regular expression, such as the next prompt, instead of when it is
    /// silent.
    #[serde(default)]
    #[schemars(with = "String")]
    pub(super) until: Option<String>,
    /// Most bytes of each stream that are answered.
    #[serde(default = "page_bytes")]
    #[schemars(range(min = 1, max = 1048576))]
    pub(super) max_bytes: u32,
    /// Whether to leave out what costs much and says little: control sequences, progress but for its last state, repeated lines,
    /// the middle of long lines.
    #[serde(default)]
    pub(super) tidy: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KillArguments {
    /// The job_id that execute_command answered.
    pub(super) job_id: String,
    /// The signal that asks the job to end.
    #[serde(default)]
    pub(super) signal: Signal,
    /// How long it has to end before it is ended, in milliseconds; by default as long as is configured.
    #[serde(default)]
    #[schemars(with = "u32", range(min = 0, max = 60000))]
    pub(super) grace_ms: Option<u32>,
}

/// A key.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Key {
    /// Interrupts what is in the foreground.
    CtrlC,
    /// Ends the input.
    CtrlD,
    /// Suspends what is in the foreground.
    CtrlZ,
    /// Ends what is in the foreground, hard.
    #[serde(rename = "ctrl-\\")]
    CtrlBackslash,
    /// Return, for programs that read keys; a program that reads lines wants newline instead.
    Enter,
    /// Tabulator.
    Tab,
    /// Escape.
    Escape,
    /// Deletes backwards.
    Backspace,
    /// Arrow.
    Up,
    /// Arrow.
    Down,
    /// Arrow.
    Right,
    /// Arrow.
    Left,
}

/// What pressing a key does.
pub(super) enum Press {
    /// Sends these bytes, if the policies allow it.
    Bytes(&'static [u8]),
    /// Sends a signal.
    Signal(Signal),
    /// Closes the input.
    Close,
}

impl Key {
    /// What it does to a job that has a terminal, or has none.
    pub(super) fn press(self, has_terminal: bool) -> Result<Press, CallToolResult> {
        let bytes: &[u8] = match self {
            Self::CtrlC => return Ok(Press::Signal(Signal::Int)),
            Self::CtrlBackslash => return Ok(Press::Signal(Signal::Quit)),
            Self::CtrlD => return Ok(Press::Close),
            Self::CtrlZ => b"\x1a",
            Self::Enter => b"\r",
            Self::Tab => b"\t",
            Self::Escape => b"\x1b",
            Self::Backspace => b"\x7f",
            Self::Up => b"\x1b[A",
            Self::Down => b"\x1b[B",
            Self::Right => b"\x1b[C",
            Self::Left => b"\x1b[D",
        };
        if has_terminal {
            Ok(Press::Bytes(bytes))
        } else {
            Err(error("the job has no terminal, and without one there are only ctrl-c, ctrl-d and ctrl-\\; send text instead, or start it with a terminal".to_owned()))
        }
    }
}

impl TerminalSize {
    /// As jobs take it.
    pub(super) fn checked(self) -> Result<Size, CallToolResult> {
        within("rows", self.rows.into(), 1, MOST_CHARACTERS)?;
        within("cols", self.cols.into(), 1, MOST_CHARACTERS)?;
        Ok(Size { rows: self.rows, cols: self.cols })
    }
}

/// Which output is read.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StreamArgument {
    /// Standard output and standard error, each by itself.
    #[default]
    Both,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Both in the order in which they came, with times.
    Merged,
}

/// Which streams are read.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OneOrBoth {
    /// Standard output and standard error, each by itself.
    #[default]
    Both,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl From<StreamArgument> for View {
    fn from(stream: StreamArgument) -> Self {
        match stream {
            StreamArgument::Both => Self::Both,
            StreamArgument::Stdout => Self::One(StreamName::Stdout),
            StreamArgument::Stderr => Self::One(StreamName::Stderr),
            StreamArgument::Merged => Self::Merged,
        }
    }
}

impl From<OneOrBoth> for View {
    fn from(stream: OneOrBoth) -> Self {
        match stream {
            OneOrBoth::Both => Self::Both,
            OneOrBoth::Stdout => Self::One(StreamName::Stdout),
            OneOrBoth::Stderr => Self::One(StreamName::Stderr),
        }
    }
}

fn tail_lines() -> u32 {
    50
}

fn search_limit() -> u32 {
    50
}

fn page_bytes() -> u32 {
    64 << 10
}

fn answer_wait() -> u32 {
    2000
}

fn job_wait() -> u32 {
    30_000
}

fn yes() -> bool {
    true
}

/// Numbers without a fraction as integers, since clients in languages with one kind of number write `5.0`.
pub(in crate::mcp) fn whole(arguments: JsonObject) -> JsonObject {
    arguments.into_iter().map(|(name, value)| (name, whole_value(value))).collect()
}

fn whole_value(value: Value) -> Value {
    /// Beyond, not every integer is a number of this kind.
    const MOST: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Object(members) => Value::Object(whole(members)),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            #[expect(clippy::cast_possible_truncation, reason = "there is no fraction, and it is in bounds")]
            Some(float) if float.fract() == 0.0 && float.abs() <= MOST => Value::from(float as i64),
            _ => Value::Number(number),
        },
        other => other,
    }
}

/// A number of a range.
pub(super) fn within(name: &str, number: u32, least: u32, most: u32) -> Result<u32, CallToolResult> {
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(error(format!("{name} is {number}; give a number from {least} to {most}")))
    }
}

/// How much is answered of each stream.
pub(super) fn page(max_bytes: u32) -> Result<usize, CallToolResult> {
    within("max_bytes", max_bytes, 1, MOST_PAGE_BYTES).map(|bytes| bytes as usize)
}

/// The longest wait.
pub(super) fn wait(wait_ms: u32) -> Result<Duration, CallToolResult> {
    within("wait_ms", wait_ms, 0, MOST_WAIT_MS).map(|wait| Duration::from_millis(wait.into()))
}

/// How a job is stopped.
pub(super) fn stop(asked: &KillArguments) -> Result<Stop, CallToolResult> {
    let grace = asked.grace_ms.map(|grace| within("grace_ms", grace, 0, MOST_GRACE_MS)).transpose()?;
    Ok(Stop { signal: asked.signal, grace: grace.map(|grace| Duration::from_millis(grace.into())) })
}

/// A regular expression, whose cost is bounded.
pub(super) fn pattern(text: &str, ignore_case: bool) -> Result<Regex, CallToolResult> {
    if text.len() > MOST_PATTERN_BYTES {
        return Err(error(format!("the pattern has {} bytes; at most {MOST_PATTERN_BYTES} are allowed", text.len())));
    }
    RegexBuilder::new(text).case_insensitive(ignore_case).size_limit(MOST_PATTERN_MEMORY).build().map_err(|fault| {
        let why = fault.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
        error(format!("the pattern is no regular expression that can be used: {why}"))
    })
}

/// What is waited for.
pub(super) fn until(text: Option<&str>, otherwise: Until) -> Result<Until, CallToolResult> {
    text.map_or(Ok(otherwise), |text| pattern(text, false).map(Until::Pattern))
}

/// Where a reader goes on.
pub(super) fn cursor(text: Option<&str>) -> Result<Option<Cursor>, CallToolResult> {
    text.map(str::parse).transpose().map_err(|fault: CursorError| error(fault.to_string()))
}

/// Where a reader begins.
pub(super) fn beginning(from: Option<&str>, since: Option<&str>) -> Result<Beginning, CallToolResult> {
    match (cursor(from)?, since) {
        (Some(_), Some(_)) => Err(error("cursor and since can not be given together; leave one out".to_owned())),
        (Some(cursor), None) => Ok(Beginning::Cursor(cursor)),
        (None, Some(since)) => time(since).map(Beginning::Since),
        (None, None) => Ok(Beginning::First),
    }
}

fn time(text: &str) -> Result<DateTime<Utc>, CallToolResult> {
    text.parse().map_err(|_| error("since is no time; write it as in 2026-01-31T12:00:00Z (RFC 3339)".to_owned()))
}
