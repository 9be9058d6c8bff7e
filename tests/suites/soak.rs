//! Many jobs at once, read and killed at random: at the end the books must be right, and nothing may be left.
//!
//! `PORTCULLIS_SOAK_JOBS` says how many jobs (200); some thousands take some minutes.

use std::{collections::HashMap, fs};

use proptest::{
    prelude::Rng,
    test_runner::{RngAlgorithm, TestRng},
};
use serde_json::{Value, json};

use crate::support::{eventually, scene::Scene, wire::Wire};

/// What a job of the soak prints, if it is not killed.
struct Wanted {
    stdout: u64,
    stderr: u64,
}

fn number(random: &mut TestRng, range: std::ops::Range<u64>) -> u64 {
    range.start + random.next_u64() % (range.end - range.start)
}

fn one_of<T: Copy>(random: &mut TestRng, choices: &[T]) -> T {
    choices[random.next_u32() as usize % choices.len()]
}

/// A script that prints so many bytes on each stream, in lines of odd lengths, and what it does besides.
fn script(random: &mut TestRng) -> (String, Wanted) {
    let wanted = Wanted { stdout: number(random, 0..200_000), stderr: number(random, 0..20_000) };
    let text = one_of(random, &["a line of some length", "", "x", "key = value, key = value"]);
    let deed = one_of(random, &["", "sleep 0.2;", "sleep 1000 &", "setsid sleep 1000 &", "exec <&-;"]);
    let print = |bytes: u64| format!("yes \"{text}\" | head -c {bytes}");
    (format!("{deed} {}; {} >&2", print(wanted.stdout), print(wanted.stderr)), wanted)
}

/// Reads a stream in pages of a random size: the bytes that are answered and those that fell out, which must be all.
fn read_through(wire: &mut Wire, job: &str, stream: &str, random: &mut TestRng) -> u64 {
    let (mut at, mut cursor) = (0, Value::Null);
    loop {
        let mut asked = json!({ "job_id": job, "stream": stream, "max_bytes": number(random, 1000..100_000) });
        if !cursor.is_null() {
            asked["cursor"] = cursor;
        }
        let page = wire.tell("get_job_output", asked);
        let next: u64 = page["next_cursor"].as_str().unwrap().rsplit(['o', 'e']).next().unwrap().parse().unwrap();
        let kept = next - at - page["dropped_bytes"].as_u64().unwrap();
        // The marker of a gap is no output, nor is the newline before it where the gap parts a line.
        let text = page[stream].as_str().unwrap();
        let marker: usize = text.lines().filter(|line| line.starts_with("[portcullis: ")).map(|line| line.len() + 1).sum();
        let shown = (text.len() - marker) as u64;
        assert!(shown == kept || marker > 0 && shown == kept + 1, "{shown} of {kept} from {at} to {next}");
        (at, cursor) = (next, page["next_cursor"].clone());
        if page["truncated"] == false {
            assert_eq!(page["total_bytes"], at);
            return at;
        }
    }
}

#[test]
fn the_books_are_right_whatever_happens() {
    let jobs = std::env::var("PORTCULLIS_SOAK_JOBS").map_or(200, |jobs| jobs.parse().unwrap());
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let scene = Scene::open("max_running = 16\nmax_queued = 10000\noutput_bytes = 65536\nkeep_finished = 10000\ngrace_ms = 200");
    let mut wire = Wire::open(&scene);
    let mut wanted = HashMap::new();
    let mut waiting = Vec::new();
    for _ in 0..jobs {
        let (script, bytes) = script(&mut random);
        wanted.insert(wire.sh(&script), bytes);
        for _ in 0..number(&mut random, 0..4) {
            let ids: Vec<&String> = wanted.keys().collect();
            let job = one_of(&mut random, &ids);
            let (tool, arguments) = match number(&mut random, 0..6) {
                0 => ("kill_job", json!({ "job_id": job })),
                1 => ("tail_job_output", json!({ "job_id": job, "lines": 1000 })),
                2 => ("search_job_output", json!({ "job_id": job, "pattern": "v.lue$" })),
                3 => ("wait_for_job", json!({ "job_id": job, "wait_ms": 50, "pattern": "nowhere" })),
                4 => ("get_job_output", json!({ "job_id": job, "stream": "merged" })),
                _ => ("list_jobs", json!({})),
            };
            waiting.push(wire.begin(tool, arguments));
        }
        if waiting.len() > 20 {
            for asked in waiting.drain(..) {
                assert_ne!(wire.result(asked)["isError"], true);
            }
        }
    }
    for asked in waiting {
        assert_ne!(wire.result(asked)["isError"], true);
    }
    for (job, bytes) in &wanted {
        let status = wire.ended(job);
        for (stream, printed) in [("stdout", bytes.stdout), ("stderr", bytes.stderr)] {
            let total = read_through(&mut wire, job, stream, &mut random);
            assert!(total == printed || status["status"] == "killed" && total < printed, "{total} of {printed}: {status}");
        }
    }
    eventually("no process is left", || scene.processes().is_empty().then_some(()));
    let descriptors = fs::read_dir(format!("/proc/{}/fd", wire.pid())).unwrap().count();
    assert!(descriptors < 40, "{descriptors} descriptors are open");
}
