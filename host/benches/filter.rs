//! The default output filter alone, without a job: 16 MiB in pieces of 64 KiB, each copied once to be given away.
//!
//! - `log lines`: what builds and tests print, no trigger in it.
//! - `a secret in 0, 1, 5, 20, 100 % of the lines`: so many hold a token.
//! - `a trigger in 5 % of the lines`: without a secret behind it.
//! - `copy`: the same bytes copied to a buffer, for scale.

mod common;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis::{policy::Decision, service::load_chain};

const BYTES: usize = 16 << 20;

fn filter(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = common::runtime();
    let config = common::config(folder.path());
    let chain = runtime.block_on(load_chain(&config)).expect("the default policies");
    let request = runtime.block_on(common::request(&chain, &config, "ls"));
    let Decision::Approved(approved) = runtime.block_on(chain.decide(request)).decision else { panic!("`ls` is approved") };
    let plain = common::log_lines(BYTES);
    let mut group = criterion.benchmark_group("filter");
    group.throughput(Throughput::Bytes(BYTES as u64)).sample_size(10);
    let token = format!("remote: using ghp_{} for the push\n", "A".repeat(36));
    let shares =
        [0, 1, 5, 20, 100].map(|percent| (format!("a secret in {percent} % of the lines"), mixed(&plain, &token, percent)));
    let triggers = ("a trigger in 5 % of the lines".to_owned(), mixed(&plain, "remote: see https://h.invalid/doc/key\n", 5));
    for (name, stream) in shares.into_iter().chain([triggers]) {
        group.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                let mut filter = approved.stdout_filter();
                for piece in stream.chunks(64 * 1024) {
                    black_box(filter.push(piece.to_vec().into()).await);
                }
            });
        });
    }
    group.bench_function("copy", |bencher| {
        let mut buffer = Vec::new();
        bencher.iter(|| {
            for piece in plain.chunks(64 * 1024) {
                buffer.clear();
                buffer.extend_from_slice(black_box(piece));
            }
        });
    });
    group.finish();
}

/// So many of a hundred lines replaced by this one.
fn mixed(plain: &[u8], line: &str, percent: usize) -> Vec<u8> {
    let lines = plain.split_inclusive(|byte| *byte == b'\n').enumerate();
    let is_replaced = |index: usize| index * percent / 100 != (index + 1) * percent / 100;
    let mut mixed: Vec<u8> =
        lines.flat_map(|(index, plain)| if is_replaced(index) { line.as_bytes() } else { plain }).copied().collect();
    mixed.truncate(BYTES);
    mixed
}

criterion_group!(benches, filter);
criterion_main!(benches);
