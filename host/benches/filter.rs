//! The default output filter alone, without a job: 16 MiB in pieces of 64 KiB, each copied once to be given away.
//!
//! - `log lines`: what builds and tests print, no trigger in it.
//! - `one secret in 20 lines`: every twentieth line holds a token.
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
    for (name, stream) in [("log lines", &plain), ("one secret in 20 lines", &with_secrets(&plain))] {
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

fn with_secrets(plain: &[u8]) -> Vec<u8> {
    let token = format!("remote: using ghp_{} for the push\n", "A".repeat(36));
    let lines = plain.split_inclusive(|byte| *byte == b'\n').enumerate();
    let mut mixed: Vec<u8> =
        lines.flat_map(|(index, line)| if index % 20 == 0 { token.as_bytes() } else { line }).copied().collect();
    mixed.truncate(BYTES);
    mixed
}

criterion_group!(benches, filter);
criterion_main!(benches);
