use portcullis_sdk::harness::{configure, filter};
use proptest::prelude::*;

use crate::Tidy;

fn tidy(settings: &str) -> &'static Tidy {
    Box::leak(Box::new(configure(settings).expect("good settings")))
}

fn tidied(settings: &str, text: &[u8]) -> String {
    String::from_utf8(filter(tidy(settings), &[text])).expect("text stays text")
}

#[test]
fn control_sequences_go_and_what_they_stood_around_stays() {
    for (text, shown) in [
        ("\x1b[1;31merror\x1b[0m: no\n", "error: no\n"),
        ("\x1b]0;a title\x07text\n", "text\n"),
        ("\x1b]8;;https://h.invalid\x1b\\link\x1b]8;;\x1b\\ behind\n", "link behind\n"),
        ("\u{9b}31mred\u{9d}title\u{9c}\n", "red\n"),
        ("\x1bP1$r0m\x1b\\x\x1b(By\x1b=z\n", "xyz\n"),
        ("bell\x07 null\x00 tab\t end\n", "bell null tab\t end\n"),
        ("unfinished \x1b[3", "unfinished"),
        ("a title that never ends\x1b]0;t\nnext\n", "a title that never ends\nnext\n"),
        ("grün § ° – 日本\x1b[0m語\n", "grün § ° – 日本語\n"),
        ("\x1b[2J\x1b[H\x1b[?25lscreen\n", "screen\n"),
    ] {
        assert_eq!(tidied("{}", text.as_bytes()), shown, "{text:?}");
    }
}

#[test]
fn a_line_that_was_written_over_shows_its_last_state() {
    for (text, shown) in [
        ("  1%\r 50%\r100%\n", "100%\n"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("downloading\r\x1b[Kdone\n", "done\n"),
        ("downloading\rdone\x1b[K\n", "done\n"),
        ("downloading\r           \rdone\n", "done\n"),
        ("abcdef\rxy\n", "xycdef\n"),
        ("spin |\x08/\x08-\x08\\\n", "spin \\\n"),
        ("N\x08NA\x08AM\x08ME\x08E\n", "NAME\n"),
        ("_\x08a_\x08b\n", "ab\n"),
        ("abc\x1b[2Dx\n", "axc\n"),
        ("abc\x1b[1Gx\x1b[2Cy\n", "xbcy\n"),
        ("abc\x1b[2K\rx\n", "x\n"),
        ("abc\x1b[2K\n", "\n"),
        ("abcd\x1b[2D\x1b[1Kx\n", "  xd\n"),
        ("abcdef\r\x1b[2Px\n", "xdef\n"),
        ("x\x1b[3Cy\n", "x   y\n"),
        ("abc\x1b[99999999999999999999Pd\n", "abcd\n"),
        ("abc\r\x1b[99999999999999999999Px\n", "x\n"),
        ("abc\x1b[99999999999999999999D-\x1b[4294967295Dx\n", "xbc\n"),
        ("größe\rgrün\n", "grüne\n"),
        ("last\rline", "line"),
    ] {
        assert_eq!(tidied("{}", text.as_bytes()), shown, "{text:?}");
    }
}

#[test]
fn equal_lines_are_counted() {
    let lines = |count| "same\n".repeat(count);
    for (text, shown) in [
        (lines(2), "same\nsame\n".to_owned()),
        (lines(3), "same\nsame\nsame\n".to_owned()),
        (lines(43), "same\nsame\n[… 41 more lines like this]\n".to_owned()),
        (format!("{}other\n{}", lines(5), lines(1)), "same\nsame\n[… 3 more lines like this]\nother\nsame\n".to_owned()),
        (format!("{}same", lines(4)), "same\nsame\n[… 3 more lines like this]\n".to_owned()),
        ("a\n\n\n\n\n\nb\n".to_owned(), "a\n\n\n[… 3 more empty lines]\nb\n".to_owned()),
        ("\x1b[31ma\x1b[0m\na\n 0%\ra  \na\na\n".to_owned(), "a\na\n[… 3 more lines like this]\n".to_owned()),
        ("1\n2\n1\n2\n".to_owned(), "1\n2\n1\n2\n".to_owned()),
        (String::new(), String::new()),
    ] {
        assert_eq!(tidied("{}", text.as_bytes()), shown, "{text:?}");
    }
    assert_eq!(tidied(r#"{"fold_after":1}"#, lines(9).as_bytes()), "same\n[… 8 more lines like this]\n");
}

#[test]
fn long_lines_lose_their_middle() {
    let settings = r#"{"max_line_bytes":100}"#;
    let shown = tidied(settings, format!("{}{}\nnext\n", "a".repeat(500), "b".repeat(500)).as_bytes());
    assert_eq!(shown, format!("{}[… 940 bytes cut …]{}\nnext\n", "a".repeat(30), "b".repeat(30)));
    assert_eq!(tidied(settings, shown.as_bytes()), shown);
    assert_eq!(tidied(settings, "a".repeat(100).as_bytes()), "a".repeat(100));
    for width in 1..=4 {
        let text = ["a", "é", "日", "🦀"][width - 1].repeat(100) + &"x".repeat(width);
        let shown = tidied(settings, text.as_bytes());
        assert!(shown.contains(" bytes cut …]") || width == 1, "{shown}");
        assert!(shown.len() <= 101);
    }
}

#[test]
fn a_line_without_end_is_no_burden() {
    let long = vec![b'x'; 10 << 20];
    assert_eq!(tidied("{}", &long).len(), 2000 - 40 + "[… 10483800 bytes cut …]".len());
    let whole = tidied(r#"{"max_line_bytes":0}"#, &long);
    assert_eq!(whole.len(), long.len());
    let progress = "working 12345\r".repeat(1 << 18) + "done         \n";
    assert_eq!(tidied("{}", progress.as_bytes()), "done\n");
    let title = ["\x1b]0;".to_owned(), "t".repeat(1 << 20)].concat();
    assert_eq!(tidied(r#"{"controls":false,"max_line_bytes":0}"#, title.as_bytes()), title);
    let rewritten = ["a".repeat(400_000), "\rdone ".to_owned(), "b".repeat(1000)].concat();
    assert!(tidied("{}", rewritten.as_bytes()).starts_with("done bbb"));
    let erased = |end: &str| tidied("{}", ["a".repeat(400_000).as_str(), end].concat().as_bytes());
    assert_eq!(erased("\x1b[2K\rdone\n"), "done\n");
    assert_eq!(erased("\r\x1b[Kdone\n"), "done\n");
    assert_eq!(erased("\r\x1b[3C\x1b[K\n"), "aaa\n");
    let most = r#"{"max_line_bytes":65536}"#;
    let all_but_2000 = ["a".repeat(400_000), "\r".to_owned(), "\x1b[1000C".repeat(2), "\x1b[K\n".to_owned()].concat();
    assert_eq!(tidied(most, all_but_2000.as_bytes()), format!("{}[… 262144 bytes cut …]\n", "a".repeat(2000)));
    for part in ["\x1b[2K\x1b[9999Cx", "\x1b[2Cx", "x\x1b[1K", "x\x1b[P", "\x08x", "\x1b]", "\x1b[", "é\r", "\u{9b}"] {
        tidied("{}", part.repeat((1 << 18) / part.len()).as_bytes());
    }
}

#[test]
fn each_part_can_be_switched_off() {
    let text = "\x1b[1mbold\x1b[0m 1%\r2%\n\n\n\n\n";
    assert_eq!(tidied(r#"{"controls":false,"progress":false,"fold_after":0,"max_line_bytes":0}"#, text.as_bytes()), text);
    assert_eq!(tidied(r#"{"controls":false,"fold_after":0}"#, b"\x1b[1mbold\x1b[0m\x07\n"), "\x1b[1mbold\x1b[0m\x07\n");
    assert_eq!(tidied(r#"{"progress":false}"#, b"\x1b[1m1%\r2%\n"), "1%\r2%\n");
}

#[test]
fn all_mistakes_in_settings_are_named() {
    let errors = configure::<Tidy>(r#"{"fold_after":1001,"max_line_bytes":79}"#).err().expect("they are wrong");
    let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["fold_after", "max_line_bytes"]);
}

fn parts() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        3 => "[ -~]{0,30}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..10),
        2 => prop::sample::select(vec!["\n", "\r", "\r\n", "\x08", "\x1b[31m", "\x1b[K", "\x1b[1K", "\x1b[2K", "\x1b[3C", "\x1b[D", "\x1b[5G",
            "\x1b]0;t\x07", "\x1b]8;;u\x1b\\", "\u{9b}K", "ä", "日", "same\n", "same\n", "same\n"]).prop_map(|part| part.as_bytes().to_vec()),
        1 => (60_000..70_000usize).prop_map(|count| vec![b'a'; count]),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same(stream in parts(), cuts in prop::collection::vec(1usize..3000, 1..20)) {
        let policy = tidy("{}");
        let whole = filter(policy, &[&stream]);
        let (mut pieces, mut rest) = (Vec::new(), stream.as_slice());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (piece, next) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = next;
        }
        prop_assert_eq!(&filter(policy, &pieces), &whole);
        prop_assert!(!whole.contains(&0x1b));
        prop_assert!(whole.split(|byte| *byte == b'\n').all(|line| line.len() <= 2000));
    }
}

#[test]
fn the_schema_beside_the_policy_is_that_of_its_settings() {
    portcullis_sdk::harness::check_schema::<crate::Settings>(concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json"));
}
