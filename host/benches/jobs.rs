//! Whole jobs: the intake of 100 MB against a bare reader in the same run.
//!
//! - `intake`: `cat` of 100 MB of log lines as a job, through the default filters into its buffer, until it is final.
//! - `bare reader`: the same `cat`, its pipe read in pieces of 64 KiB by a loop that does nothing else.
//! - `true`: a whole job of a program that does nothing, decision and record included.

mod common;

use std::{
    io::Read,
    process::{Command as Process, ExitCode, Stdio},
};

use criterion::{Criterion, Throughput, criterion_group};
use portcullis::{
    jobs::{State, Stdin},
    policy::types::Client,
    service::{Command, Service},
};

const BYTES: usize = 100_000_000;

fn jobs(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = common::runtime();
    let config = common::config(folder.path());
    let service = runtime.block_on(Service::start(&config)).expect("the default service");
    let lines = config.jobs.cwd.join("lines");
    std::fs::write(&lines, common::log_lines(BYTES)).expect("a file");
    let run = |command: &str| {
        let client = Client { name: "bench".to_owned(), version: String::new() };
        let (service, command) = (&service, Command::Text(command.to_owned()));
        async move {
            let Ok(started) = service.run(command, &client, Stdin::Null, None).await else { panic!("it was refused") };
            assert_eq!(started.job.ended().await.state, State::Completed);
        }
    };
    let mut group = criterion.benchmark_group("jobs");
    group.throughput(Throughput::Bytes(BYTES as u64)).sample_size(20);
    group.bench_function("intake", |bencher| bencher.to_async(&runtime).iter(|| run("cat lines")));
    group.bench_function("bare reader", |bencher| bencher.iter(|| read_bare(&lines)));
    group.finish();
    criterion.bench_function("jobs/true", |bencher| bencher.to_async(&runtime).iter(|| run("true")));
}

fn read_bare(file: &std::path::Path) -> usize {
    let mut child = Process::new("cat").arg(file).stdout(Stdio::piped()).spawn().expect("cat");
    let mut pipe = child.stdout.take().expect("a pipe");
    let (mut piece, mut total) = (vec![0; 64 * 1024], 0);
    loop {
        match pipe.read(&mut piece).expect("a read") {
            0 => break,
            read => total += read,
        }
    }
    child.wait().expect("an end");
    assert_eq!(total, BYTES);
    total
}

criterion_group!(benches, jobs);

fn main() -> ExitCode {
    // What starts the jobs is this very program once more.
    if let Some(code) = portcullis::jobs::keep() {
        return code;
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
    ExitCode::SUCCESS
}
