//! `portcullis check`.

use std::io::{BufRead, Read, Write};

use clap::Args;
use serde::Serialize;

use super::{CliError, chain_error, exit, explain, this_client};
use crate::{
    config::Config,
    digest::Digest,
    policy::{Answer, Chain, Decision, Denial, Judgement, types::Launch},
    script::MOST_COMMAND_BYTES,
    service::{self, Command},
};

/// Judges scripts and executes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 all allowed, 1 one denied, 10 one asks (and none denied), 3 wrong usage or configuration.

  portcullis check 'git status' 'rm -rf x'
  portcullis check --explain 'git log -3'
  portcullis check --json - < commands.txt")]
pub struct Check {
    /// Scripts to judge; `-` reads one per line from standard input.
    #[arg(required = true, value_name = "SCRIPT")]
    scripts: Vec<String>,
    /// One JSON object per script and line: command, decision, runs, policy, code, message, set, policies.
    #[arg(long, conflicts_with = "explain")]
    json: bool,
    /// Shows the tree that was judged, each policy's verdict and time in each round, and what would run.
    #[arg(long)]
    explain: bool,
}

/// What came of one script.
struct Finding {
    command: String,
    /// The judged tree, drawn and filtered.
    tree: Vec<String>,
    launch: Launch,
    outcome: Outcome,
    runs: Option<String>,
    denial: Option<Denial>,
    trail: Vec<Answer>,
    /// The set of policies that decided.
    set: Digest,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Allow,
    Ask,
    Deny,
}

#[derive(Serialize)]
struct JsonFinding<'a> {
    command: &'a str,
    decision: &'static str,
    runs: Option<&'a str>,
    policy: Option<&'a str>,
    code: Option<&'a str>,
    message: Option<&'a str>,
    set: String,
    policies: Vec<JsonAnswer<'a>>,
}

#[derive(Serialize)]
struct JsonAnswer<'a> {
    round: usize,
    policy: &'a str,
    mode: &'static str,
    verdict: &'static str,
    code: Option<&'a str>,
    message: Option<&'a str>,
    micros: u128,
}

impl Check {
    pub(super) async fn execute(self, config: &Config) -> Result<u8, CliError> {
        let chain = service::load_chain(config).await.map_err(|error| chain_error(&error))?;
        let mut gravest = Outcome::Allow;
        for script in &self.scripts {
            if script == "-" {
                let mut input = std::io::stdin().lock();
                while let Some(line) = next_line(&mut input)? {
                    gravest = gravest.max(self.one(&chain, config, line).await?);
                }
            } else {
                gravest = gravest.max(self.one(&chain, config, script.clone()).await?);
            }
        }
        Ok(match gravest {
            Outcome::Allow => exit::OK,
            Outcome::Ask => exit::ASKS,
            Outcome::Deny => exit::DENIED,
        })
    }

    async fn one(&self, chain: &Chain, config: &Config, text: String) -> Result<Outcome, CliError> {
        let finding = judge(chain, config, text).await;
        let shown = if self.json {
            finding.json()
        } else if self.explain {
            finding.explanation()
        } else {
            finding.line()
        };
        // Takes the colours away where nobody would see them.
        writeln!(anstream::stdout(), "{shown}")
            .map_err(|error| CliError::Failed(format!("could not write the result: {error}")))?;
        Ok(finding.outcome)
    }
}

/// The next line that is not blank, cut where it is too long to be judged anyway.
fn next_line(input: &mut impl BufRead) -> Result<Option<String>, CliError> {
    loop {
        let mut line = Vec::new();
        let failed = |error| CliError::Failed(format!("could not read scripts from standard input: {error}"));
        let read = input.by_ref().take(MOST_COMMAND_BYTES as u64 + 2).read_until(b'\n', &mut line).map_err(failed)?;
        if read == 0 {
            return Ok(None);
        }
        if line.last() != Some(&b'\n') {
            // The rest of an overlong line is part of it, not another script.
            input.skip_until(b'\n').map_err(failed)?;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches('\n');
        if !text.trim().is_empty() {
            return Ok(Some(text.to_owned()));
        }
    }
}

async fn judge(chain: &Chain, config: &Config, text: String) -> Finding {
    let command = chain.scrub(&text).await;
    let set = chain.digest();
    match service::check(chain, config, &Command::Text(text), &this_client()).await {
        Err(denial) => {
            let (tree, trail) = (Vec::new(), Vec::new());
            Finding {
                command,
                tree,
                launch: Launch::Direct,
                outcome: Outcome::Deny,
                runs: None,
                denial: Some(denial),
                trail,
                set,
            }
        }
        Ok((script, Judgement { decision, shown, trail })) => {
            let (outcome, denial, launch) = match decision {
                Decision::Approved(approved) => (Outcome::Allow, None, approved.request().script.launch()),
                Decision::Asks(pending) => (Outcome::Ask, Some(pending.reason().clone()), script.launch()),
                Decision::Denied(denial) => (Outcome::Deny, Some(denial), script.launch()),
            };
            let runs = (outcome != Outcome::Deny).then_some(shown);
            let tree = explain::tree(chain, &script).await;
            Finding { command, tree, launch, outcome, runs, denial, trail, set }
        }
    }
}

impl<'a> JsonAnswer<'a> {
    fn of(answer: &'a Answer) -> Self {
        Self {
            round: answer.round,
            policy: &answer.policy,
            mode: answer.mode.name(),
            verdict: answer.verdict.name(),
            code: answer.reason.as_ref().map(|(code, _)| code.as_str()),
            message: answer.reason.as_ref().map(|(_, message)| message.as_str()),
            micros: answer.took.as_micros(),
        }
    }
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

impl Finding {
    fn line(&self) -> String {
        let result = match (&self.denial, &self.runs) {
            (Some(denial), _) => denial.to_string(),
            (None, Some(runs)) => format!("runs {runs}"),
            (None, None) => String::new(),
        };
        format!("{:5}  {}  {result}", self.outcome.name(), self.command)
    }

    fn json(&self) -> String {
        let denial = self.denial.as_ref();
        let finding = JsonFinding {
            command: &self.command,
            decision: self.outcome.name(),
            runs: self.runs.as_deref(),
            policy: denial.and_then(|denial| denial.policy.as_deref()),
            code: denial.map(|denial| denial.code.as_str()),
            message: denial.map(|denial| denial.message.as_str()),
            set: self.set.to_string(),
            policies: self.trail.iter().map(JsonAnswer::of).collect(),
        };
        serde_json::to_string(&finding).expect("strings and numbers always serialise")
    }

    fn explanation(&self) -> String {
        let mut lines = vec![self.command.clone()];
        lines.extend(self.tree.iter().cloned());
        lines.extend(self.trail.iter().map(explain::answer));
        let what = match (&self.denial, &self.runs) {
            (Some(denial), _) => denial.to_string(),
            (None, Some(runs)) => format!("{}: {runs}", explain::launch(self.launch)),
            (None, None) => String::new(),
        };
        lines.push(explain::outcome(self.outcome.name(), &what));
        lines.push(explain::set(self.set));
        lines.join("\n")
    }
}
