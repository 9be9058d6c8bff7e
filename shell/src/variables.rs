//! Names of variables.

/// Variables by which the shell decides what later text means, whose values it evaluates, or which lead it to its own messages,
/// which it takes for formats. With all that begin with `BASH`, `COMP_`, `HIST` or `READLINE_`. From bash's manual, "Shell
/// Variables".
const SHELL_VARIABLES: [&str; 55] = [
    "CDPATH",
    "CHILD_MAX",
    "COPROC",
    "DIRSTACK",
    "EMACS",
    "ENV",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "EXECIGNORE",
    "FCEDIT",
    "FIGNORE",
    "FUNCNAME",
    "FUNCNEST",
    "GLOBIGNORE",
    "GLOBSORT",
    "GROUPS",
    "HOSTFILE",
    "HOSTTYPE",
    "IFS",
    "IGNOREEOF",
    "INPUTRC",
    "INSIDE_EMACS",
    "LINENO",
    "MAIL",
    "MAILCHECK",
    "MAILPATH",
    "MAPFILE",
    "OLDPWD",
    "OPTARG",
    "OPTERR",
    "OPTIND",
    "PIPESTATUS",
    "POSIXLY_CORRECT",
    "PPID",
    "PROMPT_COMMAND",
    "PROMPT_DIRTRIM",
    "PS0",
    "PS1",
    "PS2",
    "PS3",
    "PS4",
    "PWD",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "SHLVL",
    "SRANDOM",
    "TEXTDOMAIN",
    "TEXTDOMAINDIR",
    "TIMEFORMAT",
    "TMOUT",
    "UID",
    "auto_resume",
    "ignoreeof",
];
const SHELL_PREFIXES: [&str; 5] = ["BASH", "COMP_", "HIST", "READLINE_", "histchars"];

/// Whether the shell itself reads this variable, or evaluates what is assigned to it. No script and no policy may set it.
pub fn is_shells_own(name: &str) -> bool {
    SHELL_VARIABLES.contains(&name) || SHELL_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the shell would take this as the name of a variable.
pub fn is_variable_name(name: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(is_first) && name.bytes().all(|byte| is_first(byte) || byte.is_ascii_digit())
}
