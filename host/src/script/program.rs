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

/// Finds the file: a name is looked up in the configured directories, a path is taken from `cwd`.
pub(super) fn resolve(name: &str, site: &Site, cwd: &Path) -> Result<Program, Refusal> {
    if name.contains('\0') {
        return Err(Refusal::new("nul-byte", "the program's name holds a NUL byte"));
    }
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![cwd.join(name)]
    } else {
        site.path.iter().map(|directory| directory.join(name)).collect()
    };
    candidates.iter().filter(|_| !name.is_empty()).find_map(|candidate| describe(candidate, site)).ok_or_else(|| not_found(name, site))
}

fn describe(candidate: &Path, site: &Site) -> Option<Program> {
    let path = fs::canonicalize(candidate).ok()?;
    let found = fs::metadata(&path).ok()?;
    if !found.is_file() || rustix::fs::access(&path, rustix::fs::Access::EXEC_OK).is_err() {
        return None;
    }
    Some(Program {
        inside_roots: site.contains(&path) || site.contains(candidate),
        interpreter: interpreter(&path),
        path: path.to_str()?.to_owned(),
        name: candidate.to_str()?.to_owned(),
    })
}

fn interpreter(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    fs::File::open(path).ok()?.take(SHEBANG_BYTES).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    Some(line.split_ascii_whitespace().next().unwrap_or("/bin/sh").to_owned())
}

fn not_found(name: &str, site: &Site) -> Refusal {
    let message = if name.contains('/') {
        format!("there is no program that can be run at {name}")
    } else {
        let path: Vec<_> = site.path.iter().map(|directory| directory.display().to_string()).collect();
        format!("there is no program {name} in {}", path.join(":"))
    };
    Refusal::new(PROGRAM_NOT_FOUND, message)
}
