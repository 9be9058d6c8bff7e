//! Names and values that neither a sign nor a blank joins: fallbacks, arguments, markup, the changed words of a difference.

use crate::code::{CLOSED_WITHIN, segments};
use crate::text::{Found, Text};

/// How far a tag and what stands in it is looked at, in bytes.
const TAG: usize = 256;

/// Most bytes of a line to each side of a changed word that it is judged with.
const AROUND: usize = 128;

/// Where the string begins that stands in if the name that ends at `end` has no value: `DB_PASSWORD || "v"`, `ENV['P'] ?? 'v'`,
/// `getenv("P") or "v"`, `ENV.fetch('P') { 'v' }`.
pub fn fallback(text: Text, end: usize) -> Option<usize> {
    let closed = text.run_within(end, 4, |byte| b"\\\"'`])!".contains(&byte));
    let sign = text.blanks(closed);
    let is_called = text.between(end, closed).ends_with(b")");
    // Else it is a word in quotes.
    if closed > end && !text.between(end, closed).iter().any(|byte| b")]!".contains(byte)) {
        return None;
    }
    let behind = match text.from(sign) {
        [b'|', b'|', ..] | [b'?', b'?', ..] => text.run_within(sign + 2, 1, |byte| byte == b'='),
        [b'?', b':', ..] | [b'o', b'r', b' ', ..] if sign > closed => sign + 2,
        [b'{', b' ', ..] if sign > closed && is_called => sign + 1,
        _ => return None,
    };
    quote_at(text, text.blanks(behind))
}

/// Where the string begins that is given to a member which sets what it is called by: `.password("v")`, `setPassword("v")`.
pub fn argument(text: Text, start: usize, end: usize) -> Option<usize> {
    const ASKS: &[&str] = &[
        "get", "is", "has", "find", "fetch", "read", "load", "lookup", "resolve", "require", "check", "assert", "expect", "next",
        "generate", "create", "make", "new", "decode", "encode", "parse", "validate", "verify", "hash", "test", "match",
        "compare", "by", "to", "from", "remove", "delete", "update", "list", "import", "export", "derive", "compute", "format",
        "print", "log",
    ];
    if text.byte(end) != Some(b'(') {
        return None;
    }
    let value = quote_at(text, text.blanks(end + 1))?;
    let member = text.between(start, end).rsplit(|byte| *byte == b'.').next()?;
    let words = segments(member);
    let first = words.first()?.as_str();
    let is_member = member.len() < end - start && !ASKS.contains(&first);
    (is_member || ["set", "with"].contains(&first)).then_some(value)
}

/// Where the string in brackets begins that stands at `at`.
pub fn bracketed(text: Text, at: usize) -> Option<usize> {
    (text.byte(at) == Some(b'(')).then(|| quote_at(text, text.blanks(at + 1))).flatten()
}

/// Where the string begins that Lisp gives to the name between `start` and `end`: `(setq password "v")`.
pub fn lisp(text: Text, start: usize, end: usize) -> Option<usize> {
    const FORMS: [&[u8]; 8] =
        [b"(setq", b"(setf", b"(def", b"(define", b"(defvar", b"(defconst", b"(defparameter", b"(setq-default"];
    let value = text.blanks(end);
    let before = text.before(start).trim_ascii_end();
    (value > end && FORMS.iter().any(|form| before.ends_with(form))).then(|| quote_at(text, value)).flatten()
}

/// Behind the brackets of `char name[16]`.
pub fn array(text: Text, start: usize, end: usize) -> usize {
    let size = text.run_within(end + 1, 16, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    let is_array = text.byte(end) == Some(b'[') && text.byte(size) == Some(b']');
    if is_array && text.before(start).trim_ascii_end().ends_with(b"char") { size + 1 } else { end }
}

/// Behind what ends an emphasis: `**`, `</b>`.
pub fn emphasis(text: Text, at: usize) -> usize {
    let ends = [&b"**"[..], b"__", b"</b>", b"</strong>", b"</em>"];
    at + ends.iter().find(|end| text.from(at).starts_with(end)).map_or(0, |end| end.len())
}

/// Where the next element begins behind one that holds the name between `start` and `end`: `<key>name</key><string>v</string>`.
pub fn next_element(text: Text, start: usize, end: usize) -> Option<usize> {
    let first = value_element(text, behind_element(text, start, end)?)?;
    Some(element(text, first).unwrap_or(first))
}

/// Behind the element that holds the name between `start` and `end` and nothing else.
pub fn behind_element(text: Text, start: usize, end: usize) -> Option<usize> {
    let end = text.run_within(end, 1, |byte| byte == b':');
    let is_element = text.before(start).ends_with(b">") && text.from(end).starts_with(b"</");
    let close = is_element.then(|| text.run_within(end + 2, AROUND, is_tag))?;
    (text.byte(close) == Some(b'>')).then(|| text.blanks(close + 1))
}

/// Where the text begins of the element at `at`, if it is one of those that hold values: cells of tables, strings of settings.
pub fn value_element(text: Text, at: usize) -> Option<usize> {
    const NAMES: [&[u8]; 5] = [b"<td", b"<dd", b"<string", b"<value", b"<data"];
    let name = text.run_within(at + 1, 8, |byte| byte.is_ascii_alphabetic());
    NAMES.contains(&text.between(at, name)).then(|| element(text, at)).flatten()
}

/// Where the text begins of the element whose tag stands at `at`.
fn element(text: Text, at: usize) -> Option<usize> {
    let is_tag = text.byte(at) == Some(b'<') && text.byte(at + 1).is_some_and(|byte| byte.is_ascii_alphabetic());
    let end = is_tag.then(|| text.run_within(at, TAG, |byte| !b">\r\n".contains(&byte)))?;
    (text.byte(end) == Some(b'>') && !text.before(end).ends_with(b"/")).then_some(end + 1)
}

/// Where the text begins of an element that has the quoted name between `start` and `end` as its key: `<entry key="name">v</entry>`.
pub fn keyed_element(text: Text, start: usize, end: usize) -> Option<usize> {
    let before = text.before(start.saturating_sub(1));
    let is_key = [&b" key="[..], b" name="].iter().any(|attribute| before.ends_with(attribute));
    let tag = is_key.then(|| text.run_within(end, TAG, |byte| !b"<>\r\n".contains(&byte)))?;
    (text.byte(tag) == Some(b'>') && !text.before(tag).ends_with(b"/")).then_some(tag + 1)
}

/// Where the value begins of a field for a password, whose type ends at `end`: `type="password" name="p" value="v"`.
pub fn field(text: Text, start: usize, end: usize) -> Option<usize> {
    const VALUE: &[u8] = b" value=";
    if !text.before(start.saturating_sub(1)).ends_with(b"type=") {
        return None;
    }
    let tag = text.run_within(end, TAG, |byte| !b"<>\r\n".contains(&byte));
    let at = text.between(end, tag).windows(VALUE.len()).position(|window| window == VALUE)?;
    quote_at(text, end + at + VALUE.len())
}

fn is_tag(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":-_.".contains(&byte)
}

fn is_quote(byte: u8) -> bool {
    b"\"'`".contains(&byte)
}

fn quote_at(text: Text, at: usize) -> Option<usize> {
    text.byte(at).is_some_and(is_quote).then_some(at)
}

/// The words that stand as changed ones where a value may, `[-old-]{+new+}` as `git diff --word-diff` writes them, if `is_found` says of
/// the line with one of them that it holds a secret. The name begins at `start`.
pub fn changed<'r>(text: Text, start: usize, at: usize, is_found: impl Fn(Text, usize) -> bool) -> Option<Found<'r>> {
    let old = word(text, at, b"[-", b"-]");
    let middle = old.unwrap_or(at);
    let new = word(text, middle, b"{+", b"+}");
    let end = new.unwrap_or_else(|| cut(text, middle).unwrap_or(middle));
    let first = start.saturating_sub(AROUND);
    let behind = text.run_within(end, AROUND, |byte| !b"\r\n".contains(&byte));
    let is_secret = |word: &[u8]| {
        let line = [text.between(first, at), word, text.between(end, behind)].concat();
        !word.is_empty() && !opens(word) && is_found(Text::of(&line), start - first)
    };
    let words = [old.map(|old| text.between(at + 2, old - 2)), new.map(|new| text.between(middle + 2, new - 2))];
    words.into_iter().flatten().any(is_secret).then_some(Found { start: at, end, rule: "assignment" })
}

fn opens(bytes: &[u8]) -> bool {
    bytes.starts_with(b"[-") || bytes.starts_with(b"{+")
}

/// Behind a changed word that stands at `at`. Behind its end there is a blank, the next one, or nothing.
fn word(text: Text, at: usize, open: &[u8], close: &[u8]) -> Option<usize> {
    let inside = text.from(at).strip_prefix(open)?;
    let inside = &inside[..inside.len().min(CLOSED_WITHIN)];
    let line = inside.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let ends = |end: &usize| {
        let behind = text.from(at + open.len() + end + close.len());
        behind.first().is_none_or(u8::is_ascii_whitespace) || behind.starts_with(b"{+")
    };
    let mut all = line.windows(close.len()).enumerate().filter(|(_, window)| *window == close).map(|(end, _)| end);
    all.find(ends).map(|end| at + open.len() + end + close.len())
}

/// The end of the text, if a changed word begins at `at` that it cuts.
fn cut(text: Text, at: usize) -> Option<usize> {
    let is_cut =
        text.from(at).starts_with(b"{+") && text.byte(text.run_within(at, CLOSED_WITHIN, |byte| byte != b'\n')).is_none();
    is_cut.then_some(text.0.len())
}

/// Where a word without quotes between `start` and `end` is followed by the one that it was changed into, or by the end of a change.
pub fn until_changed(text: Text, start: usize, end: usize) -> usize {
    let value = text.between(start, end);
    let is_within = |open: &[u8]| text.between(start.saturating_sub(AROUND), start).windows(2).any(|window| window == open);
    match text.byte(end) {
        Some(b'}') if value.ends_with(b"+") && is_within(b"{+") => end - 1,
        Some(b']') if value.ends_with(b"-") && is_within(b"[-") => end - 1,
        // A word that was taken away within the value is a part of it, and so is what came in its place.
        _ => {
            let change = value.windows(4).position(|window| window == b"-]{+");
            let is_around = |at: &usize| is_within(b"[-") && !value[..*at].windows(2).any(|window| window == b"[-");
            change.filter(is_around).map_or(end, |length| start + length)
        }
    }
}

/// Where a string from `start` to `end`, whose name begins at `name`, is cut by what it was changed into with its name, as in
/// `[-K="a-]{+K="b+} c"`.
pub fn until_renamed(text: Text, name: usize, start: usize, end: usize) -> usize {
    let value = text.between(start, end);
    let change = value.windows(4).position(|window| window == b"-]{+");
    if let Some(at) = change.filter(|at| !value[..*at].windows(2).any(|window| window == b"[-")) {
        return start + at;
    }
    // In colours, with the same name, sign and quote once more.
    let again = (end + 1).saturating_sub(start - name);
    let is_again = again > start && text.is_parted(again) && text.between(again, end + 1) == text.between(name, start);
    if is_again { again } else { end }
}

/// Whether a secret is a word that was taken away with the rest of its line: what came in its place is in one of the next.
pub fn is_moved(text: Text, found: &Found) -> bool {
    let taken = text.between(found.start, found.end);
    taken.starts_with(b"[-") && taken.ends_with(b"-]") && text.is_end(found.end)
}

/// Where the first word ends that was added in the line from `at` to `end`, if that begins with a change.
pub fn added(text: Text, at: usize, end: usize) -> Option<usize> {
    let line = Some(text.between(at, end)).filter(|line| opens(line))?;
    let open = line.windows(2).position(|window| window == b"{+")?;
    Some(line[open..].windows(2).position(|window| window == b"+}").map_or(end, |length| at + open + length))
}

/// Where a value ends behind which another one stands without a blank: shells write strings so, and differences in colours, which
/// tell the old one from the new one, with the comma that belongs to each. `quoted`: a quote stands at `end`.
pub fn beside(text: Text, start: usize, end: usize, quoted: bool) -> usize {
    let mut end = end;
    let mut quote = text.byte(end).filter(|byte| quoted && is_quote(*byte));
    let is_triple = quote.is_some_and(|quote| text.from(end).starts_with(&[quote; 3]));
    if quoted && quote.is_none() || is_triple {
        return end;
    }
    loop {
        let closed = if quote.is_some() { end + 1 } else { end };
        let next = text.run_within(closed, 2, |byte| b",;".contains(&byte));
        let is_other = text.is_parted(next) && (next == closed || !text.is_parted(closed));
        match text.byte(next) {
            Some(b'-') if quote.is_some() && text.from(next).starts_with(b"-]{+") => {
                let is_open = text.between(start, end).windows(2).any(|window| window == b"[-");
                let behind = word(text, next + 2, b"{+", b"+}").map(|behind| text.run_back_within(behind - 2, 1, is_quote));
                return behind.or_else(|| cut(text, next + 2)).filter(|_| is_open).unwrap_or(end);
            }
            Some(sign @ (b'"' | b'\'')) if is_other || (next == closed && Some(sign) == quote) => {
                let value = crate::named::quoted(text, next + 1, sign, false);
                let is_name = text.byte(text.blanks(value.end + 1)) == Some(b':');
                if text.byte(value.end).is_none() {
                    return text.0.len();
                }
                if is_name || text.byte(value.end) != Some(sign) {
                    return end;
                }
                (end, quote) = (value.end, Some(sign));
            }
            Some(byte) if is_other && next == closed && quote.is_some() && byte.is_ascii_alphanumeric() => {
                let word = crate::named::unquoted(text, next).end;
                return if text.byte(word).is_some_and(is_quote) { end } else { word };
            }
            _ => return end,
        }
    }
}
