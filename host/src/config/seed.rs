//! The variables of mcp-background-job, for those who change over. They are read only where no file is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Jobs;
use super::jobs::{KEEP_FINISHED_S, MAX_RUNNING, OUTPUT_BYTES, TIMEOUT_S};
use super::limits::size;
use super::mistakes::{Fault, Report, Span};
use super::places;
use super::surroundings::Surroundings;

/// Bytes kept of each stream.
const MAX_OUTPUT_SIZE: &str = "MCP_BG_MAX_OUTPUT_SIZE";
const MAX_JOBS: &str = "MCP_BG_MAX_JOBS";
/// Seconds.
const JOB_TIMEOUT: &str = "MCP_BG_JOB_TIMEOUT";
/// Seconds.
const CLEANUP_INTERVAL: &str = "MCP_BG_CLEANUP_INTERVAL";
pub(super) const WORKING_DIR: &str = "MCP_BG_WORKING_DIR";
const ALLOWED_COMMANDS: &str = "MCP_BG_ALLOWED_COMMANDS";

/// All of them.
pub(super) const NAMES: [&str; 6] = [MAX_JOBS, MAX_OUTPUT_SIZE, JOB_TIMEOUT, CLEANUP_INTERVAL, WORKING_DIR, ALLOWED_COMMANDS];

/// Puts the numbers over what the built-in configuration says. [`working_directory`] is not among them: it must be known earlier.
pub(super) fn overlay(report: &mut Report, jobs: &mut Jobs, surroundings: &Surroundings) {
    let mut number = |name: &str, span: &Span| {
        let value = surroundings.variable(name)?;
        report.keep(name, parse(value, span))
    };
    if let Some(count) = number(MAX_JOBS, &MAX_RUNNING) {
        jobs.max_running = size(count);
    }
    if let Some(bytes) = number(MAX_OUTPUT_SIZE, &OUTPUT_BYTES) {
        jobs.output_bytes = size(bytes);
    }
    if let Some(seconds) = number(JOB_TIMEOUT, &TIMEOUT_S) {
        jobs.timeout = (seconds != 0).then(|| Duration::from_secs(seconds.unsigned_abs()));
    }
    if let Some(seconds) = number(CLEANUP_INTERVAL, &KEEP_FINISHED_S) {
        jobs.keep_for = Duration::from_secs(seconds.unsigned_abs());
    }
    refuse_patterns(report, surroundings);
}

/// The only root, if the variable is set.
pub(super) fn working_directory(surroundings: &Surroundings) -> Option<Result<PathBuf, Fault>> {
    let value = surroundings.variable(WORKING_DIR)?;
    Some(places::directory(Path::new(value), surroundings.home()))
}

fn parse(value: &OsStr, span: &Span) -> Result<i64, Fault> {
    let text = value.to_string_lossy();
    match text.trim().parse() {
        Ok(number) => span.check(number),
        Err(_) => Err(Fault::new(format!("`{text}` is no whole number"), span.to_string())),
    }
}

/// An empty variable allowed nothing in particular there, so nothing is lost with it.
fn refuse_patterns(report: &mut Report, surroundings: &Surroundings) {
    let is_set = surroundings.variable(ALLOWED_COMMANDS).is_some_and(|value| !value.is_empty());
    if is_set {
        report.add(
            ALLOWED_COMMANDS,
            Fault::new(
                "is set, and a regular expression that is searched in a command is no allowlist: `echo` passes `rm -r x # echo`",
                "unset it and write the settings of the `allowlist` policy in a file: `portcullis policy import --from seed -` drafts them from the patterns, and policies/allowlist/README.md says what they mean",
            ),
        );
    }
}
