//! `[[policies]]`: which components, with which powers, told what.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::mistakes::{Fault, Report, join, suggestion};
use super::places::{self, Trust};
use super::raw::{Checked, RawGrants, RawPolicy, Section};
use super::surroundings::Surroundings;
use super::variables::variable_name;
use super::{ComponentSource, Grants, Origin, PolicyEntry};
use crate::digest::Digest;

/// Every decision asks every policy; more than this is a mistake in whatever wrote the file.
const MAX_POLICIES: usize = 64;

/// The longest name of a policy, in characters.
const MAX_NAME: usize = 64;

/// In front of the name of a built-in policy.
const BUILTIN: &str = "builtin:";

/// In `grants.read`: every directory of `jobs.roots`. It is no path, since paths there are absolute or begin with `~`.
const ROOTS: &str = "roots";

/// What is needed to read an entry.
pub(super) struct Reader<'a> {
    pub surroundings: &'a Surroundings,
    pub origin: &'a Origin,
    pub roots: &'a [PathBuf],
}

impl Reader<'_> {
    /// What `[[policies]]` says; at least one entry, unless that is reported.
    pub(super) fn mean(&self, report: &mut Report, leaf: &Checked<Vec<Section<RawPolicy>>>) -> Vec<PolicyEntry> {
        let key = "policies";
        let right = "must be one or more [[policies]] tables";
        let list = match (leaf, report.leaf(key, leaf, right)) {
            (Checked::Bad(_), _) => return Vec::new(),
            (_, Some(list)) if !list.is_empty() => list,
            _ => {
                let right = "add a [[policies]] table with `name` and `component`";
                report.add(key, Fault::new("there is no policy", right));
                return Vec::new();
            }
        };
        if list.len() > MAX_POLICIES {
            let wrong = format!("there are {}", list.len());
            report.add(key, Fault::new(wrong, format!("must be at most {MAX_POLICIES}")));
        }
        let mut names = HashMap::new();
        list.iter()
            .enumerate()
            .filter_map(|(index, section)| {
                let at = format!("{key}[{index}]");
                let raw = report.section(&at, section)?;
                let entry = self.entry(report, &at, raw);
                report.keep(format!("{at}.name"), claim(&mut names, &entry.name, at));
                Some(entry)
            })
            .collect()
    }

    fn entry(&self, report: &mut Report, at: &str, raw: &RawPolicy) -> PolicyEntry {
        let component = self.component(report, &format!("{at}.component"), &raw.component);
        let may_rewrite = format!("{at}.may_rewrite");
        PolicyEntry {
            name: name(report, &format!("{at}.name"), &raw.name),
            sha256: pin(report, &format!("{at}.sha256"), &raw.sha256),
            mode: report.leaf(&format!("{at}.mode"), &raw.mode, r#"must be "enforce" or "monitor""#).copied().unwrap_or_default(),
            may_rewrite: report.leaf(&may_rewrite, &raw.may_rewrite, "must be true or false").copied().unwrap_or_default(),
            apply: report.leaf(&format!("{at}.apply"), &raw.apply, r#"must be "stream" or "reads""#).copied().unwrap_or_default(),
            on_fault: report
                .leaf(&format!("{at}.on_fault"), &raw.on_fault, r#"must be "withhold" or "stop-job""#)
                .copied()
                .unwrap_or_default(),
            grants: self.grants(report, &format!("{at}.grants"), &raw.grants),
            settings: self.settings(report, &format!("{at}.settings"), &raw.settings, &component),
            component,
        }
    }

    fn component(&self, report: &mut Report, at: &str, leaf: &Checked<String>) -> ComponentSource {
        let text = required(report, at, leaf, "must be `builtin:NAME` or a path");
        let component = text.and_then(|text| match text.strip_prefix(BUILTIN) {
            Some(name) => report.keep(at, self.builtin(name)),
            None => {
                let trail = report.keep(at, self.component_file(text))?;
                report.depends_on(&trail);
                let trust = Trust { owner: self.owner() };
                for fault in trust.faults(&trail) {
                    report.add(at, fault);
                }
                report.keep(at, places::out_of_reach(&trail, self.roots));
                Some(ComponentSource::File(trail.end))
            }
        });
        component.unwrap_or_else(|| ComponentSource::Builtin(String::new()))
    }

    fn builtin(&self, name: &str) -> Result<ComponentSource, Fault> {
        let known = self.builtins();
        if known.contains(&name) {
            return Ok(ComponentSource::Builtin(name.to_owned()));
        }
        Err(Fault::new(format!("{name:?} is no built-in policy"), suggestion(name, &known)))
    }

    fn builtins(&self) -> Vec<&'static str> {
        let builtins = self.surroundings.builtins.iter();
        builtins.map(|builtin| builtin.name).collect()
    }

    fn component_file(&self, text: &str) -> Result<places::Trail, Fault> {
        let path = self.beside_file(Path::new(text))?;
        let trail = places::trail(&path)?;
        match trail.found() {
            Some(meta) if meta.is_file() => Ok(trail),
            Some(_) => Err(Fault::new(format!("{} is no regular file", trail.end.display()), "must be a component")),
            None if self.builtins().contains(&text) => {
                Err(Fault::new(format!("{} does not exist", path.display()), format!("did you mean `{BUILTIN}{text}`?")))
            }
            None => Err(Fault::new(
                format!("{} does not exist", path.display()),
                format!("must be a component's file, or one of `{BUILTIN}NAME`"),
            )),
        }
    }

    /// The path, a relative one taken from the directory of the file it stands in.
    fn beside_file(&self, path: &Path) -> Result<PathBuf, Fault> {
        let directory = match self.origin {
            Origin::Administrator(file) | Origin::File(file) => file.parent(),
            Origin::Embedded => None,
        };
        match directory {
            Some(directory) if is_plainly_relative(path) => places::absolute(&directory.join(path), None),
            _ => places::absolute(path, self.surroundings.home()),
        }
    }

    /// Whose components are trusted: under an administrator's file not the user's, who could swap the policy.
    fn owner(&self) -> u32 {
        match self.origin {
            Origin::Administrator(_) => self.surroundings.administrator,
            Origin::File(_) | Origin::Embedded => self.surroundings.uid,
        }
    }

    fn grants(&self, report: &mut Report, at: &str, section: &Section<RawGrants>) -> Grants {
        let Some(raw) = report.section(at, section) else {
            return Grants::default();
        };
        let mut grants = Grants::default();
        for (at, name) in report.strings(&format!("{at}.env"), &raw.env).unwrap_or_default() {
            let name = report.keep(at, variable_name(name));
            grants.env.extend(name.map(str::to_owned));
        }
        for (at, text) in report.strings(&format!("{at}.read"), &raw.read).unwrap_or_default() {
            if text == ROOTS {
                grants.read.extend_from_slice(self.roots);
                continue;
            }
            let home = self.surroundings.home();
            let directory = places::directory(Path::new(text), home);
            grants.read.extend(report.keep(at, directory));
        }
        grants
    }

    fn settings(&self, report: &mut Report, at: &str, leaf: &Checked<toml::Table>, component: &ComponentSource) -> Value {
        if let Some(table) = report.leaf(at, leaf, "must be a table") {
            return object(report, at, table);
        }
        let text = match component {
            ComponentSource::Builtin(name) => self.default_settings(name),
            ComponentSource::File(_) => "",
        };
        match toml::from_str(text) {
            Ok(table) => object(report, at, &table),
            Err(error) => {
                let wrong = format!("the built-in defaults are no TOML: {}", error.message());
                report.add(at, Fault::new(wrong, "this is an error in portcullis"));
                Value::Null
            }
        }
    }

    fn default_settings(&self, name: &str) -> &'static str {
        let mut builtins = self.surroundings.builtins.iter();
        builtins.find(|builtin| builtin.name == name).map_or("", |builtin| builtin.default_settings)
    }
}

/// Not empty, not absolute, not from home.
fn is_plainly_relative(path: &Path) -> bool {
    !path.as_os_str().is_empty() && path.is_relative() && !path.starts_with("~")
}

/// The value of a key that has no default.
fn required<'r, T>(report: &mut Report, at: &str, leaf: &'r Checked<T>, right: &str) -> Option<&'r T> {
    if let Checked::Absent = leaf {
        report.add(at, Fault::new("is missing", right));
    }
    report.leaf(at, leaf, right)
}

fn name(report: &mut Report, at: &str, leaf: &Checked<String>) -> String {
    let right = "must be 1 to 64 characters of `a-z`, `0-9` and `-`";
    let is_known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let Some(text) = required(report, at, leaf, right) else {
        return String::new();
    };
    if text.is_empty() || text.len() > MAX_NAME || !text.chars().all(is_known) {
        report.add(at, Fault::new(format!("{text:?} is no name"), right));
        return String::new();
    }
    text.clone()
}

fn pin(report: &mut Report, at: &str, leaf: &Checked<String>) -> Option<Digest> {
    let right = "must be 64 hexadecimal digits; `portcullis config check --pin` writes them";
    let text = report.leaf(at, leaf, right)?;
    report.keep(at, text.parse().map_err(|error| Fault::new(format!("{text:?} is {error}"), right)))
}

/// Takes a name for the entry `at`. An empty one stands for one that was reported.
fn claim(names: &mut HashMap<String, String>, name: &str, at: String) -> Result<(), Fault> {
    if name.is_empty() {
        return Ok(());
    }
    match names.get(name) {
        Some(first) => Err(Fault::new(format!("`{name}` is the name of {first} too"), "names must be unique")),
        None => {
            names.insert(name.to_owned(), at);
            Ok(())
        }
    }
}

fn object(report: &mut Report, at: &str, table: &toml::Table) -> Value {
    let members = table.iter().map(|(key, value)| (key.clone(), json(report, &join(at, key), value)));
    Value::Object(members.collect())
}

/// The value as a policy gets it. Recursion ends where the TOML parser's own limit does.
fn json(report: &mut Report, at: &str, value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Boolean(flag) => Value::from(*flag),
        toml::Value::Float(number) => report.keep(at, finite(*number)).map_or(Value::Null, Value::Number),
        toml::Value::Datetime(_) => {
            let wrong = "found a date or time, which JSON does not have";
            report.add(at, Fault::new(wrong, "write it as a string"));
            Value::Null
        }
        toml::Value::Array(list) => {
            list.iter().enumerate().map(|(index, value)| json(report, &format!("{at}[{index}]"), value)).collect()
        }
        toml::Value::Table(table) => object(report, at, table),
    }
}

fn finite(number: f64) -> Result<serde_json::Number, Fault> {
    serde_json::Number::from_f64(number).ok_or_else(|| {
        let wrong = format!("{number} is a number JSON does not have");
        Fault::new(wrong, "must be finite")
    })
}
