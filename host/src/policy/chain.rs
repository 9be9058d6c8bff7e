//! All policies together: rounds of judging until nobody rewrites any more, and the joining of what they say.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;
use wasmtime::{Store, component::Instance};

use super::{
    bindings::{
        command::{self, Verdict},
        input::InputVerdict,
        output::StreamKind,
        types,
    },
    cache::{Cache, CacheError},
    consent::{Form, Pending},
    decision::{
        Answer, Approved, ApprovedInput, Decision, Denial, InputDecision, InputJudgement, Judgement, Request, VerdictKind,
        valid_code,
    },
    engine::{Engine, EngineError},
    findings::Findings,
    limits::{Fault, Guest},
    load::{LoadError, Policy},
    parser::Parser,
    stream::{Filters, Note, OutputFilter, printable, try_filter},
};
use crate::{
    config::{Apply, DefaultVerdict, Limits, Mode, PolicyEntry},
    digest::Digest,
    fence::{self, Bounds},
    script::{Edit, Edited, MOST_SHELL_BYTES, Site},
};

/// Rounds after which a command that is still being rewritten is denied.
const MOST_ROUNDS: usize = 4;
/// Nodes from which on the policies of a round are asked side by side: with fewer, handing them to other threads takes longer.
const FEWEST_NODES_AT_ONCE: usize = 64;
/// Longest message of a reason that is shown, in bytes.
const MOST_MESSAGE_BYTES: usize = 4096;
/// Longest final form of a script, in bytes: what is put in front of it for its start has room beside it.
const MOST_CANONICAL_BYTES: usize = MOST_SHELL_BYTES - 1024;
/// Most edits of one rewrite.
const MOST_EDITS: usize = 256;
/// Most bytes of one input, before and after rewriting.
pub const MOST_INPUT_BYTES: usize = 256 * 1024;

/// The command that a new set of policies is tried with: it does nothing, and every shell has it.
const PROBE: &str = ":";
/// The line of input and of output that it is tried with.
const PROBE_LINE: &[u8] = b"a line to try the policies with\n";

/// The policies of a configuration, ready to decide.
pub struct Chain {
    digest: Digest,
    parser: Parser,
    policies: Vec<Arc<Policy>>,
    filters: Filters,
    /// The filters of what is read, where the reader asks for it.
    readers: Filters,
    default: DefaultVerdict,
    site: Site,
}

/// What went wrong with one policy's entry.
#[derive(Debug)]
pub struct EntryError {
    /// Position among the entries, from 0.
    pub index: usize,
    /// Name in the entry.
    pub name: String,
    /// What it was.
    pub error: LoadError,
}

/// Why there is no chain.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The engine could not be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The cache is unusable.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Everything came to its end before the policies were ready.
    #[error("policies were still being loaded at the end")]
    Ended,
    /// Policies could not be made ready; all of them that could not.
    #[error("{} of the policies could not be loaded", .0.len())]
    Policies(Vec<EntryError>),
}

impl Chain {
    /// Makes all policies ready, at the same time, and reports everything that is wrong with any of them.
    pub async fn load(
        engine: &Engine,
        entries: &[PolicyEntry],
        cache: &Path,
        default: DefaultVerdict,
        site: Site,
    ) -> Result<Self, ChainError> {
        let cache = Arc::new(Cache::open(cache)?);
        let turns = Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));
        let loading: Vec<_> =
            entries.iter().map(|entry| tokio::spawn(load(engine.clone(), entry.clone(), cache.clone(), turns.clone()))).collect();
        let parser = {
            let (engine, cache) = (engine.clone(), cache.clone());
            ended(tokio::task::spawn_blocking(move || Parser::load(&engine, &cache))).await??
        };
        let (mut policies, mut errors) = (Vec::new(), Vec::new());
        for (index, (loading, entry)) in loading.into_iter().zip(entries).enumerate() {
            match ended(loading).await?? {
                Ok(policy) => policies.push(Arc::new(policy)),
                Err(error) => errors.push(EntryError { index, name: entry.name.clone(), error }),
            }
        }
        if !errors.is_empty() {
            return Err(ChainError::Policies(errors));
        }
        ended(tokio::task::spawn_blocking(move || cache.sweep())).await?;
        let digest = digest(entries, &policies, default, engine.limits());
        let filters = Filters::of(&policies, Apply::Stream);
        let readers = Filters::of(&policies, Apply::Reads);
        Ok(Self { digest, parser, policies, filters, readers, default, site })
    }

    /// Names the set: the hash of all that its decisions depend on but for the machine. That is, of each policy in their order, its
    /// name, component, powers, mode and settings; the limits; the default.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Each policy's name, and the digest of its component.
    pub fn components(&self) -> impl Iterator<Item = (&str, Digest)> {
        self.policies.iter().map(|policy| (policy.name.as_str(), policy.sha256))
    }

    /// Has every policy decide about a command and a line of input, and filter a line of output. What it says does not matter, but
    /// that it answers within the limits does.
    ///
    /// # Errors
    ///
    /// All policies that do not.
    pub async fn self_test(&self) -> Result<(), ChainError> {
        let form = probe(&self.site);
        let (id, cwd) = (Uuid::nil().to_string(), form.cwd.clone());
        let job = Arc::new(types::Job { id, launch: form.launch, nodes: form.nodes.clone(), cwd });
        let mut errors = Vec::new();
        for (index, policy) in self.policies.iter().enumerate() {
            if let Err(error) = self.try_out(policy, &form, &job).await {
                errors.push(EntryError { index, name: policy.name.clone(), error });
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(ChainError::Policies(errors)) }
    }

    async fn try_out(&self, policy: &Arc<Policy>, form: &types::Request, job: &Arc<types::Job>) -> Result<(), LoadError> {
        let failed = |during| move |fault| LoadError::Fault { during, fault };
        evaluate(policy, &self.filters, form).await.map_err(failed("when it was tried with a command"))?;
        evaluate_input(policy, &self.filters, job, &[], PROBE_LINE).await.map_err(failed("when it was tried with input"))?;
        try_filter(policy, job, PROBE_LINE).await.map_err(failed("when it was tried with output"))
    }

    /// The sandboxed parser of shell text.
    pub fn parser(&self) -> &Parser {
        &self.parser
    }

    /// One line per policy, for an operator.
    pub fn describe(&self) -> impl Iterator<Item = String> {
        self.policies.iter().map(|policy| policy.describe())
    }

    /// Judges a command.
    pub async fn decide(&self, request: Request) -> Judgement {
        let mut trail = Vec::new();
        let mut request = request;
        let settled = self.settle(&mut request, &mut trail).await;
        let canonical = request.script.canonical();
        let settled = settled.and_then(|settled| too_long(&request, &canonical).map_or(Ok(settled), Err));
        let runs = request.script.with_confinement(canonical);
        let shown = self.scrub(&runs).await;
        let plain = printable(&runs);
        let open = (!is_rewritten(&trail) || plain == shown).then(|| Arc::from(plain));
        let decision = match settled {
            Ok(Settled::Allowed) => Decision::Approved(Box::new(self.approve(request, shown.clone(), open))),
            Ok(Settled::Asks(denial)) => {
                let timeout = request.timeout.map(|timeout| timeout.as_millis());
                let cwd = format!("{:?}", request.cwd.as_os_str());
                let named = files(request.script.nodes());
                let form = self.form(json!({ "runs": runs, "named": named, "cwd": cwd, "timeout": timeout }), &trail);
                let held = Box::new(self.approve(request, shown.clone(), open));
                Decision::Asks(Pending { reason: self.clean(denial).await, form, held })
            }
            Err(denial) => Decision::Denied(self.clean(denial).await),
        };
        Judgement { decision, shown, trail }
    }

    /// Passes a text through the output policies, and shows hidden characters as escapes. For everything that goes to a log or a
    /// client and is not a job's output.
    pub async fn scrub(&self, text: &str) -> String {
        scrubbed(&self.filters, text).await
    }

    /// [`Self::scrub`], with hidden characters as they are. For what is written with escapes of its own.
    pub async fn filter(&self, text: &str) -> String {
        self.filters.scrub(text).await
    }

    /// Passes bytes of a job's output that were kept, and so filtered, through the policies that apply to reads, and through the
    /// filters of the stream once more: what those take out may join what it parted. The result has at most as many bytes as
    /// filters may make of what they are given; one that fails withholds the rest behind a marker.
    pub async fn tidy(&self, job: Option<&Arc<types::Job>>, kind: StreamKind, bytes: &[u8]) -> Vec<u8> {
        self.readers.pass(job, kind, bytes, &self.filters).await
    }

    /// A filter of output by itself, for a stream that is no job's. What it takes out is counted in `findings`.
    pub fn output_filter(&self, kind: StreamKind, findings: &Arc<Findings>) -> OutputFilter {
        self.filters.open(None, kind, findings)
    }

    /// Judges input to a job. `pending` is what was sent to it since its last newline.
    pub async fn decide_input(&self, job: &types::Job, pending: &[u8], data: Vec<u8>) -> InputJudgement {
        let mut trail = Vec::new();
        let decision = match self.settle_input(job, pending, data, &mut trail).await {
            Ok((Settled::Allowed, data)) => InputDecision::Approved(ApprovedInput(data)),
            Ok((Settled::Asks(denial), data)) => {
                let form = self.form(json!({ "job": job.id, "pending": pending, "data": data }), &trail);
                InputDecision::Asks(Pending { reason: self.clean(denial).await, form, held: ApprovedInput(data) })
            }
            Err(denial) => InputDecision::Denied(self.clean(denial).await),
        };
        InputJudgement { decision, trail }
    }

    /// Names what a person is asked about.
    fn form(&self, what: serde_json::Value, trail: &[Answer]) -> Form {
        let reason = |denial: Denial| json!([denial.policy, denial.code, denial.message]);
        let asks: Vec<_> = asking(trail).into_iter().map(reason).collect();
        Form(Digest::of(json!({ "what": what, "asks": asks, "set": self.digest.to_string() }).to_string().as_bytes()))
    }

    fn approve(&self, mut request: Request, shown: String, open: Option<Arc<str>>) -> Approved {
        let id = Uuid::new_v4();
        let job = types::Job {
            id: id.to_string(),
            launch: request.script.launch(),
            nodes: request.script.lend(),
            cwd: request.cwd.to_string_lossy().into_owned(),
        };
        Approved { id, request, shown, open, job: Arc::new(job), filters: self.filters.clone(), findings: Arc::default() }
    }

    async fn clean(&self, denial: Denial) -> Denial {
        Denial { message: self.scrub(&denial.message).await, ..denial }
    }

    async fn settle(&self, request: &mut Request, trail: &mut Vec<Answer>) -> Result<Settled, Denial> {
        if request.script.nodes().is_empty() {
            return Err(Denial::by_host("judged-already", "this script was approved before; it is judged anew from its text"));
        }
        let mut asked = None;
        for round in 1..=MOST_ROUNDS {
            let outcome = self.round(request, round, trail).await?;
            asked = asked.or(outcome.asked);
            if self.apply(request, outcome.rewrites)? {
                continue;
            }
            return self.joined(asked, outcome.is_allowed);
        }
        Err(Denial::by_host(
            "does-not-converge",
            format!(
                "the policies still rewrote the command after {MOST_ROUNDS} rounds; an operator should look at those that rewrite"
            ),
        ))
    }

    /// What holds when nobody refuses and nobody rewrites.
    fn joined(&self, asked: Option<Denial>, is_allowed: bool) -> Result<Settled, Denial> {
        match (asked, is_allowed, self.default) {
            (Some(denial), ..) => Ok(Settled::Asks(denial)),
            (None, true, _) | (None, false, DefaultVerdict::Allow) => Ok(Settled::Allowed),
            (None, false, DefaultVerdict::Ask) => Ok(Settled::Asks(nobody_spoke())),
            (None, false, DefaultVerdict::Deny) => Err(nobody_spoke()),
        }
    }

    /// Asks every policy about the same form. Any refusal ends it.
    async fn round(&self, request: &mut Request, round: usize, trail: &mut Vec<Answer>) -> Result<Round, Denial> {
        let form = Arc::new(contract_form(request));
        let judges = self.policies.iter().filter(|policy| policy.hooks.command.is_some());
        let answers = self.answers(judges, &form, round).await;
        request.script.take_back(Arc::try_unwrap(form).map_or_else(|form| form.nodes.clone(), |form| form.nodes));
        let mut outcome = Round::default();
        let mut refusal = None;
        for (policy, (answer, verdict)) in answers {
            trail.push(answer);
            if policy.mode == Mode::Monitor {
                continue;
            }
            match verdict {
                Ok(Verdict::Abstain) => {}
                Ok(Verdict::Allow) => outcome.is_allowed = true,
                Ok(Verdict::Ask(reason)) => outcome.asked = outcome.asked.or(Some(denial_of(policy, reason))),
                Ok(Verdict::Deny(reason)) => refusal = refusal.or(Some(denial_of(policy, reason))),
                Ok(Verdict::Rewrite(rewrite)) => outcome.rewrites.push((policy.name.clone(), rewrite)),
                Err(fault) => refusal = refusal.or(Some(denial_by_fault(policy, &fault))),
            }
        }
        match refusal {
            Some(denial) => Err(denial),
            None => Ok(outcome),
        }
    }

    /// What each of them says, in their order.
    async fn answers<'a>(
        &self,
        judges: impl Iterator<Item = &'a Arc<Policy>>,
        form: &Arc<types::Request>,
        round: usize,
    ) -> Vec<(&'a Arc<Policy>, Answered)> {
        let mut answers = Vec::new();
        if form.nodes.len() < FEWEST_NODES_AT_ONCE {
            for policy in judges {
                answers.push((policy, ask(policy, &self.filters, form, round).await));
            }
            return answers;
        }
        let ask = |policy: &'a Arc<Policy>| {
            let (filters, asked, form) = (self.filters.clone(), policy.clone(), form.clone());
            (policy, AbortOnDropHandle::new(tokio::spawn(async move { ask(&asked, &filters, &form, round).await })))
        };
        for (policy, answer) in judges.map(ask).collect::<Vec<_>>() {
            answers.push((policy, answer.await.expect("asking neither panics nor is cancelled")));
        }
        answers
    }

    /// Applies one round's rewrites in the configured order. Says whether anything changed.
    fn apply(&self, request: &mut Request, rewrites: Vec<(String, command::Rewrite)>) -> Result<bool, Denial> {
        let Some((policy, _)) = rewrites.last() else { return Ok(false) };
        let policy = policy.clone();
        let before = request.clone();
        let mut claims = Claims::default();
        let mut edits = Vec::new();
        for (policy, rewrite) in rewrites {
            claims.claim(&policy, &before, &rewrite)?;
            self.rewrite_conditions(request, &policy, &rewrite)?;
            edits.extend(rewrite.edits.into_iter().map(edit));
        }
        let changed = request.script.rewrite(&edits, &self.site, &request.cwd);
        changed.map_err(|refusal| match &*refusal.code {
            fence::UNAVAILABLE | fence::REFUSED => Denial::by_host(&refusal.code, refusal.message),
            _ => bad_rewrite(&policy, refusal.message),
        })?;
        Ok(request.script != before.script || request.cwd != before.cwd || request.timeout != before.timeout)
    }

    fn rewrite_conditions(&self, request: &mut Request, policy: &str, rewrite: &command::Rewrite) -> Result<(), Denial> {
        if let Some(cwd) = &rewrite.cwd {
            request.cwd = self.site.directory(Path::new(cwd)).map_err(|refusal| bad_rewrite(policy, refusal.message))?;
        }
        if let Some(milliseconds) = rewrite.timeout_ms {
            request.timeout = Some(Duration::from_millis(milliseconds));
        }
        Ok(())
    }

    async fn settle_input(
        &self,
        job: &types::Job,
        pending: &[u8],
        data: Vec<u8>,
        trail: &mut Vec<Answer>,
    ) -> Result<(Settled, Vec<u8>), Denial> {
        let mut data = data;
        let mut asked = None;
        for round in 1..=MOST_ROUNDS {
            let outcome = self.input_round(job, pending, &data, round, trail).await?;
            asked = asked.or(outcome.asked);
            if let Some(bytes) = outcome.rewritten {
                data = bytes;
                continue;
            }
            return Ok((self.joined(asked, outcome.is_allowed)?, data));
        }
        Err(Denial::by_host("does-not-converge", format!("the policies still rewrote the input after {MOST_ROUNDS} rounds")))
    }

    /// Asks every policy about the same input. Any refusal ends it.
    async fn input_round(
        &self,
        job: &types::Job,
        pending: &[u8],
        data: &[u8],
        round: usize,
        trail: &mut Vec<Answer>,
    ) -> Result<InputRound, Denial> {
        let mut outcome = InputRound::default();
        let mut refusal = None;
        for policy in self.policies.iter().filter(|policy| policy.hooks.input.is_some()) {
            let began = Instant::now();
            let verdict = evaluate_input(policy, &self.filters, job, pending, data).await;
            trail.push(answer(policy, &self.filters, round, began, input_verdict(&verdict)).await);
            if policy.mode == Mode::Monitor {
                continue;
            }
            match verdict {
                Ok(InputVerdict::Abstain) => {}
                Ok(InputVerdict::Allow) => outcome.is_allowed = true,
                Ok(InputVerdict::Ask(reason)) => outcome.asked = outcome.asked.or(Some(denial_of(policy, reason))),
                Ok(InputVerdict::Deny(reason)) => refusal = refusal.or(Some(denial_of(policy, reason))),
                Ok(InputVerdict::Rewrite(bytes)) if bytes == data => {}
                Ok(InputVerdict::Rewrite(bytes)) => {
                    refusal = refusal.or(join_input(policy, bytes, &mut outcome.rewritten).err());
                }
                Err(fault) => refusal = refusal.or(Some(denial_by_fault(policy, &fault))),
            }
        }
        match refusal {
            Some(denial) => Err(denial),
            None => Ok(outcome),
        }
    }
}

/// [`PROBE`] in the first root, as it would be judged. Made by hand, since the root may be gone just now.
fn probe(site: &Site) -> types::Request {
    let cwd = site.roots.first().map_or("/".to_owned(), |root| root.to_string_lossy().into_owned());
    let node = types::Node {
        parent: None,
        role: types::Role::Root,
        kind: types::NodeKind::Command,
        directory: cwd.clone(),
        program: Some(types::Word::Literal(PROBE.to_owned())),
        resolved: None,
        builtin: true,
        args: Vec::new(),
        assignments: Vec::new(),
        redirects: Vec::new(),
        executes: None,
        opens: None,
    };
    types::Request {
        source: PROBE.to_owned(),
        launch: types::Launch::Shell,
        constructs: types::Constructs::empty(),
        nodes: vec![node],
        cwd,
        env: Vec::new(),
        timeout_ms: None,
        client: types::Client {
            principal: "local".to_owned(),
            name: "portcullis".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
    }
}

/// Makes a policy ready when its turn comes, on a thread of its own: compiling takes seconds, in which others must be served.
async fn load(
    engine: Engine,
    entry: PolicyEntry,
    cache: Arc<Cache>,
    turns: Arc<Semaphore>,
) -> Result<Result<Policy, LoadError>, ChainError> {
    let _turn = turns.acquire().await.expect("nobody closes it");
    let runtime = tokio::runtime::Handle::current();
    let loading = move || runtime.block_on(Policy::load(&engine, &entry, &cache));
    ended(tokio::task::spawn_blocking(loading)).await
}

/// What came of a task. Only the end of all that runs cancels it.
async fn ended<T>(task: JoinHandle<T>) -> Result<T, ChainError> {
    task.await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => ChainError::Ended,
    })
}

fn digest(entries: &[PolicyEntry], policies: &[Arc<Policy>], default: DefaultVerdict, limits: &Limits) -> Digest {
    let policy = |(entry, policy): (&PolicyEntry, &Arc<Policy>)| {
        json!({
            "name": entry.name, "sha256": policy.sha256.to_string(), "mode": entry.mode.name(), "may_rewrite": entry.may_rewrite,
            "apply": format!("{:?}", entry.apply), "on_fault": format!("{:?}", entry.on_fault),
            "env": entry.grants.env, "read": format!("{:?}", entry.grants.read), "settings": entry.settings,
        })
    };
    let policies: Vec<_> = entries.iter().zip(policies).map(policy).collect();
    let all = json!({ "policies": policies, "default": format!("{default:?}"), "limits": format!("{limits:?}") });
    Digest::of(all.to_string().as_bytes())
}

/// What a policy said, and the same for the record.
type Answered = (Answer, Result<Verdict, Fault>);

/// Asks one policy, in a fresh instance.
async fn ask(policy: &Policy, filters: &Filters, form: &types::Request, round: usize) -> Answered {
    let began = Instant::now();
    let verdict = evaluate(policy, filters, form).await.and_then(|verdict| valid_verdict(policy, verdict));
    let said = match &verdict {
        Ok(Verdict::Abstain) => (VerdictKind::Abstain, None),
        Ok(Verdict::Allow) => (VerdictKind::Allow, None),
        Ok(Verdict::Ask(reason)) => (VerdictKind::Ask, Some(reason.clone())),
        Ok(Verdict::Deny(reason)) => (VerdictKind::Deny, Some(reason.clone())),
        Ok(Verdict::Rewrite(rewrite)) => (VerdictKind::Rewrite, Some(rewrite.reason.clone())),
        Err(fault) => (VerdictKind::Fault, Some(reason_of(fault))),
    };
    (answer(policy, filters, round, began, said).await, verdict)
}

fn input_verdict(verdict: &Result<InputVerdict, Fault>) -> (VerdictKind, Option<types::Reason>) {
    match verdict {
        Ok(InputVerdict::Abstain) => (VerdictKind::Abstain, None),
        Ok(InputVerdict::Allow) => (VerdictKind::Allow, None),
        Ok(InputVerdict::Ask(reason)) => (VerdictKind::Ask, Some(reason.clone())),
        Ok(InputVerdict::Deny(reason)) => (VerdictKind::Deny, Some(reason.clone())),
        Ok(InputVerdict::Rewrite(_)) => (VerdictKind::Rewrite, None),
        Err(fault) => (VerdictKind::Fault, Some(reason_of(fault))),
    }
}

fn reason_of(fault: &Fault) -> types::Reason {
    types::Reason { code: fault.code().to_owned(), message: fault.to_string() }
}

/// What a policy said, for the record.
async fn answer(
    policy: &Policy,
    filters: &Filters,
    round: usize,
    began: Instant,
    (verdict, reason): (VerdictKind, Option<types::Reason>),
) -> Answer {
    let took = began.elapsed();
    let reason = match reason {
        Some(reason) => {
            let Denial { code, message, .. } = denial_of(policy, reason);
            Some((code, scrubbed(filters, &message).await))
        }
        None => None,
    };
    Answer { round, policy: policy.name.clone(), mode: policy.mode, verdict, reason, took }
}

async fn evaluate(policy: &Policy, filters: &Filters, form: &types::Request) -> Result<Verdict, Fault> {
    let Some(hook) = &policy.hooks.command else { return Ok(Verdict::Abstain) };
    with_fresh(policy, filters, async |store, instance| hook.load(&mut *store, instance)?.call_evaluate(store, form).await).await
}

async fn evaluate_input(
    policy: &Policy,
    filters: &Filters,
    job: &types::Job,
    pending: &[u8],
    data: &[u8],
) -> Result<InputVerdict, Fault> {
    let Some(hook) = &policy.hooks.input else { return Ok(InputVerdict::Abstain) };
    with_fresh(policy, filters, async |store, instance| {
        hook.load(&mut *store, instance)?.call_evaluate(store, job, pending, data).await
    })
    .await
}

/// Makes one call into a fresh instance, and lets its log lines out.
async fn with_fresh<R>(
    policy: &Policy,
    filters: &Filters,
    call: impl AsyncFnOnce(&mut Store<Guest>, &Instance) -> wasmtime::Result<R>,
) -> Result<R, Fault> {
    // Boxed for the compiler's sake, like all that enters a sandbox.
    let (mut store, instance) = Box::pin(policy.instantiate()).await?;
    let answer = policy.engine().bounded(&mut store, async |store| call(store, &instance).await).await;
    let lines = store.data_mut().take_log();
    let notes = lines.into_iter().map(|line| Note { policy: policy.name.clone(), line }).collect();
    filters.emit(notes).await;
    answer
}

async fn scrubbed(filters: &Filters, text: &str) -> String {
    printable(&filters.scrub(text).await)
}

/// How the rounds ended, if not in a denial.
enum Settled {
    Allowed,
    Asks(Denial),
}

/// What one round brought.
#[derive(Default)]
struct Round {
    is_allowed: bool,
    asked: Option<Denial>,
    rewrites: Vec<(String, command::Rewrite)>,
}

/// The same of input.
#[derive(Default)]
struct InputRound {
    is_allowed: bool,
    asked: Option<Denial>,
    rewritten: Option<Vec<u8>>,
}

/// Who changes what in one round: two policies must not change the same thing differently.
#[derive(Default)]
struct Claims(BTreeMap<(Option<u32>, String), (String, String)>);

impl Claims {
    fn claim(&mut self, policy: &str, before: &Request, rewrite: &command::Rewrite) -> Result<(), Denial> {
        if let Some(cwd) = &rewrite.cwd {
            self.one(policy, None, "working directory", cwd.clone())?;
        }
        if let Some(timeout) = rewrite.timeout_ms {
            self.one(policy, None, "timeout", timeout.to_string())?;
        }
        for edit in &rewrite.edits {
            let node = Some(edit.node);
            if let Some(program) = &edit.program {
                self.one(policy, node, "program", program.clone())?;
            }
            if let Some(args) = &edit.args {
                let wanted = wanted(args, edit.node, before);
                self.one(policy, node, "arguments", format!("{wanted:?}"))?;
            }
            for (name, value) in &edit.assignments {
                self.one(policy, node, &format!("variable {name}"), value.clone())?;
            }
        }
        Ok(())
    }

    fn one(&mut self, policy: &str, node: Option<u32>, what: &str, value: String) -> Result<(), Denial> {
        let entry = self.0.entry((node, what.to_owned())).or_insert_with(|| (policy.to_owned(), value.clone()));
        if entry.1 == value {
            return Ok(());
        }
        Err(Denial::by_host(
            "conflicting-rewrites",
            format!(
                "the policies \"{}\" and \"{policy}\" both rewrite the {what} of the command, differently; an operator should decide which of them may",
                entry.0
            ),
        ))
    }
}

fn bad_rewrite(policy: &str, message: String) -> Denial {
    Denial { policy: Some(policy.to_owned()), code: "bad-rewrite".to_owned(), message }
}

/// The nodes are lent to it.
fn contract_form(request: &mut Request) -> types::Request {
    types::Request {
        source: request.script.source().to_owned(),
        launch: request.script.launch(),
        constructs: request.script.constructs(),
        nodes: request.script.lend(),
        cwd: request.cwd.to_string_lossy().into_owned(),
        env: request.env.clone(),
        timeout_ms: request.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        client: request.client.clone(),
    }
}

fn valid_verdict(policy: &Policy, verdict: Verdict) -> Result<Verdict, Fault> {
    match &verdict {
        Verdict::Abstain | Verdict::Allow => {}
        Verdict::Ask(reason) | Verdict::Deny(reason) => valid_reason(reason)?,
        Verdict::Rewrite(_) if !policy.may_rewrite => {
            return Err(Fault::BadAnswer("it rewrites, which its entry does not allow (`may_rewrite`)".to_owned()));
        }
        Verdict::Rewrite(rewrite) => valid_rewrite(rewrite)?,
    }
    Ok(verdict)
}

fn valid_reason(reason: &types::Reason) -> Result<(), Fault> {
    match valid_code(&reason.code) {
        Some(_) => Ok(()),
        None => Err(Fault::BadAnswer("the code of its reason is not 1 to 64 of a-z, 0-9 and -".to_owned())),
    }
}

fn valid_rewrite(rewrite: &command::Rewrite) -> Result<(), Fault> {
    valid_reason(&rewrite.reason)?;
    if rewrite.edits.len() > MOST_EDITS {
        return Err(Fault::BadAnswer(format!("it makes {} edits; at most {MOST_EDITS} are allowed", rewrite.edits.len())));
    }
    let mut nodes: Vec<u32> = rewrite.edits.iter().map(|edit| edit.node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    if nodes.len() < rewrite.edits.len() {
        return Err(Fault::BadAnswer("it edits the same node twice".to_owned()));
    }
    Ok(())
}

fn edit(edit: command::Edit) -> Edit {
    let edited = |arg| match arg {
        command::Edited::Keep(index) => Edited::Keep(index),
        command::Edited::Literal(text) => Edited::Literal(text),
    };
    let args = edit.args.map(|args| args.into_iter().map(edited).collect());
    let bounds = Bounds { executes: edit.executes, opens: edit.opens };
    Edit { node: edit.node, program: edit.program, args, assignments: edit.assignments, bounds }
}

/// The words that an edit wants, to be compared with what another wants.
fn wanted(args: &[command::Edited], node: u32, before: &Request) -> Vec<Option<types::Word>> {
    let old = before.script.nodes().get(node as usize).map(|node| node.args.as_slice()).unwrap_or_default();
    let word = |arg: &command::Edited| match arg {
        command::Edited::Literal(text) => Some(types::Word::Literal(text.clone())),
        command::Edited::Keep(index) => old.get(*index as usize).map(|argument| argument.word.clone()),
    };
    args.iter().map(word).collect()
}

fn join_input(policy: &Policy, bytes: Vec<u8>, rewritten: &mut Option<Vec<u8>>) -> Result<(), Denial> {
    let refused = |code: &str, message: String| Denial { policy: Some(policy.name.clone()), code: code.to_owned(), message };
    if !policy.may_rewrite {
        return Err(refused("policy-bad-answer", "it rewrites input, which its entry does not allow (`may_rewrite`)".to_owned()));
    }
    if bytes.len() > MOST_INPUT_BYTES {
        return Err(refused(
            "bad-rewrite",
            format!("it makes {} bytes of the input; at most {MOST_INPUT_BYTES} are allowed", bytes.len()),
        ));
    }
    match rewritten {
        Some(other) if *other != bytes => {
            Err(refused("conflicting-rewrites", "two policies rewrite the input differently".to_owned()))
        }
        _ => {
            *rewritten = Some(bytes);
            Ok(())
        }
    }
}

fn denial_of(policy: &Policy, reason: types::Reason) -> Denial {
    let code = valid_code(&reason.code).unwrap_or("no-valid-code").to_owned();
    let mut message = reason.message;
    message.truncate(message.floor_char_boundary(MOST_MESSAGE_BYTES));
    Denial { policy: Some(policy.name.clone()), code, message }
}

fn denial_by_fault(policy: &Policy, fault: &Fault) -> Denial {
    Denial {
        policy: Some(policy.name.clone()),
        code: fault.code().to_owned(),
        message: format!("the policy {fault}, so nothing was approved; an operator should look at it"),
    }
}

/// What the shell could not be given is denied now and not at its start.
fn too_long(request: &Request, canonical: &str) -> Option<Denial> {
    let is_for_shell = request.script.launch() == types::Launch::Shell;
    (is_for_shell && canonical.len() > MOST_CANONICAL_BYTES).then(|| {
        let message = format!(
            "in its final form the script has {} bytes, and the shell takes at most {MOST_CANONICAL_BYTES}; send it in parts",
            canonical.len()
        );
        Denial::by_host("too-long", message)
    })
}

/// Whether one of those that count made something else of what was sent.
pub fn is_rewritten(trail: &[Answer]) -> bool {
    trail.iter().any(|answer| answer.counts_as(VerdictKind::Rewrite))
}

/// Who of those that count asks for a person, and why: of each reason what was said last, which is about the form that would run.
pub fn asking(trail: &[Answer]) -> Vec<Denial> {
    let mut reasons: Vec<Denial> = Vec::new();
    for answer in trail.iter().filter(|answer| answer.counts_as(VerdictKind::Ask)) {
        let Some((code, message)) = answer.reason.clone() else { continue };
        let reason = Denial { policy: Some(answer.policy.clone()), code, message };
        reasons.retain(|earlier| (&earlier.policy, &earlier.code) != (&reason.policy, &reason.code));
        reasons.push(reason);
    }
    reasons
}

/// The programs and files that a script names, as its policies saw them: a link that leads elsewhere by the time of an answer makes
/// it one about something else.
fn files(nodes: &[types::Node]) -> Vec<serde_json::Value> {
    let named = |node: &types::Node| {
        let places = node.args.iter().flat_map(|argument| &argument.places);
        let places = places.chain(node.redirects.iter().filter_map(|redirect| redirect.place.as_ref()));
        let places: Vec<_> = places.map(|place| &place.path).collect();
        json!([node.directory, node.resolved.as_ref().map(|program| &program.path), places])
    };
    nodes.iter().map(named).collect()
}

fn nobody_spoke() -> Denial {
    Denial::by_host("no-policy-allows", "no policy had anything to say for it, and what nobody allows is not done")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_all_that_runs_is_no_panic() {
        let [first, second] = [(); 2].map(|()| tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap());
        let task = first.spawn(std::future::pending::<()>());
        drop(first);
        assert!(matches!(second.block_on(ended(task)), Err(ChainError::Ended)));
    }
}
