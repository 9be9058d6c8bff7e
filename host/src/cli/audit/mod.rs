//! `portcullis audit`: the record of decisions, read.

mod replay;
mod show;
mod verify;

use std::{
    io,
    path::{Path, PathBuf},
};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use clap::{Args, Subcommand};

use super::{CliError, exit};
use crate::{
    audit::{AuditError, Files},
    config::{self, Surroundings},
    policy::builtins,
};

/// Looks at the record of decisions.
#[derive(Debug, Args)]
pub(super) struct AuditVerbs {
    #[command(subcommand)]
    verb: AuditVerb,
}

#[derive(Debug, Subcommand)]
enum AuditVerb {
    Show(show::Show),
    Verify(verify::Verify),
    Replay(replay::Replay),
}

/// Which log.
#[derive(Debug, Args)]
struct LogFiles {
    /// Files of a log, the oldest first. Default: the configured log, and before it what was rotated away from it.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Which time.
#[derive(Debug, Args)]
struct Period {
    /// Only what was recorded since then: a time such as 2026-11-20T22:40:00Z, a day (in UTC), or how long ago: 90s, 15m, 2h, 30d.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<DateTime<Utc>>,
    /// Only what was recorded before then.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<DateTime<Utc>>,
}

impl AuditVerbs {
    /// Does what was asked and gives the exit code. Of the configuration only the log counts.
    pub(super) async fn execute(self, explicit: Option<&Path>) -> Result<u8, CliError> {
        match self.verb {
            AuditVerb::Show(verb) => verb.execute(explicit).await,
            AuditVerb::Verify(verb) => verb.execute(explicit),
            AuditVerb::Replay(verb) => verb.execute(explicit).await,
        }
    }
}

impl LogFiles {
    fn open(&self, explicit: Option<&Path>) -> Result<Files, CliError> {
        if self.files.is_empty() { open_configured(&configured(explicit)?.path) } else { self.named() }
    }

    fn named(&self) -> Result<Files, CliError> {
        Files::named(&self.files).map_err(failed)
    }
}

impl Period {
    /// Whether a recorded time lies in it. What tells no time does not, unless any will do.
    fn holds(&self, time: Option<&str>) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let time = time.and_then(|time| DateTime::parse_from_rfc3339(time).ok());
        time.is_some_and(|time| self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until))
    }
}

/// Where the log is, and how much of it is kept.
fn configured(explicit: Option<&Path>) -> Result<config::Audit, CliError> {
    let audit = config::load_audit(explicit, &Surroundings::from_process(builtins()));
    audit.map_err(|mistakes| CliError::Config(mistakes.to_string()))
}

fn open_configured(path: &Path) -> Result<Files, CliError> {
    Files::of_log(path).map_err(|error| match &error {
        AuditError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            CliError::Failed(format!("{error}; nothing was recorded yet, or the log was moved: name its files"))
        }
        _ => failed(error),
    })
}

fn failed(error: AuditError) -> CliError {
    CliError::Failed(error.to_string())
}

/// Whether a result reached its reader, who may have seen enough.
fn written(result: io::Result<()>) -> Result<bool, CliError> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::Failed(format!("could not write the result: {error}"))),
    }
}

fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let time = || DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
    let day = || Some(text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc());
    let wrong = || "must be a time such as 2026-11-20T22:40:00Z, a day such as 2026-11-20, or how long ago: 90s, 15m, 2h, 30d";
    time().or_else(day).or_else(|| ago(text)).ok_or_else(|| wrong().to_owned())
}

fn ago(text: &str) -> Option<DateTime<Utc>> {
    let count = text.get(..text.len().checked_sub(1)?)?.parse::<u32>().ok()?;
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 24 * 3600,
        _ => return None,
    };
    Utc::now().checked_sub_signed(TimeDelta::try_seconds(i64::from(count) * unit)?)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::time("2026-11-20T23:40:00+01:00", "2026-11-20T22:40:00Z")]
    #[case::day("2026-11-20", "2026-11-20T00:00:00Z")]
    fn times_are_read(#[case] text: &str, #[case] meant: &str) {
        assert_eq!(moment(text).unwrap(), meant.parse::<DateTime<Utc>>().unwrap());
    }

    #[rstest]
    #[case::seconds("90s", 90)]
    #[case::days("2d", 2 * 24 * 3600)]
    fn spans_are_counted_from_now(#[case] text: &str, #[case] seconds: i64) {
        let then = moment(text).unwrap();
        let since = (Utc::now() - then).num_seconds();
        assert!((seconds..seconds + 60).contains(&since), "{since}");
    }

    #[rstest]
    fn other_texts_are_no_times(
        #[values("", "s", "1", "-1h", "1w", "2026-13-01", "9999999999d", "4294967295d", "é")] text: &str,
    ) {
        assert!(moment(text).is_err());
    }
}
