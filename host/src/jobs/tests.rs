//! The buffer's books.

use bytes::Bytes;
use rstest::rstest;

use super::*;

fn buffer(limit: usize, pieces: &[&str]) -> Buffer {
    let mut buffer = Buffer::new(limit);
    for piece in pieces {
        buffer.push_bytes(&Bytes::copy_from_slice(piece.as_bytes()));
    }
    buffer
}

#[rstest]
#[case(10, &["abc", "def"], "abcdef", 0)]
#[case(5, &["abc", "def"], "bcdef", 1)]
#[case(2, &["abc", "def"], "ef", 4)]
#[case(3, &["abcdefgh"], "fgh", 5)]
fn the_oldest_goes_and_is_counted(#[case] limit: usize, #[case] pieces: &[&str], #[case] kept: &str, #[case] dropped: u64) {
    let buffer = buffer(limit, pieces);
    assert_eq!(buffer.all(), Excerpt { bytes: kept.as_bytes().to_vec(), dropped });
    assert_eq!(buffer.total(), dropped + kept.len() as u64);
}

#[rstest]
#[case(1, "three\n")]
#[case(2, "two\nthree\n")]
#[case(9, "one\ntwo\nthree\n")]
fn the_tail_is_the_last_lines(#[case] lines: usize, #[case] expected: &str) {
    let buffer = buffer(100, &["one\ntwo\n", "three\n"]);
    assert_eq!(buffer.tail(lines).bytes, expected.as_bytes());
}

#[test]
fn a_last_line_without_a_newline_counts() {
    assert_eq!(buffer(100, &["one\ntwo"]).tail(1).bytes, b"two");
    assert_eq!(buffer(100, &[]).tail(1).bytes, b"");
}

#[test]
fn a_cursor_reads_what_came_since_and_counts_what_is_gone() {
    let mut buffer = buffer(4, &["ab"]);
    let cursor = buffer.end();
    buffer.push_bytes(&Bytes::from_static(b"cdefgh"));
    assert_eq!(buffer.since(cursor), Excerpt { bytes: b"efgh".to_vec(), dropped: 2 });
    assert_eq!(buffer.since(buffer.end()), Excerpt { bytes: Vec::new(), dropped: 0 });
}

proptest::proptest! {
    #[test]
    fn chunks_of_any_size_are_kept_like_one_text(
        sizes in proptest::collection::vec(proptest::prop_oneof![0..50usize, 40_000..70_000usize], 0..20),
        limit in proptest::prop_oneof![1..100usize, 1..300_000usize],
        lines in 1..5usize,
    ) {
        let mut buffer = Buffer::new(limit);
        let mut text = Vec::new();
        for (size, letter) in sizes.into_iter().zip(b'a'..) {
            let chunk = [vec![letter; size], b"\n".to_vec()].concat();
            buffer.push_bytes(&chunk.clone().into());
            text.extend(chunk);
        }
        let kept = &text[text.len().saturating_sub(limit)..];
        proptest::prop_assert_eq!(buffer.all(), Excerpt { bytes: kept.to_vec(), dropped: (text.len() - kept.len()) as u64 });
        let tail = kept.split_inclusive(|byte| *byte == b'\n').rev().take(lines).map(<[u8]>::len).sum::<usize>();
        proptest::prop_assert_eq!(buffer.tail(lines).bytes, &kept[kept.len() - tail..]);
    }
}
