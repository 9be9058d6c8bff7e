//! What outlives the server: the record of each job, in a database, and its output, in files where that is wanted.
//!
//! SQLite, since several servers of one user share the database at a time, which embedded databases for one process do not allow,
//! and since anybody can look into it. A thread of its own writes; whoever starts a job never waits for the disk. Losing the
//! history stops nobody: it is a convenience, and the audit log the record.

mod database;
mod server;

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use database::Database;

use super::{
    Job, JobId, State, Status, StreamName,
    output::{Spill, is_abandoned},
};
use crate::principal::Principal;

/// Notes that may wait to be written; beyond, they are left out.
const MOST_WAITING: usize = 4096;

/// The record of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its id.
    pub id: JobId,
    /// Whose it was.
    pub principal: Principal,
    /// What it ran, filtered.
    pub command: String,
    /// The group it ran in.
    pub group: Option<String>,
    /// What came of it; a job whose server died is [`State::Lost`].
    pub state: State,
    /// Exit code, if it exited.
    pub exit_code: Option<i32>,
    /// Number of the signal that ended it, if one did.
    pub signal: Option<i32>,
    /// When it was asked for.
    pub submitted: DateTime<Utc>,
    /// When it was started.
    pub started: Option<DateTime<Utc>>,
    /// When it became final, or was found to be lost.
    pub ended: Option<DateTime<Utc>>,
    /// Bytes of standard output.
    pub stdout_bytes: u64,
    /// Bytes of standard error.
    pub stderr_bytes: u64,
    /// Why it could not be started, or which policy failed on its output, so that it was stopped; filtered.
    pub fault: Option<String>,
}

/// The history of the jobs that work in the same roots.
#[derive(Debug)]
pub struct History {
    notes: Mutex<Option<SyncSender<Note>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Where output is spilled to, and how many bytes of each stream at most.
    spill: PathBuf,
    spill_bytes: u64,
}

#[derive(Debug)]
enum Note {
    Put(Box<Record>),
    /// Its bytes of standard output and standard error.
    Recount(JobId, u64, u64),
    Forget(JobId),
}

impl History {
    /// Opens the history in a folder, which is made if there is none, and gives what is known of jobs of servers that are gone.
    /// What such left in any roots is removed if it is older than `keep_for`.
    ///
    /// # Errors
    ///
    /// The folder or the database can not be used. A database that is damaged is put aside, and a new one begun.
    pub fn open(folder: &Path, roots: &[PathBuf], keep_for: Duration, spill_bytes: u64) -> io::Result<(Self, Vec<Record>)> {
        let spill = folder.join("jobs");
        DirBuilder::new().recursive(true).mode(0o700).create(&spill)?;
        let database = Database::open(&folder.join("history.db"), roots).map_err(io::Error::other)?;
        let past = database.past().map_err(io::Error::other)?;
        let (notes, received) = sync_channel(MOST_WAITING);
        let swept = spill.clone();
        let writer = std::thread::Builder::new().name("history".to_owned()).spawn(move || {
            if let Err(error) = sweep(&database, &swept, keep_for) {
                tracing::warn!(%error, "what is too old of the history of jobs could not be removed");
            }
            write(&database, received);
        })?;
        let (notes, writer) = (Mutex::new(Some(notes)), Mutex::new(Some(writer)));
        Ok((Self { notes, writer, spill, spill_bytes }, past))
    }

    /// Records how a job stands; `fault` is that of its status, filtered.
    pub fn put(&self, job: &Job, fault: Option<&str>) {
        self.note(Note::Put(Box::new(Record::of(job, &job.status(), fault))));
    }

    /// Records how much output a job of an earlier server has by now.
    pub fn recount(&self, job: &Job) {
        let output = job.output();
        let total = |name| output.track(name).total();
        self.note(Note::Recount(job.id(), total(StreamName::Stdout), total(StreamName::Stderr)));
    }

    /// Forgets a job, its spilled output too.
    pub fn forget(&self, id: JobId) {
        for name in StreamName::ALL {
            // Most have none.
            _ = fs::remove_file(self.spilled(id, name));
        }
        self.note(Note::Forget(id));
    }

    /// A new job's files, if output is spilled.
    pub(super) fn new_spill(&self, id: JobId) -> Option<Spill> {
        (self.spill_bytes > 0).then(|| Spill::new(StreamName::ALL.map(|name| self.spilled(id, name)), self.spill_bytes))
    }

    /// The files of a job of an earlier server.
    pub(super) fn old_spill(&self, id: JobId) -> Spill {
        Spill::existing(StreamName::ALL.map(|name| self.spilled(id, name)))
    }

    fn spilled(&self, JobId(id): JobId, name: StreamName) -> PathBuf {
        self.spill.join(format!("{id}.{}", name.name()))
    }

    fn note(&self, note: Note) {
        let notes = self.notes.lock().expect("no holder of this lock panics");
        if let Some(notes) = notes.as_ref()
            && let Err(TrySendError::Full(_)) = notes.try_send(note)
        {
            tracing::warn!("the history of jobs is written too slowly; a job is left out of it");
        }
    }

    /// Waits until everything is written; what comes later is not.
    pub fn close(&self) {
        drop(self.notes.lock().expect("no holder of this lock panics").take());
        let writer = self.writer.lock().expect("no holder of this lock panics").take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the writer of the history failed");
        }
    }
}

impl Record {
    fn of(job: &Job, status: &Status, fault: Option<&str>) -> Self {
        let output = job.output();
        let bytes = |name| output.track(name).total();
        Self {
            id: job.id(),
            principal: job.owner().clone(),
            command: job.shown().to_owned(),
            group: job.group().map(str::to_owned),
            state: status.state,
            exit_code: status.exit_code,
            signal: status.signal,
            submitted: status.submitted,
            started: status.started,
            ended: status.ended,
            stdout_bytes: bytes(StreamName::Stdout),
            stderr_bytes: bytes(StreamName::Stderr),
            fault: fault.map(str::to_owned),
        }
    }
}

/// Writes notes until there are no more. What can not be written is tried again with the next, and at the end.
fn write(database: &Database, notes: Receiver<Note>) {
    let mut unwritten = BTreeMap::new();
    for note in notes {
        if unwritten.len() < MOST_WAITING {
            unwritten.insert(note.job(), note);
        }
        try_to_write(database, &mut unwritten);
    }
    database.be_patient(true);
    try_to_write(database, &mut unwritten);
}

fn try_to_write(database: &Database, unwritten: &mut BTreeMap<Uuid, Note>) {
    let mut failure = None;
    unwritten.retain(|_, note| {
        let written = match note {
            Note::Put(record) => database.put(record),
            Note::Recount(id, stdout, stderr) => database.recount(*id, *stdout, *stderr),
            Note::Forget(id) => database.forget(*id),
        };
        // One that is held by another is waited for once, and not again for each job.
        database.be_patient(written.is_ok());
        failure = written.err();
        failure.is_some()
    });
    if let Some(error) = failure {
        tracing::warn!(%error, jobs = unwritten.len(), "the history of jobs could not be written; it is tried again later");
    }
}

/// Removes what servers that are gone left longer ago than that, whatever roots they worked in.
fn sweep(database: &Database, spill: &Path, keep_for: Duration) -> io::Result<()> {
    database.forget_older(keep_for).map_err(io::Error::other)?;
    for file in fs::read_dir(spill)? {
        let file = file?;
        let name = file.file_name();
        let job = name.to_str().and_then(|name| name.split_once('.')?.0.parse::<Uuid>().ok()).map(JobId);
        let is_old = || file.metadata()?.modified()?.elapsed().map_or(Ok(false), |age| io::Result::Ok(age > keep_for));
        if name.to_str().is_some_and(is_abandoned) {
            fs::remove_file(file.path())?;
            continue;
        }
        // One that is new may be of a job that is about to be recorded.
        if let Some(job) = job
            && is_old()?
            && !database.knows(job).map_err(io::Error::other)?
        {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

impl Note {
    fn job(&self) -> Uuid {
        match self {
            Self::Put(record) => record.id.0,
            Self::Recount(id, ..) | Self::Forget(id) => id.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rstest::rstest;

    use super::*;

    fn record(state: State) -> Record {
        let now = DateTime::from_timestamp_millis(1_790_000_000_123).unwrap();
        Record {
            id: JobId(Uuid::new_v4()),
            principal: Principal::named("ada"),
            command: "/usr/bin/true".to_owned(),
            group: Some("build".to_owned()),
            state,
            exit_code: state.is_final().then_some(0),
            signal: None,
            submitted: now,
            started: Some(now),
            ended: state.is_final().then_some(now),
            stdout_bytes: 7,
            stderr_bytes: u64::from(u32::MAX),
            fault: (state == State::Killed).then(|| "redact trapped".to_owned()),
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn roots() -> Vec<PathBuf> {
        vec![PathBuf::from("/project")]
    }

    fn database(folder: &Path) -> Database {
        Database::open(&folder.join("history.db"), &roots()).unwrap()
    }

    /// As if another server had written it, one that is gone.
    fn by_another(folder: &Path, records: &[Record]) {
        let database = database(folder).written_by("gone:1:1");
        records.iter().for_each(|record| database.put(record).unwrap());
    }

    #[test]
    fn records_survive_and_what_ran_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (ended, mut running) = (record(State::Completed), record(State::Running));
        running.submitted += Duration::from_millis(1);
        by_another(folder.path(), &[ended.clone(), running.clone()]);
        let past = database(folder.path()).past().unwrap();
        assert_eq!(past[0], ended);
        assert_eq!((past[1].id, past[1].state), (running.id, State::Lost));
        assert!(past[1].ended.is_some());
        assert_eq!(database(folder.path()).past().unwrap(), past);
    }

    #[test]
    fn a_database_of_the_first_version_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let old = JobId(Uuid::new_v4());
        Database::of_the_first_version(&folder.path().join("history.db"), old).unwrap();
        let killed = record(State::Killed);
        by_another(folder.path(), std::slice::from_ref(&killed));
        let past = database(folder.path()).past().unwrap();
        assert_eq!((past[0].id, &past[0].fault, &past[1]), (old, &None, &killed));
    }

    #[test]
    fn jobs_of_servers_that_live_and_of_other_roots_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        database(folder.path()).put(&record(State::Running)).unwrap();
        let elsewhere = Database::open(&folder.path().join("history.db"), &[PathBuf::from("/other")]).unwrap();
        elsewhere.written_by("gone:1:1").put(&record(State::Completed)).unwrap();
        assert_eq!(database(folder.path()).past().unwrap(), []);
    }

    #[test]
    fn what_is_forgotten_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let record = record(State::Completed);
        by_another(folder.path(), std::slice::from_ref(&record));
        let (history, past) = History::open(folder.path(), &roots(), HOUR, 0).unwrap();
        assert_eq!(past, std::slice::from_ref(&record));
        fs::write(history.spilled(record.id, StreamName::Stdout), "text").unwrap();
        history.forget(record.id);
        history.close();
        assert_eq!(database(folder.path()).past().unwrap(), []);
        assert_eq!(fs::read_dir(folder.path().join("jobs")).unwrap().count(), 0);
    }

    #[test]
    fn what_others_left_goes_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = Database::open(&folder.path().join("history.db"), &[PathBuf::from("/other")]).unwrap();
        let elsewhere = elsewhere.written_by("gone:1:1");
        let old = record(State::Completed);
        let new = Record { ended: Some(Utc::now()), ..record(State::Completed) };
        [&old, &new].into_iter().for_each(|record| elsewhere.put(record).unwrap());
        database(folder.path()).put(&Record { id: JobId(Uuid::nil()), ..old.clone() }).unwrap();
        let jobs = folder.path().join("jobs");
        fs::create_dir(&jobs).unwrap();
        let unknown = Uuid::new_v4();
        let names = [old.id.0, new.id.0, unknown, Uuid::nil()].map(|id| format!("{id}.stdout"));
        for name in names.iter().chain([&format!("{unknown}.stderr"), &"note".to_owned()]) {
            let file = fs::File::create(jobs.join(name)).unwrap();
            if !name.ends_with(".stderr") {
                file.set_modified(std::time::SystemTime::now() - 2 * HOUR).unwrap();
            }
        }
        History::open(folder.path(), &roots(), HOUR, 0).unwrap().0.close();
        let left = fs::read_dir(&jobs).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut expected = vec![names[1].clone(), names[3].clone(), format!("{unknown}.stderr"), "note".to_owned()];
        expected.sort();
        assert_eq!(std::collections::BTreeSet::from_iter(left).into_iter().collect::<Vec<_>>(), expected);
        assert!(!elsewhere.knows(old.id).unwrap() && elsewhere.knows(new.id).unwrap());
    }

    #[test]
    fn what_could_not_be_written_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let (history, _) = History::open(folder.path(), &roots(), HOUR, 0).unwrap();
        let note = |record: &Record| history.note(Note::Put(Box::new(record.clone())));
        let holder = database(folder.path()).held();
        let (first, second) = (record(State::Running), record(State::Completed));
        note(&first);
        note(&Record { state: State::Completed, ..first.clone() });
        note(&second);
        // The writer gives up on them meanwhile, or waits for them; either is right.
        std::thread::sleep(Duration::from_millis(1500));
        drop(holder);
        history.close();
        for id in [first.id, second.id] {
            assert_eq!(database(folder.path()).state(id).unwrap(), "completed");
        }
    }

    #[test]
    fn what_is_no_file_is_no_database() {
        let folder = tempfile::tempdir().unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("history.db"), 0o600.into()).unwrap();
        let error = History::open(folder.path(), &roots(), HOUR, 0).unwrap_err();
        assert!(error.to_string().contains("history.db"), "{error}");
    }

    #[rstest]
    #[case::cut_short(|bytes: &mut Vec<u8>| bytes.truncate(5000))]
    #[case::overwritten(|bytes: &mut Vec<u8>| bytes[..200].fill(b'x'))]
    #[case::garbage(|bytes: &mut Vec<u8>| *bytes = b"no database at all, but some text".to_vec())]
    #[case::empty(|bytes: &mut Vec<u8>| bytes.clear())]
    fn a_damaged_database_is_put_aside(#[case] spoil: fn(&mut Vec<u8>)) {
        let folder = tempfile::tempdir().unwrap();
        by_another(folder.path(), &[record(State::Completed)]);
        let file = folder.path().join("history.db");
        let mut bytes = fs::read(&file).unwrap();
        spoil(&mut bytes);
        fs::write(&file, bytes).unwrap();
        let (history, past) = History::open(folder.path(), &roots(), HOUR, 0).unwrap();
        assert_eq!(past, []);
        history.close();
        by_another(folder.path(), &[record(State::Completed)]);
        assert_eq!(database(folder.path()).past().unwrap().len(), 1);
    }

    #[test]
    fn a_database_that_another_process_holds_is_an_error_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.db");
        drop(database(folder.path()));
        let hold = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA locking_mode = EXCLUSIVE'); \
                    c.execute('BEGIN EXCLUSIVE'); print(1, flush=True); sys.stdin.read()";
        let Ok(mut other) =
            Command::new("python3").args(["-c", hold]).arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
        else {
            // Without Python: by a second connection, which SQLite treats alike.
            let other = database(folder.path()).held();
            assert!(History::open(folder.path(), &roots(), HOUR, 0).is_err());
            return drop(other);
        };
        std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut [0; 2]).unwrap();
        let error = History::open(folder.path(), &roots(), HOUR, 0).unwrap_err();
        assert!(error.to_string().contains("locked"), "{error}");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
