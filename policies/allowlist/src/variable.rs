//! Which variables scripts may set. Never what means something to the shell or to what loads programs.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_sdk::{NodeKind, Word};

use crate::{
    settings::Scripts,
    value::{Part, Value},
};

/// What the shell reads while it runs a script: a value changes what the judged words mean, or where the shell keeps files of its own.
const OF_THE_SHELL: [&str; 38] = [
    "CDPATH",
    "COLUMNS",
    "DIRSTACK",
    "ENV",
    "EUID",
    "EXECIGNORE",
    "FIGNORE",
    "FUNCNAME",
    "FUNCNEST",
    "GLOBIGNORE",
    "GLOBSORT",
    "GROUPS",
    "HOME",
    "IFS",
    "LANG",
    "LANGUAGE",
    "LINENO",
    "LINES",
    "OLDPWD",
    "OPTARG",
    "OPTERR",
    "OPTIND",
    "OUTPUT_CHARSET",
    "PATH",
    "POSIXLY_CORRECT",
    "PPID",
    "PROMPT_COMMAND",
    "PWD",
    "SHELLOPTS",
    "TERMCAP",
    "TERMINFO",
    "TEXTDOMAIN",
    "TEXTDOMAINDIR",
    "TIMEFORMAT",
    "TMOUT",
    "TMPDIR",
    "TZ",
    "UID",
];

/// Beginnings of names that belong to the shell, the dynamic loader or the C library. `_` alone is the shell's too.
const PREFIXES: [&str; 14] = [
    "BASH",
    "COMP_",
    "DYLD_",
    "GCONV_",
    "GLIBC_",
    "HIST",
    "LC_",
    "LD_",
    "LOCPATH",
    "MALLOC_",
    "NLSPATH",
    "PS",
    "READLINE_",
    "histchars",
];

/// Which variables a script may set.
pub struct Variables<'a> {
    scripts: &'a Scripts,
    /// Those it starts with: jobs see what becomes of them.
    env: BTreeSet<&'a str>,
}

impl<'a> Variables<'a> {
    /// By these settings, in a script that starts with these variables.
    pub fn new(scripts: &'a Scripts, env: &'a [(String, String)]) -> Self {
        Self { scripts, env: env.iter().map(|(name, _)| name.as_str()).collect() }
    }

    /// Whether the variable may get any value.
    pub fn may_set(&self, name: &str) -> bool {
        is_name(name)
            && !is_of_the_shell(name)
            && !self.env.contains(name)
            && self.exported(name).is_none()
            && self.scripts.variables.iter().any(|pattern| pattern.is_match(name))
    }

    /// Whether the variable may get this value.
    pub fn may_set_to(&self, name: &str, value: &Word) -> bool {
        match self.exported(name) {
            Some(kind) => !self.env.contains(name) && kind.fits(Part::value(value)),
            None => self.may_set(name),
        }
    }

    /// Whether arithmetic leaves alone what may be exported: it could set that to any number.
    pub fn spares_exported(&self, word: &Word, kind: NodeKind) -> bool {
        let Word::Dynamic(expansion) = word else { return true };
        !is_arithmetic(&expansion.source, kind) || names_in(&expansion.source).all(|word| self.exported(word).is_none())
    }

    /// What a variable may be that a builtin may export: once exported, programs see each later value.
    fn exported(&self, name: &str) -> Option<&'a Value> {
        let tables = ["export", "readonly"].into_iter().filter_map(|builtin| self.scripts.builtins.get(builtin));
        tables.map(|rule| &rule.env).find_map(|env: &'a BTreeMap<String, Value>| env.get(name))
    }
}

/// Whether there is arithmetic in a word of such a node.
pub fn is_arithmetic(source: &str, kind: NodeKind) -> bool {
    kind == NodeKind::Arithmetic || source.contains("((")
}

/// What may be names in a text.
pub fn names_in(source: &str) -> impl Iterator<Item = &str> {
    source.split(|c: char| c != '_' && !c.is_ascii_alphanumeric())
}

/// Whether it is a name, by the shell's grammar.
pub fn is_name(text: &str) -> bool {
    let is_letter = |c: char| c == '_' || c.is_ascii_alphabetic();
    text.starts_with(is_letter) && text.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

/// Whether setting it changes what the rest of a script means, or how programs are loaded. No rule can allow it in scripts.
pub fn is_of_the_shell(name: &str) -> bool {
    name == "_" || OF_THE_SHELL.binary_search(&name).is_ok() || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shells_own_are_known() {
        assert!(OF_THE_SHELL.is_sorted());
        for name in
            ["IFS", "PATH", "ENV", "BASH_ENV", "BASHOPTS", "LD_PRELOAD", "PS4", "LC_ALL", "_", "HOME", "TMPDIR", "TEXTDOMAINDIR"]
        {
            assert!(is_of_the_shell(name), "{name}");
        }
        for name in ["x", "file", "BRANCH", "CI", "i", "ifs", "NO_COLOR"] {
            assert!(!is_of_the_shell(name), "{name}");
        }
    }

    #[test]
    fn names_are_names() {
        for (text, expected) in [("x", true), ("_x1", true), ("1x", false), ("", false), ("a[0]", false), ("é", false)] {
            assert_eq!(is_name(text), expected, "{text}");
        }
    }
}
