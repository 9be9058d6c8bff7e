//! The `portcullis` program: parse, log to standard error, execute, map errors to exit codes; or keep the jobs of another such
//! program, or start a program of theirs.

use std::{
    io::Write,
    process::ExitCode,
    sync::mpsc::{self, SyncSender},
    thread,
    time::Duration,
};

use clap::Parser;
use portcullis::{
    cli::{Cli, exit, say},
    jobs,
};
use tracing_subscriber::EnvFilter;

/// Log lines that may wait for a reader.
const MOST_LOG_LINES: usize = 1024;
/// How long the last lines may take to leave.
const LAST_LINES: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    // Before anything else: what keeps jobs and starts programs has neither threads nor a log.
    if let Some(code) = jobs::keep().or_else(jobs::start_program) {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Fails only when standard error is closed, and then there is nobody to tell.
            _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    let log = log_to_stderr(cli.log_level());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("could not start: {error}"), exit::FAILED),
    };
    let outcome = runtime.block_on(cli.execute());
    // Threads that read or write for this process may be blocked for ever by whoever is at the other end.
    runtime.shutdown_background();
    log.flush();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(&error.to_string(), error.code()),
    }
}

fn failed(text: &str, code: u8) -> ExitCode {
    say(text);
    ExitCode::from(code)
}

/// Logs what portcullis itself says, and of libraries nothing: the shell parser would log the commands it parses.
fn log_to_stderr(default: &str) -> Log {
    let wanted = std::env::var("PORTCULLIS_LOG").unwrap_or_default();
    let level = ["error", "warn", "info", "debug"].into_iter().find(|level| *level == wanted).unwrap_or(default);
    let log = Log::start();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("portcullis={level}")))
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .with_target(false)
        .init();
    log
}

/// The way to standard error: a thread writes, and lines that it has no room for are dropped, since a pipe that nobody reads must
/// not stop the gate.
#[derive(Clone)]
struct Log(SyncSender<Message>);

enum Message {
    Line(Vec<u8>),
    /// Answered when all lines before it are written.
    Flush(SyncSender<()>),
}

impl Log {
    fn start() -> Self {
        let (sender, messages) = mpsc::sync_channel(MOST_LOG_LINES);
        thread::spawn(move || {
            for message in messages {
                match message {
                    // Nobody can be told that the log can not be written.
                    Message::Line(line) => _ = std::io::stderr().write_all(&line),
                    Message::Flush(done) => _ = done.try_send(()),
                }
            }
        });
        Self(sender)
    }

    /// Waits for the lines so far, but not for a reader that does not read.
    fn flush(&self) {
        let (done, written) = mpsc::sync_channel(1);
        if self.0.try_send(Message::Flush(done)).is_ok() {
            _ = written.recv_timeout(LAST_LINES);
        }
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        _ = self.0.try_send(Message::Line(line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
