//! `portcullis audit show`.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
    time::Duration,
};

use clap::Args;
use serde_json::Value;

use super::{CliError, LogFiles, Period, configured, exit, failed, open_configured, written};
use crate::{
    audit::{AuditError, Files, Line, Lines, Outcome, Place, plain},
    cli::{
        explain::{BAD, FAINT, GOOD, OTHER},
        say,
    },
    policy::{Denial, printable},
};

/// Between two looks at a log that is followed. Looked at and not waited for, since of a log on a disk of the network nobody is
/// told that it grew.
const LOOK: Duration = Duration::from_millis(200);
/// Most characters of the texts in a line of the table.
const MOST_SHOWN: usize = 200;

/// Shows what was recorded, one line each.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 shown, 3 wrong usage or configuration, 125 the log can not be read.

  portcullis audit show --since 2h --decision deny
  portcullis audit show --follow --client claude-code
  portcullis audit show --json --job a1d4ff85 | jq .")]
pub(super) struct Show {
    #[command(flatten)]
    period: Period,
    /// Only decisions that came out so: allow, ask or deny.
    #[arg(long, value_name = "OUTCOME", hide_possible_values = true)]
    decision: Option<Outcome>,
    /// Only what this policy refused or asked about.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Only what was refused or asked about with this code.
    #[arg(long)]
    code: Option<String>,
    /// Only what this job is about: its id, or how that begins.
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Only what this principal asked for.
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Only what this client asked for.
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// Goes on with what is recorded from now on, until it is interrupted.
    #[arg(long, short, conflicts_with = "files")]
    follow: bool,
    /// The lines as they are recorded instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    log: LogFiles,
}

/// Lines that are no records, which are not shown but told.
#[derive(Default)]
struct Strays {
    first: Option<Place>,
    count: u64,
}

impl Show {
    pub(super) async fn execute(self, explicit: Option<&Path>) -> Result<u8, CliError> {
        if self.follow {
            return self.follow(&configured(explicit)?.path).await;
        }
        self.all(&mut self.log.open(explicit)?.lines())?;
        Ok(exit::OK)
    }

    async fn follow(&self, path: &Path) -> Result<u8, CliError> {
        let mut lines = open_configured(path)?.lines();
        while self.all(&mut lines)? {
            tokio::time::sleep(LOOK).await;
            let files = match Files::of_log(path) {
                // Where it was moved away it is not there until the next line is written.
                Err(AuditError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
                files => files.map_err(failed)?,
            };
            lines = match lines.position() {
                Some(position) => files.after(position),
                None => files,
            }
            .lines();
        }
        Ok(exit::OK)
    }

    /// Shows what is wanted of these lines; false if nobody reads it any more.
    fn all(&self, lines: &mut Lines) -> Result<bool, CliError> {
        let mut out = BufWriter::new(anstream::stdout());
        let mut strays = Strays::default();
        for line in lines {
            let line = line.map_err(failed)?;
            match record(&line) {
                None => strays.add(&line),
                Some(record) if self.wants(&record) => {
                    let text = if self.json { plain(&json(&line)) } else { row(&record) };
                    if !written(writeln!(out, "{text}"))? {
                        return Ok(false);
                    }
                }
                Some(_) => {}
            }
        }
        let is_read = written(out.flush())?;
        strays.tell(self.follow);
        Ok(is_read)
    }

    fn wants(&self, record: &Value) -> bool {
        let has = |wanted: Option<&str>, key: &str| wanted.is_none_or(|wanted| record[key] == wanted);
        let is_of = |job: &str| record["job_id"].as_str().is_some_and(|id| id.starts_with(job));
        self.period.holds(record["time"].as_str())
            && has(self.decision.map(Outcome::name), "decision")
            && has(self.policy.as_deref(), "policy")
            && has(self.code.as_deref(), "code")
            && has(self.principal.as_deref(), "principal")
            && has(self.client.as_deref(), "client")
            && self.job.as_deref().is_none_or(is_of)
    }
}

impl Strays {
    fn add(&mut self, line: &Line) {
        self.first.get_or_insert_with(|| line.place.clone());
        self.count += 1;
    }

    /// A log that is followed may end in the middle of a line that is complete at the next look.
    fn tell(&self, is_followed: bool) {
        let Some(first) = self.first.as_ref().filter(|_| !is_followed) else { return };
        let place = printable(&first.to_string());
        say(&format!("{} of the lines are no records, the first of them {place}; see `portcullis audit verify`", self.count));
    }
}

fn record(line: &Line) -> Option<Value> {
    serde_json::from_slice(line.text.bytes()?).ok().filter(Value::is_object)
}

fn json(line: &Line) -> String {
    String::from_utf8_lossy(line.text.bytes().unwrap_or_default()).into_owned()
}

/// A record as a line of the table. Whatever stands in it, nothing of it steers the terminal.
fn row(record: &Value) -> String {
    let text = |key: &str| record[key].as_str().unwrap_or_default();
    let (what, style, said) = match text("event") {
        "decision" => decision(record, text),
        "job_end" => (text("state"), if text("state") == "completed" { GOOD } else { OTHER }, end(record, text)),
        "not_started" => ("not started", BAD, text("message").to_owned()),
        "reload" => ("reload", if text("set").is_empty() { BAD } else { OTHER }, reload(text)),
        "question" => ("question", OTHER, format!("{} ({})", text("runs"), text("way"))),
        "answer" => ("answer", if matches!(text("answer"), "once" | "always") { GOOD } else { BAD }, said(text)),
        other => (other, FAINT, String::new()),
    };
    let job = text("job_id").get(..8).unwrap_or_default();
    let (time, what, job) = (short(text("time"), 24), short(what, 11), short(job, 8));
    let (client, said) = (short(text("client"), 16), short(&said, MOST_SHOWN));
    format!("{FAINT}{time:24}{FAINT:#}  {style}{what:11}{style:#}  {job:8}  {client:16}  {said}")
}

fn decision<'r>(record: &Value, text: impl Fn(&str) -> &'r str) -> (&'r str, anstyle::Style, String) {
    let mark = if text("subject") == "input" { "(input) " } else { "" };
    let denial = Denial {
        policy: record["policy"].as_str().map(str::to_owned),
        code: text("code").to_owned(),
        message: text("message").to_owned(),
    };
    let (sent, runs) = (text("sent"), text("runs"));
    match text("decision") {
        "allow" if record["question"].is_string() => ("allow", GOOD, format!("{mark}{runs}  ⇐ a person said yes")),
        "allow" => ("allow", GOOD, format!("{mark}{}", if runs.is_empty() { sent } else { runs })),
        "ask" => ("ask", OTHER, format!("{mark}{sent}  ⇐ {denial}")),
        other => (other, BAD, format!("{mark}{sent}  ⇐ {denial}")),
    }
}

/// What a person said, or why it does not count.
fn said<'r>(text: impl Fn(&str) -> &'r str) -> String {
    let (answer, message) = (text("answer"), text("message"));
    if message.is_empty() { answer.to_owned() } else { format!("{answer}: {message}") }
}

fn end<'r>(record: &Value, text: impl Fn(&str) -> &'r str) -> String {
    let how = match (&record["exit_code"], &record["signal"]) {
        (Value::Number(code), _) => format!("exit code {code}"),
        (_, Value::Number(signal)) => format!("signal {signal}"),
        _ => "never started".to_owned(),
    };
    format!("{}  ⇒ {how}", text("command"))
}

fn reload<'r>(text: impl Fn(&str) -> &'r str) -> String {
    let (before, set) = (digest_start(text("before")), digest_start(text("set")));
    match text("message") {
        "" => format!("set {before} ⇒ {set}"),
        why => format!("set {before} stays  ⇐ {why}"),
    }
}

/// As much of a digest as tells sets apart.
fn digest_start(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// At most so many characters of a text, and no hidden ones.
fn short(text: &str, most: usize) -> String {
    // More could not be shown, whatever is an escape in it.
    let text = printable(&text[..text.floor_char_boundary(4 * (most + 1))]);
    match text.char_indices().nth(most.saturating_sub(1)) {
        Some((at, last)) if at + last.len_utf8() < text.len() => format!("{}…", &text[..at]),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_that_is_recorded_steers_the_terminal() {
        let evil = "\u{1b}[2J\r\u{9b}31m\u{202e}";
        let record = json!({
            "time": evil, "event": "decision", "decision": evil, "client": evil, "sent": evil, "runs": evil, "policy": evil, "code": evil,
            "message": evil, "job_id": evil,
        });
        let shown = anstream::adapter::strip_str(&row(&record)).to_string();
        assert!(!shown.chars().any(crate::policy::is_hidden), "{shown:?}");
        let shown = anstream::adapter::strip_str(&row(&json!({ "event": evil, "state": evil }))).to_string();
        assert!(!shown.chars().any(crate::policy::is_hidden), "{shown:?}");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(short("äöü", 3), "äöü");
        assert_eq!(short("äöüß", 3), "äö…");
        assert_eq!(short("", 3), "");
    }
}
