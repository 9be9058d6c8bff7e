//! What a job is told while it runs: input, signals, to stop, the size of its terminal.

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use portcullis::{
    jobs::{ControlError, Job, Signal, Size, State, Status, Stdin, Stop, StreamName, Streams, WriteError, output::Part},
    policy::InputDecision,
};
use rstest::rstest;

use super::start::Bench;
use crate::support::{DEADLINE, eventually, gone, is_alive};

const SIZE: Size = Size { rows: 31, cols: 117 };
const PIPES: Streams = Streams::Pipes(Stdin::Pipe);
const TERMINAL: Streams = Streams::Terminal(SIZE);
/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(50);
/// A bash that says when it is ready and waits.
const READY: &str = "echo ready; while :; do sleep 0.02; done";

/// A running job, and whoever talks to it.
struct Talk {
    bench: Bench,
    job: Arc<Job>,
}

impl Talk {
    /// Has bash do this; it may hold no single quote.
    async fn bash(script: &str, streams: Streams) -> Self {
        assert!(!script.contains('\''), "{script}");
        Self::start(&format!("bash -c '{script}'"), streams).await
    }

    /// What somebody types into.
    async fn shell() -> Self {
        let talk = Self::start("bash --norc --noprofile -i", TERMINAL).await;
        talk.shows("bash-").await;
        talk
    }

    async fn start(command: &str, streams: Streams) -> Self {
        let bench = Bench::new().await;
        for program in ["bash", "sleep", "cat"] {
            symlink(format!("/bin/{program}"), bench.at("bin").join(program)).unwrap();
        }
        let approved = bench.approve(command, "root").await;
        let job = bench.start_with(approved, streams).await.unwrap();
        Self { bench, job }
    }

    async fn send(&self, input: &[u8]) -> Result<(), WriteError> {
        let decided =
            self.bench.chain.decide_input(self.job.contract().unwrap(), &self.job.pending_input(), input.to_vec()).await;
        let InputDecision::Approved(approved) = decided.decision else { panic!("nobody denies here") };
        self.job.write(approved).await
    }

    fn printed(&self) -> String {
        String::from_utf8_lossy(&self.bytes(StreamName::Stdout)).into_owned()
    }

    fn bytes(&self, name: StreamName) -> Vec<u8> {
        match self.job.output().track(name).read(0, usize::MAX).parts.as_slice() {
            [] => Vec::new(),
            [Part::Bytes(bytes)] => bytes.clone(),
            parts => panic!("bytes are missing: {parts:?}"),
        }
    }

    async fn shows(&self, text: &str) {
        let mut growth = self.job.growth();
        let shown = async {
            while !self.printed().contains(text) {
                growth.changed().await.unwrap();
            }
        };
        assert!(tokio::time::timeout(DEADLINE, shown).await.is_ok(), "no {text:?} in {:?}", self.printed());
    }

    /// Waits until it has started this program: a shell has its terminal in another mode before.
    #[track_caller]
    fn runs(&self, program: &str) {
        eventually("its program runs", || {
            let ids = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.job.status().pid?)).ok()?;
            let name = fs::read_to_string(format!("/proc/{}/comm", ids.split_whitespace().next()?)).ok()?;
            (name.trim_end() == program).then_some(())
        });
    }

    async fn ended(&self) -> Status {
        let ended = tokio::time::timeout(DEADLINE, self.job.ended()).await;
        ended.unwrap_or_else(|_| panic!("it does not end: {:?}", self.printed()))
    }
}

// ── stops and signals ──────────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::pipes(PIPES)]
#[case::terminal(TERMINAL)]
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_begins_with_the_signal_that_was_chosen(#[case] streams: Streams) {
    let talk = Talk::bash(&format!("trap \"echo asked; exit 7\" INT; trap \"\" TERM HUP; {READY}"), streams).await;
    talk.shows("ready").await;
    talk.job.stop(Stop { signal: Signal::Int, grace: Some(LONG) });
    let status = talk.ended().await;
    assert_eq!((status.state, status.exit_code), (State::Killed, Some(7)));
    assert!(talk.printed().contains("asked"), "{:?}", talk.printed());
}

#[rstest]
#[case::configured(&[Stop { signal: Signal::Term, grace: None }])]
#[case::of_the_call(&[Stop { signal: Signal::Term, grace: Some(Duration::from_millis(50)) }])]
#[case::at_once(&[Stop { signal: Signal::Kill, grace: Some(LONG) }])]
#[case::shorter(&[Stop { signal: Signal::Term, grace: Some(LONG) }, Stop { signal: Signal::Term, grace: Some(Duration::ZERO) }])]
#[case::harder(&[Stop { signal: Signal::Int, grace: Some(LONG) }, Stop { signal: Signal::Kill, grace: None }])]
#[tokio::test(flavor = "multi_thread")]
async fn what_ignores_signals_is_killed_after_the_grace(#[case] stops: &[Stop]) {
    let talk = Talk::bash(&format!("trap \"echo asked\" TERM INT; {READY}"), PIPES).await;
    talk.shows("ready").await;
    for (number, stop) in stops.iter().enumerate() {
        if number > 0 {
            talk.shows("asked").await;
        }
        talk.job.stop(*stop);
    }
    let status = talk.ended().await;
    assert_eq!((status.state, status.signal), (State::Killed, Some(9)));
}

/// An interactive shell ignores TERM, but not that its terminal is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_shell_at_a_terminal_ends_within_the_grace() {
    let talk = Talk::shell().await;
    talk.job.stop(Stop { signal: Signal::Term, grace: Some(LONG) });
    let status = talk.ended().await;
    assert_eq!((status.state, status.signal), (State::Killed, Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reaches_the_group_of_the_leader_and_ends_nothing_by_itself() {
    let daemon = "setsid -f bash -c \"echo \\$\\$ >daemon; exec sleep 1000\"; while [ ! -s daemon ]; do sleep 0.01; done";
    let talk = Talk::bash(&format!("trap \"echo INT it is\" INT; trap \"echo USR1 it is\" USR1; {daemon}; {READY}"), PIPES).await;
    talk.shows("ready").await;
    let daemon = fs::read_to_string(talk.bench.at("root/daemon")).unwrap().trim().parse().unwrap();
    for (signal, said) in [(Signal::Int, "INT it is"), (Signal::Usr1, "USR1 it is")] {
        talk.job.signal(signal).unwrap();
        talk.shows(said).await;
    }
    assert_eq!(talk.job.status().state, State::Running);
    assert!(is_alive(daemon));
    talk.job.stop(Stop::default());
    talk.ended().await;
    gone(daemon);
    // Its task is about to hear no more.
    eventually("it takes no signals", || matches!(talk.job.signal(Signal::Int), Err(ControlError::Ended)).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_there_is_no_size() {
    let talk = Talk::bash(READY, PIPES).await;
    assert!(matches!(talk.job.resize(SIZE), Err(ControlError::NoTerminal)));
}

// ── terminals ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_the_jobs_own_on_all_streams() {
    let script = "test -t 0 && test -t 1 && test -t 2 && stty size && exec 3<>/dev/tty && echo control >&3 && echo error >&2; \
                  echo /proc/self/fd/*; cut -d\" \" -f 5-7 /proc/$$/stat; echo $$";
    let talk = Talk::bash(script, TERMINAL).await;
    assert_eq!(talk.ended().await.state, State::Completed);
    let printed = talk.printed();
    let lines: Vec<_> = printed.split('\n').collect();
    assert_eq!(lines[..3], ["31 117", "control", "error"], "{printed:?}");
    // 3 is what the script opened, 4 what the shell lists the directory with.
    assert_eq!(lines[3], "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3 /proc/self/fd/4");
    let ids: Vec<_> = lines[4].split(' ').collect();
    assert_eq!((ids[0], ids[1]), (lines[5], lines[5]), "it leads its group and session: {printed:?}");
    assert_ne!(ids[2], "0", "its session has a terminal: {printed:?}");
    assert!(talk.bytes(StreamName::Stderr).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_can_change_its_size() {
    let talk = Talk::bash(&format!("trap \"stty size; exit 0\" WINCH; {READY}"), TERMINAL).await;
    talk.shows("ready").await;
    talk.job.resize(Size { rows: 50, cols: 132 }).unwrap();
    assert_eq!(talk.ended().await.state, State::Completed);
    assert_eq!(talk.printed(), "ready\n50 132\n");
    assert!(matches!(talk.job.resize(SIZE), Err(ControlError::Ended)));
}

#[rstest]
#[case::as_a_byte(None)]
#[case::as_a_signal(Some(Signal::Int))]
#[case::as_another(Some(Signal::Quit))]
#[tokio::test(flavor = "multi_thread")]
async fn control_c_ends_what_is_in_the_foreground(#[case] signal: Option<Signal>) {
    let talk = Talk::shell().await;
    talk.send(b"echo a$((1))b; sleep 1000\n").await.unwrap();
    talk.shows("a1b\n").await;
    talk.runs("sleep");
    match signal {
        None => talk.send(b"\x03").await.unwrap(),
        Some(signal) => talk.job.signal(signal).unwrap(),
    }
    talk.send(b"echo c$((2))d; exit 5\n").await.unwrap();
    talk.shows("c2d\n").await;
    let status = talk.ended().await;
    assert_eq!((status.state, status.exit_code), (State::Failed, Some(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn control_z_stops_what_a_shell_runs() {
    let talk = Talk::shell().await;
    talk.send(b"cat\n").await.unwrap();
    talk.runs("cat");
    talk.send(b"one\n").await.unwrap();
    talk.shows("one\none\n").await;
    talk.send(b"\x1a").await.unwrap();
    talk.shows("Stopped").await;
    talk.send(b"exit; exit 0\n").await.unwrap();
    assert_eq!(talk.ended().await.exit_code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_input_is_seen_also_within_a_line() {
    let talk = Talk::bash("cat; echo over; read line; echo more: $line", TERMINAL).await;
    talk.send(b"one\n").await.unwrap();
    talk.shows("one\none\n").await;
    talk.send(b"tw").await.unwrap();
    talk.job.close_input().unwrap();
    talk.shows("over").await;
    talk.send(b"three\n").await.unwrap();
    talk.ended().await;
    assert!(talk.printed().ends_with("twtwover\nthree\nmore: three\n"), "{:?}", talk.printed());
}

/// What a policy approved is what is read: no key takes anything back, stops the output or becomes another.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_reads_the_bytes_that_were_sent() {
    let talk = Talk::bash("echo ready; IFS= read -r line; printf %s \"$line\" | od -An -v -tx1 -w64", TERMINAL).await;
    talk.shows("ready").await;
    let line = b"a\x7fb\x08c\x15d\x17e\x12f\x16g\x11h\x13i\rj\tk\x0fl\xff\n";
    talk.send(line).await.unwrap();
    talk.ended().await;
    let expected: String = line[..line.len() - 1].iter().map(|byte| format!(" {byte:02x}")).collect();
    let printed = talk.printed();
    assert!(printed.ends_with(&format!("{expected}\n")), "{printed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_leaves_in_its_terminal_is_read_before_it_is_final() {
    let talk = Talk::bash("seq 1 20000", TERMINAL).await;
    talk.ended().await;
    let expected: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    assert!(talk.printed() == expected, "{} bytes of {}", talk.printed().len(), expected.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_read_also_when_a_job_closed_it_for_a_while() {
    let talk = Talk::bash("echo one; exec <&- >&- 2>&-; sleep 0.3; exec >/dev/tty; echo two", TERMINAL).await;
    talk.ended().await;
    assert_eq!(talk.printed(), "one\ntwo\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_takes_as_much_as_a_job_reads() {
    let talk = Talk::bash("stty -echo; echo ready; cat >copy; cksum <copy", TERMINAL).await;
    talk.shows("ready").await;
    let line = [&[b'x'; 99][..], b"\n"].concat();
    let piece = line.repeat(300);
    for _ in 0..10 {
        talk.send(&piece).await.unwrap();
    }
    talk.job.close_input().unwrap();
    assert_eq!(talk.ended().await.state, State::Completed);
    assert!(fs::read(talk.bench.at("root/copy")).unwrap() == piece.repeat(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_the_terminal_would_cut_is_not_sent() {
    let talk =
        Talk::bash("stty -echo; echo ready; read -r line; echo ${#line}; stty raw; echo raw; head -c 6000 | wc -c", TERMINAL)
            .await;
    talk.shows("ready").await;
    talk.send(&[b'x'; 3000]).await.unwrap();
    let refused = talk.send(&[b'y'; 2000]).await.unwrap_err();
    assert!(matches!(refused, WriteError::LongLine), "{refused}");
    assert_eq!(talk.job.pending_input().len(), 3000, "what was not sent is no part of a line");
    talk.send(b"end\n").await.unwrap();
    talk.shows("3003\n").await;
    talk.shows("raw\n").await;
    talk.send(&[b'z'; 6000]).await.unwrap();
    talk.shows("6000\n").await;
}

/// The part of the next test that is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs until it is killed; the next test starts it"]
async fn a_server_that_is_killed() {
    let stay = "stay() { trap \"\" HUP TERM INT; echo $BASHPID; while :; do sleep 0.05; done; }; export -f stay";
    let talk = Talk::bash(&format!("{stay}; setsid -f bash -c stay; stay"), TERMINAL).await;
    loop {
        if talk.printed().lines().count() >= 2 {
            println!("pids {}", talk.printed().replace('\n', " "));
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn nothing_at_a_terminal_outlives_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "suites::control::a_server_that_is_killed", "--ignored", "--nocapture"])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(fs::File::create(folder.path().join("said")).unwrap())
        .spawn()
        .unwrap();
    let pids: Vec<u32> = eventually("its job is up", || {
        let said = fs::read_to_string(folder.path().join("said")).unwrap();
        let line = said.lines().find_map(|line| line.split_once("pids "))?.1.to_owned();
        Some(line.split_whitespace().map(|pid| pid.parse().unwrap()).collect())
    });
    assert!(pids.len() == 2 && pids.iter().all(|pid| is_alive(*pid)), "{pids:?}");
    server.kill().unwrap();
    server.wait().unwrap();
    pids.into_iter().for_each(gone);
}
