//! What outlives the server: the record of each job, in a database, and its output, in files where that is wanted.
//!
//! SQLite, since several servers of one user share the database at a time, which embedded databases for one process do not allow, and
//! since anybody can look into it. A thread of its own writes; whoever starts a job never waits for the disk. Losing the history
//! stops nobody: it is a convenience, and the audit log the record.

mod database;
mod server;

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use chrono::{DateTime, Utc};

use database::Database;

use super::{Job, JobId, State, Status, StreamName, output::Spill};

/// Notes that may wait to be written; beyond, they are left out.
const MOST_WAITING: usize = 4096;

/// The record of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its id.
    pub id: JobId,
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
    Forget(JobId),
}

impl History {
    /// Opens the history in a folder, which is made if there is none, and gives what is known of jobs of servers that are gone.
    ///
    /// # Errors
    ///
    /// The folder or the database can not be used. A database that is damaged is put aside, and a new one begun.
    pub fn open(folder: &Path, roots: &[PathBuf], spill_bytes: u64) -> io::Result<(Self, Vec<Record>)> {
        let spill = folder.join("jobs");
        DirBuilder::new().recursive(true).mode(0o700).create(&spill)?;
        let database = Database::open(&folder.join("history.db"), roots).map_err(io::Error::other)?;
        let past = database.past().map_err(io::Error::other)?;
        let (notes, received) = sync_channel(MOST_WAITING);
        let writer = std::thread::Builder::new().name("history".to_owned()).spawn(move || {
            for note in received {
                let written = match &note {
                    Note::Put(record) => database.put(record),
                    Note::Forget(id) => database.forget(*id),
                };
                // One that is held by another is waited for once, and not again for each job.
                database.be_patient(written.is_ok());
                if let Err(error) = written {
                    tracing::warn!(%error, "the history of jobs could not be written");
                }
            }
        })?;
        let (notes, writer) = (Mutex::new(Some(notes)), Mutex::new(Some(writer)));
        Ok((Self { notes, writer, spill, spill_bytes }, past))
    }

    /// Records how a job stands.
    pub fn put(&self, job: &Job) {
        self.note(Note::Put(Box::new(Record::of(job, &job.status()))));
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
    fn of(job: &Job, status: &Status) -> Self {
        let output = job.output();
        let bytes = |name| output.track(name).total();
        Self {
            id: job.id(),
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
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Command, Stdio},
        time::Duration,
    };

    use rstest::rstest;
    use uuid::Uuid;

    use super::*;

    fn record(state: State) -> Record {
        let now = DateTime::from_timestamp_millis(1_790_000_000_123).unwrap();
        Record {
            id: JobId(Uuid::new_v4()),
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
        }
    }

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
        let (history, past) = History::open(folder.path(), &roots(), 0).unwrap();
        assert_eq!(past, std::slice::from_ref(&record));
        fs::write(history.spilled(record.id, StreamName::Stdout), "text").unwrap();
        history.forget(record.id);
        history.close();
        assert_eq!(database(folder.path()).past().unwrap(), []);
        assert_eq!(fs::read_dir(folder.path().join("jobs")).unwrap().count(), 0);
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
        let (history, past) = History::open(folder.path(), &roots(), 0).unwrap();
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
            assert!(History::open(folder.path(), &roots(), 0).is_err());
            return drop(other);
        };
        std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut [0; 2]).unwrap();
        let error = History::open(folder.path(), &roots(), 0).unwrap_err();
        assert!(error.to_string().contains("locked"), "{error}");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
