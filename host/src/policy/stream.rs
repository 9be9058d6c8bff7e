//! Output on its way through the filters: the only maker of [`Chunk`]s.
//!
//! A filter with triggers sees a line from the first trigger in it to its end, in pieces of at most 64 KiB. What stands before a
//! trigger is passed on natively, at once, but for a suffix that may become a trigger, or the beginning of one that an escape
//! parts. So what a filter is called with depends on the bytes alone, and filtered output is the same however a stream was cut and
//! paced on its way.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::{Store, component::ResourceAny};

use super::{
    bindings::{
        output::{self, Action, Boundary, Emission, StreamKind},
        types,
    },
    decision::valid_code,
    findings::Findings,
    limits::{Fault, Guest},
    load::Policy,
    log_sink::Line,
    piece::{PIECE_BYTES, Piece},
    triggers::Triggers,
};
use crate::config::{Apply, OnFault};

/// Most bytes a filter may hold back.
const MOST_HELD_BYTES: usize = 64 * 1024;
/// Most bytes a filter may put in the place of a piece: a flood would be a policy that makes much of little.
const MOST_REPLACEMENT_BYTES: usize = 256 * 1024;
/// How many times what it was given a filter may put out over a whole stream, beyond one replacement: a flood in many small floods.
const MOST_GROWTH: u64 = 64;
/// Most findings of one piece.
const MOST_FINDINGS: usize = 64;
/// How much of the same line a filter is shown from before its piece.
const CONTEXT_BYTES: usize = 16;

/// Bytes that every output policy has passed. Made here alone; what buffers and sends output takes nothing else. A clone is the
/// same memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk(Bytes);

impl Chunk {
    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

/// The output policies in their order, for making streams' filters.
#[derive(Clone, Default)]
pub(super) struct Filters(pub(super) Arc<[Arc<Policy>]>);

impl Filters {
    /// Those policies that filter output, and filter this.
    pub(super) fn of(policies: &[Arc<Policy>], apply: Apply) -> Self {
        let filters = |policy: &&Arc<Policy>| policy.hooks.output.is_some() && policy.apply == apply;
        Self(policies.iter().filter(filters).cloned().collect())
    }

    /// The filter of one stream of a job.
    pub(super) fn open(&self, job: Option<&Arc<types::Job>>, kind: StreamKind, findings: &Arc<Findings>) -> OutputFilter {
        let mut stages = self.stages(job, kind);
        stages.0.iter_mut().for_each(|stage| stage.findings = Some(findings.clone()));
        OutputFilter { stages, filters: self.clone() }
    }

    fn stages(&self, job: Option<&Arc<types::Job>>, kind: StreamKind) -> Stages {
        let stage = |policy: &Arc<Policy>| Stage::new(policy.clone(), job.cloned(), kind);
        Stages(self.0.iter().map(stage).collect())
    }

    /// Passes bytes of a job's output that were kept through these filters and then through `last`. Others get their turn after
    /// each piece: a call may read much.
    pub(super) async fn pass(&self, job: Option<&Arc<types::Job>>, kind: StreamKind, bytes: &[u8], last: &Self) -> Vec<u8> {
        let (mut notes, mut out) = (Vec::new(), Vec::new());
        let Stages(mut stages) = self.stages(job, kind);
        stages.extend(last.stages(job, kind).0);
        let mut stages = Stages(stages);
        for piece in bytes.chunks(PIECE_BYTES) {
            out.extend_from_slice(stages.run(Piece::from(piece.to_vec()), Pace::Flowing, &mut notes).await.bytes());
            tokio::task::yield_now().await;
        }
        out.extend_from_slice(stages.run(Piece::from(Vec::new()), Pace::Ended, &mut notes).await.bytes());
        last.emit(notes).await;
        out
    }

    /// Passes a text through all filters, as if it were a stream of its own.
    pub(super) async fn scrub(&self, text: &str) -> String {
        // What filters log about a log line is not logged: it could go on for ever.
        let mut notes = Vec::new();
        let text = Piece::from(text.as_bytes().to_vec());
        let passed = self.stages(None, StreamKind::Text).run(text, Pace::Ended, &mut notes).await;
        String::from_utf8_lossy(passed.bytes()).into_owned()
    }

    /// Writes a policy's lines to the host's log, filtered.
    pub(super) async fn emit(&self, notes: Vec<Note>) {
        for Note { policy, line } in notes {
            let text = printable(&self.scrub(&line.text).await);
            match line.level {
                super::bindings::log::Level::Debug => tracing::debug!(%policy, "{text}"),
                super::bindings::log::Level::Info => tracing::info!(%policy, "{text}"),
                super::bindings::log::Level::Warn => tracing::warn!(%policy, "{text}"),
                super::bindings::log::Level::Error => tracing::error!(%policy, "{text}"),
            }
        }
    }
}

/// A text with the characters that can not be seen, or make others look like something else, shown as escapes.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_hidden(*c)) {
        shown.push_str(&rest[..at]);
        shown.extend(c.escape_default());
        rest = &rest[at + c.len_utf8()..];
    }
    shown + rest
}

/// [`printable`] of bytes; those that are no text are escapes too.
pub fn printable_bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        shown.push_str(&printable(chunk.valid()));
        shown.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    shown
}

/// Whether a character is one of those: a control character; one that changes the direction of text; one that programs show as
/// nothing (Unicode's `Default_Ignorable_Code_Point`, controls of hieroglyphs, fillers, an empty note and the empty pattern of
/// braille); or a blank other than the plain one (`Zs`).
pub fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || matches!(c,
            '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{1680}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{2800}'
            | '\u{3000}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{13430}'..='\u{1345f}' | '\u{16fe4}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
        )
}

/// A line that a policy logged.
pub(super) struct Note {
    pub(super) policy: String,
    pub(super) line: Line,
}

/// The filter of one stream of one job: all output policies, one instance of each.
pub struct OutputFilter {
    stages: Stages,
    filters: Filters,
}

impl OutputFilter {
    /// Filters the next bytes of the stream. The chunk may be empty, and may hold bytes of earlier pushes.
    pub async fn push(&mut self, piece: Piece) -> Chunk {
        self.run(piece, Pace::Flowing).await
    }

    /// Whether a filter without triggers waits for the rest of a line, so that silence should be told.
    pub fn awaits_silence(&self) -> bool {
        self.stages.0.iter().any(Stage::awaits_silence)
    }

    /// Says that nothing came for a while.
    pub async fn silence(&mut self) -> Chunk {
        self.run(Piece::from(Vec::new()), Pace::Silent).await
    }

    /// Says that the stream has ended, and gives what was still held.
    pub async fn end(&mut self) -> Chunk {
        self.run(Piece::from(Vec::new()), Pace::Ended).await
    }

    /// Why the job is to be stopped: how a filter failed of a policy whose faults stop it.
    pub fn stopping_fault(&self) -> Option<&str> {
        let stops = |stage: &&Stage| stage.policy.on_fault == OnFault::StopJob;
        self.stages.0.iter().filter(stops).find_map(|stage| stage.failure.as_deref())
    }

    /// How a filter failed, if one did.
    pub fn failure(&self) -> Option<&str> {
        self.stages.0.iter().find_map(|stage| stage.failure.as_deref())
    }

    async fn run(&mut self, piece: Piece, pace: Pace) -> Chunk {
        let mut notes = Vec::new();
        let passed = self.stages.run(piece, pace, &mut notes).await;
        self.filters.emit(notes).await;
        Chunk(passed.into_bytes())
    }
}

/// What is known of the stream behind the bytes that came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Flowing,
    Silent,
    Ended,
}

/// The filters of one stream, one behind the other.
struct Stages(Vec<Stage>);

impl Stages {
    async fn run(&mut self, mut piece: Piece, pace: Pace, notes: &mut Vec<Note>) -> Piece {
        for stage in &mut self.0 {
            piece = stage.run_to(pace, piece, notes).await;
        }
        piece
    }
}

/// Whether a policy's filter takes a line within the limits, which is so for a policy that has none. One with triggers is shown the
/// first of them in front of the line, since it may count on there being one.
pub(super) async fn try_filter(policy: &Arc<Policy>, job: &Arc<types::Job>, line: &[u8]) -> Result<(), Fault> {
    if policy.hooks.output.is_none() {
        return Ok(());
    }
    let mut stage = Stage::new(policy.clone(), Some(job.clone()), StreamKind::Stdout);
    let trigger = policy.triggers.as_ref().and_then(Triggers::first).map_or(&[][..], |trigger| &trigger.text);
    stage.piece = [trigger, line].concat();
    stage.given = stage.piece.len() as u64;
    let action = Box::pin(stage.ask(Boundary::Line)).await?;
    stage.check(action, Boundary::Line).map(drop)
}

/// Where a stage is in its stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Passing bytes on until a trigger comes.
    Passing,
    /// Collecting a piece for the filter.
    Collecting,
    /// Withholding everything, since the filter failed or stopped the stream.
    Ended,
}

/// One policy's filter on one stream.
struct Stage {
    policy: Arc<Policy>,
    job: Option<Arc<types::Job>>,
    kind: StreamKind,
    /// Made when it is first needed: most streams hold no trigger.
    instance: Option<Instance>,
    state: State,
    /// A suffix that may be the beginning of a trigger.
    tail: Vec<u8>,
    /// The last bytes of the current line before `tail` or `piece`.
    before: Vec<u8>,
    /// What the filter held, and what came since.
    piece: Vec<u8>,
    held: usize,
    /// New bytes that the filter was given, and bytes that it put out.
    given: u64,
    put_out: u64,
    /// Where what it takes out is counted, if anywhere.
    findings: Option<Arc<Findings>>,
    /// Why it failed, once it has; hidden characters are escapes in it.
    failure: Option<String>,
}

/// A filter's instance.
struct Instance {
    store: Store<Guest>,
    hook: output::Guest,
    filter: ResourceAny,
}

impl Stage {
    fn new(policy: Arc<Policy>, job: Option<Arc<types::Job>>, kind: StreamKind) -> Self {
        let mut stage = Self {
            policy,
            job,
            kind,
            instance: None,
            state: State::Passing,
            tail: Vec::new(),
            before: Vec::new(),
            piece: Vec::new(),
            held: 0,
            given: 0,
            put_out: 0,
            findings: None,
            failure: None,
        };
        stage.state = stage.between_lines();
        stage
    }

    fn sees_everything(&self) -> bool {
        self.policy.triggers.as_ref().is_none_or(Triggers::is_empty)
    }

    fn between_lines(&self) -> State {
        if self.sees_everything() || self.held > 0 { State::Collecting } else { State::Passing }
    }

    async fn run_to(&mut self, pace: Pace, piece: Piece, notes: &mut Vec<Note>) -> Piece {
        let passed = self.push(piece, notes).await;
        if pace == Pace::Flowing {
            return passed;
        }
        let mut out = passed.bytes().to_vec();
        match pace {
            Pace::Flowing => {}
            Pace::Silent => self.silence(&mut out, notes).await,
            Pace::Ended => self.end(&mut out, notes).await,
        }
        Piece::from(out)
    }

    /// Filters a piece. It is copied only if there is something in it for the filter.
    async fn push(&mut self, mut piece: Piece, notes: &mut Vec<Note>) -> Piece {
        piece.prepend(&std::mem::take(&mut self.tail));
        let passed = if self.state == State::Passing { self.pass(piece.bytes()) } else { 0 };
        if self.state == State::Passing {
            piece.truncate(passed);
            return piece;
        }
        let (head, rest) = piece.bytes().split_at(passed);
        let mut out = head.to_vec();
        self.run(rest, &mut out, notes).await;
        Piece::from(out)
    }

    async fn run(&mut self, bytes: &[u8], out: &mut Vec<u8>, notes: &mut Vec<Note>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.state {
                State::Ended => return,
                State::Collecting => {
                    let taken = self.collect(rest, out, notes).await;
                    rest = &rest[taken..];
                }
                State::Passing => {
                    let (passed, behind) = rest.split_at(self.pass(rest));
                    out.extend_from_slice(passed);
                    if self.state == State::Passing {
                        return;
                    }
                    rest = behind;
                }
            }
        }
    }

    /// How many of the bytes do not interest the filter. If a trigger stands behind them, collecting begins; else the rest may
    /// become one, and is kept back. So is the beginning of one that an escape parts, as what sets colours does.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let Some(triggers) = &self.policy.triggers else { return 0 };
        let unfinished = triggers.unfinished_from(bytes);
        // A trigger that is there counts only if none that may yet be completed begins before it.
        let found = triggers.find(bytes).filter(|found| *found <= unfinished);
        let passed = triggers.parted_from(bytes, found.unwrap_or(unfinished));
        match found {
            Some(_) => self.state = State::Collecting,
            None => self.tail.extend_from_slice(&bytes[passed..]),
        }
        remember_context(&mut self.before, &bytes[..passed]);
        passed
    }

    /// Takes bytes into the piece up to its end; gives the filter the piece if that was reached. Says how many bytes it took.
    async fn collect(&mut self, bytes: &[u8], out: &mut Vec<u8>, notes: &mut Vec<Note>) -> usize {
        let room = PIECE_BYTES - (self.piece.len() - self.held);
        let within = &bytes[..bytes.len().min(room)];
        let (taken, boundary) = match memchr::memchr(b'\n', within) {
            Some(newline) => (newline + 1, Some(Boundary::Line)),
            None => (within.len(), (within.len() == room).then_some(Boundary::Cut)),
        };
        self.piece.extend_from_slice(&bytes[..taken]);
        if let Some(boundary) = boundary {
            self.give(boundary, out, notes).await;
        }
        taken
    }

    fn awaits_silence(&self) -> bool {
        self.state == State::Collecting && self.sees_everything() && self.piece.len() > self.held
    }

    async fn silence(&mut self, out: &mut Vec<u8>, notes: &mut Vec<Note>) {
        if self.awaits_silence() {
            self.give(Boundary::Silence, out, notes).await;
        }
    }

    async fn end(&mut self, out: &mut Vec<u8>, notes: &mut Vec<Note>) {
        match self.state {
            State::Passing => out.append(&mut self.tail),
            State::Collecting if !self.piece.is_empty() || self.instance.is_some() => self.give(Boundary::End, out, notes).await,
            State::Collecting | State::Ended => {}
        }
        self.state = State::Ended;
    }

    /// Gives the filter its piece and does what it says.
    async fn give(&mut self, boundary: Boundary, out: &mut Vec<u8>, notes: &mut Vec<Note>) {
        // Boxed, since the types of what calls this would else nest too deep for the compiler.
        self.given += (self.piece.len() - self.held) as u64;
        let action = Box::pin(self.ask(boundary)).await.and_then(|action| self.check(action, boundary));
        if let Some(instance) = &mut self.instance {
            let lines = instance.store.data_mut().take_log();
            notes.extend(lines.into_iter().map(|line| Note { policy: self.policy.name.clone(), line }));
        }
        match action {
            Ok(action) => self.act(action, boundary, out),
            Err(fault) => {
                tracing::warn!(policy = self.policy.name, %fault, "output withheld");
                let text = format!("policy \"{}\" {}", self.policy.name, printable(&fault.to_string()));
                self.withhold(&format!("output withheld: {text}"), out);
                self.failure = Some(text);
            }
        }
    }

    fn check(&mut self, action: Action, boundary: Boundary) -> Result<Action, Fault> {
        let bad = |what: String| Err(Fault::BadAnswer(format!("it would {what}")));
        let hold = action.hold as usize;
        let most = if boundary == Boundary::End { 0 } else { self.piece.len().min(MOST_HELD_BYTES) };
        if hold > most {
            return bad(format!("hold {hold} bytes where at most {most} can be held"));
        }
        if let Emission::Replace(bytes) = &action.emit {
            self.put_out += bytes.len() as u64;
            if bytes.len() > MOST_REPLACEMENT_BYTES {
                let length = bytes.len();
                return bad(format!("put {length} bytes in the place of a piece; at most {MOST_REPLACEMENT_BYTES} are allowed"));
            }
        }
        if self.put_out > MOST_REPLACEMENT_BYTES as u64 + MOST_GROWTH * self.given {
            return bad(format!(
                "make {} bytes of {}; at most {MOST_GROWTH} times as many are allowed",
                self.put_out, self.given
            ));
        }
        if action.findings.len() > MOST_FINDINGS {
            return bad(format!("name {} findings of one piece; at most {MOST_FINDINGS} are allowed", action.findings.len()));
        }
        match action.findings.iter().all(|found| valid_code(&found.kind).is_some()) {
            true => Ok(action),
            false => bad("count something by a name that is not 1 to 64 of a-z, 0-9 and -".to_owned()),
        }
    }

    fn act(&mut self, action: Action, boundary: Boundary, out: &mut Vec<u8>) {
        if let Some(counts) = &self.findings {
            action.findings.iter().for_each(|found| counts.add(&found.kind, found.count));
        }
        let judged = self.piece.len() - action.hold as usize;
        match action.emit {
            Emission::Pass => out.extend_from_slice(&self.piece[..judged]),
            Emission::Replace(bytes) => out.extend_from_slice(&bytes),
            Emission::Drop => {}
            Emission::Stop(reason) => {
                let code = valid_code(&reason.code).unwrap_or("no-valid-code");
                return self.withhold(&format!("output stopped by policy \"{}\": {code}", self.policy.name), out);
            }
        }
        remember_context(&mut self.before, &self.piece[..judged]);
        self.piece.drain(..judged);
        self.held = self.piece.len();
        if boundary == Boundary::Line {
            self.state = if action.engaged { State::Collecting } else { self.between_lines() };
        }
    }

    /// Ends the stream behind a marker.
    fn withhold(&mut self, why: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("\n[portcullis: {why}]\n").as_bytes());
        self.state = State::Ended;
        self.piece = Vec::new();
        self.instance = None;
    }

    async fn ask(&mut self, boundary: Boundary) -> Result<Action, Fault> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => instantiate(&self.policy.clone(), self.job.clone(), self.kind).await?,
        };
        let (hook, filter, before, piece) = (&instance.hook, instance.filter, &self.before, &self.piece);
        let action = self
            .policy
            .engine()
            .bounded(&mut instance.store, async |store| hook.filter().call_push(store, filter, before, piece, boundary).await)
            .await;
        self.instance = Some(instance);
        action
    }
}

/// Makes a filter's instance for one stream.
async fn instantiate(policy: &Policy, job: Option<Arc<types::Job>>, kind: StreamKind) -> Result<Instance, Fault> {
    let Some(hook) = &policy.hooks.output else {
        return Err(Fault::BadAnswer("it has no output hook".to_owned()));
    };
    let (mut store, instance) = policy.instantiate().await?;
    let (hook, filter) = policy
        .engine()
        .bounded(&mut store, async |store| {
            let hook = hook.load(&mut *store, &instance)?;
            let filter = hook.filter().call_constructor(store, job.as_deref(), kind).await?;
            Ok((hook, filter))
        })
        .await?;
    Ok(Instance { store, hook, filter })
}

/// Keeps the last bytes of the current line.
fn remember_context(context: &mut Vec<u8>, passed: &[u8]) {
    let recent = &passed[passed.len().saturating_sub(CONTEXT_BYTES)..];
    match memchr::memrchr(b'\n', recent) {
        Some(newline) => {
            context.clear();
            context.extend_from_slice(&recent[newline + 1..]);
        }
        None => {
            context.extend_from_slice(recent);
            context.drain(..context.len().saturating_sub(CONTEXT_BYTES));
        }
    }
}
