//! Decisions by the three default policies, each policy in a fresh instance each time.
//!
//! - `allowed`: `ls -la`, one round.
//! - `rewritten`: `git log -3`, two rounds, the second judging what hardening made of it.
//! - `denied`: `rm -rf x`.
//! - `two at once`: two decisions on `ls -la` side by side.
//! - `parse`: shell text to judged tree, without deciding.

mod common;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::{
    script::{Script, Site},
    service::load_chain,
};

fn decide(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = common::runtime();
    let config = common::config(folder.path());
    let chain = runtime.block_on(load_chain(&config)).expect("the default policies");
    let mut group = criterion.benchmark_group("decide");
    for (name, command) in [("allowed", "ls -la"), ("rewritten", "git log -3"), ("denied", "rm -rf x")] {
        let request = common::request(&config, command);
        group.bench_function(name, |bencher| bencher.to_async(&runtime).iter(|| chain.decide(request.clone())));
    }
    let request = common::request(&config, "ls -la");
    group.bench_function("two at once", |bencher| {
        bencher.to_async(&runtime).iter(|| async { tokio::join!(chain.decide(request.clone()), chain.decide(request.clone())) });
    });
    let site = Site { roots: config.jobs.roots.clone(), path: config.jobs.path.clone() };
    group.bench_function("parse", |bencher| bencher.iter(|| Script::parse("git log -3", &site, &config.jobs.cwd)));
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
