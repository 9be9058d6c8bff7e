//! The file as it is written. These types are its schema: names of keys, kinds of values, doc comments.
//!
//! No leaf stops the reading: [`Checked`] keeps what was of the wrong kind, [`Section`] the keys nobody knows. None of these types
//! is `Debug`, since they hold the values of variables.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::{Deserialize, Deserializer};

use super::mistakes::Fault;

/// A value that was there, was not there, or was of the wrong kind.
#[derive(Default)]
pub enum Checked<T> {
    /// Nothing is written.
    #[default]
    Absent,
    /// What is written.
    Good(T),
    /// The kind of what is written instead, such as `a string`; never the value, which may be secret.
    Bad(String),
}

/// A table whose unknown keys are kept aside.
#[derive(Default)]
pub enum Section<T> {
    /// Nothing is written.
    #[default]
    Absent,
    /// What is written, and the keys `T` does not know.
    Good {
        /// The known part.
        value: T,
        /// Unknown keys.
        unknown: Vec<String>,
    },
    /// The kind of what is written instead of a table.
    Bad(String),
}

/// The whole file.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawConfig {
    /// How jobs run, and how many.
    pub jobs: Section<RawJobs>,
    /// What one call into a policy may use up.
    pub limits: Section<RawLimits>,
    /// How verdicts are joined.
    pub decision: Section<RawDecision>,
    /// What becomes of the verdict `ask`.
    pub ask: Section<RawAsk>,
    /// The record of decisions.
    pub audit: Section<RawAudit>,
    /// What outlives the server of its jobs.
    pub history: Section<RawHistory>,
    /// Who may come in over HTTP.
    pub http: Section<RawHttp>,
    /// What each principal may use of what all may.
    pub principals: Section<RawPrincipals>,
    /// Compiled policies.
    pub cache: Section<RawCache>,
    /// Changes while the server runs.
    pub reload: Section<RawReload>,
    /// The policies, in the order in which their edits apply; at least one.
    pub policies: Checked<Vec<Section<RawPolicy>>>,
}

/// `[jobs]`: how jobs run, and how many.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawJobs {
    /// Directories jobs are confined to; absolute or `~/…`. Default: the directory the server was started in.
    pub roots: Checked<Vec<Checked<String>>>,
    /// Where jobs start; inside a root. Default: the directory the server was started in if a root holds it, else the first root.
    pub cwd: Checked<String>,
    /// Directories in which programs are looked up; outside the roots. Default: those of the server's own `PATH`.
    pub path: Checked<Vec<Checked<String>>>,
    /// The bash that scripts are given to, or `false`: scripts are refused. Default: the first bash in `path`.
    pub shell: Checked<RawShell>,
    /// How many jobs run at a time, 1 to 1000.
    pub max_running: Checked<i64>,
    /// How many approved jobs wait beyond that, 0 to 10000.
    pub max_queued: Checked<i64>,
    /// Named groups of jobs, and how many of each run at a time, 1 to 1000.
    pub groups: Checked<BTreeMap<String, Checked<i64>>>,
    /// Seconds a job may run, 0 (no limit) to 604800.
    pub timeout_s: Checked<i64>,
    /// Milliseconds between TERM and KILL, 0 to 60000.
    pub grace_ms: Checked<i64>,
    /// Bytes kept of each stream of a job, 1024 to 1073741824.
    pub output_bytes: Checked<i64>,
    /// Bytes kept of all jobs together, 65536 to 68719476736.
    pub output_total_bytes: Checked<i64>,
    /// How many finished jobs of each principal are remembered, 1 to 10000.
    pub keep_finished: Checked<i64>,
    /// Seconds a finished job is remembered, 1 to 604800.
    pub keep_finished_s: Checked<i64>,
    /// The variables jobs start with.
    pub env: Section<RawEnv>,
    /// What each process of a job may use up.
    pub limits: Section<RawJobLimits>,
}

/// A shell, or none.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RawShell {
    /// Its path; absolute or `~/…`.
    Path(String),
    /// `false`: none is offered. `true` means nothing.
    Offered(bool),
}

/// `[jobs.env]`: the variables jobs start with.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawEnv {
    /// Names of variables of the server that jobs get too, where they are set.
    pub pass: Checked<Vec<Checked<String>>>,
    /// Beginnings of such names, each with a `*` behind it. Variables that make programs load or run code are passed by name only.
    pub pass_matching: Checked<Vec<Checked<String>>>,
    /// Variables and their values.
    pub set: Checked<BTreeMap<String, Checked<String>>>,
}

/// `[jobs.limits]`: what each process of a job may use up, and how many they may be.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawJobLimits {
    /// Open files, 0 (as the server itself) to 1048576.
    pub open_files: Checked<i64>,
    /// MiB of address space, 0 (as the server itself) to 1048576.
    pub memory_mib: Checked<i64>,
    /// Seconds on a processor, 0 (as the server itself) to 604800.
    pub cpu_s: Checked<i64>,
    /// MiB of a file that is written, 0 (as the server itself) to 1048576.
    pub file_mib: Checked<i64>,
    /// Processes and threads of the whole job at a time, 0 (no limit) to 4194304. Where that can not be kept nothing starts.
    pub processes: Checked<i64>,
}

/// `[limits]`: what one call into a policy may use up.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawLimits {
    /// Milliseconds, 1 to 60000.
    pub decision_ms: Checked<i64>,
    /// MiB of memory, 1 to 4096.
    pub memory_mib: Checked<i64>,
    /// Elements of all tables, 1 to 10000000.
    pub table_elements: Checked<i64>,
    /// KiB of stack, 64 to 8192.
    pub stack_kib: Checked<i64>,
    /// MiB copied between host and policy, 1 to 1024.
    pub hostcall_mib: Checked<i64>,
    /// Bytes a policy may log, 0 to 16777216.
    pub log_bytes: Checked<i64>,
}

/// `[history]`: what outlives the server of its jobs.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawHistory {
    /// Whether there is one. Default: true.
    pub keep: Checked<bool>,
    /// Directory for it; absolute or `~/…`. Default: in the user's state directory.
    pub path: Checked<String>,
    /// Bytes of each stream of a job that are kept in a file, 0 (none are) to 68719476736.
    pub spill_bytes: Checked<i64>,
}

/// `[decision]`: how verdicts are joined.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawDecision {
    /// What holds when every policy abstains.
    pub default: Checked<DefaultVerdict>,
}

/// `[ask]`: what becomes of the verdict `ask`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawAsk {
    /// Whether an answer that a client brings over MCP counts as a person's.
    pub trust_client: Checked<bool>,
    /// Seconds a person has to answer, 1 to 3600.
    pub timeout_s: Checked<i64>,
}

/// What holds when every policy abstains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DefaultVerdict {
    /// Refused.
    #[default]
    Deny,
    /// A person must approve.
    Ask,
    /// Approved.
    Allow,
}

/// `[audit]`: the record of decisions.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawAudit {
    /// The log file; outside the roots.
    pub path: Checked<String>,
    /// Bytes of a file from which on another is begun, 0 (never) to 68719476736.
    pub max_bytes: Checked<i64>,
    /// How many files are kept besides the one that is written to, 1 to 100.
    pub keep: Checked<i64>,
}

/// `[http]`: who may come in over HTTP.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawHttp {
    /// The file of tokens, a name and a token a line; absolute or `~/…`, outside the roots, readable by its owner alone. Default: none,
    /// and portcullis makes a token of its own.
    pub tokens: Checked<String>,
    /// What clients may call the server by besides localhost, 127.0.0.1 and ::1, with a port or without.
    pub hosts: Checked<Vec<Checked<String>>>,
    /// Origins of pages that may send requests, such as `https://chat.example.com`.
    pub origins: Checked<Vec<Checked<String>>>,
}

/// `[principals]`: what each principal may use of what all may.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawPrincipals {
    /// How many jobs of a principal run at a time, 0 (as `jobs.max_running`) to 1000.
    pub max_running: Checked<i64>,
    /// How many wait beyond that, 0 (as `jobs.max_queued`, or half as many where `http.tokens` says who may come) to 10000.
    pub max_queued: Checked<i64>,
    /// Bytes kept of a principal's jobs together, 0 (as `jobs.output_total_bytes`) to 68719476736.
    pub output_bytes: Checked<i64>,
    /// Requests a second over HTTP, 1 to 1000000.
    pub requests_per_s: Checked<i64>,
}

/// `[cache]`: compiled policies.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawCache {
    /// The directory; outside the roots.
    pub path: Checked<String>,
}

/// `[reload]`: changes while the server runs.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawReload {
    /// Whether changes of the files are taken over without being told to.
    pub watch: Checked<bool>,
}

/// `[[policies]]`: one policy.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawPolicy {
    /// Unique; 1 to 64 characters of `a-z`, `0-9` and `-`.
    pub name: Checked<String>,
    /// `builtin:NAME`, or the path of a component, relative to the directory of this file if it is relative.
    pub component: Checked<String>,
    /// SHA-256 of the component that may be loaded, 64 hexadecimal digits. Default: any.
    pub sha256: Checked<String>,
    /// Whether its verdicts have an effect.
    pub mode: Checked<Mode>,
    /// Whether the policy may change commands.
    pub may_rewrite: Checked<bool>,
    /// What its output filter is applied to.
    pub apply: Checked<Apply>,
    /// What a fault of its output filter does to the job.
    pub on_fault: Checked<OnFault>,
    /// Powers beyond those every policy has.
    pub grants: Section<RawGrants>,
    /// What the policy is told. Default: the built-in policy's own defaults, else nothing.
    #[schemars(with = "super::schema::AnyTable")]
    pub settings: Checked<toml::Table>,
}

/// Whether a policy's verdicts on commands and input have an effect. Its output filter has one in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// They have.
    #[default]
    Enforce,
    /// They are recorded and nothing else: no verdict, rewrite or fault of it counts.
    Monitor,
}

impl Mode {
    /// Its name in configuration, results and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Monitor => "monitor",
        }
    }
}

/// What an output filter is applied to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Apply {
    /// All output as it comes, and every text for a log or a client.
    #[default]
    Stream,
    /// What one call reads of the output kept, if the call asks for it.
    Reads,
}

/// What becomes of a job when an output filter fails. The stream ends behind a marker in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFault {
    /// It runs on.
    #[default]
    Withhold,
    /// It is stopped.
    StopJob,
}

/// `grants` of a policy.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawGrants {
    /// Names of variables of the server that the policy sees.
    pub env: Checked<Vec<Checked<String>>>,
    /// Directories that the policy can read while it decides; `roots` stands for all of `jobs.roots`.
    pub read: Checked<Vec<Checked<String>>>,
}

/// Reads TOML. Values of the wrong kind and unknown keys are kept in the result.
///
/// # Errors
/// All errors of syntax, each with its line and column. The offending text is not quoted: it may hold a secret.
pub(super) fn parse(text: &str) -> Result<Section<RawConfig>, Vec<Fault>> {
    let (_, errors) = toml::de::DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| syntax_fault(text, error)).collect());
    }
    toml::from_str(text).map_err(|error| vec![syntax_fault(text, &error)])
}

fn syntax_fault(text: &str, error: &toml::de::Error) -> Fault {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    let message = error.message().replace('\n', ", ");
    Fault::new(format!("line {line}, column {column}: {message}"), "must be TOML")
}

/// The keys `T` knows, in the order of its fields.
pub(super) fn keys<T: DeserializeOwned>() -> Vec<&'static str> {
    let fields = Cell::new(&[][..]);
    // The probe always fails; what it is good for it has by then.
    let _ = T::deserialize(Probe { fields: &fields, lifetime: PhantomData });
    fields.get().to_vec()
}

/// Asks a derived `Deserialize` which fields it expects, so that no list of keys is kept by hand.
struct Probe<'p, 'de> {
    fields: &'p Cell<&'static [&'static str]>,
    lifetime: PhantomData<&'de ()>,
}

impl<'de> Deserializer<'de> for Probe<'_, 'de> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("only asked for its fields"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.fields.set(fields);
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// A value as a type, or what it is instead. By way of its text, since `toml::Value` as a deserializer makes a string of every
/// date, and a date in the settings of a policy would pass unseen.
fn typed<T: DeserializeOwned>(value: &toml::Value) -> Result<T, String> {
    // Dotted keys take less depth in the file than the tables they stand for take in this text.
    let text = value.to_string();
    let deserializer = toml::de::ValueDeserializer::parse(&text);
    let deserializer = deserializer.map_err(|_| "values nested too deeply".to_owned())?;
    T::deserialize(deserializer).map_err(|_| kind(value).to_owned())
}

/// What someone would call the kind of a value.
fn kind(value: &toml::Value) -> &'static str {
    match value {
        toml::Value::String(_) => "a string",
        toml::Value::Integer(_) => "a whole number",
        toml::Value::Float(_) => "a number with a fraction",
        toml::Value::Boolean(_) => "true or false",
        toml::Value::Datetime(_) => "a date or time",
        toml::Value::Array(_) => "a list",
        toml::Value::Table(_) => "a table",
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Checked<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        // No leaf takes a date, but to serde it is a table with one odd key, which a map would take.
        if value.is_datetime() {
            return Ok(Self::Bad(kind(&value).to_owned()));
        }
        Ok(typed(&value).map_or_else(Self::Bad, Self::Good))
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        let toml::Value::Table(table) = &value else {
            return Ok(Self::Bad(kind(&value).to_owned()));
        };
        let known = keys::<T>();
        let is_unknown = |key: &&String| !known.contains(&key.as_str());
        let unknown = table.keys().filter(is_unknown).cloned().collect();
        Ok(typed(&value).map_or_else(Self::Bad, |value| Self::Good { value, unknown }))
    }
}
