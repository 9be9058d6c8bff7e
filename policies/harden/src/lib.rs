//! Rewrites commands into a form that no configuration in the working directory can bend, and denies git where no form helps.
//!
//! ```text
//! lib ─▶ git         options, switches and variables that every call of git gets
//!     ─▶ visit       what its calls do where they stand
//!     ─▶ scripts     package managers, where asked
//!     ─▶ search      rg
//!     ─▶ command     variables in front of a command
//!     ─▶ repository  what git would read: config (its grammar), harmless (what may stand there), files (the host's),
//!                    index (which repositories lie inside)
//! ```

mod command;
mod config;
mod files;
mod git;
mod harmless;
mod index;
mod repository;
mod scripts;
mod search;
#[cfg(test)]
mod tests;
mod visit;

use std::collections::BTreeMap;

use command::{runs, with_variables};
use files::Files;
use git::{Kept, Programs};
use portcullis_sdk::{CommandPolicy, Edit, Node, Policy, Request, SettingsError, SettingsErrors, Verdict, export};
use repository::{Refusal, Visit};
use schemars::JsonSchema;
use scripts::Manager;
use serde::Deserialize;

/// A decision takes one call of a fresh instance.
#[cfg(target_family = "wasm")]
#[global_allocator]
static ARENA: portcullis_arena::Arena = portcullis_arena::Arena::new();

/// Most mistakes that settings may be told.
const MOST_ERRORS: usize = 64;

/// Most directories of one script in which repositories are judged.
const MOST_DIRECTORIES: usize = 32;

/// What is set where cargo or rustc is asked for its version: `rust-toolchain.toml` could name a program of the repository's own,
/// or a toolchain to fetch.
const TOOLCHAIN: &[(&str, &str)] = &[("RUSTUP_AUTO_INSTALL", "0"), ("RUSTUP_TOOLCHAIN", "stable")];

/// Ways to ask for a version and nothing else.
const VERSION: &[&str] = &["--version", "-V", "-vV"];

/// What makes programs neither ask, nor page, nor colour.
const QUIET: &[(&str, &str)] = &[
    ("CI", "1"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("GIT_PAGER", "cat"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("NO_COLOR", "1"),
    ("PAGER", "cat"),
];

/// What is hardened.
#[derive(Debug, Deserialize, JsonSchema)]
struct Settings {
    /// Whether git gets its form and repositories are judged.
    #[serde(default = "yes")]
    git: bool,
    /// Whether the kernel keeps git from executing anything but git, and from opening files outside of the roots but its own configuration
    /// and what programs need of the system. It has to offer that: seccomp and Landlock (Linux 5.13). Filters, such as those of git-lfs, do
    /// not run then.
    #[serde(default = "yes")]
    confine: bool,
    /// What calls of git may execute besides git, as absolute paths of files and directories. If left out: for calls that enter other
    /// repositories git (`lib/git-core/git` and `libexec/git-core/git` beside its `bin`), for others nothing.
    exec_paths: Option<Vec<String>>,
    /// What calls of git may read outside of the roots besides, as absolute paths of files and directories: what the user's own
    /// configuration includes, for instance, or where credentials for a remote lie.
    #[serde(default)]
    read_paths: Vec<String>,
    /// Package managers that are told to leave scripts of packages alone.
    #[serde(default)]
    ignore_scripts: Vec<Manager>,
    /// Whether every program gets the variables that keep programs from asking, paging and colouring, where it has not got them from
    /// the configuration.
    #[serde(default)]
    quiet: bool,
}

fn yes() -> bool {
    true
}

/// The policy.
struct Harden {
    settings: Settings,
    /// What calls of git may execute; none: anything.
    programs: Option<Programs>,
}

impl Policy for Harden {
    type Settings = Settings;

    fn configure(settings: Settings) -> Result<Self, SettingsErrors> {
        check_paths("exec_paths", settings.exec_paths.iter().flatten())?;
        check_paths("read_paths", settings.read_paths.iter())?;
        let programs = settings.confine.then(|| settings.exec_paths.clone().map_or(Programs::Own, Programs::Listed));
        Ok(Self { settings, programs })
    }
}

fn check_paths<'a>(setting: &str, paths: impl Iterator<Item = &'a String>) -> Result<(), SettingsErrors> {
    let wrong = paths.enumerate().filter(|(_, path)| !is_plain(path)).map(|(at, path)| {
        SettingsError::new(
            format!("{setting}.{at}"),
            format!("{path:?} is not absolute and plain; write it without `.`, `..` and empty names"),
        )
    });
    let wrong: SettingsErrors = wrong.take(MOST_ERRORS).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn is_plain(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|names| names.split('/').all(|name| !["", ".", ".."].contains(&name)))
}

impl CommandPolicy for Harden {
    fn evaluate(&self, request: &Request) -> Verdict {
        self.judge(request, files::granted).unwrap_or_else(|refusal| Verdict::deny(refusal.code, refusal.message))
    }
}

impl Harden {
    /// Rewrites what has not its form. What has it is judged by the files that git would read: last, so that as little time as can
    /// be passes before git reads them.
    fn judge<F: Files>(&self, request: &Request, files: impl Fn() -> F) -> Result<Verdict, Refusal> {
        let calls: Vec<usize> = (0..request.nodes.len()).filter(|at| self.is_git(&request.nodes[*at])).collect();
        let own = (!calls.is_empty()).then(|| Own::of(request));
        let kept = own.as_ref().and_then(|own| self.kept(own));
        let mut edits = Vec::new();
        for (node, index) in request.nodes.iter().zip(0..) {
            edits.extend(self.hardened(request, node, index, kept.as_ref())?);
        }
        if own.is_some() {
            git::variables_of_the_script(request)?;
        }
        if !edits.is_empty() {
            let message = "it runs with what a repository's own files could make it execute switched off";
            return Ok(Verdict::rewrite(edits, "hardened", message));
        }
        if let Some(own) = own {
            calls.iter().try_for_each(|git| git::files_of_the_repository(&request.nodes[*git]))?;
            calls.iter().try_for_each(|git| git::is_told_quietly(&request.nodes[*git]))?;
            visit::nothing_is_opened(request, &calls)?;
            let files = files();
            repositories(visit::visits(request, &calls), &own, &files)?;
        }
        if self.settings.git {
            nothing_of_gits(visit::written(request), files)?;
        }
        Ok(Verdict::Abstain)
    }

    fn is_git(&self, node: &Node) -> bool {
        self.settings.git && runs(node, "git")
    }

    /// The edit that gives a node its hardened form; none if it has it or there is none for it.
    fn hardened(&self, request: &Request, node: &Node, index: u32, git: Option<&Kept>) -> Result<Option<Edit>, Refusal> {
        let mut edit = self.hardened_program(node, index, git)?;
        if self.settings.quiet && node.resolved.is_some() {
            let set = edit.get_or_insert_with(|| Edit::new(index));
            for (name, value) in missing(request, node) {
                if !set.assignments.iter().any(|(known, _)| *known == name) {
                    set.assignments.push((name, value));
                }
            }
        }
        let changes = |edit: &Edit| edit.args.is_some() || edit.executes.is_some() || !edit.assignments.is_empty();
        Ok(edit.filter(changes))
    }

    /// What calls of git are kept to; none: nothing.
    fn kept(&self, own: &Own) -> Option<Kept<'_>> {
        let programs = self.programs.as_ref()?;
        let own = [&own.configs, &own.lists, &own.familiar].into_iter().flatten().filter(|path| is_plain(path));
        Some(Kept { programs, reads: self.settings.read_paths.iter().chain(own).cloned().collect() })
    }

    fn hardened_program(&self, node: &Node, index: u32, git: Option<&Kept>) -> Result<Option<Edit>, Refusal> {
        if self.is_git(node) {
            return git::hardened(node, index, git);
        }
        if let Some(manager) = self.settings.ignore_scripts.iter().find(|manager| runs(node, manager.name())) {
            return manager.hardened(node, index);
        }
        if runs(node, "rg") {
            return search::hardened(node, index);
        }
        let asks_version = || matches!(node.args.as_slice(), [arg] if arg.text().is_some_and(|word| VERSION.contains(&word)));
        if (runs(node, "cargo") || runs(node, "rustc")) && asks_version() {
            return Ok(with_variables(node, index, TOOLCHAIN));
        }
        Ok(None)
    }
}

/// What keeps a program quiet and it has neither from the configuration nor in front of it.
fn missing(request: &Request, node: &Node) -> Vec<(String, String)> {
    let is_set = |(name, value): &&(&str, &str)| {
        request.env.iter().any(|(known, set)| known == name && set == value)
            && !node.assignments.iter().any(|(known, _)| known == name)
    };
    let wanted: Vec<(&str, &str)> = QUIET.iter().filter(|variable| !is_set(variable)).copied().collect();
    with_variables(node, 0, &wanted).map(|edit| edit.assignments).unwrap_or_default()
}

/// Refuses to write where git has files of its own, under whatever name: programs to run can be named there.
fn nothing_of_gits<'a, F: Files>(paths: impl Iterator<Item = &'a str>, files: impl FnOnce() -> F) -> Result<(), Refusal> {
    let mut paths = paths.peekable();
    if paths.peek().is_none() {
        return Ok(());
    }
    let files = files();
    match paths.find(|path| repository::is_of_git(&files, path)) {
        None => Ok(()),
        Some(path) => {
            let message =
                format!("the redirection to {path} leads into a repository's own directory, where programs to run can be named");
            Err(Refusal { code: "git-directory", message })
        }
    }
}

/// Judges the repositories of these directories, and the user's own configuration where jobs could write it. What lies elsewhere is
/// the user's own and trusted.
fn repositories(directories: BTreeMap<&str, Visit>, own: &Own, files: &impl Files) -> Result<(), Refusal> {
    if directories.len() > MOST_DIRECTORIES {
        let message = format!("git is called in more than {MOST_DIRECTORIES} directories; do it in several commands");
        return Err(Refusal { code: "too-many-directories", message });
    }
    for (directory, visit) in &directories {
        repository::judge(files, directory, visit)?;
    }
    own.lists.iter().try_for_each(|path| repository::judge_own_list(files, path))?;
    let all = directories.into_values().reduce(Visit::and).unwrap_or_default();
    own.configs.iter().try_for_each(|path| repository::judge_own(files, path, &all))
}

/// What git reads of the user's own.
struct Own {
    configs: Vec<String>,
    /// Of patterns and attributes.
    lists: Vec<String>,
    /// What configurations name by custom.
    familiar: Vec<String>,
}

/// Files in the home directory that the user's configuration often names: this policy can not read whether it does.
const FAMILIAR: &[&str] = &[".gitattributes", ".gitconfig.local", ".gitignore", ".gitignore_global", ".gitmessage", ".mailmap"];

impl Own {
    fn of(request: &Request) -> Self {
        let variable = |name: &str| request.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let plain =
            |path: &str| path.split('/').filter(|name| !name.is_empty()).fold(String::new(), |way, name| way + "/" + name);
        let directory = |name: &str| variable(name).filter(|path| path.starts_with('/')).map(plain);
        let home = directory("HOME");
        let config = directory("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| format!("{home}/.config")));
        let below = |name: &str| config.iter().map(move |config| format!("{config}/git/{name}")).collect::<Vec<_>>();
        Self {
            configs: home.iter().map(|home| format!("{home}/.gitconfig")).chain(below("config")).collect(),
            lists: ["ignore", "attributes"].into_iter().flat_map(below).collect(),
            familiar: home.iter().flat_map(|home| FAMILIAR.iter().map(move |name| format!("{home}/{name}"))).collect(),
        }
    }
}

export!(Harden: command);
