//! Output on its way through real filters: nothing unfiltered leaves, and the result does not depend on how the stream was cut.

use portcullis::policy::{Approved, Decision, OutputFilter};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::guests::{chain, guest, limits, load, request};
use portcullis::config::{ComponentSource, PolicyEntry};

/// Rows of the corpus: a rule's name and a sample, with repetitions written as `{x*34}`.
fn samples() -> Vec<(String, String)> {
    let rows = include_str!("../corpora/secrets.tsv").lines().skip(1);
    rows.filter_map(|row| row.split_once('\t')).map(|(rule, sample)| (rule.to_owned(), expanded(sample))).collect()
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
    let approved = redaction().await;
    for (rule, sample) in samples {
        let text = format!("before {sample} behind\n");
        let whole = filtered(approved.stdout_filter(), &[text.as_bytes()]).await;
        let shown = String::from_utf8_lossy(&whole);
        assert!(!shown.contains(&sample), "{rule}: {shown}");
        assert!(shown.contains("[redacted"), "{rule}: {shown}");
        for at in 0..=text.len() {
            let (head, tail) = text.as_bytes().split_at(at);
            assert_eq!(filtered(approved.stdout_filter(), &[head, tail]).await, whole, "{rule} cut at {at}");
        }
    }
}

/// Streams of ordinary lines, samples, parts of samples and long lines.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let samples: Vec<Vec<u8>> = samples().into_iter().map(|(_, sample)| sample.into_bytes()).collect();
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
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_line_shows_at_once_but_for_what_may_become_a_trigger() {
    let mut filter = redaction().await.stdout_filter();
    assert_eq!(filter.push(b"continue? [y/n] AKI".to_vec().into()).await.bytes(), &b"continue? [y/n] "[..]);
    assert_eq!(filter.push(b"X".to_vec().into()).await.bytes(), &b"AKIX"[..]);
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
#[case::stop("stop", "output stopped by policy \"guest\": misbehaving")]
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_fails_withholds_behind_a_marker(#[case] deed: &str, #[case] marker: &str) {
    let out = filtered(misfilter(json!({"output": deed})).await, &[b"line 1\n", b"line 2\n", b"line 3\n"]).await;
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains(marker) && out.starts_with("\n[portcullis: "), "{out}");
    assert!(!out.contains("line"), "{out}");
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
