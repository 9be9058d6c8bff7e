//! `portcullis policy test`.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use regex::Regex;

use crate::{
    cli::{CliError, exit, say, watch::Watch},
    config::{self, Surroundings},
    policy,
    policy_test::{self, Outcomes, Policies, Report, Style},
};

/// What files of cases are called where a directory is searched for them.
const ENDING: &str = ".cases.toml";
/// Deepest directory that is searched, below the one that is named.
const MOST_DEPTH: usize = 8;
/// Most files of cases.
const MOST_FILES: usize = 10_000;
/// Most directories that are watched.
const MOST_DIRECTORIES: usize = 1000;
/// How long `--watch` waits for more to be written: a compiler writes in pieces.
const QUIET: Duration = Duration::from_millis(200);

/// Puts cases to policies and says what came out differently.
#[derive(Debug, Args)]
#[command(after_help = "\
A file of cases is TOML: the policies, commands or input or output, and what is expected of them; docs/policies.md has all keys. Where it
names no policies, those of the configuration are tested: `portcullis --config new.toml policy test cases.toml`.

  [[policies]]
  component = \"target/wasm32-wasip2/release/forbid.wasm\"
  settings = { programs = [\"find\"] }

  [[case]]
  name = \"a forbidden program\"
  commands = [\"find .\", \"ls && find .\"]
  decision = \"deny\"
  code = \"forbidden\"

Exit codes: 0 all passed, 1 some did not, 3 nothing was tried: a file is wrong, or no case has such a name.

  portcullis policy test tests
  portcullis policy test --filter 'git (log|show)' --verbose tests/git.cases.toml
  portcullis policy test --format junit tests > report.xml")]
pub struct Test {
    /// Files of cases, or directories: in them all that are called `*.cases.toml`.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only cases whose name or command matches this regular expression.
    #[arg(long, value_name = "REGEX")]
    filter: Option<Regex>,
    /// How the result is told.
    #[arg(long, value_enum, default_value_t, value_name = "STYLE")]
    format: Style,
    /// Names the cases that passed too.
    #[arg(long, short)]
    verbose: bool,
    /// Says which rules of the settings no case reached, and which functions of a policy's own code, where its component has names.
    #[arg(long)]
    coverage: bool,
    /// Tries again whenever a file is written beside the cases or beside what they name, until it is interrupted.
    #[arg(long)]
    watch: bool,
}

impl Test {
    pub(super) async fn execute(self, explicit: Option<&Path>) -> Result<u8, CliError> {
        if !self.watch {
            return self.once(explicit).await;
        }
        loop {
            // Before the files are read, so that no change is missed.
            let mut watch = self.watch()?;
            match self.once(explicit).await {
                Ok(_) => {}
                Err(error @ CliError::Cases(_)) => say(&error.to_string()),
                Err(error) => return Err(error),
            }
            watch.changed().await;
            tokio::time::sleep(QUIET).await;
        }
    }

    /// A watch of what was named, and of what that names.
    fn watch(&self) -> Result<Watch, CliError> {
        let files = files(&self.paths).map_err(CliError::Cases)?;
        let named = self.paths.iter().cloned().chain(files.iter().flat_map(|file| policy_test::named(file)));
        let directories = directories(named);
        let there = directories.iter().map(PathBuf::as_path).filter(|directory| directory.is_dir());
        Watch::of_directories(there).map_err(|error| CliError::Failed(format!("could not watch the files: {error}")))
    }

    async fn once(&self, explicit: Option<&Path>) -> Result<u8, CliError> {
        let wants = |name: &str| self.filter.as_ref().is_none_or(|filter| filter.is_match(name));
        let mut all = Outcomes::default();
        let mut mistakes = Vec::new();
        for file in files(&self.paths).map_err(CliError::Cases)? {
            match policy_test::run(&file, &|| configured(explicit), wants, self.coverage).await {
                Ok(more) => all.add(more),
                Err(mistake) => mistakes.push(mistake.to_string()),
            }
        }
        if !mistakes.is_empty() {
            return Err(CliError::Cases(mistakes.join("\n")));
        }
        if all.outcomes.is_empty() {
            let what =
                if self.filter.is_some() { "no case has a name that the filter matches" } else { "there is no case in them" };
            return Err(CliError::Cases(what.to_owned()));
        }
        let report = Report { outcomes: &all, verbose: self.verbose, coverage: self.coverage }.text(self.format);
        write!(std::io::stdout(), "{report}")
            .map_err(|error| CliError::Failed(format!("could not write the result: {error}")))?;
        let has_passed = all.outcomes.iter().all(|outcome| outcome.differences.is_empty());
        Ok(if has_passed { exit::OK } else { exit::DENIED })
    }
}

/// The policies that the configuration names.
pub(super) fn configured(explicit: Option<&Path>) -> Result<Policies, String> {
    let config = config::load(explicit, &Surroundings::from_process(policy::builtins()));
    config.map(|config| Policies::configured(&config)).map_err(|mistakes| mistakes.to_string())
}

/// The files that are named, and those in the directories that are named, each once.
pub(super) fn files(paths: &[PathBuf]) -> Result<BTreeSet<PathBuf>, String> {
    let mut files = BTreeSet::new();
    for path in paths {
        let shown = path.display();
        let meta = fs::metadata(path).map_err(|error| format!("{shown}: could not be read: {error}"))?;
        if !meta.is_dir() {
            files.insert(path.clone());
            continue;
        }
        let before = files.len();
        search(path, 0, &mut files).map_err(|error| format!("{shown}: could not be searched: {error}"))?;
        if files.len() == before {
            return Err(format!("{shown}: has no file that is called *{ENDING}"));
        }
    }
    if files.len() > MOST_FILES { Err(format!("there are more than {MOST_FILES} files")) } else { Ok(files) }
}

/// Not in what is hidden or built, and not through links, which may lead in circles.
fn search(directory: &Path, depth: usize, files: &mut BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let is_passed_over = name.to_string_lossy().starts_with('.') || name == OsStr::new("target");
        if kind.is_dir() && depth < MOST_DEPTH && !is_passed_over {
            search(&entry.path(), depth + 1, files)?;
        } else if kind.is_file() && name.to_string_lossy().ends_with(ENDING) && files.len() <= MOST_FILES {
            files.insert(entry.path());
        }
    }
    Ok(())
}

/// These directories, with what is below them, and those of these files.
fn directories(paths: impl Iterator<Item = PathBuf>) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for path in paths {
        if path.is_dir() {
            below(&path, 0, &mut all);
        } else {
            all.insert(path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")).to_owned());
        }
    }
    all
}

fn below(directory: &Path, depth: usize, all: &mut BTreeSet<PathBuf>) {
    if depth > MOST_DEPTH || all.len() >= MOST_DIRECTORIES || !all.insert(directory.to_owned()) {
        return;
    }
    for entry in directory.read_dir().into_iter().flatten().flatten() {
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !is_hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&entry.path(), depth + 1, all);
        }
    }
}
