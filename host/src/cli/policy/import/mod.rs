//! `portcullis policy import`: rules of other gates become settings of the allowlist.
//!
//! The files are read to [`source::Source`], which knows rules on the first words of commands; [`grammar`] makes of them grammars
//! that allow no more than the source; [`output`] writes those down, with what had to be narrowed or left out.

mod cases;
mod claude;
mod codex;
mod grammar;
mod output;
mod packs;
mod seed;
mod source;
mod starlark;
mod words;

#[cfg(test)]
mod tests;

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use self::{
    grammar::{Grammar, Outcome},
    output::Imported,
    source::{Effect, Fate, MOST_RULES, Note, Source},
};
use crate::cli::{CliError, exit, say};

/// Longest file, in bytes.
const MOST_BYTES: u64 = 1024 * 1024;
/// Most mistakes that are told at once.
const MOST_MISTAKES: usize = 64;
/// Most files at once.
const MOST_FILES: usize = 64;

/// Turns the rules of Codex, Claude Code or mcp-background-job into settings of the allowlist.
#[derive(Debug, Args)]
#[command(after_help = "\
What it reads:
  codex   a `.rules` file: prefix_rule(pattern = [\"git\", [\"status\", \"log\"]], decision = \"allow\", match = […], not_match = […])
  claude  settings in JSON with `permissions`: allow, ask and deny of Bash(npm test), Bash(npm run test:*), Bash(git *)
  seed    MCP_BG_ALLOWED_COMMANDS of mcp-background-job: its value, a line NAME=value, or JSON that has it as a key

What it writes never allows more than the source did, and mostly less: a rule that lets any words follow is narrowed to what a pack of
the allowlist knows for them, else to paths inside the roots. What is asked or denied there is denied here. Each rule that was narrowed
or left out is named with the reason, on standard error and at the head of the settings. Of several files all rules count.

The settings are the entry `[[policies]]` of the allowlist: put them in its place in your configuration, beside `harden`, then run
`portcullis config check`. The cases are commands and what must be said to them; try some with `portcullis check`.

Exit codes: 0 imported, 3 wrong usage, or a file that can not be read; then every mistake is named and nothing is written.

  portcullis policy import ~/.codex/rules/default.rules
  portcullis policy import --cases cases.toml .claude/settings.json .claude/settings.local.json
  printenv MCP_BG_ALLOWED_COMMANDS | portcullis policy import --from seed -")]
pub struct Import {
    /// What the files are; guessed from each file if this is not given.
    #[arg(long, value_enum, value_name = "KIND")]
    from: Option<Kind>,
    /// Writes test cases to this file, which must not exist.
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// Files to read; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Codex,
    Claude,
    Seed,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct Mistake {
    file: String,
    line: usize,
    what: String,
}

impl Mistake {
    fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, what: what.into() }
    }
}

impl Import {
    pub(super) fn execute(self) -> Result<u8, CliError> {
        let mut source = Source::new();
        let mut mistakes = Vec::new();
        if self.files.len() > MOST_FILES {
            return Err(wrong(&[format!("more than {MOST_FILES} files")]));
        }
        for path in &self.files {
            let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
            match contents(path) {
                Err(why) => mistakes.push(format!("{name}: {why}")),
                Ok(text) => match read(self.from.unwrap_or_else(|| Kind::of(path, &text)), &name, &text) {
                    Ok(more) => source.add(more),
                    Err(more) => mistakes.extend(more.iter().map(Mistake::to_string)),
                },
            }
        }
        if source.rules.iter().map(|rule| rule.scopes.len()).sum::<usize>() > MOST_RULES {
            mistakes.push(format!("there are more than {MOST_RULES} rules"));
        }
        if !mistakes.is_empty() {
            return Err(wrong(&mistakes));
        }
        self.write(&import(&source))
    }

    fn write(&self, imported: &Imported) -> Result<u8, CliError> {
        if let Some(path) = &self.cases {
            let write =
                |path: &Path| OpenOptions::new().write(true).create_new(true).open(path)?.write_all(imported.cases().as_bytes());
            write(path).map_err(|error| wrong(&[format!("could not write {}: {error}", path.display())]))?;
        }
        io::stdout()
            .write_all(imported.settings().as_bytes())
            .map_err(|error| CliError::Failed(format!("could not write the settings: {error}")))?;
        for line in imported.summary() {
            say(&line);
        }
        Ok(exit::OK)
    }
}

impl Kind {
    fn of(path: &Path, text: &str) -> Self {
        let begin = text.trim_start();
        if text.contains(seed::VARIABLE) {
            Self::Seed
        } else if begin.starts_with('{') {
            Self::Claude
        } else if path.extension().is_some_and(|extension| extension == "rules") || text.contains("prefix_rule") {
            Self::Codex
        } else {
            Self::Seed
        }
    }
}

fn wrong(mistakes: &[String]) -> CliError {
    let mut lines: Vec<_> = mistakes.iter().take(MOST_MISTAKES).map(|line| crate::policy::printable(line)).collect();
    if mistakes.len() > MOST_MISTAKES {
        lines.push(format!("and {} more", mistakes.len() - MOST_MISTAKES));
    }
    CliError::Import(lines.join("\n"))
}

fn contents(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| format!("could not be read: {error}"))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("is longer than {MOST_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not in UTF-8".to_owned())
}

fn read(kind: Kind, file: &str, text: &str) -> Result<Source, Vec<Mistake>> {
    match kind {
        Kind::Codex => codex::read(file, text),
        Kind::Claude => claude::read(file, text),
        Kind::Seed => seed::read(file, text),
    }
}

/// Makes settings, cases and notes of what files say.
fn import(source: &Source) -> Imported {
    let (grammar, outcomes) = Grammar::of(source);
    let mut notes = source.notes.clone();
    let mut outcomes = outcomes.into_iter();
    for rule in &source.rules {
        let changed = rule.changed.iter().map(|why| (Fate::Narrowed, why.clone()));
        let mut fates: Vec<_> = changed.collect();
        match rule.effect {
            Effect::Allow => fates.extend(outcomes.by_ref().take(rule.scopes.len()).filter_map(|outcome| match outcome {
                Outcome::Kept => None,
                Outcome::Narrowed(why) => Some((Fate::Narrowed, why)),
                Outcome::LeftOut(why) => Some((Fate::LeftOut, why)),
            })),
            Effect::Ask => fates.push((Fate::LeftOut, "asks a person, which the allowlist can not: it is denied".to_owned())),
            Effect::Deny => {}
        }
        let mut seen = Vec::new();
        for fate in fates {
            if !seen.contains(&fate) {
                seen.push(fate.clone());
                notes.push(Note::new(&rule.place, &rule.shown, fate.0, fate.1));
            }
        }
    }
    let cases = cases::of(source, &grammar);
    Imported { grammar, cases, notes, has_lists: source.has_lists }
}
