//! Reading what jobs print: pages, cursors, both streams in their order, waits and searches.

use std::{
    fs,
    time::{Duration, Instant},
};

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    eventually,
    scene::{OPEN, Scene},
    wire::Wire,
};

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn row_22_long_output_is_read_in_pages() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("seq 30000; seq 40000 >&2");
    wire.ended(&job);
    let mut pages = Vec::new();
    let mut arguments = json!({ "job_id": job });
    let last = loop {
        let page = wire.tell("get_job_output", arguments);
        assert!(text(&page["stdout"]).len() <= 64 << 10, "{page}");
        arguments = json!({ "job_id": job, "cursor": page["next_cursor"] });
        pages.push((text(&page["stdout"]).to_owned(), text(&page["stderr"]).to_owned()));
        if page["truncated"] == false {
            break page;
        }
    };
    let (stdout, stderr): (String, String) = pages.into_iter().unzip();
    let count = |most: u32| (1..=most).map(|line| format!("{line}\n")).collect::<String>();
    assert!(stdout == count(30000) && stderr == count(40000));
    assert_eq!(number(&last["total_bytes"]), (stdout.len() + stderr.len()) as u64);
    let after = wire.tell("get_job_output", arguments);
    assert_eq!((&after["stdout"], &after["stderr"], &after["truncated"]), (&"".into(), &"".into(), &false.into()));
}

#[rstest]
#[case::as_long_as_a_character(4)]
#[case::odd(7)]
fn a_character_is_never_parted(#[case] max_bytes: u32) {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    fs::write(scene.root().join("text"), "aé😀漢\n").unwrap();
    let job = wire.execute("cat text");
    wire.ended(&job);
    let (mut read, mut cursor) = (String::new(), None::<Value>);
    while read.len() < "aé😀漢\n".len() {
        let mut arguments = json!({ "job_id": job, "max_bytes": max_bytes, "stream": "stdout" });
        if let Some(cursor) = cursor {
            arguments["cursor"] = cursor;
        }
        let page = wire.tell("get_job_output", arguments);
        assert!(!text(&page["stdout"]).is_empty());
        read += text(&page["stdout"]);
        cursor = Some(page["next_cursor"].clone());
    }
    assert_eq!(read, "aé😀漢\n");
}

#[test]
fn row_23_the_order_of_both_streams_is_known() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("for i in 1 2 3; do echo out $i; sleep 0.1; echo err $i >&2; sleep 0.1; done");
    wire.ended(&job);
    let first = wire.tell("get_job_output", json!({ "job_id": job, "stream": "merged", "max_bytes": 12 }));
    let rest = wire.tell("get_job_output", json!({ "job_id": job, "stream": "merged", "cursor": first["next_cursor"] }));
    assert_eq!((&first["truncated"], &rest["truncated"]), (&true.into(), &false.into()));
    let pieces: Vec<_> = [&first, &rest].iter().flat_map(|page| page["merged"].as_array().unwrap()).collect();
    let texts: Vec<_> = pieces.iter().map(|piece| (text(&piece["stream"]), text(&piece["text"]))).collect();
    let out = |text| ("stdout", text);
    let err = |text| ("stderr", text);
    assert_eq!(texts, [out("out 1\n"), err("err 1\n"), out("out 2\n"), err("err 2\n"), out("out 3\n"), err("err 3\n")]);
    assert!(pieces.is_sorted_by_key(|piece| text(&piece["time"])));
    let since = wire.tell("get_job_output", json!({ "job_id": job, "since": pieces[4]["time"], "stream": "merged" }));
    let last: String = since["merged"].as_array().unwrap().iter().map(|piece| text(&piece["text"])).collect();
    assert!(last.ends_with("out 3\nerr 3\n") && last.len() < 24, "{since}");
}

#[rstest]
#[case::of_the_future(|own: &str| own.replace("-o2", "-o99"), "beyond what the job has printed")]
#[case::of_another_job(|own: &str| format!("00000000{}", &own[8..]), "of another job")]
#[case::of_another_stream(|own: &str| own.split("-e").next().unwrap().to_owned(), "of another `stream`")]
fn a_cursor_that_leads_nowhere(#[case] spoil: fn(&str) -> String, #[case] said: &str) {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.execute("echo 1");
    wire.ended(&job);
    let cursor = text(&wire.output(&job)["next_cursor"]).to_owned();
    let refused = wire.refused("get_job_output", json!({ "job_id": job, "cursor": spoil(&cursor) }));
    assert!(refused.contains(said), "{refused}");
}

#[rstest]
#[case::lines("yes a line of some length | head -c 200000000")]
#[case::one_line("head -c 200000000 /dev/zero | tr \"\\000\" .")]
#[case::zeroes("head -c 200000000 /dev/zero")]
fn any_number_of_readers_hold_up_nobody(#[case] script: &str) {
    let scene = Scene::open("output_bytes = 1048576");
    let mut wire = Wire::open(&scene);
    let job = wire.sh(script);
    let reads: Vec<_> = (0..20)
        .map(|n| {
            let tool = ["get_job_output", "tail_job_output", "search_job_output"][n % 3];
            let arguments = if n % 3 == 2 { json!({ "job_id": job, "pattern": "nowhere" }) } else { json!({ "job_id": job }) };
            wire.begin(tool, arguments)
        })
        .collect();
    for read in reads {
        assert_ne!(wire.result(read)["isError"], true);
    }
    assert_eq!(wire.ended(&job)["status"], "completed");
    let output = wire.output(&job);
    assert_eq!(number(&output["total_bytes"]), 200_000_000);
    assert_eq!(number(&output["dropped_bytes"]), 200_000_000 - 1_048_576);
}

#[test]
fn a_wait_ends_with_the_job() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("sleep 0.3; echo done; exit 3");
    let waited = wire.tell("wait_for_job", json!({ "job_id": job }));
    assert_eq!((&waited["met"], &waited["status"], &waited["exit_code"]), (&"ended".into(), &"failed".into(), &3.into()));
    assert_eq!(waited["stdout"], "done\n");
    assert_eq!(wire.tell("wait_for_job", json!({ "job_id": job, "wait_ms": 0 }))["met"], "ended");
}

#[test]
fn a_wait_ends_with_a_pattern() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("echo starting; sleep 0.3; printf \"ready> \"; exec sleep 1000");
    let pattern = json!({ "job_id": job, "pattern": "^ready> $" });
    let waited = wire.tell("wait_for_job", pattern.clone());
    assert_eq!((&waited["met"], &waited["stdout"]), (&"matched".into(), &"starting\nready> ".into()));
    assert_eq!(wire.tell("wait_for_job", pattern)["met"], "matched");
    // What was there before does not count.
    let later = json!({ "job_id": job, "pattern": "ready", "cursor": waited["next_cursor"], "wait_ms": 200 });
    let waited = wire.tell("wait_for_job", later);
    assert_eq!((&waited["met"], &waited["stdout"], &waited["status"]), (&"time_up".into(), &"".into(), &"running".into()));
}

#[test]
fn what_is_there_already_is_found_without_waiting() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("seq 300000; echo ready; sleep 1000");
    wire.tell("wait_for_job", json!({ "job_id": job, "pattern": "^ready" }));
    let at_once = wire.tell("wait_for_job", json!({ "job_id": job, "pattern": "^ready", "wait_ms": 0 }));
    assert_eq!(at_once["met"], "matched");
    // Which no line begins with, but a page does.
    let job = wire.sh("printf %0200000d 0; echo; sleep 1000");
    wire.tell("wait_for_job", json!({ "job_id": job, "pattern": "0{100}" }));
    let cursor = &wire.tell("get_job_output", json!({ "job_id": job, "max_bytes": 1 }))["next_cursor"];
    let never = json!({ "job_id": job, "pattern": "^0{10}", "cursor": cursor, "wait_ms": 300 });
    assert_eq!(wire.tell("wait_for_job", never)["met"], "time_up");
}

#[test]
fn the_rest_of_a_character_is_waited_for() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("printf abc; printf \"\\342\\202\"; read go; printf \"\\254.\"; sleep 1000");
    let begun = wire.tell("wait_for_job", json!({ "job_id": job, "pattern": "abc" }));
    assert_eq!((&begun["stdout"], &begun["lossy"]), (&"abc".into(), &false.into()));
    let page = wire.tell("get_job_output", json!({ "job_id": job }));
    let merged = wire.tell("get_job_output", json!({ "job_id": job, "stream": "merged" }));
    assert_eq!((&page["stdout"], &merged["merged"][0]["text"]), (&"abc".into(), &"abc".into()));
    let rest = json!({ "job_id": job, "cursor": page["next_cursor"] });
    assert_eq!(wire.tell("get_job_output", rest.clone())["stdout"], "");
    wire.tell("interact_with_job", json!({ "job_id": job, "input": "go", "until": "\\." }));
    assert_eq!(wire.tell("get_job_output", rest)["stdout"], "€.");
}

#[test]
fn who_pauses_in_the_middle_of_a_secret_shows_none_of_it() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let token = format!("ghp_{}", "x7".repeat(18));
    let (first, second) = token.split_at(9);
    let job = wire.sh(&format!("printf \"see {first}\"; read go; printf \"{second}\\n\"; cat"));
    let shown = eventually("what is no beginning of a secret", || {
        Some(wire.output(&job)["stdout"].clone()).filter(|stdout| !text(stdout).is_empty())
    });
    // As long as nothing comes, no more of it.
    assert_eq!(wire.tell("wait_for_job", json!({ "job_id": job, "wait_ms": 500 }))["met"], "time_up");
    assert_eq!((&wire.output(&job)["stdout"], &shown), (&shown, &"see ".into()));
    wire.tell("interact_with_job", json!({ "job_id": job, "input": "go", "until": "redacted" }));
    assert_eq!(wire.output(&job)["stdout"], "see [redacted: github-token]\n");
}

#[test]
fn a_wait_ends_with_silence() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("for i in 1 2 3; do echo $i; sleep 0.05; done; exec sleep 1000");
    let waited = wire.tell("wait_for_job", json!({ "job_id": job, "silence_ms": 400 }));
    assert_eq!((&waited["met"], &waited["stdout"]), (&"silent".into(), &"1\n2\n3\n".into()));
}

#[test]
fn a_wait_can_be_cancelled_and_the_job_goes_on() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.execute("sleep 1000");
    let waiting = wire.begin("wait_for_job", json!({ "job_id": job, "wait_ms": 600_000 }));
    wire.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": waiting.id() } }));
    assert_eq!(wire.status(&job)["status"], "running");
}

/// Cancelled at any moment of the way: what is recorded as approved is started, and its end recorded, or it is recorded that it was
/// not.
#[test]
fn a_cancelled_call_leaves_nothing_half_done() {
    let scene = Scene::open("max_running = 100");
    let mut wire = Wire::open(&scene);
    // There are policies from now on.
    let first = wire.execute("true");
    wire.ended(&first);
    for pause in 0..40 {
        let called = wire.begin("execute_command", json!({ "command": format!("touch made-{pause}"), "wait_ms": 600_000 }));
        std::thread::sleep(Duration::from_micros(250 * pause));
        wire.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": called.id() } }));
    }
    wire.close();
    let audit = scene.audit();
    let of = |event: &'static str| audit.iter().filter(move |line| line["event"] == event);
    let approved: Vec<_> = of("decision").map(|line| line["job_id"].as_str().unwrap()).collect();
    let finished: Vec<_> = of("job_end").chain(of("not_started")).map(|line| line["job_id"].as_str().unwrap()).collect();
    assert!(approved.len() > 1);
    for id in &approved {
        assert_eq!(finished.iter().filter(|finished| *finished == id).count(), 1, "{id}: {audit:?}");
    }
    let made = fs::read_dir(scene.root())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("made-"));
    assert!(made.count() <= of("job_end").count());
}

#[test]
fn an_id_that_is_in_progress_is_refused_and_frees_nothing() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.execute("sleep 1000");
    let wait = json!({ "job_id": job, "wait_ms": 600_000 });
    let waits: Vec<_> = (0..128).map(|_| wire.begin("wait_for_job", wait.clone())).collect();
    for &waiting in &waits[..4] {
        wire.send(&json!({ "jsonrpc": "2.0", "id": waiting.id(), "method": "ping" }));
        let refused = wire.answer(waiting);
        assert_eq!(refused["error"]["code"], -32600, "{refused}");
        let surplus = wire.begin("wait_for_job", wait.clone());
        let refused = wire.answer(surplus);
        assert!(text(&refused["error"]["message"]).contains("128 calls are in progress"), "{refused}");
    }
    let cancelled = json!({ "requestId": waits[127].id() });
    wire.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled }));
    assert_eq!(wire.tell("kill_job", json!({ "job_id": job }))["status"], "killed");
    // Each is answered once more, and none was lost.
    for &waiting in &waits[..127] {
        assert_eq!(wire.result(waiting)["structuredContent"]["met"], "ended");
    }
}

#[test]
fn many_waits_make_the_server_deaf_to_nothing() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.execute("sleep 1000");
    let wait = json!({ "job_id": job, "wait_ms": 600_000 });
    let waits: Vec<_> = (0..128).map(|_| wire.begin("wait_for_job", wait.clone())).collect();
    let surplus = wire.begin("wait_for_job", wait.clone());
    let refused = wire.answer(surplus);
    assert!(text(&refused["error"]["message"]).contains("128 calls are in progress"), "{refused}");
    let cancelled = waits[0].id();
    wire.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": cancelled } }));
    assert_eq!(wire.tell("kill_job", json!({ "job_id": job }))["status"], "killed");
    for waiting in waits.into_iter().skip(1) {
        assert_eq!(wire.result(waiting)["structuredContent"]["met"], "ended");
    }
    let job = wire.execute("sleep 1000");
    for _ in 0..128 {
        _ = wire.begin("wait_for_job", json!({ "job_id": job, "wait_ms": 600_000 }));
    }
    wire.close();
    scene.deserted();
}

#[test]
fn a_final_status_stands_beside_all_of_the_output() {
    let scene =
        Scene::configured(&format!("{OPEN}[[policies]]\nname = \"tidy\"\ncomponent = \"builtin:tidy\"\napply = \"reads\"\n"));
    let mut wire = Wire::open(&scene);
    for _ in 0..10 {
        let job = wire.sh("seq 100000; sleep 0.1; echo last");
        let output = eventually("the job ends", || {
            let output = wire.tell("get_job_output", json!({ "job_id": job, "tidy": true, "max_bytes": 1 << 20 }));
            (output["status"] != "running").then_some(output)
        });
        assert!(text(&output["stdout"]).ends_with("last\n") && output["truncated"] == false);
    }
}

#[test]
fn a_command_can_be_waited_for_at_once() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let done = wire.tell("execute_command", json!({ "command": "echo one", "wait_ms": 10_000 }));
    assert_eq!((&done["output"]["stdout"], &done["output"]["exit_code"]), (&"one\n".into(), &0.into()));
    let begun = Instant::now();
    let running = wire.tell("execute_command", json!({ "command": "sleep 1000", "wait_ms": 100 }));
    assert_eq!(running["output"]["status"], "running");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn lines_are_searched_for() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("seq 1000; echo Error: 7 >&2");
    wire.ended(&job);
    let found = wire.tell("search_job_output", json!({ "job_id": job, "pattern": "^99.$", "context": 1, "limit": 2 }));
    assert_eq!((&found["truncated"], &found["dropped_bytes"]), (&true.into(), &0.into()));
    assert_eq!(
        found["matches"],
        json!([
            { "stream": "stdout", "line": 990, "text": "990", "before": ["989"], "after": ["991"] },
            { "stream": "stdout", "line": 991, "text": "991", "before": ["990"], "after": ["992"] },
        ])
    );
    let found =
        wire.tell("search_job_output", json!({ "job_id": job, "pattern": "error", "ignore_case": true, "stream": "stderr" }));
    assert_eq!(found["matches"], json!([{ "stream": "stderr", "line": 1, "text": "Error: 7" }]));
}

#[test]
fn a_pattern_that_would_backtrack_does_not() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("head -c 1000000 /dev/zero | tr \"\\000\" a");
    wire.ended(&job);
    let begun = Instant::now();
    let found = wire.tell("search_job_output", json!({ "job_id": job, "pattern": "(a+)+b" }));
    assert_eq!(found["matches"], json!([]));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_job_that_closes_its_output_runs_on() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("echo last; exec >&- 2>&-; sleep 0.5; exit 4");
    let waited = wire.tell("wait_for_job", json!({ "job_id": job, "pattern": "last" }));
    assert_eq!((&waited["met"], &waited["status"]), (&"matched".into(), &"running".into()));
    assert_eq!(wire.ended(&job)["exit_code"], 4);
    assert_eq!(wire.output(&job)["stdout"], "last\n");
}

#[test]
fn output_can_be_had_tidy() {
    let scene =
        Scene::configured(&format!("{OPEN}[[policies]]\nname = \"tidy\"\ncomponent = \"builtin:tidy\"\napply = \"reads\"\n"));
    let mut wire = Wire::open(&scene);
    let job = wire.sh("printf \"\\033[1mbold\\033[0m\\n10%%\\r20%%\\r100%%\\n\"; yes same | head -n 500");
    wire.ended(&job);
    let kept = wire.output(&job);
    let tidy = wire.tell("get_job_output", json!({ "job_id": job, "tidy": true }));
    assert!(text(&kept["stdout"]).starts_with("\u{1b}[1mbold"), "{kept}");
    assert!(text(&tidy["stdout"]).starts_with("bold\n100%\nsame\n") && text(&tidy["stdout"]).len() < 100, "{tidy}");
    assert_eq!(tidy["next_cursor"], kept["next_cursor"]);
    let refused = wire.refused("get_job_output", json!({ "job_id": job, "tidy": true, "stream": "merged" }));
    assert!(refused.contains("tidy"), "{refused}");
}

#[test]
fn what_was_redacted_is_counted() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.execute(&format!("printf '%s\\n%s\\n' {0} {0}", crate::support::secret()));
    let status = wire.ended(&job);
    let counts = status["redacted"].as_object().unwrap_or_else(|| panic!("{status}"));
    assert_eq!(counts.values().filter_map(Value::as_u64).sum::<u64>(), 2, "{status}");
    let end = eventually("the end is recorded", || scene.audit().into_iter().find(|line| line["event"] == "job_end"));
    assert_eq!(end["redacted"], status["redacted"]);
}

// ── limits ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn what_all_jobs_keep_is_bounded() {
    let scene = Scene::open("output_bytes = 1048576\noutput_total_bytes = 1500000");
    let mut wire = Wire::open(&scene);
    let first = wire.sh("head -c 1000000 /dev/zero | tr \"\\000\" .");
    wire.ended(&first);
    let second = wire.sh("head -c 1000000 /dev/zero | tr \"\\000\" .; sleep 1000");
    let third = wire.sh("head -c 1000000 /dev/zero | tr \"\\000\" .; sleep 1000");
    // The finished one goes; of those that run, each keeps what there is room for.
    eventually("both have printed", || {
        let totals = [&second, &third].map(|job| number(&wire.output(job)["total_bytes"]));
        (totals == [1_000_000; 2]).then_some(())
    });
    assert!(wire.refused("get_job_output", json!({ "job_id": first })).contains("there is no job"));
    let kept = [&second, &third].map(|job| 1_000_000 - number(&wire.output(job)["dropped_bytes"]));
    assert!(kept.iter().sum::<u64>() <= 1_500_000, "{kept:?}");
}

#[test]
fn ten_thousand_empty_lines_a_second() {
    let scene = Scene::open("output_bytes = 4096");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("yes \"\" | head -n 100000");
    wire.ended(&job);
    let output = wire.output(&job);
    assert_eq!((number(&output["total_bytes"]), number(&output["dropped_bytes"])), (100_000, 100_000 - 4096));
}

// ── the queue ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn row_15_beyond_the_limit_jobs_wait_in_their_order() {
    let scene = Scene::open("max_running = 1\nmax_queued = 2");
    let mut wire = Wire::open(&scene);
    let running = wire.execute("sleep 1000");
    let queued = [0, 1].map(|before| {
        let started = wire.tell("execute_command", json!({ "command": "echo now" }));
        assert_eq!(started["queued_behind"], before);
        text(&started["job_id"]).to_owned()
    });
    let status = wire.status(&queued[1]);
    assert_eq!((&status["status"], &status["queued_behind"]), (&"queued".into(), &1.into()));
    assert!(status["pid"].is_null() && status["ended"].is_null(), "{status}");
    let refused = wire.refused("execute_command", json!({ "command": "echo never" }));
    assert!(refused.contains("1 jobs are running already") && refused.contains("2 are waiting"), "{refused}");
    let refused = wire.refused("interact_with_job", json!({ "job_id": queued[0], "input": "x" }));
    assert!(refused.contains("queued"), "{refused}");
    assert_eq!(wire.tell("kill_job", json!({ "job_id": queued[0] }))["status"], "killed");
    assert_eq!(wire.status(&queued[1])["queued_behind"], 0);
    wire.tell("kill_job", json!({ "job_id": running }));
    assert_eq!(wire.ended(&queued[1])["status"], "completed");
    assert_eq!(wire.output(&queued[1])["stdout"], "now\n");
    assert_eq!(wire.output(&queued[0])["stdout"], "");
    let ends = eventually("all ends are recorded", || {
        let ends: Vec<_> = scene.audit().into_iter().filter(|line| line["event"] == "job_end").collect();
        (ends.len() == 3).then_some(ends)
    });
    assert!(ends.iter().any(|end| end["job_id"] == queued[0].as_str() && end["started"].is_null()), "{ends:?}");
}

#[test]
fn what_waited_is_judged_again() {
    let scene = Scene::configured(
        "[jobs]\nmax_running = 1\n[[policies]]\nname = \"allowlist\"\ncomponent = \"builtin:allowlist\"\n\
         [policies.settings]\ninclude = [\"coreutils-read\"]\n",
    );
    let secret = scene.outside("secret", "from outside\n");
    for name in ["replaced", "kept"] {
        fs::write(scene.root().join(name), "from inside\n").unwrap();
    }
    let mut wire = Wire::open(&scene);
    let running = wire.execute("tail -f kept");
    let [replaced, kept] = ["cat replaced", "cat kept"].map(|command| wire.execute(command));
    fs::remove_file(scene.root().join("replaced")).unwrap();
    std::os::unix::fs::symlink(secret, scene.root().join("replaced")).unwrap();
    wire.tell("kill_job", json!({ "job_id": running }));
    let status = wire.ended(&replaced);
    assert_eq!(status["status"], "failed");
    assert!(text(&status["fault"]).contains("when its turn came it was judged again, and denied: "), "{status}");
    assert_eq!(wire.output(&replaced)["stdout"], "");
    assert_eq!(wire.ended(&kept)["status"], "completed");
    assert_eq!(wire.output(&kept)["stdout"], "from inside\n");
    let audit = scene.audit();
    let of = |job: &str| audit.iter().filter(|line| line["event"] == "decision" && line["job_id"] == job).count();
    assert_eq!((of(&kept), of(&replaced)), (2, 1));
    assert!(audit.iter().any(|line| line["event"] == "not_started" && line["job_id"] == replaced.as_str()), "{audit:?}");
}

#[test]
fn a_group_has_a_limit_of_its_own() {
    let scene = Scene::open("max_running = 10\nmax_queued = 1\n[jobs.groups]\nbuild = 1");
    let mut wire = Wire::open(&scene);
    let in_group = json!({ "command": "sleep 1000", "group": "build" });
    let first = wire.tell("execute_command", in_group.clone());
    let second = wire.tell("execute_command", in_group);
    assert!(first["queued_behind"].is_null() && second["queued_behind"] == 0, "{second}");
    let other = wire.execute("sleep 1000");
    assert_eq!(
        (&wire.status(&other)["status"], &wire.status(text(&second["job_id"]))["group"]),
        (&"running".into(), &"build".into())
    );
    let refused = wire.refused("execute_command", json!({ "command": "true", "group": "build" }));
    assert!(refused.contains("`jobs.groups.build`"), "{refused}");
    let refused = wire.refused("execute_command", json!({ "command": "true", "group": "deploy" }));
    assert!(refused.contains("there is no group \"deploy\""), "{refused}");
}

#[test]
fn what_is_queued_ends_with_the_server() {
    let scene = Scene::open("max_running = 1");
    let mut wire = Wire::open(&scene);
    wire.execute("sleep 1000");
    wire.execute("sleep 1000");
    wire.close();
    let ends = scene.audit().iter().filter(|line| line["event"] == "job_end" && line["state"] == "killed").count();
    assert_eq!(ends, 2);
}

#[test]
fn a_queued_job_that_can_not_be_started_says_why() {
    let scene = Scene::open("max_running = 1");
    let mut wire = Wire::open(&scene);
    let running = wire.execute("sleep 1000");
    let queued = wire.execute("echo late");
    let away = scene.base().join("away");
    fs::rename(scene.root(), &away).unwrap();
    wire.tell("kill_job", json!({ "job_id": running }));
    let status = wire.ended(&queued);
    assert_eq!(status["status"], "failed");
    assert!(text(&status["fault"]).contains("judged again, and denied"), "{status}");
    fs::rename(away, scene.root()).unwrap();
}

#[test]
fn a_job_can_be_given_less_time() {
    let scene = Scene::open("grace_ms = 100");
    let mut wire = Wire::open(&scene);
    let started = wire.tell("execute_command", json!({ "command": "sleep 1000", "timeout_s": 1 }));
    assert_eq!(wire.ended(text(&started["job_id"]))["status"], "timed_out");
}

#[test]
fn input_can_be_closed_from_the_beginning() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let done = wire.tell("execute_command", json!({ "command": "cat", "stdin": "closed", "wait_ms": 10_000 }));
    assert_eq!(done["output"]["status"], "completed");
}

// ── terminals, keys and signals ────────────────────────────────────────────────────────────────────────────────────────────

/// A job at a terminal that says when it is ready.
fn at_terminal(wire: &mut Wire, script: &str) -> String {
    let command = format!("sh -c '{script}'");
    let started = wire.tell("execute_command", json!({ "command": command, "terminal": { "rows": 30, "cols": 100 } }));
    text(&started["job_id"]).to_owned()
}

#[test]
fn row_12_a_program_can_have_a_terminal() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = at_terminal(&mut wire, "stty size; trap \"stty size\" WINCH; echo ready; while :; do sleep 0.1; done");
    let begun = wire.tell("wait_for_job", json!({ "job_id": job, "pattern": "^ready" }));
    assert!(text(&begun["stdout"]).starts_with("30 100\n"), "{begun}");
    let resized = json!({ "job_id": job, "resize": { "rows": 40, "cols": 120 }, "until": "^40 120" });
    assert_eq!(wire.tell("interact_with_job", resized)["met"], "matched");
    let job = at_terminal(&mut wire, "echo ready; while read line; do echo got $line; done; echo over");
    wire.tell("wait_for_job", json!({ "job_id": job, "pattern": "^ready" }));
    let answer = wire.tell("interact_with_job", json!({ "job_id": job, "input": "hello", "until": "^got hello" }));
    assert_eq!((&answer["met"], &answer["stderr"]), (&"matched".into(), &"".into()), "{answer}");
    wire.tell("interact_with_job", json!({ "job_id": job, "key": "ctrl-d", "until": "^over" }));
    assert_eq!(wire.ended(&job)["status"], "completed");
}

#[test]
fn row_12_control_keys_reach_what_is_in_the_foreground() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    // It is the interrupted program that says so: the shell, between "ready" and starting it, would take the key for itself.
    let program = "sh -c \"echo ready; exec sleep 1000\"";
    let job = at_terminal(&mut wire, &format!("trap : INT; {program}; echo interrupted; sleep 1000"));
    wire.tell("wait_for_job", json!({ "job_id": job, "pattern": "^ready" }));
    let answer = wire.tell("interact_with_job", json!({ "job_id": job, "key": "ctrl-c", "until": "^interrupted" }));
    assert_eq!(answer["met"], "matched", "{answer}");
    assert_eq!(wire.tell("kill_job", json!({ "job_id": job }))["status"], "killed");
}

#[test]
fn row_12_without_a_terminal_a_key_is_a_signal_or_the_end() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("trap \"echo interrupted\" INT; echo ready; while read line; do :; done; while :; do sleep 0.1; done");
    wire.tell("wait_for_job", json!({ "job_id": job, "pattern": "^ready" }));
    let refused = wire.refused("interact_with_job", json!({ "job_id": job, "key": "up" }));
    assert!(refused.contains("no terminal"), "{refused}");
    wire.tell("interact_with_job", json!({ "job_id": job, "key": "ctrl-d", "wait_ms": 0 }));
    let answer = wire.tell("interact_with_job", json!({ "job_id": job, "key": "ctrl-c", "until": "^interrupted" }));
    assert_eq!(answer["met"], "matched", "{answer}");
}

#[test]
fn a_kill_can_ask_by_another_signal_and_wait_less() {
    let scene = Scene::open("grace_ms = 60000");
    let mut wire = Wire::open(&scene);
    let meek = wire.sh("trap \"exit 7\" USR1; trap : TERM; echo ready; while :; do sleep 0.1; done");
    let stubborn = wire.sh("trap : TERM; echo ready; while :; do sleep 0.1; done");
    for job in [&meek, &stubborn] {
        wire.tell("wait_for_job", json!({ "job_id": job, "pattern": "^ready" }));
    }
    assert_eq!(wire.tell("kill_job", json!({ "job_id": meek, "signal": "USR1" }))["status"], "killed");
    assert_eq!(wire.status(&meek)["exit_code"], 7);
    let begun = Instant::now();
    assert_eq!(wire.tell("kill_job", json!({ "job_id": stubborn, "grace_ms": 100 }))["status"], "killed");
    assert!(begun.elapsed() < Duration::from_secs(20));
}
