//! What a model reads of a result, beside the structure that programs read: the same, without the escapes of JSON.

use std::fmt::Write;

use super::{ExecuteResult, JobList, JobOutput, JobStatus, KillResult, MatchResult, SearchResult, WaitResult};

/// A result that can be told in a text.
pub(in crate::mcp::tools) trait Told {
    /// The text.
    fn told(&self) -> String;
}

impl Told for ExecuteResult {
    fn told(&self) -> String {
        let job = self.job_id.as_deref().unwrap_or_default();
        let form = if self.rewritten { " (a safer form than was sent)" } else { "" };
        match (self.not_executed, &self.output, self.queued_behind) {
            (Some(why), ..) => format!("{why}: {}{form}", self.runs),
            (None, Some(output), _) => format!("job {job} runs{form}: {}\n{}", self.runs, output.told()),
            (None, None, Some(before)) => format!("job {job} is queued behind {before}{form}: {}", self.runs),
            (None, None, None) => format!("job {job} is started{form}: {}", self.runs),
        }
    }
}

impl Told for JobOutput {
    fn told(&self) -> String {
        let mut told = self.status.clone();
        if let Some(code) = self.exit_code {
            told += &format!(", exit code {code}");
        }
        told += &format!(", {} bytes printed", self.total_bytes);
        if self.dropped_bytes > 0 {
            told += &format!(", {} of them fell out", self.dropped_bytes);
        }
        if self.lossy {
            told += ", some no UTF-8 and replaced";
        }
        if !self.is_all() {
            let what = if self.truncated { "there is more" } else { "what comes later" };
            told += &format!("; {what}: next_cursor {}", self.next_cursor);
        }
        let merged: String = self.merged.iter().map(|piece| piece.text.as_str()).collect();
        for (name, text) in [("stdout", self.stdout.as_str()), ("stderr", &self.stderr), ("stdout and stderr", &merged)] {
            if !text.is_empty() {
                told += &format!("\n--- {name} ---\n{text}");
            }
        }
        told
    }
}

impl Told for WaitResult {
    fn told(&self) -> String {
        let met = match self.met {
            "ended" => "the job has ended",
            "matched" => "a line matches",
            "silent" => "the output fell silent",
            _ => "the wait is over",
        };
        format!("{met}: {}", self.output.told())
    }
}

impl Told for JobStatus {
    fn told(&self) -> String {
        let mut told = format!("job {}: {}", self.job_id, self.status);
        if let Some(code) = self.exit_code {
            told += &format!(", exit code {code}");
        }
        if let Some(signal) = self.signal {
            told += &format!(", signal {signal}");
        }
        if let Some(before) = self.queued_behind {
            told += &format!(", {before} before it");
        }
        told += &format!(", {} ms since {}", self.duration_ms, self.started);
        if let Some(fault) = &self.fault {
            told += &format!(", {fault}");
        }
        for (kind, count) in &self.redacted {
            told += &format!(", {count} × {kind} redacted");
        }
        format!("{told}\n  {}", self.command)
    }
}

impl Told for JobList {
    fn told(&self) -> String {
        if self.jobs.is_empty() {
            return "there are no jobs".to_owned();
        }
        self.jobs.iter().map(Told::told).collect::<Vec<_>>().join("\n")
    }
}

impl Told for SearchResult {
    fn told(&self) -> String {
        let mut told = match self.matches.len() {
            0 => "no line matches".to_owned(),
            1 => "1 line matches".to_owned(),
            count => format!("{count} lines match"),
        };
        if self.truncated {
            told += ", and more do";
        }
        if self.dropped_bytes > 0 {
            told += &format!("; {} bytes fell out before they could be searched", self.dropped_bytes);
        }
        for found in &self.matches {
            found.tell(&mut told);
        }
        told
    }
}

impl MatchResult {
    /// As `grep -n` does it: the line that matches has a colon behind its number, those around it a dash.
    fn tell(&self, told: &mut String) {
        let first = self.line.saturating_sub(self.before.len() as u64);
        let around = self.before.iter().chain([&self.text]).chain(&self.after);
        for (number, text) in (first..).zip(around) {
            let mark = if number == self.line { ':' } else { '-' };
            _ = write!(told, "\n{}:{number}{mark} {}", self.stream, text.trim_end_matches('\n'));
        }
    }
}

impl Told for KillResult {
    fn told(&self) -> String {
        match self.status.as_str() {
            "killed" => "the job and all it started are stopped".to_owned(),
            _ => "the job had ended before".to_owned(),
        }
    }
}
