//! From a program's name to the file that will be started.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use super::{PROGRAM_NOT_FOUND, Refusal, Site};
use crate::policy::types::Program;

/// How much of a file's first line is read to find its interpreter: what Linux reads.
const SHEBANG_BYTES: u64 = 256;

/// What evaluates text a second time or hides what runs, and is refused whatever policies say.
const NEVER: [&str; 8] = [".", "alias", "coproc", "eval", "let", "source", "trap", "unalias"];

/// Finds the file: a name is looked up in the configured directories, a path is taken from `cwd`.
pub(super) fn resolve(name: &str, site: &Site, cwd: &Path) -> Result<Program, Refusal> {
    if name.contains('\0') {
        return Err(Refusal::new("nul-byte", "the program's name holds a NUL byte"));
    }
    if NEVER.contains(&name) {
        return Err(Refusal::new(
            "never-allowed",
            format!("`{name}` makes the shell read text a second time or hides what runs, and is refused always"),
        ));
    }
    let candidates: Vec<PathBuf> =
        if name.contains('/') { vec![cwd.join(name)] } else { site.path.iter().map(|directory| directory.join(name)).collect() };
    if name.is_empty() {
        return Err(not_found(name));
    }
    let found = candidates.iter().find_map(|candidate| describe(candidate, site));
    let mut program =
        found.ok_or_else(|| if candidates.iter().any(|file| file.is_file()) { no_program(name) } else { not_found(name) })?;
    program.looked_up = !name.contains('/') || is_looked_up(&program, site);
    Ok(program)
}

fn is_looked_up(program: &Program, site: &Site) -> bool {
    let Some(name) = Path::new(&program.name).file_name() else { return false };
    let found = site.path.iter().find_map(|directory| describe(&directory.join(name), site));
    found.is_some_and(|found| found.name == program.name)
}

fn describe(candidate: &Path, site: &Site) -> Option<Program> {
    let path = fs::canonicalize(candidate).ok()?;
    let found = fs::metadata(&path).ok()?;
    if !found.is_file() || rustix::fs::access(&path, rustix::fs::Access::EXEC_OK).is_err() {
        return None;
    }
    let head = head(&path)?;
    if !head.starts_with(b"\x7fELF") && !head.starts_with(b"#!") {
        // The C library would have a shell run such a file.
        return None;
    }
    Some(Program {
        inside_roots: site.contains(&path) || site.contains(candidate),
        interpreter: interpreter(&head),
        path: path.to_str()?.to_owned(),
        name: candidate.to_str()?.to_owned(),
        looked_up: false,
    })
}

/// The beginning of a file that can be read; what can not be read can not be told apart from what a shell would run.
fn head(path: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    fs::File::open(path).ok()?.take(SHEBANG_BYTES).read_to_end(&mut head).ok()?;
    Some(head)
}

fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    Some(line.split_ascii_whitespace().next().unwrap_or("/bin/sh").to_owned())
}

fn no_program(name: &str) -> Refusal {
    Refusal::new(
        "not-a-program",
        format!("{name} is a file that can not be run: it must be executable, readable, and a binary or begin with `#!`"),
    )
}

fn not_found(name: &str) -> Refusal {
    let message = if name.contains('/') {
        format!("there is no program that can be run at {name}")
    } else {
        format!("there is no program {name} in the directories that programs are looked up in (`jobs.path`)")
    };
    Refusal::new(PROGRAM_NOT_FOUND, message)
}
