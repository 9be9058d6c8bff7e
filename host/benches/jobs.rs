//! Whole jobs: the intake of 100 MB against a bare reader in the same run, in turns, since both depend on where the scheduler puts
//! them and on what else the machine does.
//!
//! - `intake`: `cat` of 100 MB of log lines as a job, through the default filters into its buffer, until it is final.
//! - `bare reader`: the same `cat`, its pipe read in pieces of 64 KiB by a loop that does nothing else.
//! - `true`: a whole job of a program that does nothing, decision and record included.

mod common;

use std::{
    io::Read,
    path::Path,
    process::{Command as Process, ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::Criterion;
use portcullis::{
    jobs::{Order, State, Stdin, Streams},
    policy::types::Client,
    service::{Command, Service, Terms},
};

const BYTES: usize = 100_000_000;
const PAIRS: u32 = 41;
/// What the kernel tells processor time in.
const TICK: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    // What starts the jobs is this very program once more.
    if let Some(code) = portcullis::jobs::keep() {
        return code;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = common::runtime();
    let config = common::config(folder.path());
    let service = runtime.block_on(Service::start(&config)).expect("the default service");
    let lines = config.jobs.cwd.join("lines");
    std::fs::write(&lines, common::log_lines(BYTES)).expect("a file");
    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("jobs/true", |bencher| bencher.to_async(&runtime).iter(|| run(&service, "true")));
    let bare = || Spent::by(|| read_bare(&lines));
    let intake = || Spent::by(|| runtime.block_on(run(&service, "cat lines")));
    report(&(0..PAIRS).map(|_| (bare(), intake())).collect::<Vec<_>>());
    ExitCode::SUCCESS
}

async fn run(service: &Arc<Service>, command: &str) {
    let client = Client { principal: "local".to_owned(), name: "bench".to_owned(), version: String::new() };
    let terms =
        Terms { timeout: None, consent: None, order: Order { streams: Streams::Pipes(Stdin::Null), outlet: None, group: None } };
    let Ok(started) = service.run(Command::Text(command.to_owned()), &client, terms).await else { panic!("it was refused") };
    assert_eq!(started.job.ended().await.state, State::Completed);
}

fn read_bare(file: &Path) {
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
}

/// What one run took of this process, without `cat`.
struct Spent {
    time: Duration,
    cpu: Duration,
}

impl Spent {
    fn by(run: impl FnOnce()) -> Self {
        let (started, cpu_before) = (Instant::now(), cpu());
        run();
        Self { time: started.elapsed(), cpu: cpu() - cpu_before }
    }
}

/// The processor time of this process so far. One run is few ticks, so only sums over many mean something.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("the process table");
    let fields = stat.rsplit(')').next().expect("a last part").split_ascii_whitespace();
    fields.skip(11).take(2).map(|ticks| TICK * ticks.parse::<u32>().expect("a number")).sum()
}

fn report(pairs: &[(Spent, Spent)]) {
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let (bare, intake): (Vec<f64>, Vec<f64>) = pairs.iter().map(|(bare, intake)| (ms(bare.time), ms(intake.time))).unzip();
    let rates = pairs.iter().map(|(bare, intake)| 100.0 * ms(bare.time) / ms(intake.time)).collect();
    println!("jobs/intake: medians of {PAIRS} pairs: bare reader {:.1} ms, intake {:.1} ms", median(bare), median(intake));
    println!("jobs/intake: {:.0} % of the bare reader's rate, median of the pairs", median(rates));
    let mean = |of: fn(&(Spent, Spent)) -> Duration| ms(pairs.iter().map(of).sum::<Duration>() / PAIRS);
    let (bare, intake) = (mean(|(bare, _)| bare.cpu), mean(|(_, intake)| intake.cpu));
    println!("jobs/intake: processor time without `cat`, means: bare reader {bare:.1} ms, intake {intake:.1} ms");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
