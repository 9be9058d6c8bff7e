//! `[jobs]`: where jobs may be, what they start with, how much of everything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::limits::size;
use super::mistakes::{Fault, Report, Span};
use super::places;
use super::raw::{Checked, RawJobLimits, RawJobs, RawShell, Section};
use super::surroundings::Surroundings;
use super::variables::variables;
use super::{JobLimits, Jobs, Origin, seed};
use crate::script::{ProgramFile, ProgramKind};

/// A week: for longer than that nobody waits for a job or its output.
const WEEK_S: i64 = 7 * 24 * 3600;

pub(super) const MAX_RUNNING: Span = Span { unit: "jobs", min: 1, max: 1000, default: 10, zero: None };
const MAX_QUEUED: Span =
    Span { unit: "jobs", min: 0, max: 10_000, default: 100, zero: Some("what can not run at once is refused") };
pub(super) const TIMEOUT_S: Span = Span { unit: "seconds", min: 0, max: WEEK_S, default: 3600, zero: Some("no limit") };
const GRACE_MS: Span = Span { unit: "milliseconds", min: 0, max: 60_000, default: 3000, zero: Some("KILL at once") };
pub(super) const OUTPUT_BYTES: Span = Span { unit: "bytes per stream", min: 1 << 10, max: 1 << 30, default: 4 << 20, zero: None };
const OUTPUT_TOTAL_BYTES: Span = Span { unit: "bytes of all jobs", min: 64 << 10, max: 64 << 30, default: 256 << 20, zero: None };
const KEEP_FINISHED: Span = Span { unit: "jobs", min: 1, max: 10_000, default: 100, zero: None };
pub(super) const KEEP_FINISHED_S: Span = Span { unit: "seconds", min: 1, max: WEEK_S, default: 3600, zero: None };

const SERVERS: Option<&str> = Some("as for the server itself");
const OPEN_FILES: Span = Span { unit: "files", min: 0, max: 1 << 20, default: 0, zero: SERVERS };
const MEMORY_MIB: Span = Span { unit: "MiB", min: 0, max: 1 << 20, default: 0, zero: SERVERS };
const CPU_S: Span = Span { unit: "seconds", min: 0, max: WEEK_S, default: 0, zero: SERVERS };
const FILE_MIB: Span = Span { unit: "MiB", min: 0, max: 1 << 20, default: 0, zero: SERVERS };
const PROCESSES: Span = Span { unit: "processes", min: 0, max: 1 << 22, default: 0, zero: Some("no limit") };

/// Where programs are looked up if the server has no `PATH` itself.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Longest name of a group.
const MOST_NAME_BYTES: usize = 64;

const SHELL_RIGHT: &str = "must be the path of a bash, or `false`, which refuses all scripts";

/// What `[jobs]` says, defaults where it says nothing.
pub(super) fn mean(report: &mut Report, section: &Section<RawJobs>, origin: &Origin, surroundings: &Surroundings) -> Jobs {
    let absent = RawJobs::default();
    let raw = report.section("jobs", section).unwrap_or(&absent);
    let start = Start::of(origin, surroundings);
    let roots = roots(report, &raw.roots, &start, surroundings);
    let cwd = cwd(report, &raw.cwd, &roots, &start, surroundings);
    let path = path(report, &raw.path, &roots, surroundings);
    let shell = shell(report, &raw.shell, &path, &roots, surroundings);
    let env = variables(report, &raw.env, &path, surroundings);
    let max_running = report.number("jobs.max_running", &raw.max_running, &MAX_RUNNING);
    let max_queued = report.number("jobs.max_queued", &raw.max_queued, &MAX_QUEUED);
    let timeout = report.number("jobs.timeout_s", &raw.timeout_s, &TIMEOUT_S);
    let grace = report.number("jobs.grace_ms", &raw.grace_ms, &GRACE_MS);
    let output = report.number("jobs.output_bytes", &raw.output_bytes, &OUTPUT_BYTES);
    let output_total = report.number("jobs.output_total_bytes", &raw.output_total_bytes, &OUTPUT_TOTAL_BYTES);
    let keep = report.number("jobs.keep_finished", &raw.keep_finished, &KEEP_FINISHED);
    let keep_for = "jobs.keep_finished_s";
    let keep_for = report.number(keep_for, &raw.keep_finished_s, &KEEP_FINISHED_S);
    let limits = limits(report, &raw.limits);
    Jobs {
        roots,
        cwd,
        path,
        shell,
        env,
        max_running: size(max_running),
        max_queued: size(max_queued),
        groups: groups(report, &raw.groups),
        timeout: (timeout != 0).then(|| Duration::from_secs(timeout.unsigned_abs())),
        grace: Duration::from_millis(grace.unsigned_abs()),
        output_bytes: size(output),
        output_total_bytes: size(output_total),
        keep_finished: size(keep),
        keep_for: Duration::from_secs(keep_for.unsigned_abs()),
        limits,
    }
}

fn limits(report: &mut Report, section: &Section<RawJobLimits>) -> JobLimits {
    let absent = RawJobLimits::default();
    let raw = report.section("jobs.limits", section).unwrap_or(&absent);
    let mut limit = |key: &str, leaf, span| Some(report.number(key, leaf, span).unsigned_abs()).filter(|limit| *limit > 0);
    JobLimits {
        open_files: limit("jobs.limits.open_files", &raw.open_files, &OPEN_FILES),
        memory_bytes: limit("jobs.limits.memory_mib", &raw.memory_mib, &MEMORY_MIB).map(|mib| mib << 20),
        cpu_s: limit("jobs.limits.cpu_s", &raw.cpu_s, &CPU_S),
        file_bytes: limit("jobs.limits.file_mib", &raw.file_mib, &FILE_MIB).map(|mib| mib << 20),
        processes: limit("jobs.limits.processes", &raw.processes, &PROCESSES),
    }
}

/// The groups, and how many jobs of each run at a time.
fn groups(report: &mut Report, leaf: &Checked<BTreeMap<String, Checked<i64>>>) -> BTreeMap<String, usize> {
    let written = report.leaf("jobs.groups", leaf, "must be a table of names and numbers").into_iter().flatten();
    let mut groups = BTreeMap::new();
    for (name, most) in written {
        let path = format!("jobs.groups.{name}");
        let is_name = (1..=MOST_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_name_byte);
        if !is_name {
            let right = format!("must have 1 to {MOST_NAME_BYTES} characters of a-z, 0-9, `-` and `_`");
            report.add(&path, Fault::new("is no name of a group", right));
        }
        groups.insert(name.clone(), size(report.number(&path, most, &MAX_RUNNING)));
    }
    groups
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte)
}

/// Where the server was started, or was told to act as if it had been.
struct Start {
    directory: Result<PathBuf, Fault>,
    /// What names it.
    named_by: &'static str,
}

impl Start {
    fn of(origin: &Origin, surroundings: &Surroundings) -> Self {
        let told = match origin {
            Origin::Embedded => seed::working_directory(surroundings),
            Origin::Administrator(_) | Origin::File(_) => None,
        };
        match told {
            Some(directory) => Self { directory, named_by: seed::WORKING_DIR },
            None => Self { directory: current_directory(surroundings), named_by: "jobs.roots" },
        }
    }
}

fn current_directory(surroundings: &Surroundings) -> Result<PathBuf, Fault> {
    let canonical = match &surroundings.cwd {
        Ok(cwd) => cwd.canonicalize().map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    canonical.map_err(|error| {
        let wrong = format!("no default, since the current directory is not known: {error}");
        Fault::new(wrong, "name the directories jobs may work in")
    })
}

fn roots(report: &mut Report, leaf: &Checked<Vec<Checked<String>>>, start: &Start, surroundings: &Surroundings) -> Vec<PathBuf> {
    match (leaf, report.strings("jobs.roots", leaf)) {
        (Checked::Good(list), Some(strings)) if !list.is_empty() => {
            let mut roots = Vec::new();
            for (path, text) in strings {
                let root = places::directory(Path::new(text), surroundings.home());
                roots.extend(report.keep(path, root));
            }
            roots
        }
        (Checked::Bad(_), _) => Vec::new(),
        _ => match &start.directory {
            Ok(directory) => vec![directory.clone()],
            Err(Fault { wrong, right }) => {
                report.add(start.named_by, Fault::new(wrong, right));
                Vec::new()
            }
        },
    }
}

/// Explicit, else where the server was started if that is inside a root, else the first root.
fn cwd(report: &mut Report, leaf: &Checked<String>, roots: &[PathBuf], start: &Start, surroundings: &Surroundings) -> PathBuf {
    let key = "jobs.cwd";
    let right = "must be a directory inside a root, as a string";
    if let Some(text) = report.leaf(key, leaf, right) {
        let directory = places::directory(Path::new(text), surroundings.home());
        let inside = directory.and_then(|directory| confined(directory, roots));
        return report.keep(key, inside).unwrap_or_default();
    }
    let start = start.directory.as_ref().ok();
    start.filter(|directory| places::root_of(directory, roots).is_some()).or(roots.first()).cloned().unwrap_or_default()
}

fn confined(directory: PathBuf, roots: &[PathBuf]) -> Result<PathBuf, Fault> {
    // Without roots there is a mistake about them already.
    if roots.is_empty() || places::root_of(&directory, roots).is_some() {
        Ok(directory)
    } else {
        Err(Fault::new(format!("{} is outside every root", directory.display()), "must lie in one of `jobs.roots`"))
    }
}

fn path(
    report: &mut Report,
    leaf: &Checked<Vec<Checked<String>>>,
    roots: &[PathBuf],
    surroundings: &Surroundings,
) -> Vec<PathBuf> {
    let key = "jobs.path";
    match (leaf, report.strings(key, leaf)) {
        (Checked::Absent, _) => servers_path(report, roots, surroundings),
        (Checked::Good(list), _) if list.is_empty() => {
            let right = "must name at least one directory, or be left out";
            report.add(key, Fault::new("is empty", right));
            Vec::new()
        }
        (_, strings) => {
            let mut path = Vec::new();
            for (at, text) in strings.unwrap_or_default() {
                let entry = places::absolute(Path::new(text), surroundings.home());
                let entry = entry.and_then(|entry| path_entry(entry, roots));
                path.extend(report.keep(at, entry));
            }
            path
        }
    }
}

/// A directory to look programs up in, as written: programs see their own name through it. It need not exist, since one file may
/// serve several machines.
fn path_entry(entry: PathBuf, roots: &[PathBuf]) -> Result<PathBuf, Fault> {
    if entry.to_str().is_none_or(|text| text.contains(':')) {
        let wrong = format!("{} can not stand in PATH", entry.display());
        return Err(Fault::new(wrong, "must be UTF-8 without a colon"));
    }
    let trail = places::trail(&entry)?;
    places::out_of_reach(&trail, roots)?;
    match trail.found() {
        Some(meta) if !meta.is_dir() => Err(Fault::new(format!("{} is no directory", entry.display()), "must be a directory")),
        _ => Ok(entry),
    }
}

/// The server's `PATH` without what is relative, does not exist or lies in a root, where an agent could put a `git` of its own.
fn servers_path(report: &mut Report, roots: &[PathBuf], surroundings: &Surroundings) -> Vec<PathBuf> {
    let value = surroundings.variable("PATH");
    let mut path: Vec<PathBuf> = Vec::new();
    for entry in std::env::split_paths(value.unwrap_or(DEFAULT_PATH.as_ref())) {
        let is_usable = entry.is_absolute() && entry.is_dir();
        if is_usable && !path.contains(&entry) {
            path.extend(path_entry(entry, roots).ok());
        }
    }
    if path.is_empty() {
        let wrong = "no default, since no directory of the server's PATH is absolute, exists and lies outside the roots";
        report.add("jobs.path", Fault::new(wrong, "name the directories of the programs jobs may start"));
    }
    path
}

/// The shell that is written, else the first bash that programs are looked up by.
fn shell(
    report: &mut Report,
    leaf: &Checked<RawShell>,
    path: &[PathBuf],
    roots: &[PathBuf],
    surroundings: &Surroundings,
) -> Option<PathBuf> {
    let key = "jobs.shell";
    match report.leaf(key, leaf, SHELL_RIGHT) {
        None => path.iter().map(|directory| directory.join("bash")).find_map(|bash| bash_at(bash, roots).ok()),
        Some(RawShell::Offered(false)) => None,
        Some(RawShell::Offered(true)) => {
            report.add(key, Fault::new("`true` names no shell", SHELL_RIGHT));
            None
        }
        Some(RawShell::Path(text)) => {
            let shell = places::absolute(Path::new(text), surroundings.home());
            report.keep(key, shell.and_then(|shell| bash_at(shell, roots)))
        }
    }
}

/// A bash, told by its name: another shell would read scripts by another grammar than they were judged by.
fn bash_at(path: PathBuf, roots: &[PathBuf]) -> Result<PathBuf, Fault> {
    let trail = places::trail(&path)?;
    places::out_of_reach(&trail, roots)?;
    let opened = ProgramFile::open(&path).map_err(|error| Fault::new(format!("{}: {error}", path.display()), SHELL_RIGHT))?;
    let is_bash = trail.end.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"bash"));
    if is_bash && opened.kind() == ProgramKind::Binary {
        Ok(path)
    } else {
        Err(Fault::new(format!("{} is no bash", path.display()), SHELL_RIGHT))
    }
}
