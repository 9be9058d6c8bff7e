//! One method per verb, each the steps of the way through in their order. Command line and MCP server call nothing below this.

mod asking;
mod later;
mod renewal;

use std::{collections::HashMap, ffi::OsString, os::unix::ffi::OsStrExt, path::Path, sync::Arc, time::Duration};

use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use asking::Question;
use asking::{Seen, Standing, What};
use later::Later;
use renewal::Renewals;

use crate::{
    audit::{self, Altered, Audit, AuditError, Decided, Outcome, Subject},
    config::{self, Config},
    digest::Digest,
    jobs::{
        ControlError, History, Job, JobId, Keeper, KeeperError, Met, Order, Reading, Record, Registry, Signal, SpawnError,
        Status, Stdin, Stop, Streams, THIS_PROGRAM, Until, WriteError,
        output::{Cursor, Part},
    },
    policy::{
        Answer, Approved, Chain, ChainError, Consent, Decision, Denial, Engine, InputDecision, InputJudgement, Judgement,
        MOST_INPUT_BYTES, Pending, Request, StreamKind, is_rewritten, printable, printable_bytes,
        types::{self, Client},
    },
    principal::Principal,
    script::{Directory, Refusal, Script, Site, check_text, source_of, tree_of_words},
};

/// Longest name and version of a client that are kept, in bytes.
const MOST_CLIENT_BYTES: usize = 256;
/// Most bytes of a text in the record that is not a command's final form.
const MOST_EXCERPT_BYTES: usize = 4096;
/// What the record says of an approved command where nothing is executed.
const REHEARSED: &str = "dry run: nothing is executed";

/// What becomes of an approved command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    /// It is started.
    Real,
    /// It is judged and recorded, and that is all.
    Dry,
}

/// A command as it comes in.
#[derive(Clone, Debug)]
pub enum Command {
    /// Shell text.
    Text(String),
    /// Words, as a command line hands them over.
    Words(Vec<OsString>),
}

/// Why a command was not started.
#[derive(Clone, Debug)]
pub enum Refused {
    /// Denied.
    Denied(Denial),
    /// A person has to be asked.
    Asks(Box<Question>),
    /// Approved, but the system did not start it; the text is filtered.
    NotStarted(String),
    /// Approved, and this server executes nothing.
    Rehearsed(Rehearsed),
}

/// What would have been started.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    /// The command in its final form, filtered.
    pub runs: String,
    /// How the decision came about.
    pub trail: Vec<Answer>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied(denial) => write!(f, "denied: {denial}"),
            Self::Asks(question) => write!(f, "a person would have to approve: {}", question.reason()),
            Self::NotStarted(text) => f.write_str(text),
            Self::Rehearsed(_) => f.write_str(REHEARSED),
        }
    }
}

/// Why input was not written.
#[derive(Debug)]
pub enum InputRefused {
    /// Denied.
    Denied(Denial),
    /// A person has to be asked.
    Asks(Box<Question>),
    /// Approved, but the job did not take it.
    NotWritten(WriteError),
    /// The job could not be sent a signal.
    NotTold(ControlError),
}

/// What to write to a job, and how long to wait for its answer.
#[derive(Debug)]
pub struct Input {
    /// The bytes; may be none.
    pub data: Vec<u8>,
    /// What is done behind them.
    pub then: Then,
    /// What a person said to it.
    pub consent: Option<Consent>,
    /// What shows that the answer is complete.
    pub until: Until,
    /// The longest wait for that.
    pub longest: Duration,
}

/// What is done after input was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// The job's input ends.
    Close,
    /// The job gets a signal.
    Signal(Signal),
}

impl Then {
    /// What a person is shown of it, on a line of its own.
    fn told(self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Close => "\nafter which its input ends".to_owned(),
            Self::Signal(signal) => format!("\nafter which it gets the signal {signal:?}"),
        }
    }
}

/// Where a job's answer to input stands in its output.
#[derive(Debug)]
pub struct Answered {
    /// Where the output ended before the input.
    pub from: Cursor,
    /// How the wait for the answer ended.
    pub met: Met,
}

/// How a command is to be run.
#[derive(Debug)]
pub struct Terms {
    /// How long it may run; none: as long as is configured.
    pub timeout: Option<Duration>,
    /// What a person said to it.
    pub consent: Option<Consent>,
    /// The rest.
    pub order: Order,
}

/// What was asked for, kept as it came: what waits for its turn is judged anew, and so is each program of a script when it starts.
struct Asked {
    command: Command,
    client: Client,
    timeout: Option<Duration>,
    streams: Streams,
    consent: Option<Consent>,
}

/// What was approved, and how that came about.
struct Judged {
    approved: Approved,
    trail: Vec<Answer>,
    /// What a person said yes to, if that was needed.
    yes: Option<Yes>,
}

/// A person's yes to a script, which is one to its programs for as long as the same policies are in force.
#[derive(Clone, Copy)]
struct Yes {
    question: Uuid,
    /// The policies that had asked.
    set: Digest,
}

/// What a person's yes released.
struct Released<T> {
    held: T,
    /// Who had asked, and why.
    reason: Denial,
    question: Uuid,
}

/// A started job, and what was decided about it.
pub struct Started {
    /// The job.
    pub job: Arc<Job>,
    /// How the decision came about.
    pub trail: Vec<Answer>,
}

/// The policies before a reload and after it.
#[derive(Clone, Copy, Debug)]
pub struct Reloaded {
    /// The digest of those that were in force.
    pub before: Digest,
    /// The digest of those that are.
    pub now: Digest,
}

/// Why the service could not start, or not take over other policies.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Policies, engine or cache.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The record can not be kept.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// There is nobody to start jobs.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

/// The whole of portcullis behind its front ends.
pub struct Service {
    /// The policies in force; whatever needs them waits until there are some. A decision takes them once and keeps them to its end,
    /// and a job keeps the filters that it was approved with.
    chain: watch::Sender<Option<Arc<Chain>>>,
    execution: Execution,
    registry: Arc<Registry>,
    audit: Arc<Audit>,
    site: Site,
    jobs: config::Jobs,
    ask: config::Ask,
    standing: Standing,
    /// Tasks that record the ends of jobs.
    recorders: TaskTracker,
    /// Turns for judging programs that scripts start.
    starts: Semaphore,
    renewals: Renewals,
}

/// Makes all policies of a configuration ready, and tries each of them.
pub async fn load_chain(config: &Config) -> Result<Chain, ChainError> {
    let engine = Engine::new(&config.limits)?;
    let chain = Chain::load(&engine, &config.policies, &config.cache, config.default_verdict, site(config)).await?;
    chain.self_test().await?;
    Ok(chain)
}

/// The history, and what is known of earlier jobs. Without it everything works but for what outlives the server.
fn history(config: &Config) -> Option<(History, Vec<Record>)> {
    let wanted = config.history.as_ref()?;
    let opened = History::open(&wanted.path, &config.jobs.roots, config.jobs.keep_for, wanted.spill_bytes);
    opened.inspect_err(|error| tracing::warn!(path = %wanted.path.display(), %error, "no history of jobs is kept")).ok()
}

fn site(config: &Config) -> Site {
    Site { roots: config.jobs.roots.clone(), path: config.jobs.path.clone() }
}

impl Service {
    /// Opens the record and loads the policies.
    pub async fn start(config: &Config) -> Result<Arc<Self>, StartError> {
        let service = Self::open(config, Execution::Real)?;
        service.adopt(config).await?;
        Ok(service)
    }

    /// Opens the record. Everything that needs policies waits until [`Self::adopt`] brings some.
    pub fn open(config: &Config, execution: Execution) -> Result<Arc<Self>, StartError> {
        // First, since it begins while the policies are loaded.
        let keeper = Keeper::start(Path::new(THIS_PROGRAM), config.jobs.limits.processes)?;
        Ok(Arc::new(Self {
            chain: watch::Sender::default(),
            execution,
            audit: Arc::new(Audit::open(&config.audit)?),
            registry: Registry::new(config.jobs.clone(), config.principals, keeper, history(config)),
            site: site(config),
            jobs: config.jobs.clone(),
            ask: config.ask,
            standing: Standing::default(),
            recorders: TaskTracker::new(),
            starts: Semaphore::new(std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))),
            renewals: Renewals::default(),
        }))
    }

    /// Makes the policies of a configuration ready and puts them in force. Of the configuration nothing else counts.
    ///
    /// # Errors
    ///
    /// What is wrong with the policies; there are none then.
    pub async fn adopt(&self, config: &Config) -> Result<(), ChainError> {
        self.chain.send_replace(Some(Arc::new(load_chain(config).await?)));
        Ok(())
    }

    /// Makes other policies ready beside those in force, records the change, and puts them in force in one step. Jobs that were
    /// approved keep the filters they have. Waits for the first policies.
    ///
    /// # Errors
    ///
    /// What is wrong with the policies, or that the change can not be recorded; those in force stay.
    pub async fn reload(&self, config: &Config) -> Result<Reloaded, StartError> {
        let before = self.chain().await.digest();
        let chain = load_chain(config).await?;
        let now = chain.digest();
        tokio::task::block_in_place(|| self.audit.reloaded(before, now))?;
        self.chain.send_replace(Some(Arc::new(chain)));
        Ok(Reloaded { before, now })
    }

    /// Records that a reload failed, and why.
    pub async fn record_failed_reload(&self, why: &str) {
        let chain = self.chain().await;
        let why = chain.scrub(&why[..why.floor_char_boundary(MOST_EXCERPT_BYTES)]).await;
        if let Err(error) = tokio::task::block_in_place(|| self.audit.not_reloaded(chain.digest(), &why)) {
            tracing::error!(%error, "that a reload failed is not recorded");
        }
    }

    /// The policies in force, once there are some.
    pub async fn chain(&self) -> Arc<Chain> {
        let mut chain = self.chain.subscribe();
        let chain = chain.wait_for(Option::is_some).await.expect("this service holds the sender");
        chain.clone().expect("that was waited for")
    }

    /// Whether there are policies.
    pub fn is_ready(&self) -> bool {
        self.chain.borrow().is_some()
    }

    /// What becomes of approved commands.
    pub fn execution(&self) -> Execution {
        self.execution
    }

    /// Runs a command: parse, judge, record, start. Where it has to wait for its turn, the first three again when that comes.
    /// What was begun is brought to its end, though nobody may wait for it any more: what is recorded as approved starts, or is
    /// recorded as not started.
    pub async fn run(self: &Arc<Self>, command: Command, client: &Client, terms: Terms) -> Result<Started, Refused> {
        // Who gives up before there are policies has asked for nothing.
        self.chain().await;
        let (service, client) = (self.clone(), bounded(client));
        let whole = self.recorders.spawn(async move { service.run_whole(command, client, terms).await });
        whole.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    async fn run_whole(self: &Arc<Self>, command: Command, client: Client, terms: Terms) -> Result<Started, Refused> {
        let Terms { timeout, consent, order } = terms;
        let asked = Asked { command, client, timeout, streams: order.streams, consent };
        let Judged { approved, trail, yes } = self.judge(&asked, About::Command).await?;
        if self.execution == Execution::Dry {
            let id = approved.id().to_string();
            if let Err(error) = self.registry.check_group(order.group.as_deref()) {
                return Err(self.refuse_start(&id, &error).await);
            }
            self.record_not_started(&id, REHEARSED);
            return Err(Refused::Rehearsed(Rehearsed { runs: approved.shown().to_owned(), trail }));
        }
        self.spawn(approved, Later::new(self.clone(), asked, yes), order).await.map(|job| Started { job, trail })
    }

    /// Parses, judges and records.
    async fn judge(&self, asked: &Asked, about: About<'_>) -> Result<Judged, Refused> {
        let Asked { command, client, timeout, streams, consent } = asked;
        let chain = self.chain().await;
        let (script, cwd) = match parse(&chain, command, &self.site, &self.jobs.cwd).await {
            Ok(parsed) => parsed,
            Err(denial) => return Err(self.refuse_unparsed(&chain, command, client, *timeout, denial, about).await),
        };
        let mut request = request(script, cwd, &self.jobs, client.clone());
        request.timeout = timeout.iter().copied().chain(request.timeout).min();
        self.decide(&chain, request, manner(*streams), consent.as_ref(), about).await
    }

    /// Judges and records. `manner` is what a person is shown of how it would run.
    async fn decide(
        &self,
        chain: &Chain,
        request: Request,
        manner: &str,
        consent: Option<&Consent>,
        about: About<'_>,
    ) -> Result<Judged, Refused> {
        let (client, principal) = (chain.scrub(&request.client.name).await, Principal::named(&request.client.principal));
        let source = request.script.source().to_owned();
        let Sent { shown: mut sent, request: mut recorded } = Sent::of(chain, &request).await;
        let Judgement { decision, mut shown, trail } = chain.decide(request).await;
        if matches!(about, About::Program { .. }) && sent.len().max(shown.len()) > MOST_EXCERPT_BYTES {
            // A script can start as much as it likes, and the record is no better for pages of words.
            for text in [Some(&mut sent), Some(&mut shown), recorded.script.as_mut()].into_iter().flatten() {
                text.truncate(text.floor_char_boundary(MOST_EXCERPT_BYTES));
            }
            recorded.altered = Some(Altered::Cut);
        }
        let (decision, reason, question) = match decision {
            Decision::Asks(pending) => match self.released(pending.shown_with(manner), &principal, consent, about.yes(chain)) {
                Ok(Released { held, reason, question }) => (Decision::Approved(held), Some(reason), Some(question)),
                Err(pending) => (Decision::Asks(pending), None, None),
            },
            decision => (decision, None, None),
        };
        let decision = match (decision, about) {
            (Decision::Approved(approved), About::Again(earlier)) => approved.instead_of(earlier),
            (decision, _) => decision,
        };
        let (outcome, denial, job_id) = match &decision {
            Decision::Approved(approved) => (Outcome::Allow, reason.as_ref(), Some(approved.id().to_string())),
            Decision::Asks(pending) => (Outcome::Ask, Some(pending.reason()), None),
            Decision::Denied(denial) => (Outcome::Deny, Some(denial), None),
        };
        self.record(&Decided {
            subject: about.subject(),
            job_id: about.job_id().or(job_id),
            principal: principal.as_str(),
            client: &client,
            sent: &sent,
            request: Some(recorded),
            runs: Some(&shown),
            outcome,
            denial,
            question,
            set: chain.digest(),
            trail: &trail,
        })
        .map_err(Refused::Denied)?;
        match decision {
            Decision::Approved(approved) => {
                let yes = question.map(|question| Yes { question, set: chain.digest() });
                Ok(Judged { approved: *approved, trail, yes })
            }
            Decision::Asks(pending) => {
                let (reason, form) = (pending.reason(), pending.form());
                let sent = is_rewritten(&trail).then(|| printable(&source));
                let seen = seen_command(chain, sent, pending.approved(), manner).await;
                let what = What { subject: Subject::Command, job_id: None, runs: shown, seen };
                let question = Question::new(what, (&principal, &*client), reason, &trail, form);
                Err(Refused::Asks(Box::new(question)))
            }
            Decision::Denied(denial) => Err(Refused::Denied(denial)),
        }
    }

    /// What a person's yes releases, whether it came with this or stands from before.
    /// A yes to a script, `whole`, is one to its programs.
    fn released<T>(
        &self,
        pending: Pending<T>,
        principal: &Principal,
        consent: Option<&Consent>,
        whole: Option<Uuid>,
    ) -> Result<Released<T>, Pending<T>> {
        let (reason, form) = (pending.reason().clone(), pending.form());
        if let Some(question) = whole {
            return Ok(Released { held: pending.release_as_part(), reason, question });
        }
        let Some(consent) = consent.copied().filter(|consent| consent.form == form).or_else(|| self.standing.of(principal, form))
        else {
            return Err(pending);
        };
        pending.release(&consent).map(|held| Released { held, reason, question: consent.question })
    }

    /// The job of this id, if it is this principal's.
    pub fn job(&self, of: &Principal, id: Uuid) -> Option<Arc<Job>> {
        self.registry.find(of, JobId(id))
    }

    /// All jobs of a principal, newest first.
    pub fn jobs(&self, of: &Principal) -> Vec<Arc<Job>> {
        self.registry.list(of)
    }

    /// How long a job may run at most; none: for ever.
    pub fn longest_run(&self) -> Option<Duration> {
        self.jobs.timeout
    }

    /// How long a job that has ended is remembered at most.
    pub fn keeps_for(&self) -> Duration {
        self.jobs.keep_for
    }

    /// The jobs of a principal that wait, and how many have their turn before each: see [`Registry::waiting`].
    pub fn waiting(&self, of: &Principal) -> HashMap<JobId, usize> {
        self.registry.waiting(of)
    }

    /// The same of one job; 0 if it does not wait.
    pub fn queued_before(&self, job: &Job) -> usize {
        self.waiting(job.owner()).remove(&job.id()).unwrap_or_default()
    }

    /// Writes to a job: judge, record, write, wait for the answer.
    pub async fn write(&self, job: &Arc<Job>, input: Input, client: &Client) -> Result<Answered, InputRefused> {
        let Ok(turn) = job.input_turn().await else { return Err(InputRefused::NotWritten(WriteError::Closed)) };
        let from = job.end_of_output();
        if !input.data.is_empty() {
            self.write_judged(job, input.data, input.then, input.consent.as_ref(), &bounded(client)).await?;
        }
        match input.then {
            Then::Nothing => {}
            Then::Close => job.close_input().map_err(InputRefused::NotWritten)?,
            Then::Signal(signal) => job.signal(signal).map_err(InputRefused::NotTold)?,
        }
        drop(turn);
        let met = job.wait(&input.until, from, input.longest).await.unwrap_or(Met::TimeUp);
        Ok(Answered { from, met })
    }

    /// Makes what was read of a job fit to be shown: what is to be `tidy` passes the policies that apply to reads.
    pub async fn present(&self, job: &Job, mut reading: Reading, tidy: bool) -> Reading {
        if !tidy {
            return reading;
        }
        let chain = self.chain().await;
        for (excerpt, kind) in [(&mut reading.stdout, StreamKind::Stdout), (&mut reading.stderr, StreamKind::Stderr)] {
            for part in &mut excerpt.parts {
                if let Part::Bytes(bytes) = part {
                    *bytes = chain.tidy(job.contract(), kind, bytes).await;
                }
            }
        }
        reading
    }

    /// A job's command; of an earlier server's it passes the filters of today too.
    pub async fn shown(&self, job: &Job) -> String {
        if job.contract().is_some() { job.shown().to_owned() } else { self.scrub(job.shown()).await }
    }

    /// Stops a job and waits until it is final.
    pub async fn stop(&self, job: &Job, stop: Stop) -> Status {
        job.stop(stop);
        job.ended().await
    }

    /// Stops all jobs, and waits until their ends are recorded.
    pub async fn shut_down(&self) {
        self.registry.shut_down().await;
        self.recorders.close();
        self.recorders.wait().await;
        tokio::task::block_in_place(|| self.registry.close_history());
    }

    /// Passes a text that goes to a client or a log through the output policies.
    pub async fn scrub(&self, text: &str) -> String {
        self.chain().await.scrub(text).await
    }

    async fn refuse_unparsed(
        &self,
        chain: &Chain,
        command: &Command,
        client: &Client,
        timeout: Option<Duration>,
        denial: Denial,
        about: About<'_>,
    ) -> Refused {
        let denial = Denial { message: chain.scrub(&denial.message).await, ..denial };
        let (excerpt, is_cut) = excerpt(command);
        let env = names(&variables(&self.jobs));
        let timeout = timeout.into_iter().chain(self.jobs.timeout).min();
        let cwd = self.jobs.cwd.to_string_lossy();
        let Sent { shown: sent, mut request } = Sent::new(chain, &excerpt, &cwd, env, timeout, client).await;
        if is_cut {
            request.altered = Some(Altered::Cut);
        }
        let recorded = self.record(&Decided {
            subject: about.subject(),
            job_id: about.job_id(),
            principal: &client.principal,
            client: &chain.scrub(&client.name).await,
            sent: &sent,
            request: Some(request),
            runs: None,
            outcome: Outcome::Deny,
            denial: Some(&denial),
            question: None,
            set: chain.digest(),
            trail: &[],
        });
        Refused::Denied(recorded.err().unwrap_or(denial))
    }

    /// A denial that says so if the record could not be kept.
    fn record(&self, decided: &Decided<'_>) -> Result<(), Denial> {
        tokio::task::block_in_place(|| self.audit.decided(decided)).map_err(unavailable)
    }

    async fn spawn(self: &Arc<Self>, approved: Approved, later: Later, order: Order) -> Result<Arc<Job>, Refused> {
        let id = approved.id().to_string();
        let job = match self.registry.submit(approved, order, Arc::new(later)).await {
            Ok(job) => job,
            Err(error) => return Err(self.refuse_start(&id, &error).await),
        };
        let (service, started) = (self.clone(), job.clone());
        self.recorders.spawn(async move { service.record_end(&started).await });
        Ok(job)
    }

    async fn refuse_start(&self, id: &str, error: &SpawnError) -> Refused {
        let text = self.scrub(&error.to_string()).await;
        self.record_not_started(id, &text);
        Refused::NotStarted(text)
    }

    /// Waits for a job's end and records it.
    async fn record_end(&self, job: &Job) {
        let status = job.ended().await;
        let fault = match &status.fault {
            Some(fault) => Some(self.scrub(fault).await),
            None => None,
        };
        if let Some(fault) = fault.as_deref().filter(|_| status.started.is_none()) {
            self.record_not_started(&job.id().to_string(), fault);
        }
        if let Err(error) = tokio::task::block_in_place(|| self.audit.ended(job, &status, fault.as_deref())) {
            tracing::error!(%error, "the end of a job is not recorded");
        }
        self.registry.record(job, fault.as_deref());
    }

    fn record_not_started(&self, id: &str, text: &str) {
        if let Err(error) = tokio::task::block_in_place(|| self.audit.not_started(id, text)) {
            tracing::error!(%error, "that an approved command did not start is not recorded");
        }
    }

    async fn write_judged(
        &self,
        job: &Job,
        data: Vec<u8>,
        then: Then,
        consent: Option<&Consent>,
        client: &Client,
    ) -> Result<(), InputRefused> {
        let Some(contract) = job.contract() else { return Err(InputRefused::NotWritten(WriteError::Closed)) };
        let principal = Principal::named(&client.principal);
        // With what was sent before on the same line, or a secret could be recorded in two halves.
        let pending = job.pending_input();
        let chain = self.chain().await;
        let sent = chain.scrub(&String::from_utf8_lossy(&[pending.as_slice(), &data].concat())).await;
        let source = data.clone();
        let InputJudgement { decision, trail } = if data.len() > MOST_INPUT_BYTES {
            let message = format!("the input has {} bytes; at most {MOST_INPUT_BYTES} can be sent at once", data.len());
            InputJudgement { decision: InputDecision::Denied(Denial::by_host("too-long", message)), trail: Vec::new() }
        } else {
            chain.decide_input(contract, &pending, data).await
        };
        let (decision, reason, question) = match decision {
            InputDecision::Asks(pending) => match self.released(pending.shown_with(&then.told()), &principal, consent, None) {
                Ok(Released { held, reason, question }) => (InputDecision::Approved(held), Some(reason), Some(question)),
                Err(pending) => (InputDecision::Asks(pending), None, None),
            },
            decision => (decision, None, None),
        };
        let (outcome, denial, bytes) = match &decision {
            InputDecision::Approved(input) => (Outcome::Allow, reason.as_ref(), Some(input.bytes())),
            InputDecision::Asks(pending) => (Outcome::Ask, Some(pending.reason()), Some(pending.bytes())),
            InputDecision::Denied(denial) => (Outcome::Deny, Some(denial), None),
        };
        let written = |bytes: &[u8]| String::from_utf8_lossy(&[pending.as_slice(), bytes].concat()).into_owned();
        let runs = match bytes.map(written) {
            Some(written) => Some(chain.scrub(&written).await),
            None => None,
        };
        let client = chain.scrub(&client.name).await;
        self.record(&Decided {
            subject: Subject::Input,
            job_id: Some(job.id().to_string()),
            principal: principal.as_str(),
            client: &client,
            sent: last_part(&sent),
            request: None,
            runs: runs.as_deref().map(last_part),
            outcome,
            denial,
            question,
            set: chain.digest(),
            trail: &trail,
        })
        .map_err(InputRefused::Denied)?;
        match decision {
            InputDecision::Approved(approved) => job.write(approved).await.map_err(InputRefused::NotWritten),
            InputDecision::Asks(asking) => {
                let (runs, reason, form) = (runs.unwrap_or_default(), asking.reason(), asking.form());
                let sent = is_rewritten(&trail).then_some(source);
                let seen = seen_input(job, sent, &pending, asking.bytes(), &runs, then);
                let what = What { subject: Subject::Input, job_id: Some(job.id().to_string()), runs, seen };
                let question = Question::new(what, (&principal, &*client), reason, &trail, form);
                Err(InputRefused::Asks(Box::new(question)))
            }
            InputDecision::Denied(denial) => Err(InputRefused::Denied(denial)),
        }
    }
}

/// What a decision is about.
#[derive(Clone, Copy)]
enum About<'a> {
    /// A command that came in.
    Command,
    /// The same command once more, and what was decided before it had to wait.
    Again(&'a Approved),
    /// A program that the script of this job is about to start.
    Program {
        /// The job.
        job: &'a types::Job,
        /// What a person said yes to, if that was what approved the script.
        yes: Option<Yes>,
    },
}

impl About<'_> {
    fn subject(self) -> Subject {
        match self {
            Self::Command | Self::Again(_) => Subject::Command,
            Self::Program { .. } => Subject::Start,
        }
    }

    /// The job it is about, if there is one already.
    fn job_id(self) -> Option<String> {
        match self {
            Self::Command | Self::Again(_) => None,
            Self::Program { job, .. } => Some(job.id.clone()),
        }
    }

    /// The question that a person said yes to when these policies judged the whole script.
    fn yes(self, chain: &Chain) -> Option<Uuid> {
        match self {
            Self::Command | Self::Again(_) => None,
            Self::Program { yes, .. } => yes.filter(|yes| yes.set == chain.digest()).map(|yes| yes.question),
        }
    }
}

/// What a person reads of a command, if they can be shown all of it.
async fn seen_command(chain: &Chain, sent: Option<String>, approved: &Approved, manner: &str) -> Option<Seen> {
    let cwd = printable_bytes(approved.request().cwd.as_os_str().as_bytes());
    // Its owner's choice, or a policy's.
    let is_shown = chain.filter(&cwd).await == cwd;
    let runs = approved.open().filter(|_| is_shown)?.to_string();
    Some(Seen { sent, runs, place: format!("{manner}, in {cwd}") })
}

/// What a person reads of input, if they can be shown all of it. `sent` is what the policies rewrote; `filtered`, what the output
/// policies make of it and of what came before on the same line, which could have been rewritten too.
fn seen_input(job: &Job, sent: Option<Vec<u8>>, pending: &[u8], bytes: &[u8], filtered: &str, then: Then) -> Option<Seen> {
    let whole = [pending, bytes].concat();
    let is_as_sent = sent.is_none() && pending.is_empty();
    let is_shown = is_as_sent || filtered == printable(&String::from_utf8_lossy(&whole));
    let command = job.open().filter(|_| is_shown)?;
    let place = format!("to the job {}: {command}{}", job.id(), then.told());
    Some(Seen { sent: sent.map(|sent| printable_bytes(&sent)), runs: printable_bytes(&whole), place })
}

/// What a person is shown of a command's streams: programs do more at a terminal, and what reads input can be told more.
fn manner(streams: Streams) -> &'static str {
    match streams {
        Streams::Terminal(_) => "at a terminal",
        Streams::Pipes(Stdin::Pipe) => "with its input open",
        Streams::Pipes(Stdin::Null) => "without input",
    }
}

/// What is said where the record can not be kept.
fn unavailable(error: AuditError) -> Denial {
    tracing::error!(%error, "nothing is started while decisions can not be recorded");
    Denial::by_host("audit-unavailable", format!("{error}; nothing is done that can not be recorded"))
}

/// What is recorded of what came in.
struct Sent {
    /// The text as a person reads it.
    shown: String,
    /// All that is needed to judge it again.
    request: audit::Request,
}

impl Sent {
    async fn of(chain: &Chain, request: &Request) -> Self {
        let cwd = request.cwd.to_string_lossy();
        Self::new(chain, request.script.source(), &cwd, names(&request.env), request.timeout, &request.client).await
    }

    async fn new(chain: &Chain, text: &str, cwd: &str, env: Vec<String>, timeout: Option<Duration>, client: &Client) -> Self {
        let (script, directory) = (chain.filter(text).await, chain.filter(cwd).await);
        let is_masked = script != text || directory != cwd;
        let shown = printable(&script);
        let request = audit::Request {
            script: (script != shown).then_some(script),
            altered: is_masked.then_some(Altered::Masked),
            cwd: directory,
            env,
            timeout_ms: timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            client_version: chain.scrub(&client.version).await,
        };
        Self { shown, request }
    }
}

/// Judges a command and does nothing else: no record, no start. What is refused before any policy saw it has no judgement.
pub async fn check(chain: &Chain, config: &Config, command: &Command, client: &Client) -> Result<(Script, Judgement), Denial> {
    match parse(chain, command, &site(config), &config.jobs.cwd).await {
        Ok((script, cwd)) => {
            let judgement = chain.decide(request(script.clone(), cwd, &config.jobs, bounded(client))).await;
            Ok((script, judgement))
        }
        Err(denial) => Err(Denial { message: chain.scrub(&denial.message).await, ..denial }),
    }
}

/// The script, and the directory it was resolved in, which is where it will start.
async fn parse(chain: &Chain, command: &Command, site: &Site, cwd: &Path) -> Result<(Script, Directory), Denial> {
    let refused = |refusal: Refusal| Denial::by_host(&refusal.code, refusal.message);
    let cwd = site.directory(cwd).map_err(refused)?;
    let (source, tree) = match command {
        Command::Text(text) => {
            check_text(text).map_err(refused)?;
            (text.clone(), chain.parser().parse(text).await.map_err(refused)?)
        }
        Command::Words(words) => {
            let tree = tree_of_words(words).map_err(refused)?;
            (source_of(&tree), tree)
        }
    };
    let script = tokio::task::block_in_place(|| Script::new(source, tree, site, &cwd)).map_err(refused)?;
    Ok((script, cwd))
}

fn request(script: Script, cwd: Directory, jobs: &config::Jobs, client: Client) -> Request {
    Request { script, cwd, env: variables(jobs), timeout: jobs.timeout, client }
}

/// The configured variables, and what keeps git from looking for a repository above the roots.
fn variables(jobs: &config::Jobs) -> Vec<(String, String)> {
    const CEILING: &str = "GIT_CEILING_DIRECTORIES";
    let above = jobs.roots.iter().filter_map(|root| root.parent()?.to_str());
    let ceiling = above.collect::<Vec<_>>().join(":");
    let configured = jobs.env.iter().filter(|(name, _)| name != CEILING).cloned();
    configured.chain([(CEILING.to_owned(), ceiling)]).collect()
}

/// The end of a filtered text, for the record: many small inputs on one long line would else make it grow without measure.
fn last_part(text: &str) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(MOST_EXCERPT_BYTES))..]
}

fn names(variables: &[(String, String)]) -> Vec<String> {
    variables.iter().map(|(name, _)| name.clone()).collect()
}

/// The beginning of a command that could not be parsed, for the record, and whether it is less than what came.
fn excerpt(command: &Command) -> (String, bool) {
    let (mut text, is_text) = match command {
        Command::Text(text) => (text.clone(), true),
        Command::Words(words) => {
            let shown = words.iter().map(|word| portcullis_shell::quote(&word.to_string_lossy()));
            (shown.collect::<Vec<_>>().join(" "), words.iter().all(|word| word.to_str().is_some()))
        }
    };
    let whole = text.len();
    text.truncate(text.floor_char_boundary(MOST_EXCERPT_BYTES));
    let is_cut = !is_text || text.len() < whole;
    (text, is_cut)
}

fn bounded(client: &Client) -> Client {
    let cut = |text: &str| text[..text.floor_char_boundary(MOST_CLIENT_BYTES)].to_owned();
    Client { principal: client.principal.clone(), name: cut(&client.name), version: cut(&client.version) }
}
