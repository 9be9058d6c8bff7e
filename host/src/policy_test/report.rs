//! What came of cases, for a person, for programs and for CI.

use std::{collections::BTreeMap, fmt::Write, path::Path, time::Duration};

use serde_json::json;

use super::{Outcome, Outcomes};
use crate::policy::printable;

/// For whom a report is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// A person.
    #[default]
    Pretty,
    /// Programs: one JSON object.
    Json,
    /// CI: JUnit's XML.
    Junit,
}

/// What came of all files.
pub struct Report<'a> {
    /// What came of each.
    pub outcomes: &'a Outcomes,
    /// Whether cases that passed are named too.
    pub verbose: bool,
    /// Whether rules were counted.
    pub coverage: bool,
}

impl Report<'_> {
    /// The report's text.
    pub fn text(&self, style: Style) -> String {
        match style {
            Style::Pretty => self.pretty(),
            Style::Json => self.json(),
            Style::Junit => self.junit(),
        }
    }

    fn failed(&self) -> usize {
        self.outcomes.outcomes.iter().filter(|outcome| !outcome.differences.is_empty()).count()
    }

    fn by_file(&self) -> BTreeMap<&Path, Vec<&Outcome>> {
        let mut files = BTreeMap::<_, Vec<_>>::new();
        for outcome in &self.outcomes.outcomes {
            files.entry(outcome.file.as_path()).or_default().push(outcome);
        }
        files
    }

    fn pretty(&self) -> String {
        let mut text = String::new();
        for (file, outcomes) in self.by_file() {
            let failed = outcomes.iter().filter(|outcome| !outcome.differences.is_empty()).count();
            if failed > 0 || self.verbose {
                _ = writeln!(text, "{}", file.display());
            }
            for outcome in outcomes {
                let name = printable(&outcome.name);
                if !outcome.differences.is_empty() {
                    _ = writeln!(text, "  FAILED  {name}");
                } else if self.verbose {
                    _ = writeln!(text, "  passed  {name}  ({} µs)", outcome.took.as_micros());
                }
                for line in outcome.differences.iter().flat_map(|difference| difference.lines()) {
                    _ = writeln!(text, "          {}", printable(line));
                }
            }
        }
        let (all, failed) = (self.outcomes.outcomes.len(), self.failed());
        _ = writeln!(text, "{} passed, {failed} failed", all - failed);
        if self.coverage {
            text.push_str(&self.rules());
            text.extend(self.outcomes.functions.iter().map(|(policy, functions)| functions_of(policy, functions)));
        }
        text
    }

    fn rules(&self) -> String {
        let rules = self.outcomes.rules;
        let mut text = format!("{} of {rules} rules reached\n", rules - self.outcomes.unreached.len());
        for one in &self.outcomes.unreached {
            _ = writeln!(text, "  not reached by {}: {} of {}", one.file.display(), printable(&one.rule), one.policy);
        }
        text
    }

    fn json(&self) -> String {
        let case = |outcome: &Outcome| {
            json!({
                "file": outcome.file,
                "name": outcome.name,
                "passed": outcome.differences.is_empty(),
                "differences": outcome.differences,
                "micros": u64::try_from(outcome.took.as_micros()).unwrap_or(u64::MAX),
            })
        };
        let failed = self.failed();
        let mut report = json!({
            "passed": self.outcomes.outcomes.len() - failed,
            "failed": failed,
            "cases": self.outcomes.outcomes.iter().map(case).collect::<Vec<_>>(),
        });
        if self.coverage {
            let unreached = self.outcomes.unreached.iter();
            let unreached: Vec<_> =
                unreached.map(|one| json!({ "file": one.file, "policy": one.policy, "rule": one.rule })).collect();
            let functions = self.outcomes.functions.iter().map(|(policy, functions)| {
                let count = (!functions.is_empty()).then_some(functions.len());
                json!({ "policy": policy, "functions": count, "not_reached": not_reached(functions).collect::<Vec<_>>() })
            });
            let functions: Vec<_> = functions.collect();
            report["coverage"] = json!({ "rules": self.outcomes.rules, "not_reached": unreached, "functions": functions });
        }
        format!("{report}\n")
    }

    fn junit(&self) -> String {
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let (all, failed) = (self.outcomes.outcomes.len(), self.failed());
        _ = writeln!(text, "<testsuites name=\"portcullis policy test\" tests=\"{all}\" failures=\"{failed}\">");
        for (file, outcomes) in self.by_file() {
            let failed = outcomes.iter().filter(|outcome| !outcome.differences.is_empty()).count();
            let (name, took) = (xml(&file.display().to_string()), seconds(outcomes.iter().map(|outcome| outcome.took).sum()));
            let tests = outcomes.len();
            _ = writeln!(text, "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failed}\" time=\"{took}\">");
            for outcome in outcomes {
                let (case, took) = (xml(&outcome.name), seconds(outcome.took));
                _ = write!(text, "    <testcase classname=\"{name}\" name=\"{case}\" time=\"{took}\"");
                match outcome.differences.first() {
                    None => text.push_str("/>\n"),
                    Some(first) => {
                        let message = xml(first.lines().next().unwrap_or_default());
                        let body = xml(&outcome.differences.join("\n"));
                        _ = writeln!(text, "><failure message=\"{message}\">{body}</failure></testcase>");
                    }
                }
            }
            text.push_str("  </testsuite>\n");
        }
        text.push_str("</testsuites>\n");
        text
    }
}

/// What was reached of a policy's own functions, and what not.
fn functions_of(policy: &str, functions: &BTreeMap<String, bool>) -> String {
    if functions.is_empty() {
        return format!(
            "functions of {policy} are not counted: its component has no names of functions of its own; docs/policies.md says more\n"
        );
    }
    let unreached: Vec<_> = not_reached(functions).collect();
    let mut text = format!("{} of {} functions of {policy} reached\n", functions.len() - unreached.len(), functions.len());
    unreached.iter().for_each(|name| _ = writeln!(text, "  not reached: {}", printable(name)));
    text
}

fn not_reached(functions: &BTreeMap<String, bool>) -> impl Iterator<Item = &str> {
    functions.iter().filter(|(_, is_reached)| !**is_reached).map(|(name, _)| name.as_str())
}

fn seconds(time: Duration) -> String {
    format!("{:.6}", time.as_secs_f64())
}

/// A text in XML; what XML can not hold is shown as an escape.
fn xml(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '&' => shown.push_str("&amp;"),
            '"' => shown.push_str("&quot;"),
            '\n' => shown.push('\n'),
            c => shown.push_str(&printable(c.encode_utf8(&mut [0; 4]))),
        }
    }
    shown
}
