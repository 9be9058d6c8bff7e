//! `portcullis audit replay`.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{CliError, LogFiles, Period, exit, failed, written};
use crate::{
    audit::{Altered, Line, Outcome, Request, Subject, plain},
    cli::chain_error,
    config::{self, Config, Surroundings},
    policy::{Chain, Decision, Denial, builtins, printable, types::Client},
    principal::Principal,
    script::PROGRAM_NOT_FOUND,
    service::{self, Command},
};

/// Sets of policies that are kept loaded: one for each directory that commands came from.
const MOST_SETS: usize = 16;

/// Says what another configuration would have decided about the commands that were recorded. Executes nothing and records nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
`--config` names the configuration to be tried; nothing overrides it here. Which log is read the configuration in force says. Each
command is judged as if the server had been started in the directory it was recorded with, against the files that are there
now. What can not be judged as it was is indeterminate: parts of it were masked, its directory or program is gone.

Exit codes: 0 nothing would differ, 1 something would, 3 wrong usage or configuration, 125 the log can not be read.

  portcullis audit replay --config new.toml --since 30d
  portcullis audit replay --config new.toml --json old.jsonl | jq 'select(.then.decision == \"deny\")'")]
pub(super) struct Replay {
    #[command(flatten)]
    period: Period,
    /// One JSON object per command that differs or is indeterminate, and one with the counts.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    log: LogFiles,
}

/// A line of the log, as far as it matters here.
#[derive(Deserialize)]
struct Recorded {
    number: u64,
    time: String,
    subject: Option<Subject>,
    principal: Option<String>,
    client: Option<String>,
    sent: Option<String>,
    request: Option<Request>,
    /// The question that a person's yes answered.
    question: Option<String>,
    #[serde(flatten)]
    said: Option<Said>,
}

/// What was decided about a command.
#[derive(Debug, Deserialize, Serialize)]
struct Said {
    decision: Outcome,
    /// The final form.
    runs: Option<String>,
    policy: Option<String>,
    code: Option<String>,
    message: Option<String>,
    /// The digest of the set that said so.
    set: String,
}

/// What came of one command.
enum Fate {
    Same,
    Differs(Said),
    Indeterminate(Reason),
}

/// Why a command can not be judged as it was.
#[derive(Clone, Debug)]
enum Reason {
    Masked,
    Cut,
    NotRecorded,
    DirectoryGone,
    ProgramGone(String),
    NotThere(String),
}

/// What the configuration to be tried is in one directory, or why it is nothing there.
type Set = Result<(Config, Chain), String>;

/// The configuration to be tried, by the directory that a server with it would be started in.
struct Sets {
    explicit: Option<PathBuf>,
    loaded: HashMap<PathBuf, Set>,
    /// Whether it was of use in any directory, and what was wrong with it in another.
    is_good: bool,
    mistakes: Option<String>,
}

#[derive(Default)]
struct Counts {
    same: u64,
    differ: BTreeMap<String, u64>,
    indeterminate: BTreeMap<&'static str, u64>,
}

impl Replay {
    pub(super) async fn execute(self, explicit: Option<&Path>) -> Result<u8, CliError> {
        let files = self.log.open(None)?;
        let mut sets = Sets::of(explicit)?;
        let mut counts = Counts::default();
        let mut out = BufWriter::new(std::io::stdout());
        for line in files.lines() {
            let Some((recorded, then)) = command(&line.map_err(failed)?) else { continue };
            if !self.period.holds(Some(&recorded.time)) {
                continue;
            }
            let fate = sets.judge(&recorded, &then).await?;
            counts.add(&then, &fate);
            let shown = if self.json { json_line(&recorded, &then, &fate) } else { paragraph(&recorded, &then, &fate) };
            if !written(shown.map_or(Ok(()), |shown| writeln!(out, "{shown}")))? {
                return Ok(counts.exit_code());
            }
        }
        sets.conclude()?;
        let summary = if self.json { counts.json() } else { counts.to_string() };
        written(writeln!(out, "{summary}").and_then(|()| out.flush()))?;
        Ok(counts.exit_code())
    }
}

impl Sets {
    fn of(explicit: Option<&Path>) -> Result<Self, CliError> {
        let absolute = explicit.map(|path| path.canonicalize()).transpose();
        let explicit = absolute.map_err(|error| CliError::Config(format!("--config: {error}; must name an existing file")))?;
        Ok(Self { explicit, loaded: HashMap::new(), is_good: false, mistakes: None })
    }

    async fn judge(&mut self, recorded: &Recorded, then: &Said) -> Result<Fate, CliError> {
        let request = match recorded.whole() {
            Ok(request) => request,
            Err(reason) => return Ok(Fate::Indeterminate(reason)),
        };
        let (config, chain) = match self.at(Path::new(&request.cwd)).await? {
            Ok(set) => set,
            Err(why) => return Ok(Fate::Indeterminate(Reason::NotThere(why.clone()))),
        };
        config.jobs.timeout = request.timeout();
        let text = request.script.as_ref().or(recorded.sent.as_ref()).cloned().unwrap_or_default();
        // A record without is of a time when there was but one.
        let principal = recorded.principal.clone().unwrap_or_else(|| Principal::local().to_string());
        let (name, version) = (recorded.client.clone().unwrap_or_default(), request.client_version.clone());
        let client = Client { principal, name, version };
        let now = Said::by(chain, config, text, &client).await;
        let was_judged = then.runs.is_some();
        Ok(if was_judged && now.policy.is_none() && now.code.as_deref() == Some(PROGRAM_NOT_FOUND) {
            Fate::Indeterminate(Reason::ProgramGone(now.message.unwrap_or_default()))
        } else if now.is_as(then) {
            Fate::Same
        } else {
            Fate::Differs(now)
        })
    }

    async fn at(&mut self, cwd: &Path) -> Result<&mut Set, CliError> {
        if !self.loaded.contains_key(cwd) && self.loaded.len() == MOST_SETS {
            self.loaded.clear();
        }
        if !self.loaded.contains_key(cwd) {
            let set = self.load(cwd).await?;
            self.loaded.insert(cwd.to_owned(), set);
        }
        Ok(self.loaded.get_mut(cwd).expect("it was put there"))
    }

    async fn load(&mut self, cwd: &Path) -> Result<Set, CliError> {
        let config = match self.config(cwd) {
            Ok(config) => config,
            Err(why) => return Ok(Err(why)),
        };
        let chain = service::load_chain(&config).await.map_err(|error| chain_error(&error))?;
        self.is_good = true;
        Ok(Ok((config, chain)))
    }

    fn config(&mut self, cwd: &Path) -> Result<Config, String> {
        let mut surroundings = Surroundings::from_process(builtins());
        surroundings.cwd = Ok(cwd.to_owned());
        if self.explicit.is_some() {
            // What is tried decides nothing, so there is nothing to override.
            surroundings.administrators_file = PathBuf::new();
        }
        let config = config::load(self.explicit.as_deref(), &surroundings).map_err(|mistakes| {
            self.mistakes.get_or_insert(mistakes.to_string());
            format!("the configuration does not hold in {}: {mistakes}", cwd.display())
        })?;
        let starts = &config.jobs.cwd;
        let is_there = starts == cwd;
        is_there.then_some(()).ok_or_else(|| format!("commands from {} would start in {}", cwd.display(), starts.display()))?;
        Ok(config)
    }

    /// A configuration that was of no use anywhere is wrong.
    fn conclude(self) -> Result<(), CliError> {
        self.mistakes.filter(|_| !self.is_good).map_or(Ok(()), |mistakes| Err(CliError::Config(mistakes)))
    }
}

impl Recorded {
    /// The request, if it can be judged as it was.
    fn whole(&self) -> Result<&Request, Reason> {
        let request = self.request.as_ref().ok_or(Reason::NotRecorded)?;
        match request.altered {
            Some(Altered::Masked) => Err(Reason::Masked),
            Some(Altered::Cut) => Err(Reason::Cut),
            None if !Path::new(&request.cwd).is_dir() => Err(Reason::DirectoryGone),
            None => Ok(request),
        }
    }

    fn cwd(&self) -> &str {
        self.request.as_ref().map_or("", |request| &request.cwd)
    }
}

impl Said {
    async fn by(chain: &Chain, config: &Config, text: String, client: &Client) -> Self {
        let (decision, denial, runs) = match service::check(chain, config, &Command::Text(text), client).await {
            Err(denial) => (Outcome::Deny, Some(denial), None),
            Ok((_, judgement)) => {
                let (outcome, denial) = match judgement.decision {
                    Decision::Approved(_) => (Outcome::Allow, None),
                    Decision::Asks(pending) => (Outcome::Ask, Some(pending.reason().clone())),
                    Decision::Denied(denial) => (Outcome::Deny, Some(denial)),
                };
                (outcome, denial, Some(judgement.shown))
            }
        };
        let set = chain.digest().to_string();
        match denial {
            None => Self { decision, runs, policy: None, code: None, message: None, set },
            Some(Denial { policy, code, message }) => {
                Self { decision, runs, policy, code: Some(code), message: Some(message), set }
            }
        }
    }

    /// Whether it is the same decision, by the same policy for the same reason, about the same form. What is denied has no form
    /// that matters.
    fn is_as(&self, other: &Self) -> bool {
        self.decision == other.decision
            && (self.decision == Outcome::Deny || self.runs == other.runs)
            && (&self.policy, &self.code) == (&other.policy, &other.code)
    }

    /// In what they differ.
    fn change(&self, now: &Self) -> String {
        let name = self.decision.name();
        match now.decision {
            other if other != self.decision => format!("{name} → {}", other.name()),
            Outcome::Allow => format!("{name}, in another form"),
            Outcome::Ask | Outcome::Deny => format!("{name}, for another reason or in another form"),
        }
    }

    fn text(&self) -> String {
        let denial = self.code.as_ref().map(|code| Denial {
            policy: self.policy.clone(),
            code: code.clone(),
            message: self.message.clone().unwrap_or_default(),
        });
        let why = denial.map(|denial| denial.to_string()).or_else(|| self.runs.clone()).unwrap_or_default();
        format!("{:5}  {}", self.decision.name(), printable(&why))
    }
}

impl Reason {
    fn kind(&self) -> &'static str {
        match self {
            Self::Masked => "masked",
            Self::Cut => "recorded in part",
            Self::NotRecorded => "recorded without its request",
            Self::DirectoryGone => "its directory is gone",
            Self::ProgramGone(_) => "a program is gone",
            Self::NotThere(_) => "not under this configuration",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::ProgramGone(why) | Self::NotThere(why) => write!(f, ": {}", printable(&why.replace('\n', ", "))),
            Self::Masked | Self::Cut | Self::NotRecorded | Self::DirectoryGone => Ok(()),
        }
    }
}

impl Counts {
    fn add(&mut self, then: &Said, fate: &Fate) {
        match fate {
            Fate::Same => self.same += 1,
            Fate::Differs(now) => *self.differ.entry(then.change(now)).or_default() += 1,
            Fate::Indeterminate(reason) => *self.indeterminate.entry(reason.kind()).or_default() += 1,
        }
    }

    fn commands(&self) -> u64 {
        self.same + self.differ.values().sum::<u64>() + self.indeterminate.values().sum::<u64>()
    }

    fn exit_code(&self) -> u8 {
        if self.differ.is_empty() { exit::OK } else { exit::DIFFERS }
    }

    fn json(&self) -> String {
        let Self { same, differ, indeterminate } = self;
        json!({ "commands": self.commands(), "same": same, "differ": differ, "indeterminate": indeterminate }).to_string()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (differ, indeterminate) = (self.differ.values().sum::<u64>(), self.indeterminate.values().sum::<u64>());
        write!(f, "commands: {}; the same: {}, different: {differ}, indeterminate: {indeterminate}", self.commands(), self.same)?;
        self.differ.iter().try_for_each(|(change, count)| write!(f, "\n{count:8}  {change}"))?;
        self.indeterminate.iter().try_for_each(|(kind, count)| write!(f, "\n{count:8}  indeterminate: {kind}"))
    }
}

/// The command that a line records, and what was said to it; none if it records something else.
fn command(line: &Line) -> Option<(Recorded, Said)> {
    let mut recorded: Recorded = serde_json::from_slice(line.text.bytes()?).ok()?;
    let mut said = recorded.said.take()?;
    if recorded.question.is_some() {
        // The policies asked; that a person said yes is none of theirs.
        said.decision = Outcome::Ask;
    }
    (recorded.subject == Some(Subject::Command)).then_some((recorded, said))
}

fn json_line(recorded: &Recorded, then: &Said, fate: &Fate) -> Option<String> {
    let Recorded { number, time, .. } = recorded;
    let head = json!({ "number": number, "time": time, "command": recorded.sent, "cwd": recorded.cwd() });
    let rest = match fate {
        Fate::Same => return None,
        Fate::Differs(now) => json!({ "then": then, "now": now }),
        Fate::Indeterminate(reason) => json!({ "then": then, "indeterminate": reason.to_string() }),
    };
    let (serde_json::Value::Object(mut line), serde_json::Value::Object(rest)) = (head, rest) else { return None };
    line.extend(rest);
    Some(plain(&serde_json::Value::Object(line).to_string()))
}

fn paragraph(recorded: &Recorded, then: &Said, fate: &Fate) -> Option<String> {
    let Recorded { number, time, .. } = recorded;
    let sent = recorded.sent.as_deref().unwrap_or_default();
    let head = printable(&format!("number {number}  {time}  in {}  {sent}", recorded.cwd()));
    Some(match fate {
        Fate::Same => return None,
        Fate::Differs(now) => format!("{head}\n  then  {}\n  now   {}", then.text(), now.text()),
        Fate::Indeterminate(reason) => format!("{head}\n  indeterminate: {reason}"),
    })
}
