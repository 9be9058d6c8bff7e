//! What bounds a policy while it runs, and how it is said which bound it met.

use std::time::{Duration, Instant};

use wasmtime::{ResourceLimiter, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::{
    bindings::log::Level,
    conditions::Reached,
    coverage::Functions,
    log_sink::{Line, LogSink},
};
use crate::config::Limits;

/// Core instances, memories and tables one policy may consist of. A component made by the usual tools has fewer than ten of each.
pub(super) const MOST_PARTS: u32 = 64;
/// Host resources (descriptors, streams, pollables) a policy may hold at once: abuse would be a guest that opens without closing.
const MOST_RESOURCES: usize = 256;
/// Bytes one call for random data may ask for.
const MOST_RANDOM_BYTES: u64 = 4096;

/// Why a policy gave no usable answer. Whatever the cause, the effect is denial.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It ran or slept longer than one call may.
    #[error("ran out of time ({0} ms)")]
    Deadline(u128),
    /// It asked for more linear memory than one instance may have.
    #[error("ran out of memory ({0} MiB)")]
    Memory(usize),
    /// It asked for larger tables than one instance may have.
    #[error("asked for more than {0} table elements")]
    Table(usize),
    /// It called itself too deep.
    #[error("ran out of stack")]
    Stack,
    /// It moved more bytes through one call to the host than it may.
    #[error("moved too many bytes through one call to the host")]
    HostCall,
    /// It logged more than one call may.
    #[error("logged more than {0} bytes in one call")]
    Log(usize),
    /// So many instances were there already that there was no place for one more.
    #[error("found no place: too many instances of policies at one time")]
    Crowded,
    /// It trapped: unreachable code (a panic, in most languages), an access out of bounds, a division by zero.
    #[error("trapped: {0}")]
    Trap(String),
    /// What its entry grants it could not be given.
    #[error("could not be given what it may read: {0}")]
    Grant(String),
    /// It answered something that the contract does not allow.
    #[error("gave a bad answer: {0}")]
    BadAnswer(String),
}

impl Fault {
    /// Stable name of the cause, for results and the audit log.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Deadline(_) => "policy-deadline",
            Self::Memory(_) => "policy-memory",
            Self::Table(_) => "policy-tables",
            Self::Stack => "policy-stack",
            Self::HostCall => "policy-host-call",
            Self::Log(_) => "policy-log",
            Self::Crowded => "policy-crowded",
            Self::Trap(_) => "policy-trap",
            Self::Grant(_) => "policy-grant",
            Self::BadAnswer(_) => "policy-bad-answer",
        }
    }

    /// Tells by type what ended a call.
    pub(super) fn of(error: &wasmtime::Error) -> Self {
        if let Some(fault) = error.downcast_ref::<Self>() {
            return fault.clone();
        }
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Self::Crowded;
        }
        match error.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::StackOverflow) => Self::Stack,
            Some(trap) => Self::Trap(trap.to_string()),
            // wasmtime keeps the type of this error to itself, so here, and only here, its text has to tell.
            None if error.root_cause().to_string().contains("hostcall") => Self::HostCall,
            None => Self::Trap(error.root_cause().to_string()),
        }
    }
}

/// The state of a store: what the guest sees of WASI, and its limits.
pub(super) struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    log: LogSink,
    limits: Limits,
    patience: Duration,
    deadline: Instant,
    /// Of all memories together.
    memory_bytes: usize,
    /// Of all tables together.
    table_elements: usize,
    /// Where it is noted which rules the guest names, and the guest's name.
    reached: Option<(Reached, String)>,
    /// Where it is noted which of its functions run, and the guest's name.
    functions: Option<(Functions, String)>,
}

impl Guest {
    pub(super) fn new(limits: &Limits, wasi: WasiCtxBuilder) -> Self {
        let log = LogSink::new(limits.log_bytes);
        let mut table = ResourceTable::new();
        table.set_max_capacity(MOST_RESOURCES);
        Self {
            wasi: built(wasi, &log),
            table,
            log,
            limits: limits.clone(),
            patience: Duration::ZERO,
            deadline: Instant::now(),
            memory_bytes: 0,
            table_elements: 0,
            reached: None,
            functions: None,
        }
    }

    /// Has it noted which rules the guest names.
    pub(super) fn note(&mut self, reached: Reached, policy: &str) {
        self.reached = Some((reached, policy.to_owned()));
    }

    /// Has it noted which functions of the guest run.
    pub(super) fn count(&mut self, functions: Functions, policy: &str) {
        self.functions = Some((functions, policy.to_owned()));
    }

    /// Gives the guest other powers than it had; what it holds open already stays open.
    pub(super) fn replace_wasi(&mut self, wasi: WasiCtxBuilder) {
        self.wasi = built(wasi, &self.log);
    }

    /// Starts the clock and the log allowance of one call, which may take as long as `patience`.
    pub(super) fn begin(&mut self, patience: Duration) {
        self.patience = patience;
        self.deadline = Instant::now() + patience;
        self.log.renew();
    }

    /// Whether the time of this call is up.
    pub(super) fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// The fault to report when it is.
    pub(super) fn late(&self) -> Fault {
        Fault::Deadline(self.patience.as_millis())
    }

    /// Whether the guest holds anything of the host's, which a memory image can not carry.
    pub(super) fn holds_resources(&self) -> bool {
        !self.table.is_empty()
    }

    /// What was logged since the last time this was asked.
    pub(super) fn take_log(&mut self) -> Vec<Line> {
        self.log.take()
    }
}

/// With standard streams that end in the log, and limits.
fn built(mut wasi: WasiCtxBuilder, log: &LogSink) -> WasiCtx {
    wasi.stdout(log.stream(Level::Info)).stderr(log.stream(Level::Warn)).max_random_size(MOST_RANDOM_BYTES);
    wasi.build()
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl super::bindings::types::Host for Guest {}

impl super::bindings::log::Host for Guest {
    fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        Ok(self.log.write(level, message.as_bytes())?)
    }

    fn rule(&mut self, place: String) -> wasmtime::Result<()> {
        if let Some((reached, policy)) = &self.reached {
            reached.note(policy, place);
        }
        Ok(())
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if self.functions.as_ref().is_some_and(|(functions, policy)| functions.hears(policy, desired - current)) {
            return Ok(false);
        }
        let most = self.limits.memory_bytes;
        self.memory_bytes += desired - current;
        if self.memory_bytes > most { Err(Fault::Memory(most >> 20).into()) } else { Ok(true) }
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let most = self.limits.table_elements;
        self.table_elements += desired - current;
        if self.table_elements > most { Err(Fault::Table(most).into()) } else { Ok(true) }
    }

    fn instances(&self) -> usize {
        MOST_PARTS as usize
    }

    fn tables(&self) -> usize {
        MOST_PARTS as usize
    }

    fn memories(&self) -> usize {
        MOST_PARTS as usize
    }
}
