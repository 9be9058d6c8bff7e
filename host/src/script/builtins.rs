//! What the shell runs itself.

/// Builtins that scripts may use where policies allow them: those that change or ask the shell's own state, for which a program of
/// the same name (POSIX wants `/usr/bin/cd`) could not stand. Every other name means a program. What the parser refuses of
/// their arguments is part of this list's safety.
const BUILTINS: [&str; 15] = [
    ":", "break", "cd", "command", "continue", "exit", "export", "read", "readonly", "set", "shift", "ulimit", "umask", "unset",
    "wait",
];

/// Whether this name means the shell's own.
pub(super) fn is_builtin(name: &str) -> bool {
    BUILTINS.contains(&name)
}
