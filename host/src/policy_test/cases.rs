//! Files of cases: what they say, and what is wrong with them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// Longest file that is read, in bytes: cases, corpora and streams.
const MOST_BYTES: u64 = 16 << 20;
/// In front of the name of a built-in policy.
pub(super) const BUILTIN: &str = "builtin:";
/// Most rows of one case, those of its corpus among them.
const MOST_ROWS: usize = 100_000;

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// The policies they are put to, in their order; none: those of the configuration.
    #[serde(default)]
    pub policies: Vec<Entry>,
    /// What commands find.
    #[serde(default)]
    pub world: World,
    /// The cases.
    #[serde(default)]
    pub case: Vec<Case>,
}

/// A policy, as in a configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// `builtin:NAME`, or the path of a component, relative to the file of cases.
    pub component: String,
    /// Default: the built-in's name or that of the component's file.
    pub name: Option<String>,
    /// What it is told. Default: what a built-in is told by default, else nothing.
    pub settings: Option<toml::Table>,
    /// The same from a file of TOML, relative to the file of cases.
    pub settings_file: Option<PathBuf>,
    /// Whether it may change commands and input.
    #[serde(default)]
    pub may_rewrite: bool,
    /// Powers beyond those every policy has.
    #[serde(default)]
    pub grants: Grants,
}

/// Powers of a policy.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Names of variables that it sees, of those in `world.env`.
    pub env: Vec<String>,
    /// `roots`, the directory that commands start in.
    pub read: Vec<String>,
}

/// What commands find: an empty root, and every program they name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct World {
    /// Files below the root and what is in them; a name that ends with `/` is a directory, a text that
    /// begins with `#!` a program.
    pub files: BTreeMap<PathBuf, String>,
    /// Symbolic links below the root and where they lead.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Programs that there are none of.
    pub missing: Vec<String>,
    /// Variables that commands start with.
    pub env: BTreeMap<String, String>,
}

/// One case, or a row of one: a row says only what is different from its case.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Case {
    /// What it shows. Default: the command.
    pub name: Option<String>,
    /// Settings of the first policy, in the place of those above.
    pub settings: Option<toml::Table>,

    /// A command, as shell text.
    pub command: Option<String>,
    /// Input to a job.
    pub input: Option<String>,
    /// The job's command.
    pub job: Option<String>,
    /// What was sent to it since the last newline.
    pub pending: Option<String>,
    /// A stream of output.
    pub output: Option<String>,
    /// The same from a file.
    pub output_file: Option<PathBuf>,

    /// What is decided; of several one.
    pub decision: Option<Decisions>,
    /// The code of a refusal.
    pub code: Option<String>,
    /// The policy that refuses; `portcullis` for the host itself.
    pub policy: Option<String>,
    /// A part of the refusal's text.
    pub message: Option<String>,
    /// What would run, in full.
    pub runs: Option<String>,
    /// The kinds of verdict that policies give, by their names, in any round.
    pub verdicts: BTreeMap<String, String>,
    /// What input or output becomes.
    pub becomes: Option<String>,
    /// The same from a file.
    pub becomes_file: Option<PathBuf>,
    /// Whether output stays as it is.
    pub unchanged: Option<bool>,
    /// What output must not hold any more.
    pub lacks: Option<Vec<String>>,
    /// What is counted as taken out of output.
    pub findings: Option<BTreeMap<String, u64>>,

    /// Commands that the case holds for, each a row.
    pub commands: Vec<String>,
    /// Rows of other differences.
    pub rows: Vec<Self>,
    /// Rows from a file.
    pub corpus: Option<Corpus>,
}

/// Rows from a file: of a `.tsv`, whose first line names its columns; of any other file the column `line`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corpus {
    /// The file, relative to the file of cases.
    pub file: PathBuf,
    /// Keys of the case, and the columns they are taken from.
    pub take: BTreeMap<String, String>,
    /// Texts in a column that stand for others, such as `␊` for a newline.
    #[serde(default)]
    pub replace: BTreeMap<String, String>,
    /// Rows that are left out: any value of a column that is taken.
    #[serde(default)]
    pub except: Vec<String>,
}

/// One decision or several of which any will do.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "must be \"allow\", \"deny\", \"ask\" or \"abstain\", or a list of them")]
pub enum Decisions {
    /// This.
    One(Decision),
    /// One of these.
    Any(Vec<Decision>),
}

/// What is decided about a command or about input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It may be.
    Allow,
    /// It may not.
    Deny,
    /// A person would be asked.
    Ask,
    /// No policy had anything to say for it, so it is denied.
    Abstain,
}

/// Something wrong with a file of cases.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", .file.display())]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// What, with its place.
    pub what: String,
}

/// One thing to be tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What it shows.
    pub name: String,
    /// What is put to the policies.
    pub subject: Subject,
    /// What is expected.
    pub case: Case,
}

/// What is put to the policies.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A command.
    Command(String),
    /// Input to a job.
    Input {
        /// The job's command.
        job: String,
        /// What was sent before.
        pending: Vec<u8>,
        /// What is sent.
        data: Vec<u8>,
    },
    /// A stream.
    Output(Vec<u8>),
}

impl Decisions {
    /// Whether this is one of them.
    pub fn include(&self, decision: Decision) -> bool {
        let is = |wanted: &Decision| *wanted == decision || (*wanted, decision) == (Decision::Deny, Decision::Abstain);
        match self {
            Self::One(wanted) => is(wanted),
            Self::Any(wanted) => wanted.iter().any(is),
        }
    }
}

impl std::fmt::Display for Decisions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(wanted) => f.write_str(wanted.name()),
            Self::Any(wanted) => f.write_str(&wanted.iter().map(|one| one.name()).collect::<Vec<_>>().join(" or ")),
        }
    }
}

impl Decision {
    /// Its name in a file of cases.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Ask => "ask",
            Self::Abstain => "abstain",
        }
    }
}

/// Reads a file of cases, and says what its cases are.
///
/// # Errors
///
/// The first thing that is wrong with the file or with what it includes.
pub fn read(file: &Path) -> Result<(Cases, Vec<Trial>), Mistake> {
    let wrong = |what: String| Mistake { file: file.to_owned(), what };
    let text = String::from_utf8(bytes(file).map_err(wrong)?).map_err(|_| wrong("is not in UTF-8".to_owned()))?;
    let cases: Cases = toml::from_str(&text).map_err(|error| wrong(with_place(&text, &error)))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut trials = Vec::new();
    for (index, case) in cases.case.iter().enumerate() {
        let rows = rows(case, folder).map_err(|what| wrong(format!("case[{index}]{what}")))?;
        trials.extend(rows);
    }
    Ok((cases, trials))
}

/// The files that a file of cases names, as far as it can be read.
pub fn named(file: &Path) -> Vec<PathBuf> {
    let text = bytes(file).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(cases) = text.and_then(|text| toml::from_str::<Cases>(&text).ok()) else { return Vec::new() };
    let folder = file.parent().unwrap_or(Path::new("."));
    let component = |entry: &Entry| (!entry.component.starts_with(BUILTIN)).then(|| PathBuf::from(&entry.component));
    let of_policies = cases.policies.iter().flat_map(|entry| component(entry).into_iter().chain(entry.settings_file.clone()));
    let of_rows = cases.case.iter().flat_map(|case| case.rows.iter().chain([case])).flat_map(|case| {
        let corpus = case.corpus.as_ref().map(|corpus| corpus.file.clone());
        corpus.into_iter().chain(case.output_file.clone()).chain(case.becomes_file.clone())
    });
    of_policies.chain(of_rows).map(|path| folder.join(path)).collect()
}

/// A file that cases name, within bounds.
///
/// # Errors
///
/// Why it can not be read.
pub fn bytes(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("could not be read: {error}"))?;
    if bytes.len() as u64 > MOST_BYTES { Err(format!("is longer than {MOST_BYTES} bytes")) } else { Ok(bytes) }
}

/// What is wrong with TOML, on one line, with its place in front.
pub fn with_place(text: &str, error: &toml::de::Error) -> String {
    let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    format!("line {line}, column {column}: {}", error.message().replace('\n', ", "))
}

/// The trials of a case: itself, or its rows.
fn rows(case: &Case, folder: &Path) -> Result<Vec<Trial>, String> {
    let mut rows: Vec<(String, Case)> = Vec::new();
    for command in &case.commands {
        rows.push((String::new(), Case { command: Some(command.clone()), ..Case::default() }));
    }
    for (index, row) in case.rows.iter().enumerate() {
        if !row.rows.is_empty() || !row.commands.is_empty() || row.corpus.is_some() {
            return Err(format!(".rows[{index}]: has rows itself"));
        }
        rows.push((format!(".rows[{index}]"), row.clone()));
    }
    if let Some(corpus) = &case.corpus {
        rows.extend(corpus.rows(folder).map_err(|what| format!(".corpus: {what}"))?);
    }
    if rows.is_empty() && case.commands.is_empty() && case.rows.is_empty() && case.corpus.is_none() {
        return Ok(vec![trial(case.clone(), folder).map_err(|what| format!(": {what}"))?]);
    }
    if rows.len() > MOST_ROWS {
        return Err(format!(": has {} rows; at most {MOST_ROWS} are read", rows.len()));
    }
    let merge = |(at, row): (String, Case)| trial(row.over(case), folder).map_err(|what| format!("{at}: {what}"));
    rows.into_iter().map(merge).collect()
}

fn trial(case: Case, folder: &Path) -> Result<Trial, String> {
    let read = |file: &Path| bytes(&folder.join(file)).map_err(|what| format!("{} {what}", file.display()));
    let mut case = case;
    if let Some(file) = case.becomes_file.take() {
        case.becomes = Some(String::from_utf8(read(&file)?).map_err(|_| format!("{} is not in UTF-8", file.display()))?);
    }
    let output = match (&case.output, &case.output_file) {
        (Some(_), Some(_)) => return Err("has both `output` and `output_file`".to_owned()),
        (Some(text), None) => Some(text.clone().into_bytes()),
        (None, Some(file)) => Some(read(file)?),
        (None, None) => None,
    };
    let subject = match (&case.command, &case.input, output) {
        (Some(command), None, None) => Subject::Command(command.clone()),
        (None, Some(input), None) => Subject::Input {
            job: case.job.clone().unwrap_or_else(|| "cat".to_owned()),
            pending: case.pending.clone().unwrap_or_default().into_bytes(),
            data: input.clone().into_bytes(),
        },
        (None, None, Some(bytes)) => Subject::Output(bytes),
        _ => return Err("needs one of `command`, `input` and `output`".to_owned()),
    };
    if case.expects_nothing() {
        return Err("expects nothing; say what is decided (`decision`), or what comes out (`becomes`)".to_owned());
    }
    let own = match &subject {
        Subject::Command(command) => command.clone(),
        Subject::Input { data, .. } | Subject::Output(data) => {
            let text = String::from_utf8_lossy(data);
            text.lines().next().unwrap_or_default().chars().take(60).collect()
        }
    };
    let name = match &case.name {
        Some(name) if name.contains(&own) => name.clone(),
        Some(name) => format!("{name}: {own}"),
        None => own,
    };
    Ok(Trial { name, subject, case })
}

impl Case {
    /// This row with what it leaves open as its case has it.
    fn over(self, case: &Self) -> Self {
        let case = case.clone();
        // A row that names its own subject has no other.
        let is_own = self.command.is_some() || self.input.is_some() || self.output.is_some() || self.output_file.is_some();
        let kept = |of_case: Option<String>| if is_own { None } else { of_case };
        Self {
            name: self.name.or(case.name),
            settings: self.settings.or(case.settings),
            command: self.command.or(kept(case.command)),
            input: self.input.or(kept(case.input)),
            job: self.job.or(case.job),
            pending: self.pending.or(case.pending),
            output: self.output.or(kept(case.output)),
            output_file: self.output_file.or(if is_own { None } else { case.output_file }),
            decision: self.decision.or(case.decision),
            code: self.code.or(case.code),
            policy: self.policy.or(case.policy),
            message: self.message.or(case.message),
            runs: self.runs.or(case.runs),
            verdicts: if self.verdicts.is_empty() { case.verdicts } else { self.verdicts },
            becomes: self.becomes.or(case.becomes),
            becomes_file: self.becomes_file.or(case.becomes_file),
            unchanged: self.unchanged.or(case.unchanged),
            lacks: self.lacks.or(case.lacks),
            findings: self.findings.or(case.findings),
            commands: Vec::new(),
            rows: Vec::new(),
            corpus: None,
        }
    }

    fn expects_nothing(&self) -> bool {
        let refusal = self.decision.is_none() && self.code.is_none() && self.policy.is_none() && self.message.is_none();
        let form = self.runs.is_none() && self.becomes.is_none() && self.unchanged.is_none() && self.lacks.is_none();
        refusal && form && self.verdicts.is_empty() && self.findings.is_none()
    }
}

impl Corpus {
    fn rows(&self, folder: &Path) -> Result<Vec<(String, Case)>, String> {
        let shown = self.file.display();
        let text = bytes(&folder.join(&self.file)).map_err(|what| format!("{shown} {what}"))?;
        let text = String::from_utf8(text).map_err(|_| format!("{shown} is not in UTF-8"))?;
        let is_table = self.file.extension().is_some_and(|extension| extension == "tsv");
        let mut lines = text.lines().enumerate();
        let columns: Vec<&str> = match is_table {
            true => lines.next().map(|(_, line)| line.split('\t').collect()).unwrap_or_default(),
            false => vec!["line"],
        };
        let mut rows = Vec::new();
        for (index, line) in lines.filter(|(_, line)| !line.is_empty()) {
            let values: Vec<&str> = if is_table { line.split('\t').collect() } else { vec![line] };
            if let Some(row) = self.row(&columns, &values).map_err(|what| format!("{shown}:{}: {what}", index + 1))? {
                rows.push((format!(".corpus ({shown}:{})", index + 1), row));
            }
        }
        if rows.is_empty() { Err(format!("{shown} has no rows")) } else { Ok(rows) }
    }

    fn row(&self, columns: &[&str], values: &[&str]) -> Result<Option<Case>, String> {
        let mut row = toml::Table::new();
        for (key, column) in &self.take {
            let at = columns.iter().position(|name| name == column);
            let at = at.ok_or_else(|| format!("there is no column `{column}`; there are {}", columns.join(", ")))?;
            let value = values.get(at).ok_or_else(|| format!("has no column `{column}`"))?;
            if self.except.iter().any(|one| one == value) {
                return Ok(None);
            }
            let value = self.replace.iter().fold((*value).to_owned(), |text, (from, to)| text.replace(from, to));
            row.insert(key.clone(), value.into());
        }
        Case::deserialize(row).map(Some).map_err(|error| error.message().to_owned())
    }
}
