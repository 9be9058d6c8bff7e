//! A job as everybody but its own task sees it.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, OnceLock, Weak},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch};

use super::{
    ControlError, JobId, Signal, Size, State, Status, Stop, StreamName, WRITE_DEADLINE, WriteError,
    control::{Control, Wishes, control},
    history::Record,
    output::{Budget, Cursor, CursorError, Entry, Excerpt, Found, Output, Renewal, Search, Spill, View, missing},
    pump::Input,
    registry::Shelf,
    terminal::Terminal,
};
use crate::{
    digest::Digest,
    policy::{Approved, ApprovedInput, Chunk, Findings, OutputFilter, types},
    principal::Principal,
};

/// What was sent since the last newline is remembered up to this many bytes.
const MOST_PENDING_BYTES: usize = 64 * 1024;

/// A job: its status, its output, and the way to its input.
#[derive(Debug)]
pub struct Job {
    known: Known,
    status: watch::Receiver<Status>,
    output: Mutex<Output>,
    spill: Option<Spill>,
    /// Changes with every piece of output.
    grown: watch::Sender<()>,
    input: mpsc::Sender<Input>,
    /// Input is judged and written one at a time, or lines could be smuggled past the policies in turns.
    turn: Semaphore,
    pending: Mutex<Vec<u8>>,
    control: Control,
    /// The fault of a policy by which it was to be stopped.
    failure: OnceLock<String>,
    shelf: Weak<Shelf>,
}

/// What is known of a job from the beginning.
#[derive(Debug)]
struct Known {
    id: JobId,
    owner: Principal,
    shown: String,
    open: Option<Arc<str>>,
    group: Option<String>,
    /// None: it is a job of an earlier server.
    contract: Option<Arc<types::Job>>,
    findings: Arc<Findings>,
}

/// What the task of a new job holds of it.
pub(super) struct Reins {
    pub(super) status: watch::Sender<Status>,
    pub(super) input: mpsc::Receiver<Input>,
    pub(super) wishes: Wishes,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug)]
pub enum Beginning {
    /// At the first byte.
    First,
    /// Where an earlier reading ended.
    Cursor(Cursor),
    /// With what came at this time or later.
    Since(DateTime<Utc>),
    /// With the last lines of each stream; in the order of both streams there are no lines, and all is read.
    Lines(u64),
}

/// What was read.
#[derive(Debug, PartialEq)]
pub struct Reading {
    /// Of standard output.
    pub stdout: Excerpt,
    /// Of standard error.
    pub stderr: Excerpt,
    /// Of both in the order in which they came, with times.
    pub merged: Vec<(DateTime<Utc>, Entry)>,
    /// Where to go on.
    pub next: Cursor,
    /// Bytes that the streams which were read ever had.
    pub total: u64,
    /// Whether there is more: behind it, or, of the last lines, before it.
    pub is_cut: bool,
    /// The job's status before it was read: of a job that was final, this is all.
    pub status: Status,
}

impl Job {
    /// A job that is queued, and the reins of it.
    pub(super) fn new(
        approved: &Approved,
        group: Option<String>,
        output: Output,
        spill: Option<Spill>,
        shelf: Weak<Shelf>,
    ) -> (Arc<Self>, Reins) {
        let known = Known {
            id: JobId(approved.id()),
            owner: Principal::named(&approved.request().client.principal),
            shown: approved.shown().to_owned(),
            open: approved.open().cloned(),
            group,
            contract: Some(approved.job().clone()),
            findings: approved.findings().clone(),
        };
        let status = Status {
            state: State::Queued,
            pid: None,
            exit_code: None,
            signal: None,
            submitted: Utc::now(),
            started: None,
            ended: None,
            fault: None,
        };
        Self::with(known, status, output, spill, shelf)
    }

    /// A job of an earlier server. What it printed is gone but for what was spilled.
    pub(super) fn past(record: Record, spill: Spill, budget: Arc<Budget>) -> Arc<Self> {
        let Record {
            id,
            principal,
            command,
            group,
            state,
            exit_code,
            signal,
            submitted,
            started,
            ended,
            stdout_bytes,
            stderr_bytes,
            fault,
        } = record;
        let status = Status { state, pid: None, exit_code, signal, submitted, started, ended, fault };
        let total = |name, bytes: u64| bytes.max(spill.counted(name));
        let totals = (total(StreamName::Stdout, stdout_bytes), total(StreamName::Stderr, stderr_bytes));
        let output = Output::gone(totals.0, totals.1, budget);
        let known = Known { id, owner: principal, shown: command, open: None, group, contract: None, findings: Arc::default() };
        Self::with(known, status, output, Some(spill), Weak::new()).0
    }

    fn with(known: Known, status: Status, output: Output, spill: Option<Spill>, shelf: Weak<Shelf>) -> (Arc<Self>, Reins) {
        let (status, watched) = watch::channel(status);
        let (input, receiver) = mpsc::channel(1);
        let (control, wishes) = control();
        let job = Arc::new(Self {
            known,
            status: watched,
            output: Mutex::new(output),
            spill,
            grown: watch::Sender::new(()),
            input,
            turn: Semaphore::new(1),
            pending: Mutex::default(),
            control,
            failure: OnceLock::new(),
            shelf,
        });
        (job, Reins { status, input: receiver, wishes })
    }

    /// Stops it, for this reason, which is the fault of a policy.
    pub(super) fn fail(&self, failure: &str) {
        self.failure.get_or_init(|| failure.to_owned());
        self.stop(Stop::default());
    }

    /// The first fault by which it was to be stopped.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Its id.
    pub fn id(&self) -> JobId {
        self.known.id
    }

    /// Whose it is: who asked for it.
    pub fn owner(&self) -> &Principal {
        &self.known.owner
    }

    /// The canonical text of its command, filtered.
    pub fn shown(&self) -> &str {
        &self.known.shown
    }

    /// [`Approved::open`] of its command.
    pub fn open(&self) -> Option<&Arc<str>> {
        self.known.open.as_ref()
    }

    /// The group it runs in.
    pub fn group(&self) -> Option<&str> {
        self.known.group.as_deref()
    }

    /// The job as policies see it; none if it is one of an earlier server.
    pub fn contract(&self) -> Option<&Arc<types::Job>> {
        self.known.contract.as_ref()
    }

    /// What was taken out of its output, counted by kind while it runs; nothing is known of a job of an earlier server.
    pub fn findings(&self) -> &Findings {
        &self.known.findings
    }

    /// Its status now.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Tells when its status changes.
    pub fn changes(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Where it is on its way.
    pub fn state(&self) -> State {
        self.status.borrow().state
    }

    /// Whether it is final.
    pub fn is_final(&self) -> bool {
        self.status.borrow().state.is_final()
    }

    /// When it became final, if it has.
    pub fn ended_at(&self) -> Option<DateTime<Utc>> {
        self.status.borrow().ended
    }

    /// Waits until it is final.
    pub async fn ended(&self) -> Status {
        let mut status = self.status.clone();
        let ended = status.wait_for(|status| status.state.is_final()).await;
        ended.map_or_else(|_| self.status(), |status| status.clone())
    }

    /// Its output.
    pub fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().expect("no holder of this lock panics")
    }

    /// What an earlier server kept of it in files, if it is a job of one.
    pub fn left(&self) -> Option<&Spill> {
        self.spill.as_ref().filter(|_| self.known.contract.is_none())
    }

    /// [Renews](Spill::renew) what an earlier server kept of it.
    pub async fn renew(&self, renewal: Renewal, set: Digest, filter: impl Fn(StreamName) -> OutputFilter) -> io::Result<()> {
        let Some(left) = self.left() else { return Ok(()) };
        left.renew(renewal, set, filter, |name, before, now| self.output().replace_gone(name, before, now)).await
    }

    /// Tells when output comes.
    pub fn growth(&self) -> watch::Receiver<()> {
        self.grown.subscribe()
    }

    /// Where its output ends now.
    pub fn end_of_output(&self) -> Cursor {
        let output = self.output();
        let total = |name| output.track(name).total();
        Cursor::streams(self.known.id, View::Both, total(StreamName::Stdout), total(StreamName::Stderr))
    }

    /// Reads up to `most` bytes of each stream of a view, or of both together in their order.
    pub fn read(&self, view: View, from: Beginning, most: usize) -> Result<Reading, CursorError> {
        let status = self.status();
        match view {
            View::Merged => self.read_merged(&self.output(), from, most, status),
            View::Both | View::One(_) => self.read_streams(view, from, most, status),
        }
    }

    fn read_streams(&self, view: View, from: Beginning, most: usize, status: Status) -> Result<Reading, CursorError> {
        let (stdout, stderr) = match from {
            Beginning::Cursor(cursor) => cursor.in_streams(self.known.id, view, &self.output())?,
            Beginning::First | Beginning::Since(_) | Beginning::Lines(_) => (0, 0),
        };
        let [stdout, stderr] = [(StreamName::Stdout, stdout), (StreamName::Stderr, stderr)].map(|(name, cursor)| {
            if view.includes(name) {
                self.read_stream(name, cursor, from, most, status.state.is_final())
            } else {
                (Excerpt::default(), 0, false)
            }
        });
        let next = Cursor::streams(self.known.id, view, stdout.0.next, stderr.0.next);
        let (total, is_cut) = (stdout.1 + stderr.1, stdout.2 || stderr.2);
        Ok(Reading { stdout: stdout.0, stderr: stderr.0, merged: Vec::new(), next, total, is_cut, status })
    }

    /// A part of one stream, how many bytes that has in all, and whether the part was cut.
    fn read_stream(&self, name: StreamName, cursor: u64, from: Beginning, most: usize, is_over: bool) -> (Excerpt, u64, bool) {
        let output = self.output();
        let track = output.track(name);
        let wanted = match from {
            Beginning::First | Beginning::Cursor(_) => cursor,
            Beginning::Since(time) => track.since(output.stamp_of(time)),
            Beginning::Lines(lines) => track.tail_from(lines),
        };
        let total = track.total();
        let begin = match from {
            Beginning::Lines(_) => wanted.max(total.saturating_sub(most as u64)),
            Beginning::First | Beginning::Cursor(_) | Beginning::Since(_) => wanted,
        };
        let mut excerpt = track.read(begin, most);
        // Nobody waits for the disk.
        drop(output);
        if let Some(spill) = &self.spill {
            spill.fill(name, begin, &mut excerpt, most, matches!(from, Beginning::Lines(_)));
        }
        if let Beginning::Lines(lines) = from {
            if begin > wanted {
                excerpt.skip_to_character();
            }
            excerpt.keep_last_lines(lines);
        }
        let is_cut = excerpt.next < total;
        if is_cut || !is_over {
            excerpt.trim_to_character(is_cut);
        }
        let has_more_before = matches!(from, Beginning::Lines(_)) && excerpt.next > excerpt.len() as u64 + excerpt.dropped();
        (excerpt, total, is_cut || has_more_before)
    }

    fn read_merged(&self, output: &Output, from: Beginning, most: usize, status: Status) -> Result<Reading, CursorError> {
        let begin = match from {
            Beginning::First | Beginning::Lines(_) => 0,
            Beginning::Cursor(cursor) => cursor.in_merged(self.known.id, output)?,
            Beginning::Since(time) => output.merged_since(output.stamp_of(time)),
        };
        let (mut entries, mut next) = output.read_merged(begin, most);
        let (is_cut, is_only) = (next < output.total(), entries.len() == 1);
        if let Some(last) = entries.last_mut()
            && (is_cut || !status.state.is_final())
        {
            last.excerpt.trim_to_character(is_cut && is_only);
            next = last.excerpt.next;
        }
        // Of which nothing is left.
        entries.retain(|entry| !entry.excerpt.parts.is_empty());
        let merged = entries.into_iter().map(|entry| (output.time_of(entry.stamp), entry)).collect();
        let (stdout, stderr) = (Excerpt::default(), Excerpt::default());
        Ok(Reading { stdout, stderr, merged, next: Cursor::merged(self.known.id, next), total: output.total(), is_cut, status })
    }

    /// Searches what is kept of these streams, in memory and in files; takes as long as it takes, and holds up nobody.
    pub fn search(&self, view: View, search: &Search) -> Found {
        let mut found = Found::default();
        for name in StreamName::ALL.into_iter().filter(|name| view.includes(*name)) {
            let (blocks, total) = {
                let output = self.output();
                (output.track(name).blocks(), output.track(name).total())
            };
            let spill = self.spill.as_ref();
            found.dropped += missing(&blocks, total, spill.map_or(0, |spill| spill.readable(name)));
            let more = match spill {
                Some(spill) => search.run(name, spill.whole(name, blocks, total)),
                None => search.run(name, blocks.into_iter()),
            };
            found.add(more, search.limit);
        }
        found
    }

    /// Up to `most` bytes of a stream from a position on, for a pattern; fewer only if there are no more.
    pub(super) fn look(&self, name: StreamName, from: u64, most: usize) -> Excerpt {
        let mut excerpt = self.output().track(name).read(from, most);
        if let Some(spill) = &self.spill {
            spill.fill(name, from, &mut excerpt, most, false);
            // Behind the end of the file memory has more.
            excerpt.append(self.output().track(name).read(excerpt.next, most - excerpt.len()));
        }
        excerpt
    }

    /// Asks its task to stop it. Returns at once; can be called any number of times, and whoever asks again can but hasten the end.
    pub fn stop(&self, stop: Stop) {
        self.control.stop(stop);
    }

    /// Sends a signal, which it may handle, to what is in the foreground: INT and QUIT at a terminal to the group that reads from
    /// it, all else to the group of its leader. Returns at once.
    pub fn signal(&self, signal: Signal) -> Result<(), ControlError> {
        self.check_started()?;
        self.control.signal(signal)
    }

    /// Whether it runs at a terminal.
    pub fn has_terminal(&self) -> bool {
        self.control.terminal().is_some()
    }

    /// Changes the size of its terminal.
    pub fn resize(&self, size: Size) -> Result<(), ControlError> {
        self.check_started()?;
        self.control.resize(size)
    }

    fn check_started(&self) -> Result<(), ControlError> {
        if self.status.borrow().state == State::Queued { Err(ControlError::Queued) } else { Ok(()) }
    }

    /// Tells it of its terminal, if it was started at one.
    pub(super) fn started_at(&self, terminal: Option<&Arc<Terminal>>) {
        self.control.started_at(terminal);
    }

    /// Waits for the turn to send input; it lasts as long as the permit.
    pub async fn input_turn(&self) -> Result<SemaphorePermit<'_>, WriteError> {
        self.turn.acquire().await.map_err(|_| WriteError::Closed)
    }

    /// What was sent since the last newline.
    pub fn pending_input(&self) -> Vec<u8> {
        self.pending.lock().expect("no holder of this lock panics").clone()
    }

    /// Writes approved input, for as long as the job takes to read it but no longer than a few seconds.
    pub async fn write(&self, approved: ApprovedInput) -> Result<(), WriteError> {
        if let Some(terminal) = self.control.terminal() {
            terminal.admit(approved.bytes())?;
        }
        let (done, written) = oneshot::channel();
        let sent = approved.bytes().to_vec();
        self.send(Input::Write(approved, done))?;
        // What was not sent is no part of any line.
        self.remember_pending(&sent);
        match tokio::time::timeout(WRITE_DEADLINE, written).await {
            Ok(Ok(result)) => result.map_err(WriteError::Io),
            Ok(Err(_)) => Err(WriteError::Closed),
            Err(_) => Err(WriteError::NotReading),
        }
    }

    /// Ends its input. At a terminal that is control-D, and more can be sent afterwards.
    pub fn close_input(&self) -> Result<(), WriteError> {
        self.send(Input::Close)
    }

    fn send(&self, input: Input) -> Result<(), WriteError> {
        if self.status.borrow().state == State::Queued {
            return Err(WriteError::Queued);
        }
        self.input.try_send(input).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => WriteError::Busy,
            mpsc::error::TrySendError::Closed(_) => WriteError::Closed,
        })
    }

    fn remember_pending(&self, sent: &[u8]) {
        let mut pending = self.pending.lock().expect("no holder of this lock panics");
        match memchr::memrchr(b'\n', sent) {
            Some(newline) => *pending = sent[newline + 1..].to_vec(),
            None => pending.extend_from_slice(sent),
        }
        let surplus = pending.len().saturating_sub(MOST_PENDING_BYTES);
        pending.drain(..surplus);
    }

    /// Adds to its output. Where all jobs, or those of its owner, hold too much, finished ones are forgotten, and then this one
    /// gives up what is old.
    pub(super) fn keep(&self, name: StreamName, chunk: &Chunk) {
        if let Some(spill) = &self.spill {
            tokio::task::block_in_place(|| spill.push(name, chunk.bytes()));
        }
        let is_over = {
            let mut output = self.output();
            output.push(name, chunk.bytes());
            output.is_over_budget()
        };
        if is_over {
            if let Some(shelf) = self.shelf.upgrade() {
                shelf.make_room(self);
            }
            self.output().shrink_to_budget();
        }
        self.grown.send_replace(());
    }

    /// Says that no output comes any more.
    pub(super) fn close_output(&self) {
        self.output().close();
        if let Some(spill) = &self.spill {
            spill.close();
        }
    }

    /// How long it ran, or has run so far.
    pub fn duration(&self) -> Duration {
        let status = self.status.borrow();
        let ended = status.ended.unwrap_or_else(Utc::now);
        status.started.map_or(Duration::ZERO, |started| (ended - started).to_std().unwrap_or_default())
    }
}
