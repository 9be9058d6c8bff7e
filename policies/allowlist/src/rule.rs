//! Finding the rule of a command, and saying what is off about a command.

use std::ops::Bound;

use portcullis_sdk::{Node, Program as File, Reason, literal};

use crate::settings::{Program, Settings};

/// How much of a word is shown in a message, in characters.
const MOST_SHOWN: usize = 120;

/// A rule and where it stands in the settings.
#[derive(Clone)]
pub struct Rule<'a> {
    /// The keys that lead to it.
    keys: Vec<&'a str>,
    /// What it says.
    pub program: &'a Program,
}

/// Why a command is not allowed.
#[derive(Debug)]
pub enum Objection {
    /// A rule, or the lack of one, refuses it.
    Denied(Reason),
    /// It lacks what its rule wants in front, which another policy may yet put there: no opinion about this form.
    NotYet,
}

impl From<Reason> for Objection {
    fn from(reason: Reason) -> Self {
        Self::Denied(reason)
    }
}

impl<'a> Rule<'a> {
    /// The rule of a sub-command.
    pub fn command(&self, name: &str) -> Option<Self> {
        let (name, program) = self.program.commands.get_key_value(name)?;
        let mut keys = self.keys.clone();
        keys.extend(["commands", name]);
        Some(Self { keys, program })
    }

    /// A key of the rule, as it is written in TOML.
    pub fn key(&self, rest: &[&str]) -> String {
        self.keys.iter().chain(rest).map(|key| toml_key(key)).collect::<Vec<_>>().join(".")
    }

    /// A denial of a word that has something better beside it, by the rule's own account.
    pub fn instead(&self, code: &str, word: &str) -> Option<Reason> {
        let instead = &self.program.instead;
        let said = instead.get(word).or_else(|| instead.get(""))?;
        Some(Reason::new(code, format!("`{}` is not allowed by the rule `{}`: {said}", shown(word), self.key(&[]))))
    }

    /// A denial that names the rule: what is off, and what an operator would add.
    pub fn denied(&self, code: &str, off: &str, add: &str) -> Reason {
        Reason::new(code, format!("{off} is not allowed by the rule `{}`; an operator who wants it adds {add}", self.key(&[])))
    }
}

/// The rule for what a node runs.
///
/// # Errors
///
/// Why there is none.
pub fn find<'a>(settings: &'a Settings, node: &Node) -> Result<Rule<'a>, Reason> {
    let Some(name) = node.program.as_ref().and_then(literal) else {
        return Err(Reason::new("program-not-literal", "which program runs must be written out, without expansions"));
    };
    let rule = match &node.resolved {
        Some(file) => find_program(settings, file, &node.directory),
        None if node.builtin => find_builtin(settings, name),
        None => None,
    };
    rule.ok_or_else(|| missing(name, node))
}

fn find_builtin<'a>(settings: &'a Settings, name: &str) -> Option<Rule<'a>> {
    let (name, program) = settings.scripts.builtins.get_key_value(name)?;
    Some(Rule { keys: vec!["scripts", "builtins", name], program })
}

fn find_program<'a>(settings: &'a Settings, file: &File, directory: &str) -> Option<Rule<'a>> {
    // A relative one would be looked for where the job stands.
    if file.interpreter.as_ref().is_some_and(|interpreter| !interpreter.starts_with('/')) {
        return None;
    }
    let by_name = file.name.rsplit('/').next().filter(|_| file.looked_up && !file.inside_roots);
    let by_name = by_name.and_then(|name| settings.programs.get_key_value(name));
    // Keys that are paths begin with `.` or `/`, which stand side by side.
    let paths = (Bound::Included("."), Bound::Excluded("0"));
    let by_path = || settings.programs.range::<str, _>(paths).find(|(path, _)| is_at(path, file, directory));
    let (name, program) = by_name.or_else(by_path)?;
    Some(Rule { keys: vec!["programs", name], program })
}

fn is_at(path: &str, file: &File, directory: &str) -> bool {
    let path = match path.strip_prefix("./") {
        Some(rest) => format!("{}/{rest}", directory.trim_end_matches('/')),
        None => path.to_owned(),
    };
    // `..` behind a link leads elsewhere than its text says.
    file.path == path || !file.name.contains("/../") && file.name.replace("/./", "/") == path
}

/// Programs that run whatever they are told; a rule of words can not say what that is.
const RUNNERS: &[&str] = &[
    "bash",
    "bun",
    "dash",
    "deno",
    "doas",
    "env",
    "eval",
    "exec",
    "fish",
    "ksh",
    "lua",
    "nice",
    "node",
    "nohup",
    "osascript",
    "parallel",
    "perl",
    "php",
    "python",
    "python3",
    "ruby",
    "script",
    "setsid",
    "sh",
    "source",
    "ssh",
    "stdbuf",
    "su",
    "sudo",
    "time",
    "timeout",
    "watch",
    "xargs",
    "zsh",
];

fn missing(name: &str, node: &Node) -> Reason {
    let shown = shown(name);
    let key = toml_key(name);
    let is_own = node.resolved.as_ref().is_some_and(|file| file.inside_roots);
    if !is_own && RUNNERS.contains(&name.rsplit('/').next().unwrap_or_default()) {
        let instead = match name.rsplit('/').next() {
            Some("xargs") => "give the program its words yourself, or have it look for files: `grep -rn x --include='*.rs' .`",
            _ => "call the program itself, written out",
        };
        let message = format!("`{shown}` runs whatever it is told, and no rule allows it; {instead}");
        let code = if node.resolved.is_some() { "program-not-allowed" } else { "builtin-not-allowed" };
        return Reason::new(code, message);
    }
    match &node.resolved {
        None => {
            let add = format!("an operator who wants it adds a rule `[scripts.builtins.{key}]`");
            Reason::new("builtin-not-allowed", format!("no rule allows the builtin `{shown}`; {add}"))
        }
        Some(file) if file.inside_roots => {
            let relative = file.path.strip_prefix(&format!("{}/", node.directory)).map(|rest| format!("./{rest}"));
            let key = toml_key(relative.as_deref().unwrap_or(&file.path));
            Reason::new(
                "program-inside-roots",
                format!(
                    "`{shown}` lies inside the working roots, where it can be changed; use an installed program. An operator who \
                     wants it all the same names it by its path: `[programs.{key}]`"
                ),
            )
        }
        Some(file) if file.interpreter.as_ref().is_some_and(|interpreter| !interpreter.starts_with('/')) => {
            Reason::new("interpreter-not-absolute", format!("`{shown}` names an interpreter without saying where it lies"))
        }
        Some(file) => {
            let key =
                if file.looked_up { toml_key(file.name.rsplit('/').next().unwrap_or_default()) } else { toml_key(&file.path) };
            Reason::new(
                "program-not-allowed",
                format!("no rule allows `{shown}`; an operator who wants it adds a rule `[programs.{key}]`"),
            )
        }
    }
}

/// A word as it may stand in a message: bounded.
pub fn shown(word: &str) -> String {
    match word.char_indices().nth(MOST_SHOWN) {
        Some((at, _)) => format!("{}…", &word[..at]),
        None => word.to_owned(),
    }
}

/// A text in TOML's quotes.
pub fn toml_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in shown(text).chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn toml_key(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { key.to_owned() } else { toml_text(key) }
}
