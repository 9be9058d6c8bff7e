//! What a message may be, whichever way it comes: looked at before it is read, since reading is what makes an excess expensive.

use rmcp::ErrorData;
use serde::de::IgnoredAny;

/// Bytes of a message: of a line on standard input, of a body over HTTP. A command has at most 64 KiB, input 256 KiB, JSON may
/// double that and more; an abuser could make the server hold one such message on each connection.
pub(super) const MOST_BYTES: usize = 4 << 20;
/// Objects, lists and further members of them in a message. Each takes a hundred times its size once it is read; a call has some
/// dozens.
pub(super) const MOST_VALUES: usize = 20_000;
/// How deep objects and lists lie in each other. What is deeper is not read anyway, and who reads could not tell it from garbage.
pub(super) const MOST_LEVELS: usize = 127;

/// What of a message is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Excess {
    #[error("a message has at most {} bytes", MOST_BYTES)]
    Bytes,
    #[error("a message has at most {} objects, lists and further members of them", MOST_VALUES)]
    Values,
    #[error("objects and lists of a message lie at most {} deep in each other", MOST_LEVELS)]
    Levels,
}

impl From<Excess> for ErrorData {
    fn from(excess: Excess) -> Self {
        Self::invalid_request(excess.to_string(), None)
    }
}

/// Counts what a text in JSON has of objects, lists and further members; of any other text, about as many.
pub(super) fn bounded(text: &[u8]) -> Result<(), Excess> {
    let (mut values, mut level, mut in_string, mut is_escaped) = (0_usize, 0_usize, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => (values, level) = (values + 1, level + 1),
            b'}' | b']' => level = level.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if level > MOST_LEVELS {
            return Err(Excess::Levels);
        }
        if values > MOST_VALUES {
            return Err(Excess::Values);
        }
    }
    Ok(())
}

/// Whether it is JSON, be it a message or not. Nothing of it is kept.
pub(super) fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// What is said to what is no JSON.
pub(super) fn no_json() -> ErrorData {
    ErrorData::parse_error("this is no JSON", None)
}

/// What is said to what is JSON and no message.
pub(super) fn no_message() -> ErrorData {
    let text = "this is no message of JSON-RPC 2.0: one object, no batch, whose `id`, if it has one, is a text or a whole number";
    ErrorData::invalid_request(text, None)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::texts(format!("[{}]", vec![r#""a, [b] {c} \", d\\""#; MOST_VALUES].join(",")), Ok(()))]
    #[case::one_more(format!("[{}]", vec!["1"; MOST_VALUES + 1].join(",")), Err(Excess::Values))]
    #[case::objects(format!("[{}]", vec!["{}"; MOST_VALUES / 2 + 1].join(",")), Err(Excess::Values))]
    #[case::deep("[".repeat(MOST_LEVELS) + &"]".repeat(MOST_LEVELS), Ok(()))]
    #[case::deeper("[".repeat(MOST_LEVELS + 1), Err(Excess::Levels))]
    #[case::beside_each_other("[[".to_owned() + &"[],".repeat(MOST_LEVELS), Ok(()))]
    #[case::garbage("]]}}".to_owned(), Ok(()))]
    fn what_is_too_much(#[case] text: String, #[case] expected: Result<(), Excess>) {
        assert_eq!(bounded(text.as_bytes()), expected);
    }

    /// The bound on levels is no other than that of who reads.
    #[rstest]
    #[case(MOST_LEVELS, true)]
    #[case(MOST_LEVELS + 1, false)]
    fn what_is_as_deep_is_read(#[case] levels: usize, #[case] is_read: bool) {
        let text = "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), is_read);
    }
}
