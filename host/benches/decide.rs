//! Decisions by the three default policies, each policy in a fresh instance each time.
//!
//! - `allowed`: `ls -la`, one round.
//! - `rewritten`: `git log -3`, two rounds, the second judging what hardening made of it.
//! - `denied`: `rm -rf x`.
//! - `two at once`: two decisions on `ls -la` side by side.
//! - `parse`: shell text to judged tree, without deciding.
//! - `script`: `cd web && npm test 2>&1 | tail -20` with the npm pack: parsed, decided, rendered.
//! - `scripts/KIND/BYTES`: scripts up to the limit of 64 KiB: parsed, decided, rendered. Of three kinds: `dense`, six nodes every
//!   55 bytes; `lines`, three nodes to an ordinary line; `document`, one here-document with a few commands around it.

mod common;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use portcullis::{
    config::Config,
    policy::{Chain, Decision},
    service::load_chain,
};

/// What an agent writes all day.
const SCRIPT: &str = "cd web && npm test 2>&1 | tail -20";
/// One line of the dense scripts.
const DENSE: &str = "echo \"step $?\" && ls -la src | grep -c main; cat a.txt\n";
/// One line of ordinary scripts.
const LINE: &str = "grep -rn --include=main.rs 'fn deliver_messages' src/delivery | head -n 20\n";
/// One line of a file that an agent writes.
const CONTENT: &str = "    let delivered = queue.deliver(&message, \"it's $HOME\").await?; // `once`\n";

async fn judged(chain: &Chain, config: &Config, script: &str) -> String {
    let judgement = chain.decide(common::request(chain, config, script).await).await;
    let Decision::Approved(approved) = judgement.decision else { panic!("it is allowed: {}", judgement.shown) };
    approved.request().script.canonical()
}

fn decide(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = common::runtime();
    let config = common::config(folder.path());
    let chain = runtime.block_on(load_chain(&config)).expect("the default policies");
    let mut group = criterion.benchmark_group("decide");
    for (name, command) in [("allowed", "ls -la"), ("rewritten", "git log -3"), ("denied", "rm -rf x")] {
        let request = runtime.block_on(common::request(&chain, &config, command));
        group.bench_function(name, |bencher| bencher.to_async(&runtime).iter(|| chain.decide(request.clone())));
    }
    let request = runtime.block_on(common::request(&chain, &config, "ls -la"));
    group.bench_function("two at once", |bencher| {
        bencher.to_async(&runtime).iter(|| async { tokio::join!(chain.decide(request.clone()), chain.decide(request.clone())) });
    });
    group.bench_function("parse", |bencher| {
        bencher.to_async(&runtime).iter(|| common::request(&chain, &config, "git log -3"));
    });
    group.finish();
}

fn scripts(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = common::runtime();
    let config = common::writing(common::with_pack(common::config(folder.path()), "npm"));
    let chain = runtime.block_on(load_chain(&config)).expect("the default policies and the npm pack");
    criterion.bench_function("script", |bencher| bencher.to_async(&runtime).iter(|| judged(&chain, &config, SCRIPT)));
    let mut group = criterion.benchmark_group("scripts");
    group.sample_size(20);
    let repeated = |line: &str, bytes: usize| line.repeat(bytes / line.len());
    for bytes in [4, 8, 16, 32, 64].map(|kib| kib * 1024) {
        for (kind, text) in [("dense", repeated(DENSE, bytes)), ("lines", repeated(LINE, bytes)), ("document", document(bytes))] {
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_with_input(BenchmarkId::new(kind, text.len()), &text, |bencher, text| {
                bencher.to_async(&runtime).iter(|| judged(&chain, &config, text));
            });
        }
    }
    group.finish();
}

/// How agents write files.
fn document(bytes: usize) -> String {
    let (before, after) = ("cd src && cat > main.rs <<'EOF'\n", "EOF\nwc -l main.rs && npm test 2>&1 | tail -20\n");
    before.to_owned() + &CONTENT.repeat((bytes - before.len() - after.len()) / CONTENT.len()) + after
}

criterion_group!(benches, decide, scripts);
criterion_main!(benches);
