//! Cases for policies: what they say to commands, to input and to output, by the engine that serves, with a clock that stands still
//! and the same random numbers each time.
//!
//! ```text
//! cases (TOML) ─▶ Trial ─▶ Rig: a World and a chain ─▶ service::check, decide_input, OutputFilter ─▶ Outcome ─▶ report
//! ```
//!
//! Nothing is executed, and nothing recorded: commands are judged in a directory of their own, where each program that they name
//! has a stand-in.

mod bench;
mod cases;
mod cuts;
mod report;
mod rig;
mod world;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;

pub use self::{
    bench::{Figures, Measured, bench},
    cases::{Decision, Mistake, Trial, named},
    report::{Report, Style},
    rig::{Configured, Policies, Rig, default_settings, from_file},
};
use self::{cases::Cases, cuts::ways};
use crate::policy::{Findings, Functions, StreamKind};

/// What came of one trial.
#[derive(Debug)]
pub struct Outcome {
    /// The file it stands in.
    pub file: PathBuf,
    /// What it shows.
    pub name: String,
    /// What is different from what was expected, a line each; none: it passed.
    pub differences: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// A rule of a policy's settings that no case reached.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreached {
    /// The file of cases.
    pub file: PathBuf,
    /// The policy.
    pub policy: String,
    /// The rule's place in its settings.
    pub rule: String,
}

/// What came of one file.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// Of the cases that were tried.
    pub outcomes: Vec<Outcome>,
    /// Rules that none of them reached, if that was asked.
    pub unreached: Vec<Unreached>,
    /// How many rules there are, if that was asked.
    pub rules: usize,
    /// The functions of each policy's own code, and whether a case reached them, if that was asked; none where there are no names.
    pub functions: BTreeMap<String, BTreeMap<String, bool>>,
}

impl Outcomes {
    /// With those of another file.
    pub fn add(&mut self, more: Self) {
        self.outcomes.extend(more.outcomes);
        self.unreached.extend(more.unreached);
        self.rules += more.rules;
        self.add_functions(more.functions);
    }

    /// What one of them reached is reached.
    fn add_functions(&mut self, more: BTreeMap<String, BTreeMap<String, bool>>) {
        for (policy, functions) in more {
            let all = self.functions.entry(policy).or_default();
            for (function, is_reached) in functions {
                *all.entry(function).or_default() |= is_reached;
            }
        }
    }
}

/// Numbers that look random and are the same each time.
pub struct Numbers(u64);

impl Numbers {
    /// From their beginning.
    pub fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// The next one, less than `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("less than a usize")
    }
}

impl Default for Numbers {
    fn default() -> Self {
        Self::new()
    }
}

/// Tries the cases of a file whose names the filter takes.
///
/// # Errors
///
/// What is wrong with the file or with the policies it names.
pub async fn run(
    file: &Path,
    configured: Configured<'_>,
    wants: impl Fn(&str) -> bool,
    wants_coverage: bool,
) -> Result<Outcomes, Mistake> {
    let (cases, trials) = cases::read(file)?;
    let trials: Vec<Trial> = trials.into_iter().filter(|trial| wants(&trial.name)).collect();
    let mut rigs = Rigs { file, cases: &cases, configured, wants_coverage, made: HashMap::new() };
    let mut all = Outcomes::default();
    for trial in &trials {
        let rig = rigs.of(trial).await?;
        let began = Instant::now();
        let differences = try_one(&rig, trial).await.unwrap_or_else(|what| vec![what]);
        let outcome = Outcome { file: file.to_owned(), name: trial.name.clone(), differences, took: began.elapsed() };
        all.outcomes.push(outcome);
    }
    if wants_coverage {
        rigs.coverage(&mut all)?;
    }
    Ok(all)
}

/// The policies of a file, made ready once for all cases with the same settings.
struct Rigs<'a> {
    file: &'a Path,
    cases: &'a Cases,
    configured: Configured<'a>,
    wants_coverage: bool,
    made: HashMap<String, Arc<Rig>>,
}

impl Rigs<'_> {
    async fn of(&mut self, trial: &Trial) -> Result<Arc<Rig>, Mistake> {
        let settings = trial.case.settings.as_ref();
        let key = settings.map(toml::Table::to_string).unwrap_or_default();
        if let Some(rig) = self.made.get(&key) {
            return Ok(rig.clone());
        }
        let wrong = |what: String| Mistake { file: self.file.to_owned(), what };
        let policies = Policies::of(self.cases, self.file, self.configured, settings).map_err(wrong)?;
        let functions = self.wants_coverage.then(Functions::default);
        let rig = Arc::new(Rig::new(policies, &self.cases.world, functions).await.map_err(wrong)?);
        self.made.insert(key, rig.clone());
        Ok(rig)
    }

    fn coverage(&self, all: &mut Outcomes) -> Result<(), Mistake> {
        let mut rules: Vec<(String, String)> = Vec::new();
        let mut reached = std::collections::BTreeSet::new();
        for rig in self.made.values() {
            rules.extend(rig.rules().map_err(|what| Mistake { file: self.file.to_owned(), what })?);
            reached.extend(rig.reached());
            all.add_functions(rig.functions());
        }
        rules.sort_unstable();
        rules.dedup();
        all.rules = rules.len();
        let unreached = rules.into_iter().filter(|rule| !reached.contains(rule));
        all.unreached = unreached.map(|(policy, rule)| Unreached { file: self.file.to_owned(), policy, rule }).collect();
        Ok(())
    }
}

async fn try_one(rig: &Rig, trial: &Trial) -> Result<Vec<String>, String> {
    match &trial.subject {
        cases::Subject::Command(command) => try_command(rig, trial, command).await,
        cases::Subject::Input { job, pending, data } => try_input(rig, trial, job, pending, data).await,
        cases::Subject::Output(stream) => try_output(rig, trial, stream).await,
    }
}

async fn try_command(rig: &Rig, trial: &Trial, command: &str) -> Result<Vec<String>, String> {
    let judged = rig.judge(command).await?;
    let case = &trial.case;
    let mut differences = refusal(trial, &judged.said);
    if let Some(wanted) = &case.runs {
        compare("runs", wanted, judged.runs.as_deref().unwrap_or("nothing"), &mut differences);
    }
    for (policy, wanted) in &case.verdicts {
        let given: Vec<&str> = judged.verdicts.iter().filter(|(name, _)| name == policy).map(|(_, verdict)| *verdict).collect();
        if !given.contains(&wanted.as_str()) {
            differences.push(format!("verdict of {policy}: expected {wanted}, got {}", one_of(&given)));
        }
    }
    Ok(differences)
}

async fn try_input(rig: &Rig, trial: &Trial, job: &str, pending: &[u8], data: &[u8]) -> Result<Vec<String>, String> {
    let (said, written) = rig.judge_input(job, pending, data).await?;
    let mut differences = refusal(trial, &said);
    if let Some(wanted) = &trial.case.becomes {
        let written = written.as_deref().map_or("nothing".into(), String::from_utf8_lossy);
        compare("becomes", wanted, &written, &mut differences);
    }
    Ok(differences)
}

async fn try_output(rig: &Rig, trial: &Trial, stream: &[u8]) -> Result<Vec<String>, String> {
    let findings = Arc::new(Findings::default());
    let whole = rig.filtered(&[stream], false, &findings).await;
    let (case, mut differences) = (&trial.case, Vec::new());
    let shown = String::from_utf8_lossy(&whole);
    if let Some(wanted) = &case.becomes {
        compare("becomes", wanted, &shown, &mut differences);
    }
    if case.unchanged == Some(true) && whole != stream {
        compare("becomes", &String::from_utf8_lossy(stream), &shown, &mut differences);
    }
    for text in case.lacks.iter().flatten().filter(|text| shown.contains(text.as_str())) {
        differences.push(format!("lacks {text:?}: it is still there"));
    }
    if let Some(wanted) = &case.findings
        && *wanted != findings.counts()
    {
        differences.push(format!("findings: expected {wanted:?}, got {:?}", findings.counts()));
    }
    if differences.is_empty() {
        differences.extend(try_cuts(rig, stream, &whole).await);
    }
    Ok(differences)
}

/// The first way to cut a stream in which something else comes out.
async fn try_cuts(rig: &Rig, stream: &[u8], whole: &[u8]) -> Option<String> {
    for way in ways(stream.len(), &mut Numbers::new()) {
        let out = rig.filtered(&way.pieces(stream), way.pauses, &Arc::default()).await;
        if out != whole {
            let mut differences = vec![format!("what comes out depends on how the stream is cut: {way}")];
            compare("becomes", &String::from_utf8_lossy(whole), &String::from_utf8_lossy(&out), &mut differences);
            return Some(differences.join("\n"));
        }
    }
    None
}

/// What was decided, in the words of a case.
#[derive(Debug)]
pub struct Said {
    /// The decision.
    pub decision: Decision,
    /// Who refused, if someone did: the policy or `portcullis`.
    pub policy: String,
    /// The code of the refusal.
    pub code: String,
    /// Its text.
    pub message: String,
}

/// What is different from what a case expects of the decision and its reason.
fn refusal(trial: &Trial, said: &Said) -> Vec<String> {
    let (case, mut differences) = (&trial.case, Vec::new());
    let why = if said.code.is_empty() { String::new() } else { format!(" by {} [{}]: {}", said.policy, said.code, said.message) };
    if let Some(wanted) = case.decision.as_ref().filter(|wanted| !wanted.include(said.decision)) {
        differences.push(format!("decision: expected {wanted}, got {}{why}", said.decision.name()));
    } else if let Some(wanted) = case.code.as_ref().filter(|wanted| **wanted != said.code) {
        let got = if said.code.is_empty() { said.decision.name() } else { &said.code };
        differences.push(format!("code: expected {wanted}, got {got}{why}"));
    }
    if let Some(wanted) = case.policy.as_ref().filter(|wanted| **wanted != said.policy) {
        differences.push(format!("policy: expected {wanted}, got {}", one_of(&[said.policy.as_str()])));
    }
    if let Some(wanted) = case.message.as_ref().filter(|wanted| !said.message.contains(wanted.as_str())) {
        differences.push(format!("message: expected {wanted:?} in it, got {:?}", said.message));
    }
    differences
}

fn one_of(given: &[&str]) -> String {
    let given: Vec<_> = given.iter().filter(|one| !one.is_empty()).copied().collect();
    if given.is_empty() { "none".to_owned() } else { given.join(", ") }
}

/// Adds what is different, if anything is: lines that are the same are left out but for the one before.
fn compare(what: &str, wanted: &str, got: &str, differences: &mut Vec<String>) {
    if wanted == got {
        return;
    }
    let (mut wanted_lines, mut got_lines) = (wanted.split('\n'), got.split('\n'));
    let mut text = format!("{what}:");
    for line in 1.. {
        match (wanted_lines.next(), got_lines.next()) {
            (None, None) => break,
            (wanted, got) if wanted == got => {}
            (wanted, got) => {
                let side = |sign, side: Option<&str>| side.map(|side| format!("\n  {line:>4} {sign} {}", escaped(side)));
                text.extend(side('-', wanted).into_iter().chain(side('+', got)));
            }
        }
        if text.len() > 4096 {
            text.push_str("\n       …");
            break;
        }
    }
    differences.push(text);
}

/// A line as it can be shown, its blanks at the end too.
fn escaped(line: &str) -> String {
    let shown: String = crate::policy::printable(line).chars().take(400).collect();
    if shown.ends_with(' ') || shown.is_empty() { format!("{shown}␠") } else { shown }
}

/// The stream that cases of output speak of.
const STREAM: StreamKind = StreamKind::Stdout;

/// Settings as policies get them.
fn json(table: &toml::Table) -> Result<Value, String> {
    serde_json::to_value(table).map_err(|error| format!("settings can not be given as JSON: {error}"))
}
