//! Lines of the audit log, each with its lock, its link and one write.
//!
//! - `append`: a decision by one server.
//! - `append in turns`: by two servers in turns, so that each has to read what the other has written.

use std::{path::Path, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::{
    audit::{Audit, Decided, Outcome, Request, Subject},
    config,
    digest::Digest,
    policy::{Answer, VerdictKind},
};

fn open(path: &Path) -> Audit {
    Audit::open(&config::Audit { path: path.to_owned(), max_bytes: Some(64 << 20), keep: 1 }).expect("a log")
}

/// What is recorded of `git log -3`: three policies, two rounds.
fn append(audit: &Audit, trail: &[Answer]) {
    let env = ["HOME", "LANG", "PATH", "TERM", "USER", "GIT_CEILING_DIRECTORIES"].map(str::to_owned).to_vec();
    let request = Request {
        script: None,
        altered: None,
        cwd: "/home/ada/src/web".to_owned(),
        env,
        timeout_ms: Some(3_600_000),
        client_version: "2.1.0".to_owned(),
    };
    let decided = Decided {
        subject: Subject::Command,
        job_id: Some("a1d4ff85-37e1-4861-a250-3becd2f3ff04".to_owned()),
        principal: "local",
        client: "claude-code",
        sent: "git log -3",
        request: Some(request),
        runs: Some(
            "/usr/bin/git --no-pager -c core.fsmonitor=false -c core.hooksPath=/dev/null log --no-ext-diff --no-textconv -3",
        ),
        outcome: Outcome::Allow,
        denial: None,
        question: None,
        set: Digest::of(b"a set"),
        trail,
    };
    audit.decided(&decided).expect("a line");
}

fn bench(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let answer = |round, policy: &str| Answer {
        round,
        policy: policy.to_owned(),
        mode: config::Mode::Enforce,
        verdict: VerdictKind::Abstain,
        reason: None,
        took: Duration::from_micros(60),
    };
    let trail: Vec<_> = (1..=2).flat_map(|round| ["allowlist", "harden", "redact"].map(|policy| answer(round, policy))).collect();
    let (one, other) = (open(&folder.path().join("log")), open(&folder.path().join("log")));
    let mut group = criterion.benchmark_group("audit");
    group.bench_function("append", |bencher| bencher.iter(|| append(&one, &trail)));
    group.bench_function("append in turns", |bencher| {
        bencher.iter(|| {
            append(&one, &trail);
            append(&other, &trail);
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
