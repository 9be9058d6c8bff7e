//! The table of jobs.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, ErrorCode, Row, TransactionBehavior, params};
use rustix::fs::OFlags;
use uuid::Uuid;

use super::{Record, server};
use crate::{
    files,
    jobs::{JobId, State},
    principal::Principal,
};

/// How long another server may hold the database before this one goes without.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most records that are read; the registry forgets sooner.
const MOST_RECORDS: u32 = 10_000;

/// Times are milliseconds since 1970.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS jobs (
        id TEXT PRIMARY KEY, site TEXT NOT NULL, server TEXT NOT NULL, command TEXT NOT NULL, job_group TEXT, state TEXT NOT NULL,
        exit_code INTEGER, signal INTEGER, submitted INTEGER NOT NULL, started INTEGER, ended INTEGER,
        stdout_bytes INTEGER NOT NULL, stderr_bytes INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS jobs_by_site ON jobs (site, submitted);";

/// Columns that were added since.
const ADDED: [(&str, &str); 2] = [("fault", "TEXT"), ("principal", "TEXT NOT NULL DEFAULT 'local'")];

/// The open database.
#[derive(Debug)]
pub(super) struct Database {
    connection: Connection,
    /// The roots that the jobs of this server work in.
    site: String,
    server: String,
}

impl Database {
    /// Opens the file, readable by its owner alone; makes it if there is none, and again if it is damaged.
    pub(super) fn open(path: &Path, roots: &[PathBuf]) -> rusqlite::Result<Self> {
        let connection = match connect(path) {
            Err(error) if is_damage(&error) => {
                put_aside(path);
                connect(path)?
            }
            connected => connected?,
        };
        let site = roots.iter().map(|root| root.to_string_lossy()).collect::<Vec<_>>().join("\n");
        Ok(Self { connection, site, server: server::this() })
    }

    /// What is known of jobs of servers that are gone, the oldest first. What ran there is lost, and recorded as that.
    pub(super) fn past(&self) -> rusqlite::Result<Vec<Record>> {
        self.bury()?;
        let mut select = self.connection.prepare(
            "SELECT id, command, job_group, state, exit_code, signal, submitted, started, ended, stdout_bytes, stderr_bytes, fault,
             principal, server
             FROM (SELECT * FROM jobs WHERE site = ?1 ORDER BY submitted DESC LIMIT ?2) ORDER BY submitted",
        )?;
        let rows =
            select.query_map(params![self.site, MOST_RECORDS], |row| Ok((record(row), row.get::<_, String>("server")?)))?;
        let mut past = Vec::new();
        for row in rows {
            match row? {
                // A row that makes no sense is passed over.
                (Ok(Some(record)), server) if !server::is_alive(&server) => past.push(record),
                _ => {}
            }
        }
        Ok(past)
    }

    fn bury(&self) -> rusqlite::Result<()> {
        let mut select = self.connection.prepare("SELECT DISTINCT server FROM jobs WHERE state IN ('queued', 'running')")?;
        let servers = select.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        for server in servers.iter().filter(|server| !server::is_alive(server)) {
            self.connection.execute(
                "UPDATE jobs SET state = 'lost', ended = ?1 WHERE server = ?2 AND state IN ('queued', 'running')",
                params![Utc::now().timestamp_millis(), server],
            )?;
        }
        Ok(())
    }

    /// Writes a record, in the place of an earlier one of the same job.
    pub(super) fn put(&self, record: &Record) -> rusqlite::Result<()> {
        let millis = |time: DateTime<Utc>| time.timestamp_millis();
        let mut put = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO jobs (id, site, server, command, job_group, state, exit_code, signal, submitted, started, ended,
             stdout_bytes, stderr_bytes, fault, principal)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?;
        put.execute(params![
            record.id.to_string(),
            self.site,
            self.server,
            record.command,
            record.group,
            record.state.name(),
            record.exit_code,
            record.signal,
            millis(record.submitted),
            record.started.map(millis),
            record.ended.map(millis),
            i64::try_from(record.stdout_bytes).unwrap_or(i64::MAX),
            i64::try_from(record.stderr_bytes).unwrap_or(i64::MAX),
            record.fault,
            record.principal.as_str(),
        ])?;
        Ok(())
    }

    /// Writes how much output a job has; there may be no record of it.
    pub(super) fn recount(&self, id: JobId, stdout: u64, stderr: u64) -> rusqlite::Result<()> {
        let [stdout, stderr] = [stdout, stderr].map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        let mut update = self.connection.prepare_cached("UPDATE jobs SET stdout_bytes = ?2, stderr_bytes = ?3 WHERE id = ?1")?;
        update.execute(params![id.to_string(), stdout, stderr]).map(drop)
    }

    /// Whether the next call waits while another server holds the database.
    pub(super) fn be_patient(&self, is_patient: bool) {
        // It only sets a number.
        _ = self.connection.busy_timeout(if is_patient { PATIENCE } else { Duration::ZERO });
    }

    pub(super) fn forget(&self, id: JobId) -> rusqlite::Result<()> {
        self.connection.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([id.to_string()])?;
        Ok(())
    }

    /// Forgets the jobs of servers that are gone which ended longer ago than that.
    pub(super) fn forget_older(&self, keep_for: Duration) -> rusqlite::Result<()> {
        let Ok(keep_for) = chrono::TimeDelta::from_std(keep_for) else { return Ok(()) };
        let mut select = self.connection.prepare("SELECT DISTINCT server FROM jobs")?;
        let servers = select.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        for server in servers.iter().filter(|server| !server::is_alive(server)) {
            self.connection.execute(
                "DELETE FROM jobs WHERE server = ?1 AND ended < ?2",
                params![server, (Utc::now() - keep_for).timestamp_millis()],
            )?;
        }
        Ok(())
    }

    /// Whether there is a record of it.
    pub(super) fn knows(&self, id: JobId) -> rusqlite::Result<bool> {
        self.connection.prepare_cached("SELECT 1 FROM jobs WHERE id = ?1")?.exists([id.to_string()])
    }

    #[cfg(test)]
    pub(super) fn state(&self, id: JobId) -> rusqlite::Result<String> {
        self.connection.query_row("SELECT state FROM jobs WHERE id = ?1", [id.to_string()], |row| row.get(0))
    }

    #[cfg(test)]
    pub(super) fn written_by(self, server: &str) -> Self {
        Self { server: server.to_owned(), ..self }
    }

    /// As it was before anything was added.
    #[cfg(test)]
    pub(super) fn of_the_first_version(path: &Path, id: JobId) -> rusqlite::Result<()> {
        let connection = Connection::open(path)?;
        connection.execute_batch(SCHEMA)?;
        let row = "INSERT INTO jobs VALUES (?1, '/project', 'gone:1:1', 'true', NULL, 'completed', 0, NULL, 1, 1, 1, 0, 0)";
        connection.execute(row, [id.to_string()]).map(drop)
    }

    #[cfg(test)]
    pub(super) fn held(self) -> Self {
        self.connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
        self
    }
}

/// What a row says; none if it makes no sense.
fn record(row: &Row<'_>) -> rusqlite::Result<Option<Record>> {
    let time = |name: &str| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(name)?.and_then(DateTime::from_timestamp_millis));
    let bytes = |name: &str| Ok::<_, rusqlite::Error>(u64::try_from(row.get::<_, i64>(name)?).unwrap_or(0));
    let id = row.get::<_, String>("id")?.parse::<Uuid>().ok();
    let (Some(id), Some(state), Some(submitted)) = (id, State::named(&row.get::<_, String>("state")?), time("submitted")?) else {
        return Ok(None);
    };
    Ok(Some(Record {
        id: JobId(id),
        principal: Principal::named(&row.get::<_, String>("principal")?),
        command: row.get("command")?,
        group: row.get("job_group")?,
        state,
        exit_code: row.get("exit_code")?,
        signal: row.get("signal")?,
        submitted,
        started: time("started")?,
        ended: time("ended")?,
        stdout_bytes: bytes("stdout_bytes")?,
        stderr_bytes: bytes("stderr_bytes")?,
        fault: row.get("fault")?,
    }))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // SQLite would make it readable for others, and wait for ever at a FIFO.
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    files::open(&mut options, OFlags::empty(), path).map_err(|error| {
        let text = format!("{} can not be opened as a file: {error}", path.display());
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN), Some(text))
    })?;
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // What a power cut takes of the history is no loss that waiting for the disk would be worth.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    bring_up_to_date(&mut connection)?;
    let checked: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if checked == "ok" {
        Ok(connection)
    } else {
        Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(checked)))
    }
}

/// Makes the table, or adds what it lacks. What a later version added is left alone.
fn bring_up_to_date(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.execute_batch(SCHEMA)?;
    for (column, kind) in ADDED {
        if !has(connection, column)? {
            // Several servers may begin at a time.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if !has(&transaction, column)? {
                transaction.execute_batch(&format!("ALTER TABLE jobs ADD COLUMN {column} {kind}"))?;
            }
            transaction.commit()?;
        }
    }
    Ok(())
}

fn has(connection: &Connection, column: &str) -> rusqlite::Result<bool> {
    connection.prepare("SELECT 1 FROM pragma_table_info('jobs') WHERE name = ?1")?.exists([column])
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Renames the file and what belongs to it, so that somebody can look at it.
fn put_aside(path: &Path) {
    tracing::warn!(path = %path.display(), "the history of jobs is damaged; it is put aside, and a new one is begun");
    for suffix in ["", "-wal", "-shm"] {
        let name = |end: &str| PathBuf::from(format!("{}{suffix}{end}", path.display()));
        // There may be none; one that can not be renamed is found damaged again, and said to be.
        _ = fs::rename(name(""), name(".damaged"));
    }
}
