//! The `portcullis` program: parse, log to standard error, execute, map errors to exit codes.

use std::process::ExitCode;

use clap::Parser;
use portcullis::cli::{Cli, exit, say};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Log lines that may wait for a reader.
const MOST_LOG_LINES: usize = 1024;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Fails only when standard error is closed, and then there is nobody to tell.
            _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    let _log = log_to_stderr(cli.log_level());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("could not start: {error}"), exit::FAILED),
    };
    let outcome = runtime.block_on(cli.execute());
    // Threads that read or write for this process may be blocked for ever by whoever is at the other end.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(&error.to_string(), error.code()),
    }
}

fn failed(text: &str, code: u8) -> ExitCode {
    say(text);
    ExitCode::from(code)
}

/// Logs what portcullis itself says, and of libraries nothing: the shell parser would log the commands it parses. Lines that nobody
/// reads are dropped: a full pipe must not stop the gate.
fn log_to_stderr(default: &str) -> WorkerGuard {
    let wanted = std::env::var("PORTCULLIS_LOG").unwrap_or_default();
    let level = ["error", "warn", "info", "debug"].into_iter().find(|level| *level == wanted).unwrap_or(default);
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MOST_LOG_LINES).finish(std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("portcullis={level}")))
        .with_writer(writer)
        .with_ansi(false)
        .with_target(false)
        .init();
    guard
}
