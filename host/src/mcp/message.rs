//! What a message may be, whichever way it comes: looked at before it is read, since reading is what makes an excess expensive.

use rmcp::{
    ErrorData,
    model::{ClientJsonRpcMessage, ClientRequest, JsonRpcMessage, RequestId},
};
use serde::{Deserialize, de::IgnoredAny};

/// Bytes of a message: of a line on standard input, of a body over HTTP. A command has at most 64 KiB, input 256 KiB, JSON may
/// double that and more; an abuser could make the server hold one such message on each connection.
pub(super) const MOST_BYTES: usize = 4 << 20;
/// Objects, lists and further members of them in a message. Each takes a hundred times its size once it is read; a call has some
/// dozens.
pub(super) const MOST_VALUES: usize = 20_000;
/// Bytes of an `initialize`, and its objects, lists and further members: a session keeps it for as long as it lasts, and there may
/// be many.
const MOST_GREETING_BYTES: usize = 64 << 10;
const MOST_GREETING_VALUES: usize = 1000;
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
    #[error(
        "an `initialize` has at most {} bytes and {} objects, lists and further members of them",
        MOST_GREETING_BYTES,
        MOST_GREETING_VALUES
    )]
    Greeting,
}

impl From<Excess> for ErrorData {
    fn from(excess: Excess) -> Self {
        Self::invalid_request(excess.to_string(), None)
    }
}

/// What a text in JSON has of objects, lists and further members; of any other text, about as many.
pub(super) fn bounded(text: &[u8]) -> Result<usize, Excess> {
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
    Ok(values)
}

/// Whether a text of so many values is too much for an `initialize`, if it is one.
pub(super) fn is_long(text: &[u8], values: usize) -> bool {
    text.len() > MOST_GREETING_BYTES || values > MOST_GREETING_VALUES
}

pub(super) fn is_greeting(message: &ClientJsonRpcMessage) -> bool {
    matches!(message, JsonRpcMessage::Request(request) if matches!(request.request, ClientRequest::InitializeRequest(_)))
}

/// The id of a request, as far as it can be told where the request itself can not be read.
pub(super) fn id(text: &[u8]) -> Option<RequestId> {
    /// What has an id and no method is an answer, and the id one of this server's.
    #[derive(Deserialize)]
    struct Asked {
        id: RequestId,
        #[serde(rename = "method")]
        _method: IgnoredAny,
    }
    serde_json::from_slice::<Asked>(text).ok().map(|asked| asked.id)
}

/// Whether it is JSON, be it a message or not. Nothing of it is kept.
pub(super) fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// What is said to what is no JSON.
pub(super) fn no_json() -> ErrorData {
    ErrorData::parse_error("this is no JSON", None)
}

/// What is said to what is JSON by its grammar and can not be read.
pub(super) fn no_text() -> ErrorData {
    let text =
        "this can not be read: a text in it has half of a pair of surrogates (\\ud800 to \\udfff), or a number is too large";
    ErrorData::parse_error(text, None)
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
    #[case::texts(format!("[{}]", vec![r#""a, [b] {c} \", d\\""#; MOST_VALUES].join(",")), Ok(MOST_VALUES))]
    #[case::one_more(format!("[{}]", vec!["1"; MOST_VALUES + 1].join(",")), Err(Excess::Values))]
    #[case::objects(format!("[{}]", vec!["{}"; MOST_VALUES / 2 + 1].join(",")), Err(Excess::Values))]
    #[case::deep("[".repeat(MOST_LEVELS) + &"]".repeat(MOST_LEVELS), Ok(MOST_LEVELS))]
    #[case::deeper("[".repeat(MOST_LEVELS + 1), Err(Excess::Levels))]
    #[case::beside_each_other("[[".to_owned() + &"[],".repeat(MOST_LEVELS), Ok(2 + 2 * MOST_LEVELS))]
    #[case::garbage("]]}}".to_owned(), Ok(0))]
    fn what_is_too_much(#[case] text: String, #[case] expected: Result<usize, Excess>) {
        assert_eq!(bounded(text.as_bytes()), expected);
    }

    #[rstest]
    #[case::request(r#"{"id":"S","method":"x","params":["\ud800"]}"#, Some("S"))]
    #[case::behind(r#"{"method":"\udfff","params":1e999,"id":"S"}"#, Some("S"))]
    #[case::answer(r#"{"id":"S","result":"\ud800"}"#, None)]
    #[case::id_itself(r#"{"id":"\ud800","method":"x"}"#, None)]
    #[case::doubled(r#"{"id":"S","id":"T","method":"x"}"#, None)]
    #[case::no_object(r#""\ud800""#, None)]
    fn an_id_that_can_be_told(#[case] text: &str, #[case] expected: Option<&str>) {
        assert!(is_json(text.as_bytes()));
        assert_eq!(id(text.as_bytes()), expected.map(|id| RequestId::String(id.into())));
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
