//! What the server is told by its owner: from a TOML file, the seed's variables and built-in defaults to values that are meant.
//!
//! ```text
//! source::choose ─▶ raw::parse ─▶ RawConfig ─▶ jobs, limits, policies ─▶ Config
//! which file,       TOML ⇒ types, every       units, ranges, defaults,
//! can it be         leaf keeps its own        what exists, what an
//! trusted           mistake                   agent could write
//! ```
//!
//! [`load`] reports all mistakes at once and never hands out a [`Config`] beside a mistake. Nothing is read from the working
//! directory, and nothing that steers the server may lie where a job could write it.

mod ask;
mod audit;
mod history;
mod http;
mod jobs;
mod limits;
mod mistakes;
mod names;
mod places;
mod policies;
pub mod raw;
mod schema;
mod seed;
mod source;
mod surroundings;
#[cfg(test)]
mod tests;
mod tokens;
mod variables;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mistakes::Report;
pub use mistakes::{Mistake, Mistakes};
pub(crate) use mistakes::{join, suggestion};
pub use names::{Authority, NoName, WebOrigin};
pub use places::{place_of_programs, place_of_socket, place_to_read};
pub use raw::{Apply, DefaultVerdict, Mode, OnFault};
pub use schema::schema;
use serde::{Deserialize, Serialize};
use source::Source;
pub use surroundings::{Builtin, Surroundings};
pub use tokens::Tokens;

use crate::digest::Digest;

/// The configuration that holds where no file is; also the documented example.
pub const EMBEDDED: &str = include_str!("../../config.toml");

/// Everything the server is told, meant and checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// How jobs run, and how many.
    pub jobs: Jobs,
    /// What one call into a policy may use up.
    pub limits: Limits,
    /// What holds when every policy abstains.
    pub default_verdict: DefaultVerdict,
    /// What becomes of the verdict `ask`.
    pub ask: Ask,
    /// The record of decisions.
    pub audit: Audit,
    /// What outlives the server of its jobs; none: nothing does.
    pub history: Option<History>,
    /// Who may come in over HTTP.
    pub http: Http,
    /// What each principal may use of what all may.
    pub principals: Principals,
    /// Directory for compiled policies: absolute, links followed, outside every root. It may not exist yet; whether others can
    /// write it is for its user to check.
    pub cache: PathBuf,
    /// Whether changes of the files are taken over without being told to.
    pub watch: bool,
    /// At least one, in the order in which their edits apply.
    pub policies: Vec<PolicyEntry>,
    /// The files all this was read from, components among them, and the links on the way to each: absolute.
    pub files: Vec<PathBuf>,
    /// Where all this comes from.
    pub origin: Origin,
    /// What was given but does not count because a file outranks it, such as `--config /x.toml` beside an administrator's file, or
    /// `MCP_BG_MAX_JOBS` beside any file. For a line in the log.
    pub overridden: Vec<String>,
}

/// How jobs run, and how many. `Debug` shows the names of variables, never their values.
#[derive(Clone, PartialEq, Eq)]
pub struct Jobs {
    /// The directories jobs are confined to: at least one, canonical, each existed when it was read.
    pub roots: Vec<PathBuf>,
    /// Where jobs start unless they say otherwise: canonical, inside a root.
    pub cwd: PathBuf,
    /// Directories in which programs are looked up, in order: absolute, at least one, none inside a root.
    pub path: Vec<PathBuf>,
    /// The shell that scripts are given to: absolute, outside every root; none: scripts are refused.
    pub shell: Option<PathBuf>,
    /// The variables jobs start with, sorted by name, `PATH` (made of [`Jobs::path`]) among them.
    pub env: Vec<(String, String)>,
    /// How many jobs run at a time, 1 to 1000.
    pub max_running: usize,
    /// How many approved jobs wait beyond those, up to 10 000.
    pub max_queued: usize,
    /// Named groups of jobs, and how many of each run at a time.
    pub groups: BTreeMap<String, usize>,
    /// How long a job may run, at most 7 days; none: for ever.
    pub timeout: Option<Duration>,
    /// How long a job that is stopped has between TERM and KILL, at most 60 s.
    pub grace: Duration,
    /// Bytes kept of each of the two streams of a job, 1 KiB to 1 GiB.
    pub output_bytes: usize,
    /// Bytes kept of all jobs together, 64 KiB to 64 GiB.
    pub output_total_bytes: usize,
    /// How many finished jobs of each principal are remembered, 1 to 10 000.
    pub keep_finished: usize,
    /// How long a finished job is remembered, 1 s to 7 days.
    pub keep_for: Duration,
    /// What each process of a job may use up.
    pub limits: JobLimits,
}

/// What each process of a job may use up; where nothing is said, or more than the server itself may, it is as for the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLimits {
    /// Open files, 1 to 1 048 576.
    pub open_files: Option<u64>,
    /// Address space in bytes, 1 MiB to 1 TiB.
    pub memory_bytes: Option<u64>,
    /// Seconds on a processor, 1 s to 7 days.
    pub cpu_s: Option<u64>,
    /// Bytes of a file that is written, 1 MiB to 1 TiB.
    pub file_bytes: Option<u64>,
    /// Processes and threads of the whole job at a time, 1 to 4 194 304; they are counted by its cgroup.
    pub processes: Option<u64>,
}

/// What becomes of the verdict `ask`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Whether an answer that a client brings over MCP counts as a person's.
    pub trust_client: bool,
    /// How long a person has to answer, 1 s to 1 h.
    pub timeout: Duration,
}

/// Who may come in over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// The tokens of the file that is configured, if one is.
    pub tokens: Option<Tokens>,
    /// Where a token is kept that portcullis makes itself, if none is configured: absolute, outside every root. It may not
    /// exist yet. None: there is no such place.
    pub own_token: Option<PathBuf>,
    /// What clients may call the server by besides the names of this machine for itself, with a port or without.
    pub hosts: Vec<Authority>,
    /// The pages that may send requests.
    pub origins: Vec<WebOrigin>,
}

/// What each principal may use of what all may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Principals {
    /// Jobs that run at a time, at most [`Jobs::max_running`].
    pub max_running: usize,
    /// Jobs that wait beyond those, at most [`Jobs::max_queued`].
    pub max_queued: usize,
    /// Bytes kept of its jobs together, at most [`Jobs::output_total_bytes`].
    pub output_bytes: usize,
    /// Requests a second over HTTP, 1 to 1 000 000, and at once after a second without.
    pub requests_per_s: usize,
}

/// The record of decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The audit log: absolute, links followed, outside every root. It and its directory may not exist yet.
    pub path: PathBuf,
    /// Bytes of a file, up to 64 GiB, from which on another is begun; none: there is only the one.
    pub max_bytes: Option<u64>,
    /// How many files are kept besides the one that is written to, 1 to 100.
    pub keep: u32,
}

/// What outlives the server of its jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Directory for it: absolute, links followed, outside every root. It may not exist yet.
    pub path: PathBuf,
    /// Bytes of each stream of a job that are kept in a file, up to 64 GiB; 0: none are.
    pub spill_bytes: u64,
}

/// What one call into a policy may use up. A call that meets a limit denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time for a decision or a filtered piece, 1 ms to 60 s.
    pub decision: Duration,
    /// Linear memory in bytes, 1 MiB to 4096 MiB.
    pub memory_bytes: usize,
    /// Elements of all tables together, 1 to 10 000 000.
    pub table_elements: usize,
    /// Stack in bytes, 64 KiB to 8192 KiB.
    pub stack_bytes: usize,
    /// Bytes that calls between host and policy copy, 1 MiB to 1024 MiB.
    pub hostcall_bytes: usize,
    /// Bytes a policy may log, 0 to 16 MiB.
    pub log_bytes: usize,
}

/// One policy: which component, with which powers, told what. `Debug` does not show the settings, which may hold secrets to look
/// for.
#[derive(Clone)]
pub struct PolicyEntry {
    /// Unique; 1 to 64 characters of `a-z`, `0-9` and `-`.
    pub name: String,
    /// Where its code is.
    pub component: ComponentSource,
    /// What its component must hash to; none: anything.
    pub sha256: Option<Digest>,
    /// Whether its verdicts have an effect.
    pub mode: Mode,
    /// Whether it may change commands; else a rewrite is a denial.
    pub may_rewrite: bool,
    /// What its output filter is applied to.
    pub apply: Apply,
    /// What a fault of its output filter does to the job.
    pub on_fault: OnFault,
    /// Powers beyond those every policy has.
    pub grants: Grants,
    /// Always an object. Without a `settings` key: the defaults of a built-in policy, else `{}`.
    pub settings: serde_json::Value,
}

/// Where the code of a policy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentSource {
    /// In this binary, under this name, which is one of [`Surroundings::builtins`].
    Builtin(String),
    /// In a file: absolute, links followed, outside every root, writable by its owner alone when it was checked.
    File(PathBuf),
}

/// Powers of a policy beyond those every policy has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Names of variables of the server that it sees.
    pub env: Vec<String>,
    /// Directories that it can read while it decides, not while it is configured: absolute, each existed when it was checked.
    pub read: Vec<PathBuf>,
}

/// Where a configuration comes from. Paths are absolute, links not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The administrator's file; nothing overrides it.
    Administrator(PathBuf),
    /// A file that `--config`, `PORTCULLIS_CONFIG` or the user's configuration directory named.
    File(PathBuf),
    /// [`EMBEDDED`], with the seed's variables on top.
    Embedded,
}

/// Finds the configuration and reads it, or says everything that is wrong with it.
///
/// `explicit` is the file `--config` named; a relative one is taken from the current directory. The order of sources is: the
/// administrator's file if it exists, `explicit`, `PORTCULLIS_CONFIG`, `portcullis/config.toml` in the user's configuration
/// directory if it exists, [`EMBEDDED`] with the seed's `MCP_BG_…` variables. A source that is chosen and can not be read or not be
/// trusted is a mistake, never a reason to try the next.
///
/// # Errors
/// All mistakes, at least one, in the order of the sections. The settings of policies are not judged here: only the policies can.
pub fn load(explicit: Option<&Path>, surroundings: &Surroundings) -> Result<Config, Mistakes> {
    let mut report = Report::default();
    let config = source::choose(explicit, surroundings, &mut report).and_then(|source| mean(source, surroundings, &mut report));
    let files = std::mem::take(&mut report.depends_on);
    report.conclude(config.map(|config| Config { files, ..config }))
}

/// [`load`] of the audit log alone, for who only reads it: mistakes elsewhere are no reason to hide what was recorded, and neither
/// is a directory that is no root for jobs.
///
/// # Errors
/// All mistakes about the file as a whole and `[audit]`.
pub fn load_audit(explicit: Option<&Path>, surroundings: &Surroundings) -> Result<Audit, Mistakes> {
    let mut report = Report::default();
    let source = source::choose(explicit, surroundings, &mut report);
    let audit = source.and_then(|source| {
        let root = parsed(&source, &mut report)?;
        let raw = report.section("", &root)?;
        Some(audit::mean(&mut report, &raw.audit, &[], surroundings))
    });
    report.conclude(audit)
}

/// What the text of a source means; none if it is not TOML. Where a value is wrong something takes its place, so that the search
/// for mistakes goes on; `Report::conclude` sees to it that such a result is never used.
fn mean(source: Source, surroundings: &Surroundings, report: &mut Report) -> Option<Config> {
    let root = parsed(&source, report)?;
    let raw = report.section("", &root)?;
    let mut jobs = jobs::mean(report, &raw.jobs, &source.origin, surroundings);
    if source.origin == Origin::Embedded {
        seed::overlay(report, &mut jobs, surroundings);
    }
    if let Some(trail) = &source.trail {
        report.keep("", places::out_of_reach(trail, &jobs.roots));
    }
    let http = http::mean(report, &raw.http, &jobs.roots, surroundings);
    Some(Config {
        limits: limits::mean(report, &raw.limits),
        default_verdict: default_verdict(report, raw),
        ask: ask::mean(report, &raw.ask),
        audit: audit::mean(report, &raw.audit, &jobs.roots, surroundings),
        history: history::mean(report, &raw.history, &jobs.roots, surroundings),
        principals: http::principals(report, &raw.principals, &jobs, &http),
        http,
        cache: cache(report, raw, &jobs.roots, surroundings),
        watch: watch(report, raw),
        policies: policies::Reader { surroundings, origin: &source.origin, roots: &jobs.roots }.mean(report, &raw.policies),
        files: Vec::new(),
        jobs,
        origin: source.origin,
        overridden: source.overridden,
    })
}

fn parsed(source: &Source, report: &mut Report) -> Option<raw::Section<raw::RawConfig>> {
    let faults = raw::parse(&source.text).map_err(|faults| faults.into_iter().for_each(|fault| report.add("", fault)));
    faults.ok()
}

fn default_verdict(report: &mut Report, raw: &raw::RawConfig) -> DefaultVerdict {
    report
        .section("decision", &raw.decision)
        .and_then(|decision| {
            let right = r#"must be "deny", "ask" or "allow""#;
            report.leaf("decision.default", &decision.default, right)
        })
        .copied()
        .unwrap_or_default()
}

fn watch(report: &mut Report, raw: &raw::RawConfig) -> bool {
    let section = report.section("reload", &raw.reload);
    section.and_then(|reload| report.leaf("reload.watch", &reload.watch, "must be true or false")).copied().unwrap_or_default()
}

fn cache(report: &mut Report, raw: &raw::RawConfig, roots: &[PathBuf], surroundings: &Surroundings) -> PathBuf {
    let written = report.section("cache", &raw.cache).map(|cache| &cache.path).unwrap_or(&raw::Checked::Absent);
    let place = places::Own { path: "cache.path", directory: true, roots };
    place.mean(report, written, || surroundings.cache_directory(), surroundings)
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Taken apart, so that a new field can not be forgotten here.
        let Self {
            roots,
            cwd,
            path,
            shell,
            env,
            max_running,
            max_queued,
            groups,
            timeout,
            grace,
            output_bytes,
            output_total_bytes,
            keep_finished,
            keep_for,
            limits,
        } = self;
        let names: Vec<&str> = env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Jobs")
            .field("roots", roots)
            .field("cwd", cwd)
            .field("path", path)
            .field("shell", shell)
            .field("env", &names)
            .field("max_running", max_running)
            .field("max_queued", max_queued)
            .field("groups", groups)
            .field("timeout", timeout)
            .field("grace", grace)
            .field("output_bytes", output_bytes)
            .field("output_total_bytes", output_total_bytes)
            .field("keep_finished", keep_finished)
            .field("keep_for", keep_for)
            .field("limits", limits)
            .finish()
    }
}

impl fmt::Debug for PolicyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyEntry")
            .field("name", &self.name)
            .field("component", &self.component)
            .field("sha256", &self.sha256)
            .field("mode", &self.mode)
            .field("may_rewrite", &self.may_rewrite)
            .field("apply", &self.apply)
            .field("on_fault", &self.on_fault)
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Administrator(path) => write!(f, "the administrator's {}", path.display()),
            Self::File(path) => path.display().fmt(f),
            Self::Embedded => f.write_str("the built-in configuration"),
        }
    }
}
