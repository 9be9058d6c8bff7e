//! Output on its way through real filters: nothing unfiltered leaves, and the result does not depend on how the stream was cut.

use portcullis::policy::{Approved, Decision, OutputFilter};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::guests::{chain, guest, limits, load, request};
use crate::support::{
    scene::{OPEN, Scene},
    wire::Wire,
};
use portcullis::{
    config::{Apply, ComponentSource, PolicyEntry},
    policy::{Chain, StreamKind},
};

/// Rows of the corpus: a rule's name and a sample, with repetitions written as `{x*34}`.
fn samples() -> Vec<(String, String)> {
    let rows = include_str!("../corpora/secrets.tsv").lines().skip(1);
    rows.filter_map(|row| row.split_once('\t')).map(|(rule, sample)| (rule.to_owned(), expanded(sample))).collect()
}

/// Rows of our own corpus, without the signs that mark what must go.
fn families() -> Vec<(String, String)> {
    let rows = include_str!("../corpora/families.tsv").lines().skip(1);
    let text = |marked: &str| expanded(marked).replace(['«', '»'], "").replace("{e}", "\x1b");
    rows.filter_map(|row| row.split_once('\t')).map(|(kind, marked)| (kind.to_owned(), text(marked))).collect()
}

fn expanded(sample: &str) -> String {
    let mut text = String::new();
    let mut rest = sample;
    while let Some((before, behind)) = rest.split_once('{') {
        text.push_str(before);
        let repeated = behind.split_once('}').and_then(|(inside, after)| {
            let (piece, count) = inside.split_once('*').filter(|(piece, _)| !piece.contains('{'))?;
            Some((piece.repeat(count.parse().ok()?), after))
        });
        match repeated {
            Some((piece, after)) => {
                text.push_str(&piece);
                rest = after;
            }
            None => {
                text.push('{');
                rest = behind;
            }
        }
    }
    (text + rest).replace("\\n", "\n")
}

fn redact() -> PolicyEntry {
    PolicyEntry {
        name: "redact".to_owned(),
        component: ComponentSource::Builtin("redact".to_owned()),
        may_rewrite: false,
        ..guest(json!({}))
    }
}

async fn approved(entries: &[PolicyEntry]) -> Box<Approved> {
    let chain = load(entries, &limits()).await.unwrap();
    let Decision::Approved(approved) = chain.decide(request("true")).await.decision else { panic!("not approved") };
    approved
}

/// An approval under redaction, behind a policy that allows everything and passes all output.
async fn redaction() -> Box<Approved> {
    let open = guest(json!({"command": "allow", "triggers": ["never in any test"]}));
    approved(&[PolicyEntry { name: "allow".to_owned(), ..open }, redact()]).await
}

async fn misfilter(mut settings: Value) -> OutputFilter {
    settings["command"] = json!("allow");
    let chain = chain(settings).await;
    let Decision::Approved(approved) = chain.decide(request("true")).await.decision else { panic!("not approved") };
    approved.stdout_filter()
}

async fn filtered(mut filter: OutputFilter, pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(filter.push(piece.to_vec().into()).await.bytes());
        if filter.awaits_silence() {
            out.extend_from_slice(filter.silence().await.bytes());
        }
    }
    out.extend_from_slice(filter.end().await.bytes());
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_of_the_corpus_is_gone_wherever_the_stream_is_cut() {
    let samples = samples();
    assert_eq!(samples.len(), 45);
    let samples = samples.into_iter().chain(families().into_iter().step_by(9));
    let approved = redaction().await;
    for (rule, sample) in samples {
        let text = format!("before {sample} behind\n");
        let whole = filtered(approved.stdout_filter(), &[text.as_bytes()]).await;
        let shown = String::from_utf8_lossy(&whole);
        assert!(!shown.contains(&sample), "{rule}: {shown}");
        assert!(shown.contains("[redacted"), "{rule}: {shown}");
        assert!(filtered(approved.stdout_filter(), &[&whole]).await == whole, "{rule}: filtered text filters to itself");
        for at in 0..=text.len() {
            let (head, tail) = text.as_bytes().split_at(at);
            assert_eq!(filtered(approved.stdout_filter(), &[head, tail]).await, whole, "{rule} cut at {at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_colour_within_a_name_hides_nothing_wherever_the_stream_is_cut() {
    let approved = redaction().await;
    for (text, secret) in [
        ("1:DB_\x1b[01;31m\x1b[KPASS\x1b[m\x1b[KWORD=hunter22hunter\nnext\n".to_owned(), "hunter22"),
        (format!("t=gh\x1b[01;31m\x1b[Kp_x7\x1b[m\x1b[K{} and more\n", "x7".repeat(17)), "x7x7"),
        (format!("xkeysi\x1b[1mb\x1b(B\x1b[m-{}\n", "x7".repeat(40)), "x7x7"),
        ("Authorization: B\x1b[38;2;255;10;10masic\x1b[m dXNlcjpodW50ZXIyU2VjcmV0OTl4eA==\n".to_owned(), "dXNlcjpodW50"),
        (format!("k:\x1b[m-----B\x1b[01;31m\x1b[KEGIN\x1b[m\x1b[K PRIVATE KEY-----\nk:{}\n", "x7".repeat(32)), "x7x7"),
        (format!("-----B\x1b]8;;file://h/k\x1b\\EGIN\x1b]8;;\x1b\\ PRIVATE KEY-----\n{}\n", "x7".repeat(32)), "x7x7"),
    ] {
        let whole = filtered(approved.stdout_filter(), &[text.as_bytes()]).await;
        let shown = String::from_utf8_lossy(&whole);
        assert!(!shown.contains(secret) && shown.contains("[redacted: "), "{shown}");
        for at in 0..=text.len() {
            let (head, tail) = text.as_bytes().split_at(at);
            assert_eq!(paced(approved.stdout_filter(), &[head, tail]).await, whole, "cut at {at}");
        }
    }
}

/// Each pattern points out other letters of the first line, and most of them letters of other lines too.
#[test]
fn a_key_that_a_search_colours_is_a_key() {
    let scene = Scene::configured(OPEN);
    let body = "x7".repeat(32);
    let key = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n{body}\nx7x=\n-----END OPENSSH PRIVATE KEY-----\n");
    std::fs::write(scene.root().join("k3"), key).unwrap();
    let script = "for p in B E G I N EGIN BEG H PRIV KEY - -- ---B 'PRIVATE KEY-'; do for o in -h -n -H -nH; do \
                  grep --color=always $o -A9 -e \"$p\" k3; done; done";
    let out = scene.portcullis(["run", "--", "sh", "-c", script]).expect(0).stdout();
    assert!(out.contains("\x1b[") && out.matches("[redacted: private-key]").count() >= 56, "{out}");
    let plain = without_colours(&out);
    assert!(!plain.contains("x7"), "{out}");
}

fn without_colours(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once(['m', 'K']).map_or("", |(_, rest)| rest))
}

/// Streams of ordinary lines, samples, parts of samples and long lines.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let samples: Vec<Vec<u8>> = samples().into_iter().chain(families()).map(|(_, sample)| sample.into_bytes()).collect();
    let part = prop_oneof![
        4 => prop::sample::select(samples.clone()),
        2 => (prop::sample::select(samples), 0.0..1.0).prop_map(|(sample, share)| sample[..(sample.len() as f64 * share) as usize].to_vec()),
        4 => "[ -~]{0,60}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..30),
        2 => Just(b"\n".to_vec()),
        1 => (60_000..70_000usize).prop_map(|count| vec![b'a'; count]),
    ];
    prop::collection::vec(part, 1..12).prop_map(|parts| parts.concat())
}

#[test]
fn however_a_stream_is_cut_the_filtered_bytes_are_the_same() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let approved = runtime.block_on(redaction());
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(stream in streams(), cuts in prop::collection::vec(1..5000usize, 1..20))| {
        let _inside = runtime.enter();
        let whole = runtime.block_on(filtered(approved.stdout_filter(), &[&stream]));
        let (mut pieces, mut rest) = (Vec::new(), stream.as_slice());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (piece, next) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = next;
        }
        prop_assert_eq!(&runtime.block_on(filtered(approved.stdout_filter(), &pieces)), &whole);
        prop_assert_eq!(&runtime.block_on(paced(approved.stdout_filter(), &pieces)), &whole);
    });
}

/// Like [`filtered`], with a pause after every piece, whether the filter wants to know of it or not.
async fn paced(mut filter: OutputFilter, pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(filter.push(piece.to_vec().into()).await.bytes());
        out.extend_from_slice(filter.silence().await.bytes());
    }
    out.extend_from_slice(filter.end().await.bytes());
    out
}

/// Triggers of letters that the streams are made of, so that they stand everywhere, overlap, and begin where others end.
#[rstest]
#[case::short(json!(["aab", "bba", "abab"]))]
#[case::nested(json!(["aaaaaaaaab", "aab", "baaaa", "cc cc"]))]
#[case::parted(json!(["aab", "aabaab", "bca", "\u{1b}bb", "\u{1b}a\u{1b}"]))]
#[case::many((b'a'..=b'e').flat_map(|a| (b'a'..=b'e').map(move |b| String::from_utf8(vec![a, b, a]).unwrap())).collect::<Vec<_>>().into())]
fn wherever_triggers_stand_and_streams_are_cut_the_filtered_bytes_are_the_same(#[case] triggers: Value) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let settings = json!({"command": "allow", "output": "show", "triggers": triggers});
    let approved = runtime.block_on(async { approved_by(&chain(settings).await).await });
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(stream in "[abc\x1b\n ]{0,400}", cuts in prop::collection::vec(1..9usize, 1..20))| {
        let _inside = runtime.enter();
        let whole = runtime.block_on(filtered(approved.stdout_filter(), &[stream.as_bytes()]));
        let (mut pieces, mut rest) = (Vec::new(), stream.as_bytes());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (piece, next) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = next;
        }
        prop_assert_eq!(&runtime.block_on(filtered(approved.stdout_filter(), &pieces)), &whole);
        prop_assert_eq!(&runtime.block_on(paced(approved.stdout_filter(), &pieces)), &whole);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_line_shows_at_once_but_for_what_may_become_a_trigger() {
    let mut filter = redaction().await.stdout_filter();
    assert_eq!(filter.push(b"continue? [y/n] AKI".to_vec().into()).await.bytes(), &b"continue? [y/n] "[..]);
    assert_eq!(filter.push(b",".to_vec().into()).await.bytes(), &b"AKI,"[..]);
    assert_eq!(filter.push(b" AKIA".to_vec().into()).await.bytes(), &b" "[..]);
    assert_eq!(filter.push(b"IOSFODNN7EXAMPLE and".to_vec().into()).await.bytes(), &b""[..]);
    let rest = String::from_utf8(filter.push(b" more\n".to_vec().into()).await.bytes().to_vec()).unwrap();
    assert!(rest.starts_with("[redacted: ") && rest.ends_with("] and more\n"), "{rest}");
}

#[rstest]
#[case::deadline("loop", "ran out of time (1000 ms)")]
#[case::sleep("sleep", "ran out of time (1000 ms)")]
#[case::trap("trap", "unreachable")]
#[case::memory("allocate", "ran out of memory (16 MiB)")]
#[case::log("flood-log", "logged more than 16384 bytes")]
#[case::flood("flood", "would put 4194304 bytes in the place of a piece")]
#[case::hold("bad-hold", "would hold 8 bytes where at most 7 can be held")]
#[case::small_floods("flood-pieces", "at most 64 times as many are allowed")]
#[case::findings("flood-findings", "name 65 findings of one piece; at most 64 are allowed")]
#[case::nonsense("count-nonsense", "count something by a name that is not 1 to 64 of a-z, 0-9 and -")]
#[case::stop("stop", "output stopped by policy \"guest\": misbehaving")]
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_fails_withholds_behind_a_marker(#[case] deed: &str, #[case] marker: &str) {
    let mut filter = misfilter(json!({"output": deed})).await;
    assert!(filter.stopping_fault().is_none());
    let mut out = Vec::new();
    for line in [b"line 1\n", b"line 2\n", b"line 3\n"] {
        out.extend_from_slice(filter.push(line.to_vec().into()).await.bytes());
    }
    out.extend_from_slice(filter.end().await.bytes());
    let out = String::from_utf8(out).unwrap();
    let before = out.split("\n[portcullis: ").next().unwrap();
    assert!(out.contains(marker) && before.trim_start_matches('x').is_empty(), "{out}");
    assert!(!out.contains("line"), "{out}");
    assert!(filter.stopping_fault().is_none(), "the entry does not say so");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_beyond_the_limit_is_withheld() {
    let out = filtered(misfilter(json!({"output": "hold-forever"})).await, &[&b"0123456\n".repeat(20_000)]).await;
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("at most 65536 can be held"), "{out}");
    assert!(!out.contains("0123456"), "{out}");
    let at_end = filtered(misfilter(json!({"output": "hold-at-end"})).await, &[b"held"]).await;
    assert!(String::from_utf8(at_end).unwrap().contains("at most 0 can be held"));
}

#[tokio::test(flavor = "multi_thread")]
async fn held_bytes_come_again_in_front_of_the_next_piece() {
    let out = filtered(misfilter(json!({"output": "hold-forever"})).await, &[b"one\n", b"two\n", b"three"]).await;
    assert_eq!(out, b"one\ntwo\nthree");
}

/// A guest that shows how it was called: `<before|bytes|boundary>`.
#[rstest]
#[case::lines(json!([]), &["a\nb", "c\nd"], r"<|a\n|Boundary::Line><|b|Boundary::Silence><b|c\n|Boundary::Line><|d|Boundary::Silence><d||Boundary::End>")]
#[case::from_the_trigger_on(json!(["TRIG"]), &["no\nx TR", "IG y\nno", "\n"], r"no
x <x |TRIG y\n|Boundary::Line>no
")]
#[case::context(json!(["TRIG"]), &["0123456789abcdefghij TRIG"], r"0123456789abcdefghij <56789abcdefghij |TRIG|Boundary::End>")]
#[case::parted(json!(["TRIG", "\u{1b}[1"]), &["no x T", "R\x1b", "[1mIG y\nTR\x1b[2m\n"], "no x <no x |TR\\x1b[1mIG y\\n|Boundary::Line>TR\x1b[2m\n")]
#[tokio::test(flavor = "multi_thread")]
async fn pieces_are_given_as_the_contract_says(#[case] triggers: Value, #[case] pieces: &[&str], #[case] expected: &str) {
    let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
    let out = filtered(misfilter(json!({"output": "show", "triggers": triggers})).await, &pieces).await;
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_line_is_cut_at_the_piece_limit() {
    let long = [b"TRIG".to_vec(), vec![b'x'; 150_000]].concat();
    for size in [1000, 65_536, 200_000] {
        let pieces: Vec<&[u8]> = long.chunks(size).collect();
        let out = filtered(misfilter(json!({"output": "show", "triggers": ["TRIG"]})).await, &pieces).await;
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.matches("Boundary::Cut").count(), 2);
        assert_eq!(out.matches("Boundary::End").count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_run_one_behind_the_other() {
    let entries = [
        guest(json!({"command": "allow", "output": "upper"})),
        PolicyEntry { name: "second".to_owned(), ..guest(json!({"output": "show", "triggers": ["ABC"]})) },
    ];
    let out = filtered(approved(&entries).await.stdout_filter(), &[b"x abc y\n"]).await;
    assert_eq!(String::from_utf8(out).unwrap(), r"X <X |ABC Y\n|Boundary::Line>");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_for_clients_and_logs_pass_the_filters() {
    let entries = [guest(json!({"command": {"read-env": "PATH"}, "triggers": ["never in any test"]})), redact()];
    let chain = load(&entries, &limits()).await.unwrap();
    let (_, secret) = samples().into_iter().find(|(rule, _)| rule == "gitlab-pat").unwrap();
    let judgement = chain.decide(request(&format!("echo {secret}"))).await;
    assert!(!judgement.shown.contains(&secret), "{}", judgement.shown);
    assert_eq!(chain.scrub("a\u{202e}b\x1b[2K").await, "a\\u{202e}b\\u{1b}[2K");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_filters_take_out_is_counted_per_job() {
    let approved = redaction().await;
    let token = format!("ghp_{}", "x7".repeat(18));
    let mut stdout = approved.stdout_filter();
    stdout.push(format!("{token} PASSWORD: ").into_bytes().into()).await;
    assert!(approved.findings().counts().is_empty(), "the line goes on");
    stdout.push(b"hunter22x\n".to_vec().into()).await;
    filtered(approved.stderr_filter(), &[format!("{token}\nnothing\n").as_bytes()]).await;
    let counts: Vec<_> = approved.findings().counts().into_iter().collect();
    assert_eq!(counts, [("assignment".to_owned(), 1), ("github-token".to_owned(), 2)]);

    let counting = guest(json!({"command": "allow", "output": "count"}));
    let approved = approved_by(&load(&[counting], &limits()).await.unwrap()).await;
    filtered(approved.stdout_filter(), &[b"one\ntwo\n"]).await;
    assert_eq!(approved.findings().counts()["thing"], 2 * 3, "two lines, and the end");
}

async fn approved_by(chain: &Chain) -> Box<Approved> {
    let Decision::Approved(approved) = chain.decide(request("true")).await.decision else { panic!("not approved") };
    approved
}

fn tidy(settings: Value) -> PolicyEntry {
    PolicyEntry {
        name: "tidy".to_owned(),
        component: ComponentSource::Builtin("tidy".to_owned()),
        may_rewrite: false,
        apply: Apply::Reads,
        ..guest(settings)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_tidied_and_redacted_once_more() {
    let open = PolicyEntry { name: "allow".to_owned(), ..guest(json!({"command": "allow", "triggers": ["never in any test"]})) };
    let chain = load(&[open, tidy(json!({})), redact()], &limits()).await.unwrap();
    let approved = approved_by(&chain).await;
    let hidden = format!("gh\x1b[6np_{} 10%\rdone\x1b[K\n", "x7".repeat(18));
    let parted = format!("ghp\x1b[6n_{}\n", "x7".repeat(18));
    let kept = filtered(approved.stdout_filter(), &[hidden.as_bytes(), parted.as_bytes(), &b"same\n".repeat(9)]).await;
    assert!(kept.starts_with(hidden.as_bytes()), "the stream itself is not tidied");
    let tidied = chain.tidy(Some(approved.job()), StreamKind::Stdout, &kept).await;
    let tidied = String::from_utf8(tidied).unwrap();
    assert_eq!(tidied, "done\n[redacted: github-token]\nsame\nsame\n[… 7 more lines like this]\n");
    assert!(approved.findings().counts().is_empty(), "what is read is no output of the job's");
    assert_eq!(chain.scrub("\x1b[0m").await, "\\u{1b}[0m", "texts are not what is read");
    let many = b"a line\nanother\n".repeat(20_000);
    assert_eq!(chain.tidy(Some(approved.job()), StreamKind::Stderr, &many).await, many);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_tidying_withholds_what_is_read_and_no_more() {
    let faulty = PolicyEntry { name: "faulty".to_owned(), apply: Apply::Reads, ..guest(json!({"output": "trap"})) };
    let open = guest(json!({"command": "allow", "triggers": ["never in any test"]}));
    let chain = load(&[open, faulty], &limits()).await.unwrap();
    let approved = approved_by(&chain).await;
    let tidied = chain.tidy(Some(approved.job()), StreamKind::Stdout, b"some\nlines\n").await;
    let tidied = String::from_utf8(tidied).unwrap();
    assert!(
        tidied.starts_with("\n[portcullis: output withheld: policy \"faulty\" trapped") && !tidied.contains("lines"),
        "{tidied}"
    );
    let mut stream = approved.stdout_filter();
    assert_eq!(stream.push(b"on\n".to_vec().into()).await.bytes(), &b"on\n"[..]);
    assert!(stream.stopping_fault().is_none());
}

/// Whether these bytes are in any file below a directory.
fn holds(directory: &std::path::Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(directory).unwrap().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            holds(&path, bytes)
        } else {
            std::fs::read(path).unwrap().windows(bytes.len()).any(|part| part == bytes)
        }
    })
}

const GRANTED: &str = r#"
    [decision]
    default = "allow"
    [[policies]]
    name = "redact"
    component = "builtin:redact"
    grants = { env = ["DEPLOY_TOKEN", "NOT_SET"] }
"#;

#[test]
fn the_value_of_a_granted_variable_is_redacted_and_nowhere_on_disk() {
    let scene = Scene::configured(GRANTED);
    let value = "correct-horse-battery";
    let cache = scene.base().join("own-cache");
    let run = |value: &str| {
        let mut command = scene.command(["run", "--", "echo", "it is", value, "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5"]);
        crate::support::scene::Running::start(command.env("DEPLOY_TOKEN", value).env("XDG_CACHE_HOME", &cache)).done().expect(0)
    };
    for _ in 0..2 {
        let done = run(value);
        assert_eq!(done.stdout(), "it is [redacted: env-deploy-token] [redacted: env-deploy-token]\n");
        assert!(!done.stderr.contains(value), "{}", done.stderr);
        assert!(done.stderr.contains("NOT_SET") && done.stderr.contains("not set"), "{}", done.stderr);
    }
    // Another value is found by what is kept of the policy all the same.
    assert_eq!(run("another value of it").stdout(), "it is [redacted: env-deploy-token] Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5\n");
    assert!(std::fs::read_dir(cache.join("portcullis")).unwrap().count() > 0);
    assert!(!holds(&scene.base().join("own-cache"), value.as_bytes()));
    assert!(!holds(&scene.base().join("state"), value.as_bytes()));
    let ends: Vec<_> = scene.audit().into_iter().filter(|line| line["event"] == "job_end").collect();
    assert_eq!(ends[0]["redacted"], json!({"env-deploy-token": 2}));
}

#[test]
fn the_value_of_a_granted_variable_is_not_shown_in_part_where_a_search_colours_it() {
    let scene = Scene::configured(GRANTED);
    std::fs::write(scene.root().join("v"), "it is Zx9q7LmK\n").unwrap();
    let script = "for p in Z x 9 q 7 L m K xq Zx9q7Lm q7LmK; do grep --color=always -e $p v; done; \
                  printf 'Zx9q7Lm\\033'; sleep 0.2; printf '[1mK\\033[m\\n'";
    let mut command = scene.command(["run", "--", "sh", "-c", script]);
    let done = crate::support::scene::Running::start(command.env("DEPLOY_TOKEN", "Zx9q7LmK")).done().expect(0);
    let plain = without_colours(&done.stdout());
    assert_eq!(plain.matches("[redacted: env-deploy-token]").count(), 11, "{plain}");
    assert_eq!(plain.replace("it is [redacted: env-deploy-token]\n", ""), "[redacted: env-deploy-token]\n");
}

#[rstest]
#[case::too_short("short77", "fewer than 8 bytes")]
#[case::too_long(&"x".repeat(2049), "more than 2048 bytes")]
fn a_variable_that_can_not_be_redacted_stops_the_start(#[case] value: &str, #[case] message: &str) {
    let scene = Scene::configured(GRANTED);
    for _ in 0..2 {
        let mut command = scene.command(["run", "--", "true"]);
        let done = crate::support::scene::Running::start(command.env("DEPLOY_TOKEN", value)).done().expect(3);
        assert!(done.stderr.contains("DEPLOY_TOKEN") && done.stderr.contains(message), "{}", done.stderr);
        assert!(!done.stderr.contains(value), "{}", done.stderr);
    }
}

#[test]
fn a_variable_that_is_not_text_stops_the_start() {
    use std::os::unix::ffi::OsStrExt;
    let scene = Scene::configured(GRANTED);
    let mut command = scene.command(["run", "--", "true"]);
    let value = std::ffi::OsStr::from_bytes(b"\xff\xfe secret");
    let done = crate::support::scene::Running::start(command.env("DEPLOY_TOKEN", value)).done().expect(3);
    assert!(done.stderr.contains("DEPLOY_TOKEN") && done.stderr.contains("not UTF-8"), "{}", done.stderr);
}

#[rstest]
#[case::is_stopped("stop-job", "killed")]
#[case::runs_on("withhold", "completed")]
fn what_a_fault_does_to_the_job_is_configured(#[case] on_fault: &str, #[case] state: &str) {
    let scene = Scene::with_failing_filter(on_fault);
    let script = "echo before; echo trap here; sleep 2";
    let done = scene.portcullis(["run", "-c", script]);
    let end = scene.audit().pop().unwrap();
    assert_eq!(end["state"], state, "{}", done.stderr);
    let fault = |stopped: &Value| assert!(stopped.as_str().unwrap().starts_with("policy \"guest\" trapped"), "{stopped}");
    match on_fault {
        "stop-job" => fault(&end["fault"]),
        _ => assert_eq!(end["fault"], Value::Null),
    }
    let mut wire = Wire::open(&scene);
    let job = wire.sh(script);
    let status = wire.ended(&job);
    match on_fault {
        "stop-job" => fault(&status["fault"]),
        _ => assert_eq!(status.get("fault"), None),
    }
    assert!(scene.audit().iter().all(|line| line["event"] != "not_started"));
    assert!(done.stdout().starts_with("before\n\n[portcullis: output withheld: policy \"guest\" trapped"), "{}", done.stdout());
}

#[test]
fn what_applies_to_reads_must_filter() {
    let scene = Scene::configured(&format!(
        "{OPEN}\n[[policies]]\nname = \"allowlist\"\ncomponent = \"builtin:allowlist\"\napply = \"reads\""
    ));
    let done = scene.portcullis(["config", "check"]).expect(3);
    assert!(done.stderr.contains("has no output hook"), "{}", done.stderr);
}
