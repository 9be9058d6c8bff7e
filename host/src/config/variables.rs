//! `[jobs.env]`: the variables jobs start with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::mistakes::{Fault, Report, join};
use super::raw::{Checked, RawEnv, Section};
use super::surroundings::Surroundings;

/// What jobs get of the server's variables if nothing else is said: who and where the user is. Nothing here loads code or carries
/// a key.
const DEFAULT_PASS: [&str; 8] = ["HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"];

/// What else jobs start with: nobody looks at a terminal and nobody can answer a prompt.
const DEFAULT_SET: [(&str, &str); 7] = [
    ("TERM", "dumb"),
    ("NO_COLOR", "1"),
    ("PAGER", "cat"),
    ("GIT_PAGER", "cat"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("CI", "1"),
    ("DEBIAN_FRONTEND", "noninteractive"),
];

/// Variables that make programs load or run code, or read what they were not asked to: no pattern passes them, only their exact
/// names, and who writes these has read the reason. A `*` at the end stands for any rest.
const BY_NAME_ONLY: [(&str, &str); 47] = [
    ("LD_*", "the loader maps what they name into every program"),
    ("DYLD_*", "the loader maps what they name into every program"),
    ("GCONV_PATH", "the C library loads converters from there"),
    ("GETCONF_DIR", "the C library runs programs from there"),
    ("GLIBC_TUNABLES", "they change what the C library checks"),
    ("MALLOC_*", "they change what the C library checks"),
    ("LOCPATH", "the C library reads locales from there"),
    ("NLSPATH", "the C library reads formats from there"),
    ("HOSTALIASES", "the C library reads names of hosts from there"),
    ("RESOLV_HOST_CONF", "the C library reads that file and shows its lines"),
    ("TERMINFO*", "libraries for terminals read from there"),
    ("TERMCAP", "libraries for terminals read from there"),
    ("TZDIR", "the C library reads time zones from there"),
    ("BASH_*", "the shell runs BASH_ENV, and takes functions from BASH_FUNC_*"),
    ("BASHOPTS", "they change how the shell reads scripts"),
    ("SHELLOPTS", "they change how the shell reads scripts"),
    ("ENV", "the shell runs it"),
    ("IFS", "the shell splits words by it"),
    ("CDPATH", "`cd` leads elsewhere by it"),
    ("GLOBIGNORE", "it changes what patterns match"),
    ("PS*", "the shell expands them, commands included"),
    ("PROMPT_COMMAND", "the shell runs it"),
    ("ZDOTDIR", "the shell runs files from there"),
    ("PYTHON*", "the interpreter loads and runs what they name"),
    ("PERL*", "the interpreter loads and runs what they name"),
    ("RUBY*", "the interpreter loads and runs what they name"),
    ("GEM_*", "the interpreter loads what they name"),
    ("BUNDLE_*", "the interpreter loads what they name"),
    ("NODE_*", "the interpreter loads and runs what they name"),
    ("NPM_*", "they configure what npm runs"),
    ("npm_*", "they configure what npm runs"),
    ("LUA_*", "the interpreter loads and runs what they name"),
    ("PHP*", "the interpreter loads what they name"),
    ("JAVA_*", "the virtual machine takes options and agents from them"),
    ("_JAVA_OPTIONS", "the virtual machine takes options and agents from it"),
    ("JDK_JAVA_OPTIONS", "the virtual machine takes options and agents from it"),
    ("CLASSPATH", "the virtual machine loads what it names"),
    ("DOTNET_*", "the runtime loads what they name"),
    ("RUST*", "cargo and rustc run what they name"),
    ("CARGO_*", "cargo runs what they name"),
    ("GO*", "go runs and fetches what they name"),
    ("MAKE*", "make takes options and files from them"),
    ("GIT_*", "git runs what they name, and reads and writes where they say"),
    ("SSH_*", "ssh runs SSH_ASKPASS; SSH_AUTH_SOCK is the use of keys"),
    ("LESS*", "the pager runs LESSOPEN"),
    ("*PAGER", "programs run it"),
    ("*EDITOR", "programs run it"),
];

/// Everything jobs start with, by name.
pub(super) fn variables(
    report: &mut Report,
    section: &Section<RawEnv>,
    path: &[PathBuf],
    surroundings: &Surroundings,
) -> Vec<(String, String)> {
    let absent = RawEnv::default();
    let raw = report.section("jobs.env", section).unwrap_or(&absent);
    let set = set(report, &raw.set);
    let mut env = BTreeMap::new();
    if set.is_none() {
        env.extend(DEFAULT_SET.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    env.extend(matching(report, &raw.pass_matching, surroundings));
    env.extend(passed(report, &raw.pass, set.as_ref(), surroundings));
    env.extend(set.unwrap_or_default());
    // A path that is no UTF-8 was refused or left out above.
    let path: Vec<&str> = path.iter().filter_map(|entry| entry.to_str()).collect();
    env.insert("PATH".to_owned(), path.join(":"));
    env.into_iter().collect()
}

/// What the file sets; none where it says nothing.
fn set(report: &mut Report, leaf: &Checked<BTreeMap<String, Checked<String>>>) -> Option<BTreeMap<String, String>> {
    let key = "jobs.env.set";
    let table = report.leaf(key, leaf, r#"must be a table of strings: { NAME = "value" }"#)?;
    let mut set = BTreeMap::new();
    for (name, value) in table {
        let at = join(key, name);
        let value = report.leaf(&at, value, "must be a string").and_then(|value| report.keep(&at, checked_value(name, value)));
        let name = report.keep(&at, job_variable(name));
        set.extend(name.zip(value).map(|(n, v)| (n.to_owned(), v.to_owned())));
    }
    Some(set)
}

/// What jobs get of the server's variables. Those that are no UTF-8 are left out: no policy could be shown them.
fn passed(
    report: &mut Report,
    leaf: &Checked<Vec<Checked<String>>>,
    set: Option<&BTreeMap<String, String>>,
    surroundings: &Surroundings,
) -> Vec<(String, String)> {
    let names: Vec<&str> = match report.strings("jobs.env.pass", leaf) {
        None => DEFAULT_PASS.to_vec(),
        Some(strings) => strings.into_iter().filter_map(|(at, name)| report.keep(at, passed_variable(name, set))).collect(),
    };
    let value = |name: &str| Some(as_judged(name, surroundings.variable(name)?.to_str()?));
    names.into_iter().filter_map(|name| Some((name.to_owned(), value(name)?))).collect()
}

/// What jobs get of the server's variables by patterns. What is dangerous, or made otherwise, no pattern matches.
fn matching(report: &mut Report, leaf: &Checked<Vec<Checked<String>>>, surroundings: &Surroundings) -> Vec<(String, String)> {
    let written = report.strings("jobs.env.pass_matching", leaf).unwrap_or_default();
    let prefixes: Vec<&str> = written.into_iter().filter_map(|(at, pattern)| report.keep(at, prefix(pattern))).collect();
    let is_passed = |name: &str| {
        job_variable(name).is_ok() && hazard(name).is_none() && prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    let known = surroundings.variables.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)));
    known.filter(|(name, _)| is_passed(name)).map(|(name, value)| (name.to_owned(), as_judged(name, value))).collect()
}

/// The value, or of a locale with another character set one with that of the judges: a shell that reads GBK sees other quotes in
/// the same bytes, and so another script.
fn as_judged(name: &str, value: &str) -> String {
    if reads_as_judged(name, value) { value } else { "C.UTF-8" }.to_owned()
}

/// Whether texts are UTF-8, or bytes, as far as this variable says what they are.
fn reads_as_judged(name: &str, locale: &str) -> bool {
    if name != "LANG" && !name.starts_with("LC_") {
        return true;
    }
    let character_set = locale.split('@').next().and_then(|locale| Some(locale.split_once('.')?.1));
    match character_set {
        None => matches!(locale, "" | "C" | "POSIX"),
        Some(set) => ["UTF-8", "UTF8"].iter().any(|known| set.eq_ignore_ascii_case(known)),
    }
}

/// What names begin with that a pattern such as `LC_*` matches.
fn prefix(pattern: &str) -> Result<&str, Fault> {
    let right = "must be the beginning of names and a `*`, such as `LC_*`";
    let Some(prefix) = pattern.strip_suffix('*') else {
        return Err(Fault::new(
            format!("{pattern:?} is no pattern"),
            format!("{right}; exact names belong into `jobs.env.pass`"),
        ));
    };
    if variable_name(prefix).is_err() {
        return Err(Fault::new(format!("{pattern:?} is no pattern for names of variables"), right));
    }
    match hazard(prefix) {
        Some((_, reason)) => {
            let wrong = format!("`{pattern}` would pass what no pattern may: {reason}");
            Err(Fault::new(wrong, "write each exact name that you mean into `jobs.env.pass`"))
        }
        None => Ok(prefix),
    }
}

/// Why this variable is passed by its exact name only; none: it is harmless as far as is known.
fn hazard(name: &str) -> Option<(&'static str, &'static str)> {
    let is_it = |pattern: &str| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => name.ends_with(end),
        (None, Some(beginning)) => name.starts_with(beginning),
        (None, None) => name == pattern,
    };
    BY_NAME_ONLY.into_iter().find(|(pattern, _)| is_it(pattern))
}

fn passed_variable<'n>(name: &'n str, set: Option<&BTreeMap<String, String>>) -> Result<&'n str, Fault> {
    let name = job_variable(name)?;
    if set.is_some_and(|set| set.contains_key(name)) {
        let wrong = format!("`{name}` stands in `jobs.env.set` too");
        return Err(Fault::new(wrong, "choose one"));
    }
    Ok(name)
}

fn checked_value<'v>(name: &str, value: &'v str) -> Result<&'v str, Fault> {
    if value.contains('\0') {
        let wrong = "contains a NUL character";
        return Err(Fault::new(wrong, "must be without"));
    }
    if !reads_as_judged(name, value) {
        let wrong = format!("`{value}` may have another character set than commands are judged in");
        return Err(Fault::new(wrong, "must be a locale in UTF-8, such as `C.UTF-8`"));
    }
    Ok(value)
}

/// A variable that a file may give to jobs: any but `PATH`, which has its own key.
fn job_variable(name: &str) -> Result<&str, Fault> {
    if name == "PATH" {
        let wrong = "`PATH` is made of `jobs.path`";
        return Err(Fault::new(wrong, "write the directories there"));
    }
    variable_name(name)
}

/// A name as it is.
pub(super) fn variable_name(name: &str) -> Result<&str, Fault> {
    let is_known = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts_well = !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit());
    if starts_well && name.chars().all(is_known) {
        Ok(name)
    } else {
        Err(Fault::new(
            format!("{name:?} is no name of a variable"),
            "must be one exact name of letters, digits and `_`; patterns are not taken",
        ))
    }
}
