//! What the policies decided, and the proof of it that everything further on demands.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    bindings::{output::StreamKind, types},
    consent::Pending,
    findings::Findings,
    stream::{Filters, OutputFilter},
};
use crate::{
    config::Mode,
    script::{Directory, Script},
};

/// A command to judge: the script, and what it would start with.
#[derive(Clone)]
pub struct Request {
    /// The judged tree.
    pub script: Script,
    /// Directory to start in: inside the roots, held open since it was resolved.
    pub cwd: Directory,
    /// Variables to start with.
    pub env: Vec<(String, String)>,
    /// Time after which it is stopped.
    pub timeout: Option<Duration>,
    /// Who asks.
    pub client: types::Client,
}

/// Why something was refused, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The policy; `None`: portcullis itself.
    pub policy: Option<String>,
    /// Stable name of the reason.
    pub code: String,
    /// The reason for a person, filtered.
    pub message: String,
}

impl Denial {
    /// A denial by portcullis itself.
    pub fn by_host(code: &str, message: impl Into<String>) -> Self {
        Self { policy: None, code: code.to_owned(), message: message.into() }
    }
}

impl std::fmt::Display for Denial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let by = self.policy.as_deref().map_or("by portcullis itself".to_owned(), |policy| format!("by policy \"{policy}\""));
        write!(f, "{by} [{}]: {}", self.code, self.message)
    }
}

/// What was decided about a command.
pub enum Decision {
    /// It may run, in exactly the form that the approval carries.
    Approved(Box<Approved>),
    /// A person must be asked.
    Asks(Pending<Box<Approved>>),
    /// It must not run.
    Denied(Denial),
}

/// A decision and how it came about.
pub struct Judgement {
    /// The outcome.
    pub decision: Decision,
    /// The canonical text of the final form with what confines it, filtered; what would be executed, if that is the outcome.
    pub shown: String,
    /// Every answer of every policy, in order.
    pub trail: Vec<Answer>,
}

/// One policy's answer in one round.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Round, from 1.
    pub round: usize,
    /// Who answered.
    pub policy: String,
    /// Whether what it said has an effect.
    pub mode: Mode,
    /// What it said.
    pub verdict: VerdictKind,
    /// Code and message, filtered, where the verdict has a reason.
    pub reason: Option<(String, String)>,
    /// How long it took, instantiation included.
    pub took: Duration,
}

impl Answer {
    /// Whether it said this and it has an effect.
    pub fn counts_as(&self, verdict: VerdictKind) -> bool {
        self.mode == Mode::Enforce && self.verdict == verdict
    }
}

/// The kinds of verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictKind {
    /// No opinion.
    Abstain,
    /// Approved.
    Allow,
    /// Ask a person.
    Ask,
    /// Refused.
    Deny,
    /// Another form.
    Rewrite,
    /// No usable answer, which refuses.
    Fault,
}

impl VerdictKind {
    /// Its name in results and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Abstain => "abstain",
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
            Self::Rewrite => "rewrite",
            Self::Fault => "fault",
        }
    }
}

/// Proof that every policy approved a command in the form it has here. Only [`super::Chain::decide`] makes one, and nothing is
/// started without it.
pub struct Approved {
    pub(super) id: Uuid,
    pub(super) request: Request,
    pub(super) shown: String,
    pub(super) open: Option<Arc<str>>,
    pub(super) job: Arc<types::Job>,
    pub(super) filters: Filters,
    pub(super) findings: Arc<Findings>,
}

impl Approved {
    /// This decision for the job of an earlier one about the same command. It is a denial if something else would run now: that is
    /// not what was recorded and told.
    pub fn instead_of(self, earlier: &Self) -> Decision {
        let what = |request: &Request| (request.script.shown(), request.cwd.to_path_buf());
        if what(&self.request) != what(&earlier.request) {
            let text = "what it names was changed while it waited for its turn, so that something else would run; send it again";
            return Decision::Denied(Denial::by_host("changed", text.to_owned()));
        }
        let (id, findings) = (earlier.id, earlier.findings.clone());
        let job = Arc::new(types::Job { id: id.to_string(), ..Arc::unwrap_or_clone(self.job) });
        Decision::Approved(Box::new(Self { id, job, findings, ..self }))
    }

    /// The job's id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// What to run. The nodes of its script are the job's.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The canonical text of the command, filtered.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The canonical text of the command as a person is asked about it: hidden characters are escapes in it, and nothing is left
    /// out. None where the output policies hide something in it that its client need not know.
    pub fn open(&self) -> Option<&Arc<str>> {
        self.open.as_ref()
    }

    /// The job as policies see it, for judging its input.
    pub fn job(&self) -> &Arc<types::Job> {
        &self.job
    }

    /// What its filters take out of its output, counted while it runs.
    pub fn findings(&self) -> &Arc<Findings> {
        &self.findings
    }

    /// The filter its standard output must pass.
    pub fn stdout_filter(&self) -> OutputFilter {
        self.filters.open(Some(&self.job), StreamKind::Stdout, &self.findings)
    }

    /// The filter its standard error must pass.
    pub fn stderr_filter(&self) -> OutputFilter {
        self.filters.open(Some(&self.job), StreamKind::Stderr, &self.findings)
    }
}

/// A decision about input, and how it came about.
pub struct InputJudgement {
    /// The outcome.
    pub decision: InputDecision,
    /// Every answer of every policy, in order.
    pub trail: Vec<Answer>,
}

/// What was decided about input.
pub enum InputDecision {
    /// It may be written, in this form.
    Approved(ApprovedInput),
    /// A person must be asked.
    Asks(Pending<ApprovedInput>),
    /// It must not be written.
    Denied(Denial),
}

/// Bytes that every input policy approved. Only [`super::Chain::decide_input`] makes them, and a job's standard input takes nothing
/// else.
pub struct ApprovedInput(pub(super) Vec<u8>);

impl ApprovedInput {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The code, if it is of the form that the contract demands.
pub(super) fn valid_code(code: &str) -> Option<&str> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    ((1..=64).contains(&code.len()) && code.bytes().all(is_allowed)).then_some(code)
}
