//! The buffer's books.

use rstest::rstest;

use super::*;

fn buffer(limit: usize, pieces: &[&str]) -> Buffer {
    let mut buffer = Buffer::new(limit);
    for piece in pieces {
        buffer.push_bytes(piece.as_bytes());
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
    buffer.push_bytes(b"cdefgh");
    assert_eq!(buffer.since(cursor), Excerpt { bytes: b"efgh".to_vec(), dropped: 2 });
    assert_eq!(buffer.since(buffer.end()), Excerpt { bytes: Vec::new(), dropped: 0 });
}
