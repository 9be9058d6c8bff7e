//! Source code among what may be a value: agents read it all day, and what refers to a secret is none.

use crate::text::Text;

/// How far behind its beginning what is opened must be closed to be code or a reference, in bytes.
pub const CLOSED_WITHIN: usize = 1024;

/// A call, a type, a path of names: `env.TOKEN`, `read_token(`, `quote!(`, `Option<`, `a::b`. `line` begins with the value;
/// what is opened must be closed in it, or be the last sign.
pub fn is_code(value: &[u8], line: &[u8]) -> bool {
    let text = Text::of(value);
    let identifier = text.run(0, |byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte));
    let behind = text.run_within(identifier, 1, |byte| byte == b'!');
    let closes = |sign: u8| closes(line, sign) || text.is_end(behind + 1);
    let opens = match text.from(behind) {
        [b'(', ..] => closes(b')'),
        [b'<', ..] => closes(b'>'),
        [b'[', ..] => closes(b']'),
        [b'{', ..] => closes(b'}'),
        [b':', b':', ..] => true,
        _ => false,
    };
    let path = identifier == value.len() && value.contains(&b'.') && !value.iter().any(u8::is_ascii_digit);
    let sign = value.first().is_some_and(|byte| b"&({[|".contains(byte)) || value.starts_with(b"/^");
    (identifier > 0 && opens) || path || sign
}

/// Whether a sign stands in this part of a line, not too far from where that begins.
pub fn closes(line: &[u8], sign: u8) -> bool {
    let line = Text::of(line);
    line.byte(line.run_within(0, CLOSED_WITHIN, |byte| byte != sign && byte != b'\n')) == Some(sign)
}

/// Splits at `_`, `-`, `.` and where a capital follows a small letter; lower case.
pub fn segments(name: &[u8]) -> Vec<String> {
    let mut segments = vec![String::new()];
    let mut small = false;
    for byte in name {
        if b"_-.".contains(byte) || (small && byte.is_ascii_uppercase()) {
            segments.push(String::new());
        }
        small = byte.is_ascii_lowercase();
        if byte.is_ascii_alphanumeric() {
            segments.last_mut().expect("there is a first").push(char::from(byte.to_ascii_lowercase()));
        }
    }
    segments.retain(|segment| !segment.is_empty());
    segments
}

/// Words that names of secrets are made of, and with them the names of what holds one.
const HELD: &[&str] =
    &["password", "passwd", "passphrase", "pass", "pwd", "secret", "token", "credential", "key", "auth", "authorization"];

/// How much a value without quotes must look like a name to be one.
#[derive(Clone, Copy, PartialEq)]
pub enum Around {
    /// Nothing around it is code: it must say what it holds.
    Text,
    /// An assignment, an argument, a member: words are enough.
    Code,
}

/// Whether a value is a name: the one it is given to, one that says what it holds, or words.
pub fn is_name(given_to: &[u8], value: &[u8], around: Around) -> bool {
    let begins = value.first().is_some_and(|byte| byte.is_ascii_alphabetic() || b"_$".contains(byte));
    if !begins || !value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.$".contains(byte)) {
        return false;
    }
    let words = segments(value);
    let holds = words.iter().any(|word| HELD.contains(&word.trim_end_matches('s')));
    let has_digits = value.iter().any(u8::is_ascii_digit);
    match () {
        () if is_same(last_part(given_to), last_part(value)) => true,
        () if has_digits => is_path(value) && (holds || first_part(given_to) == first_part(value)),
        () if holds && words.len() > 1 => true,
        () => around == Around::Code && are_words(value, &words),
    }
}

/// Whether a name is given to itself. Of a long one only the end may be known.
fn is_same(given_to: &[u8], value: &[u8]) -> bool {
    const LONG: usize = 16;
    let ends = value.len().checked_sub(given_to.len()).is_some_and(|at| value[at..].eq_ignore_ascii_case(given_to));
    ends && (value.len() == given_to.len() || given_to.len() >= LONG)
}

fn first_part(name: &[u8]) -> &[u8] {
    name.split(|byte| *byte == b'.').next().unwrap_or_default()
}

/// What stands behind the last dot.
fn last_part(name: &[u8]) -> &[u8] {
    name.rsplit(|byte| *byte == b'.').next().unwrap_or_default()
}

/// `exports.Name`: names with dots between them, and no words of a sentence.
fn is_path(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b'.');
    let begins = parts.next().is_some_and(|first| first.iter().all(u8::is_ascii_lowercase));
    begins && value.contains(&b'.') && parts.all(|part| part.first().is_some_and(u8::is_ascii_alphabetic))
}

/// One short word, or some that are no letters by chance.
fn are_words(value: &[u8], words: &[String]) -> bool {
    const LONGEST: usize = 16;
    const SHORTEST: usize = 3;
    value.len() < LONGEST && words.len() == 1 || value.len() / words.len().max(1) > SHORTEST && words.len() > 1
}

/// Whether what stands behind a quote is code rather than a string: the quote closed one, as in `("Password: ", x)`.
pub fn is_behind_string(bytes: &[u8]) -> bool {
    match bytes {
        [b',', b' ', ..] | [b' ', b'+' | b'%', b' ', ..] | [b')'] => true,
        [b')', next, ..] => b".,;:) ".contains(next),
        _ => false,
    }
}
