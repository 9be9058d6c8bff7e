//! The books of a job's output: nothing is lost without being counted, and everything is found where it is.

use proptest::prelude::*;
use regex::bytes::Regex;
use rstest::rstest;

use super::*;

fn output(limit: usize) -> Output {
    Output::new(limit, Arc::new(Budget::new(usize::MAX)))
}

fn printed(limit: usize, pieces: &[&str]) -> Output {
    let mut output = output(limit);
    for piece in pieces {
        output.push(StreamName::Stdout, &Bytes::copy_from_slice(piece.as_bytes()));
    }
    output
}

fn stdout(output: &Output) -> &Track {
    output.track(StreamName::Stdout)
}

/// An excerpt as text, with `<bytes/lines>` where some fell out.
fn drawn(excerpt: &Excerpt) -> String {
    let part = |part: &Part| match part {
        Part::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Part::Gap(Gap { bytes, lines: Some(lines) }) => format!("<{bytes}/{lines}>"),
        Part::Gap(Gap { bytes, lines: None }) => format!("<{bytes}>"),
    };
    excerpt.parts.iter().map(part).collect()
}

#[rstest]
#[case::all(100, &["abc", "def"], "abcdef")]
#[case::beginning_and_end(8, &["abcdefghijklmnop"], "ab<8/0>klmnop")]
#[case::in_pieces(8, &["a", "bcd", "efgh", "ijklm", "nop"], "ab<8/0>klmnop")]
#[case::lines(8, &["a\nb\nc\nd\ne\nf\ng\nh\n"], "a\n<8/4>f\ng\nh\n")]
#[case::exactly(8, &["abcdefgh"], "abcdefgh")]
fn the_beginning_and_the_end_are_kept(#[case] limit: usize, #[case] pieces: &[&str], #[case] kept: &str) {
    let output = printed(limit, pieces);
    assert_eq!(drawn(&stdout(&output).read(0, 1000)), kept);
}

#[rstest]
#[case(0, 3, "ab<8/0>k", 11)]
#[case(0, 2, "ab", 2)]
#[case(2, 1, "<8/0>k", 11)]
#[case(5, 2, "<5>kl", 12)]
#[case(12, 9, "mnop", 16)]
#[case(16, 9, "", 16)]
#[case(99, 9, "", 16)]
fn a_page_begins_anywhere(#[case] from: u64, #[case] most: usize, #[case] expected: &str, #[case] next: u64) {
    let output = printed(8, &["abcdefghijklmnop"]);
    let excerpt = stdout(&output).read(from, most);
    assert_eq!((drawn(&excerpt).as_str(), excerpt.next), (expected, next));
}

#[rstest]
#[case(1, "three\n")]
#[case(2, "two\nthree\n")]
#[case(9, "one\ntwo\nthree\n")]
#[case(0, "")]
fn the_tail_is_the_last_lines(#[case] lines: u64, #[case] expected: &str) {
    let output = printed(100, &["one\ntwo\n", "three\n"]);
    assert_eq!(drawn(&stdout(&output).read(stdout(&output).tail_from(lines), 1000)), expected);
}

#[test]
fn a_last_line_without_a_newline_counts() {
    let output = printed(100, &["one\ntwo"]);
    assert_eq!(stdout(&output).tail_from(1), 4);
    assert_eq!(stdout(&printed(100, &[])).tail_from(1), 0);
}

#[test]
fn the_order_of_both_streams_is_kept() {
    let mut output = output(100);
    for (name, text) in
        [(StreamName::Stdout, "a"), (StreamName::Stderr, "B"), (StreamName::Stderr, "C"), (StreamName::Stdout, "d")]
    {
        output.push(name, &Bytes::from_static(text.as_bytes()));
    }
    let read = |from, most| {
        let (entries, next) = output.read_merged(from, most);
        (entries.iter().map(|entry| drawn(&entry.excerpt)).collect::<Vec<_>>().join("|"), next)
    };
    assert_eq!(read(0, 1000), ("a|BC|d".to_owned(), 4));
    assert_eq!(read(1, 1), ("B".to_owned(), 2));
    // An entry takes up some room itself.
    assert_eq!(read(0, 100), ("a|BC".to_owned(), 3));
    assert_eq!(read(2, 2), ("C".to_owned(), 3));
}

#[rstest]
#[case::many_small(20_000, 1, 1 << 20)]
#[case::most_of_it_dropped(20_000, 1, 5000)]
#[case::short_lines(19_000, 14, 4 << 20)]
fn however_often_the_streams_take_turns_the_books_are_right(#[case] turns: usize, #[case] size: usize, #[case] limit: usize) {
    let mut output = output(limit);
    let mut merged = Vec::new();
    for (turn, letter) in (0..turns).zip((b'a'..=b'z').cycle()) {
        let name = if turn % 2 == 0 { StreamName::Stdout } else { StreamName::Stderr };
        output.push(name, &vec![letter; size].into());
        merged.extend(vec![letter; size]);
    }
    let kept: usize = [StreamName::Stdout, StreamName::Stderr].iter().map(|name| output.track(*name).kept()).sum();
    let (mut next, mut shown) = (0, 0);
    while next < output.total() {
        let (entries, after) = output.read_merged(next, 1000);
        for entry in entries {
            assert_is_excerpt_of(&merged, next, &entry.excerpt);
            next = entry.excerpt.next;
            shown += entry.excerpt.len();
        }
        assert_eq!(next, after);
    }
    assert_eq!(shown, kept);
    // What came last is known to have come last.
    let last = output.stamp(Instant::now());
    output.push(StreamName::Stdout, &Bytes::from_static(b"last"));
    assert!(stdout(&output).total() - stdout(&output).since(last) <= 4 + 1000 * size as u64);
}

#[rstest]
#[case(2, "two\nthree\n")]
#[case(1, "three\n")]
#[case(9, "one\ntwo\nthree\n")]
fn lines_before_the_last_are_left_out(#[case] lines: u64, #[case] expected: &str) {
    let mut excerpt = Excerpt { parts: vec![Part::Bytes(b"one\ntwo\nthree\n".to_vec())], next: 14 };
    excerpt.keep_last_lines(lines);
    assert_eq!((drawn(&excerpt).as_str(), excerpt.next), (expected, 14));
}

#[test]
fn what_all_jobs_hold_is_bounded() {
    let budget = Arc::new(Budget::new(10));
    let mut jobs = [(); 2].map(|()| Output::new(100, budget.clone()));
    for job in &mut jobs {
        job.push(StreamName::Stdout, &Bytes::from_static(b"abcdefgh"));
    }
    assert_eq!(budget.surplus(), 6);
    jobs[1].shrink_to_budget();
    assert_eq!((budget.surplus(), drawn(&stdout(&jobs[1]).read(0, 100))), (0, "<6/0>gh".to_owned()));
    drop(jobs);
    assert_eq!(budget.surplus(), 0);
}

#[rstest]
#[case("6ba7b810-o120-e7")]
#[case("6ba7b810-e7")]
#[case("0000b810-m7")]
fn cursors_are_read_as_they_are_written(#[case] text: &str) {
    assert_eq!(text.parse::<Cursor>().unwrap().to_string(), text);
}

#[rstest]
#[case("")]
#[case("6ba7b810")]
#[case("6ba7b810-")]
#[case("6ba7b810-x1")]
#[case("6ba7b810-o1-o2")]
#[case("6ba7b810-o01")]
#[case("6ba7b810-e1-o1")]
#[case("6ba7b810-o99999999999999999999")]
#[case("6ba7b810-é1")]
#[case("+ba7b810-o1")]
fn what_was_never_given_is_no_cursor(#[case] text: &str) {
    assert_eq!(text.parse::<Cursor>(), Err(CursorError::Malformed));
}

#[rstest]
#[case::plain("b+", 0, 9, &["2:abbb", "4:b"], false)]
#[case::limited("b+", 0, 1, &["2:abbb"], true)]
#[case::in_context("b+", 1, 9, &["1:x,2:abbb,3:c", "3:c,4:b,5:y"], false)]
#[case::of_lines("^.$", 0, 9, &["1:x", "3:c", "4:b", "5:y"], false)]
#[case::nothing("zz", 2, 9, &[], false)]
fn lines_are_found(
    #[case] pattern: &str,
    #[case] context: usize,
    #[case] limit: usize,
    #[case] expected: &[&str],
    #[case] is_cut: bool,
) {
    let output = printed(100, &["x\nab", "bb\nc\n", "b\ny"]);
    let search = Search { pattern: Regex::new(pattern).unwrap(), context, limit, abandoned: Default::default() };
    let found = search.run(StreamName::Stdout, stdout(&output).blocks().into_iter());
    let drawn = |line: &Line| format!("{}:{}", line.number, String::from_utf8_lossy(&line.text));
    let lines =
        |found: &Match| found.before.iter().chain([&found.line]).chain(&found.after).map(drawn).collect::<Vec<_>>().join(",");
    assert_eq!(found.matches.iter().map(lines).collect::<Vec<_>>(), expected);
    assert_eq!(found.is_cut, is_cut);
}

#[test]
fn a_long_line_begins_once() {
    let line = format!("a{}b\nb\n", "b".repeat(3 << 20));
    let output = printed(8 << 20, &[&line]);
    let search = Search { pattern: Regex::new("^b").unwrap(), context: 0, limit: 9, abandoned: Default::default() };
    let found = search.run(StreamName::Stdout, stdout(&output).blocks().into_iter());
    assert_eq!(found.matches.iter().map(|found| found.line.number).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_line_that_lost_its_middle_is_two() {
    let output = printed(16, &["one one one one one two two two two\n"]);
    let search = Search { pattern: Regex::new("one.*two").unwrap(), context: 0, limit: 9, abandoned: Default::default() };
    assert!(search.run(StreamName::Stdout, stdout(&output).blocks().into_iter()).matches.is_empty());
}

#[rstest]
#[case::whole("é".as_bytes(), false, 2)]
#[case::half(b"a\xc3", true, 1)]
#[case::of_four(b"a\xf0\x9f\x98", false, 1)]
#[case::not_utf_8(b"a\xff", false, 2)]
#[case::alone_where_more_has_no_room(b"\xc3", true, 1)]
#[case::alone_where_more_may_come(b"\xc3", false, 0)]
fn a_character_is_not_cut(#[case] bytes: &[u8], #[case] is_there: bool, #[case] kept: usize) {
    let mut excerpt = Excerpt { parts: vec![Part::Bytes(bytes.to_vec())], next: bytes.len() as u64 };
    excerpt.trim_to_character(is_there);
    assert_eq!((excerpt.len(), excerpt.next), (kept, kept as u64));
}

fn spill(folder: &std::path::Path, limit: u64) -> Spill {
    Spill::new(["stdout", "stderr"].map(|name| folder.join(name)), limit)
}

#[rstest]
#[case::all_of_it(100, 0, 100, "abcdefghijkl")]
#[case::a_page(100, 0, 5, "abcde")]
#[case::from_within(100, 3, 100, "defghijkl")]
#[case::as_far_as_it_goes(6, 0, 100, "abcdef")]
#[case::not_far_enough(3, 4, 100, "<4>ijklmn")]
fn what_memory_dropped_is_read_from_the_file(#[case] limit: u64, #[case] from: u64, #[case] most: usize, #[case] expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (spill, mut output) = (spill(folder.path(), limit), output(8));
    for piece in ["abcdef", "ghijkl", "mn"] {
        spill.push(StreamName::Stdout, piece.as_bytes());
        output.push(StreamName::Stdout, &Bytes::copy_from_slice(piece.as_bytes()));
    }
    let mut excerpt = stdout(&output).read(from, most);
    spill.fill(StreamName::Stdout, from, &mut excerpt, most, false);
    assert!(drawn(&excerpt).starts_with(&expected[..expected.len().min(drawn(&excerpt).len())]), "{}", drawn(&excerpt));
    assert_eq!(excerpt.next - from, excerpt.len() as u64 + excerpt.dropped());
}

#[rstest]
#[case::all_of_the_gap(100, "cdefghijklmn")]
#[case::a_part_of_the_gap(6, "<6/0>ijklmn")]
fn the_end_is_the_end_whatever_the_file_has(#[case] limit: u64, #[case] expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (spill, mut output) = (spill(folder.path(), limit), output(8));
    for piece in ["abcdef", "ghijkl", "mn"] {
        spill.push(StreamName::Stdout, piece.as_bytes());
        output.push(StreamName::Stdout, &Bytes::copy_from_slice(piece.as_bytes()));
    }
    let mut excerpt = stdout(&output).read(2, 12);
    spill.fill(StreamName::Stdout, 2, &mut excerpt, 12, true);
    assert_eq!((drawn(&excerpt).as_str(), excerpt.next), (expected, 14));
}

#[test]
fn bytes_that_follow_each_other_are_one_part() {
    let output = printed(8, &["ab", "cdefgh"]);
    assert_eq!(stdout(&output).read(0, 100).parts, [Part::Bytes(b"abcdefgh".to_vec())]);
}

#[test]
fn what_fell_out_after_a_time_is_counted() {
    let mut output = output(8);
    let push = |output: &mut Output, name, text: &'static str| {
        output.push(name, &Bytes::from_static(text.as_bytes()));
        std::thread::sleep(std::time::Duration::from_millis(30));
        output.stamp(Instant::now())
    };
    let since = push(&mut output, StreamName::Stdout, "a");
    push(&mut output, StreamName::Stderr, "B");
    let later = push(&mut output, StreamName::Stdout, "cdefghijklmnop");
    let stdout = stdout(&output);
    assert_eq!(drawn(&stdout.read(stdout.since(since), 100)), "c<7/0>klmnop");
    assert_eq!(drawn(&stdout.read(stdout.since(later), 100)), "");
    assert_eq!(output.merged_since(since), 1);
    assert_eq!(output.merged_since(later), output.total());
    assert_eq!((stdout.since(Stamp(0)), output.merged_since(Stamp(0))), (0, 0));
}

#[test]
fn pages_from_memory_and_file_are_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (spill, mut output, mut text) = (spill(folder.path(), 1 << 20), output(1000), Vec::new());
    for number in 0..5000 {
        let line = format!("{number}\n").into_bytes();
        spill.push(StreamName::Stdout, &line);
        output.push(StreamName::Stdout, &line.clone().into());
        text.extend(line);
    }
    let (mut next, mut read) = (0, Vec::new());
    while next < stdout(&output).total() {
        let mut excerpt = stdout(&output).read(next, 777);
        spill.fill(StreamName::Stdout, next, &mut excerpt, 777, false);
        next = excerpt.next;
        for part in excerpt.parts {
            let Part::Bytes(bytes) = part else { panic!("{part:?}") };
            read.extend(bytes);
        }
    }
    assert!(read == text);
}

#[test]
fn a_file_that_can_not_be_written_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let spill = spill(&folder.path().join("missing"), 100);
    spill.push(StreamName::Stdout, b"abc");
    spill.push(StreamName::Stdout, b"def");
    assert_eq!(spill.readable(StreamName::Stdout), 0);
}

/// What a program printed: of which stream, how much, of which letter.
fn pushes() -> impl Strategy<Value = Vec<(bool, usize)>> {
    proptest::collection::vec((any::<bool>(), prop_oneof![0..50_usize, 40_000..70_000_usize]), 0..20)
}

/// All that came, and what is kept of it.
struct Told {
    streams: [Vec<u8>; 2],
    merged: Vec<u8>,
    output: Output,
}

fn tell(pushes: &[(bool, usize)], limit: usize) -> Told {
    let mut told = Told { streams: [Vec::new(), Vec::new()], merged: Vec::new(), output: output(limit) };
    for ((is_stderr, size), letter) in pushes.iter().zip((b'a'..=b'z').cycle()) {
        let name = if *is_stderr { StreamName::Stderr } else { StreamName::Stdout };
        let line = [vec![letter; size / 2], b"\n".to_vec(), vec![letter; size / 2]].concat();
        told.output.push(name, &line.clone().into());
        told.streams[usize::from(*is_stderr)].extend(&line);
        told.merged.extend(&line);
    }
    told
}

/// Every byte of a text, or a gap that counts it.
fn assert_is_excerpt_of(text: &[u8], from: u64, excerpt: &Excerpt) {
    let mut at = from;
    for part in &excerpt.parts {
        match part {
            Part::Gap(gap) => {
                let gone = &text[at as usize..(at + gap.bytes) as usize];
                let lines = gone.iter().filter(|byte| **byte == b'\n').count() as u64;
                assert!(gap.lines.is_none_or(|counted| counted == lines));
                at += gap.bytes;
            }
            Part::Bytes(bytes) => {
                assert!(!bytes.is_empty());
                assert!(text[at as usize..].starts_with(bytes));
                at += bytes.len() as u64;
            }
        }
    }
    assert_eq!(at, excerpt.next);
}

proptest! {
    #[test]
    fn every_byte_is_kept_or_counted(pushes in pushes(), limit in prop_oneof![1..100_usize, 1..300_000_usize], page in 1..90_000_usize) {
        let Told { streams, merged, output } = tell(&pushes, limit);
        for (text, name) in streams.iter().zip([StreamName::Stdout, StreamName::Stderr]) {
            let track = output.track(name);
            prop_assert_eq!(track.total(), text.len() as u64);
            prop_assert_eq!(track.kept(), text.len().min(limit));
            let (mut next, mut seen) = (0, 0);
            while next < track.total() {
                let excerpt = track.read(next, page);
                assert_is_excerpt_of(text, next, &excerpt);
                prop_assert!(excerpt.next > next);
                next = excerpt.next;
                seen += excerpt.len();
            }
            prop_assert_eq!(seen, track.kept());
        }
        prop_assert_eq!(output.total(), merged.len() as u64);
    }

    #[test]
    fn memory_and_file_together_lack_nothing_that_either_has(
        pushes in pushes(), limit in prop_oneof![1..100_usize, 1..300_000_usize], room in 0..900_000_u64,
    ) {
        let Told { streams, output, .. } = tell(&pushes, limit);
        let (text, track, folder) = (&streams[0], stdout(&output), tempfile::tempdir().unwrap());
        let spill = spill(folder.path(), room);
        spill.push(StreamName::Stdout, text);
        let (mut next, mut gone) = (0, 0);
        for block in spill.whole(StreamName::Stdout, track.blocks(), track.total()) {
            let (before, from) = text.split_at(block.start.at as usize);
            prop_assert!(from.starts_with(&block.bytes));
            let lines = before.iter().filter(|byte| **byte == b'\n').count() as u64;
            prop_assert!(block.start.line == lines || block.bytes.is_empty());
            gone += block.start.at - next;
            next = block.next();
        }
        prop_assert_eq!(next, track.total());
        let kept = track.kept() as u64;
        let behind = track.total() - (kept - kept.min(limit as u64 / 4));
        prop_assert_eq!(gone, behind.saturating_sub(room.max(limit as u64 / 4)));
        prop_assert_eq!(gone, missing(&track.blocks(), track.total(), spill.readable(StreamName::Stdout)));
    }

    #[test]
    fn lines_are_where_they_are(pushes in pushes(), limit in prop_oneof![1..100_usize, 1..300_000_usize], lines in 1..30_u64) {
        let Told { streams, output, .. } = tell(&pushes, limit);
        let (text, track) = (&streams[0], output.track(StreamName::Stdout));
        let ends = text.iter().rev().skip(1).enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| text.len() - 1 - at);
        let begin = ends.take(lines as usize).nth(lines as usize - 1).unwrap_or(0);
        let begin = begin as u64;
        let gap = if text.len() > limit { (limit / 4) as u64..=(text.len() - limit + limit / 4) as u64 } else { 0..=0 };
        let expected = if gap.contains(&begin) { *gap.start() } else { begin };
        prop_assert_eq!(track.tail_from(lines), expected);
    }

    #[test]
    fn the_order_is_told_in_pages_of_any_size(pushes in pushes(), limit in prop_oneof![20..100_usize, 1..300_000_usize], page in 1..90_000_usize) {
        let Told { merged, output, .. } = tell(&pushes, limit);
        let mut next = 0;
        while next < output.total() {
            let (entries, after) = output.read_merged(next, page);
            prop_assert!(after > next);
            let mut at = next;
            for entry in &entries {
                assert_is_excerpt_of(&merged, at, &entry.excerpt);
                at = entry.excerpt.next;
            }
            prop_assert_eq!(at, after);
            next = after;
        }
    }
}
