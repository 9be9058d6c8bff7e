//! `portcullis audit verify`.

use std::{
    io::{BufWriter, Write},
    path::Path,
};

use clap::Args;

use super::{CliError, LogFiles, configured, exit, failed, open_configured, written};
use crate::{
    audit::{Files, Findings, Head, Named, Verifier},
    policy::printable,
};

/// Looks whether a line was changed, is missing or out of order, says where, and prints the head.
#[derive(Debug, Args)]
#[command(after_help = "\
Each line holds a running number and the hash of the line before. Nothing secret goes into that: who can write the log can write
all of it anew. So keep the head that this prints where they can not write; with `--head` it shows whether the log still holds
all that it held then, its end included.

Exit codes: 0 unbroken, 1 broken, 3 wrong usage or configuration, 4 unbroken, but its beginning is missing, which is not because
older files were removed as `audit.keep` says, 125 the log can not be read.

  portcullis audit verify
  portcullis audit verify | sed -n 's/^head //p' | ssh elsewhere 'cat >> heads'
  portcullis audit verify --head 1042:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
pub(super) struct Verify {
    /// The head that was printed at an earlier time.
    #[arg(long, value_name = "NUMBER:HASH")]
    head: Option<Head>,
    #[command(flatten)]
    log: LogFiles,
}

/// Where a log begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// With the first line that was ever written.
    There,
    /// Later: older files were removed, as the configuration says.
    Pruned,
    /// Later, and nothing says why.
    Missing,
}

impl Verify {
    pub(super) fn execute(self, explicit: Option<&Path>) -> Result<u8, CliError> {
        let (files, is_pruned) = self.open(explicit)?;
        let count = files.count();
        let mut end = files.newest();
        let mut verifier = Verifier::new(self.head);
        for line in files.lines() {
            let line = line.map_err(failed)?;
            verifier.line(&line);
            end = line.place;
        }
        let findings = verifier.finish(&end);
        let beginning = match findings.first {
            None | Some(1) => Beginning::There,
            Some(_) if is_pruned => Beginning::Pruned,
            Some(_) => Beginning::Missing,
        };
        written(report(&findings, beginning, count, self.head))?;
        Ok(match beginning {
            _ if findings.faults.count > 0 => exit::BROKEN,
            Beginning::Missing => exit::INCOMPLETE,
            Beginning::There | Beginning::Pruned => exit::OK,
        })
    }

    /// The files, and whether older ones were removed because enough were kept. Of files that are named nobody knows what was
    /// before.
    fn open(&self, explicit: Option<&Path>) -> Result<(Files, bool), CliError> {
        if !self.log.files.is_empty() {
            return Ok((self.log.named()?, false));
        }
        let configured = configured(explicit)?;
        let files = open_configured(&configured.path)?;
        let is_pruned = files.is_pruned(configured.keep);
        Ok((files, is_pruned))
    }
}

fn report(findings: &Findings, beginning: Beginning, files: usize, wanted: Option<Head>) -> std::io::Result<()> {
    let Findings { first, head, faults, torn } = findings;
    let mut out = BufWriter::new(std::io::stdout());
    named(&mut out, faults, |fault| fault.to_string())?;
    named(&mut out, torn, |()| "a torn line, which the next one goes on from".to_owned())?;
    let state = if faults.count == 0 { "unbroken".to_owned() } else { format!("broken in {}", counted(faults.count, "place")) };
    let files = counted(files as u64, "file");
    let before = match beginning {
        Beginning::There => "",
        Beginning::Pruned => "; older files were removed, since no more than `audit.keep` are kept",
        Beginning::Missing => "; the beginning is missing",
    };
    match first {
        None => writeln!(out, "{state}: no records in {files}")?,
        Some(first) => writeln!(out, "{state}: numbers {first} to {} in {files}{before}", head.number)?,
    }
    if let Some(wanted) = wanted.filter(|_| faults.count == 0) {
        writeln!(out, "all is there that was at number {}", wanted.number)?;
    }
    writeln!(out, "head {head}")?;
    out.flush()
}

fn named<T>(out: &mut impl Write, things: &Named<T>, text: impl Fn(&T) -> String) -> std::io::Result<()> {
    for (place, thing) in &things.named {
        writeln!(out, "{}", printable(&format!("{place}: {}", text(thing))))?;
    }
    match things.count - things.named.len() as u64 {
        0 => Ok(()),
        more => writeln!(out, "and {more} more such"),
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
