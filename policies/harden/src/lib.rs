//! Rewrites commands into a form that no configuration in the working directory can bend.
//!
//! `git` reads configuration and attributes from the repository it stands in, and both can name programs to run. The
//! hardened form puts fixed options directly behind `git`, which win over every file, switches external diff programs and
//! text converters off where a sub-command knows the switch, and sets variables so that nothing prompts or pages.
//!
//! The form is canonical: a command has it or has it not, and what has it is left alone.

use portcullis_sdk::{CommandPolicy, Edit, Edited, Policy, Request, SettingsErrors, Simple, Verdict, export};
use serde::Deserialize;

/// What stands directly behind `git`, in this order. Each is here because a repository's own files could say otherwise.
const PREFIX: &[&str] = &[
    "--no-pager",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.pager=cat",
    "-c",
    "core.sshCommand=false",
    "-c",
    "core.askPass=",
    "-c",
    "credential.helper=",
    "-c",
    "diff.external=",
    "-c",
    "gpg.program=false",
    "-c",
    "gpg.ssh.program=false",
    "-c",
    "gpg.x509.program=false",
    "-c",
    "log.showSignature=false",
    "-c",
    "protocol.allow=never",
    "-c",
    "submodule.recurse=false",
];

/// What stands directly behind the sub-commands that know it: no external diff programs, no text converters, no look into
/// submodules, whose own configuration would count.
const SWITCHES: &[(&str, &[&str])] = &[
    ("log", DIFF),
    ("show", DIFF),
    ("diff", DIFF),
    ("whatchanged", DIFF),
    ("diff-tree", DIFF),
    ("diff-index", DIFF),
    ("diff-files", DIFF),
    ("blame", &["--no-textconv"]),
    ("grep", &["--no-textconv"]),
    ("status", &["--ignore-submodules=all"]),
];

const DIFF: &[&str] = &["--no-ext-diff", "--no-textconv", "--ignore-submodules=all"];

/// What is set in front of the command.
///
/// A repository can say that its objects lie elsewhere, and how to fetch them; no protocol is allowed for that, whatever the
/// repository's `protocol.*.allow` says.
const VARIABLES: &[(&str, &str)] = &[
    ("GIT_ALLOW_PROTOCOL", ""),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_PAGER", "cat"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("PAGER", "cat"),
];

/// What is set where cargo or rustc is asked for its version: `rust-toolchain.toml` could name a program of the repository's own, or
/// a toolchain to fetch.
const TOOLCHAIN: &[(&str, &str)] = &[("RUSTUP_AUTO_INSTALL", "0"), ("RUSTUP_TOOLCHAIN", "stable")];

/// Ways to ask for a version and nothing else.
const VERSION: &[&str] = &["--version", "-V", "-vV"];

/// No settings: what is switched off is not for choice.
#[derive(Debug, Deserialize)]
struct Settings {}

/// The policy.
struct Harden;

impl Policy for Harden {
    type Settings = Settings;

    fn configure(Settings {}: Settings) -> Result<Self, SettingsErrors> {
        Ok(Self)
    }
}

impl CommandPolicy for Harden {
    fn evaluate(&self, request: &Request) -> Verdict {
        let commands = request.nodes.iter().zip(0..).filter_map(|(node, index)| node.simple(index));
        let edits: Vec<_> = commands.filter_map(|command| hardened(&command)).collect();
        if edits.is_empty() {
            return Verdict::Abstain;
        }
        Verdict::rewrite(edits, "hardened", "it runs with what a repository's own files could make it execute switched off")
    }
}

/// The edit that gives a command its hardened form; none if it has it or there is none for it.
fn hardened(command: &Simple) -> Option<Edit> {
    if command.is_program("git") {
        return hardened_git(command);
    }
    let asks_version = command.words().len() == 1 && command.words().all(|word| VERSION.contains(&word));
    if asks_version && (command.is_program("cargo") || command.is_program("rustc")) {
        return with_variables(command, TOOLCHAIN);
    }
    None
}

/// The edit that sets what is not set so already, if anything.
fn with_variables(command: &Simple, variables: &[(&str, &str)]) -> Option<Edit> {
    let missing = variables.iter().filter(|variable| !command.assignments.contains(variable));
    let edit = missing.fold(Edit::new(command.index), |edit, (name, value)| edit.set(*name, *value));
    (!edit.assignments.is_empty()).then_some(edit)
}

/// The edit that gives this call of git the hardened form; none if it has it.
fn hardened_git(git: &Simple) -> Option<Edit> {
    let words: Vec<&str> = git.words().collect();
    let is_prefixed = words.starts_with(PREFIX);
    // The client's own `--no-pager` says nothing that the prefix does not.
    let own = if is_prefixed { PREFIX.len() } else { words.iter().take_while(|word| **word == "--no-pager").count() };
    let switches = switches(words.get(own).copied());
    let behind = own + 1;
    let switched = words.get(behind..).is_some_and(|rest| rest.starts_with(switches));
    let edit = with_variables(git, VARIABLES);
    if is_prefixed && (switches.is_empty() || switched) {
        return edit;
    }
    let split = if switches.is_empty() || switched { own } else { behind };
    let literal = |word: &&str| Edited::Literal((*word).to_owned());
    let keep = |range: std::ops::Range<usize>| range.filter_map(|at| u32::try_from(at).ok()).map(Edited::Keep);
    let added: &[&str] = if switched { &[] } else { switches };
    let args =
        PREFIX.iter().map(literal).chain(keep(own..split)).chain(added.iter().map(literal)).chain(keep(split..words.len()));
    Some(edit.unwrap_or_else(|| Edit::new(git.index)).args(args))
}

/// What the sub-command is told, if this is one that knows it. A global option in its place has none: the allowlist, which
/// knows the exact prefix only, refuses that call.
fn switches(command: Option<&str>) -> &'static [&'static str] {
    SWITCHES.iter().find(|(name, _)| Some(*name) == command).map_or(&[], |(_, switches)| switches)
}

export!(Harden: command);

#[cfg(test)]
mod tests {
    use portcullis_sdk::harness::{World, configure};

    use super::*;

    fn words(request: &Request) -> Vec<String> {
        let node = &request.nodes[0];
        node.args.iter().map(|arg| arg.text().unwrap().to_owned()).collect()
    }

    fn hardened(command: &[&str]) -> Request {
        let world = World::new();
        let request = world.request(command);
        match Harden.evaluate(&request) {
            Verdict::Rewrite(rewrite) => world.apply(&request, &rewrite),
            _ => request,
        }
    }

    fn behind_prefix(command: &[&str]) -> Vec<String> {
        let words = words(&hardened(command));
        assert_eq!(&words[..PREFIX.len()], PREFIX);
        words[PREFIX.len()..].to_vec()
    }

    #[test]
    fn git_gets_the_prefix_and_its_switches() {
        assert_eq!(
            behind_prefix(&["git", "log", "-3"]),
            ["log", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all", "-3"]
        );
        assert_eq!(behind_prefix(&["git", "rev-parse", "HEAD"]), ["rev-parse", "HEAD"]);
        assert_eq!(behind_prefix(&["git"]), [""; 0]);
        assert_eq!(hardened(&["git", "status"]).nodes[0].assignments.len(), VARIABLES.len());
    }

    #[test]
    fn what_is_hardened_is_left_alone() {
        for command in [
            &["git", "log", "-3"][..],
            &["git"],
            &["git", "--no-pager", "log"],
            &["git", "-c", "a=b", "st"],
            &["GIT_PAGER=x", "git", "show"],
        ] {
            assert_eq!(Harden.evaluate(&hardened(command)), Verdict::Abstain, "{command:?}");
        }
    }

    #[test]
    fn half_a_prefix_or_half_the_switches_are_not_the_form() {
        assert_eq!(behind_prefix(&["git", "--no-pager", "log"])[..2], ["log", "--no-ext-diff"]);
        assert_eq!(behind_prefix(&["git", "-p", "log"]), ["-p", "log"]);
        assert_eq!(
            behind_prefix(&["git", "log", "--no-ext-diff"])[1..],
            ["--no-ext-diff", "--no-textconv", "--ignore-submodules=all", "--no-ext-diff"]
        );
        let with_prefix: Vec<_> = ["git"].iter().chain(PREFIX).chain(&["show"]).copied().collect();
        assert_eq!(behind_prefix(&with_prefix), ["show", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all"]);
    }

    #[test]
    fn variables_of_the_client_are_replaced() {
        let request = hardened(&["GIT_PAGER=touch x", "git", "log"]);
        assert!(
            !request.nodes[0].assignments.iter().any(|(_, value)| *value == portcullis_sdk::Word::Literal("touch x".to_owned()))
        );
    }

    #[test]
    fn other_programs_are_not_touched() {
        assert_eq!(Harden.evaluate(&World::new().request(&["ls", "git"])), Verdict::Abstain);
        assert_eq!(Harden.evaluate(&World::new().request(&["./git", "status"])), Verdict::Abstain, "the allowlist refuses it");
    }

    #[test]
    fn the_packs_of_the_allowlist_want_this_very_form() {
        const READ: &str = include_str!("../../allowlist/packs/git-read.toml");
        const WRITE: &str = include_str!("../../allowlist/packs/git-write.toml");
        for pack in [READ, WRITE] {
            let pack: toml::Table = pack.parse().unwrap();
            let git = &pack["programs"]["git"];
            assert_eq!(git["prefix"], toml::Value::from(PREFIX.to_vec()));
            let variables: toml::Table = VARIABLES.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
            assert_eq!(git["prefix-env"], toml::Value::from(variables));
            for (name, command) in git["commands"].as_table().unwrap() {
                let parts = command.get("with").into_iter().flat_map(|with| with.as_array().unwrap());
                let rules = parts.map(|part| &pack["parts"][part.as_str().unwrap()]).chain([command]);
                let wanted = rules
                    .filter_map(|rule| rule.get("prefix"))
                    .next_back()
                    .map_or(Vec::new(), |prefix| prefix.as_array().unwrap().clone());
                assert_eq!(toml::Value::from(wanted), toml::Value::from(switches(Some(name)).to_vec()), "{name}");
            }
        }
    }

    #[test]
    fn there_are_no_settings() {
        assert!(configure::<Harden>("{}").is_ok());
        assert!(configure::<Harden>(r#"{"git":false}"#).is_err());
    }
}
