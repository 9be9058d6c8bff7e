//! Secrets that are known by what they are called: assignments, headers, options, addresses with a password.

use crate::code::{self, Around, CLOSED_WITHIN, is_code, segments};
use crate::filter::REACH;
use crate::joints;
use crate::keys;
use crate::text::{Found, Text, is_replacement, replacement};
use crate::tokens::{decoded, is_open_sequence};

/// The parts of names that say secret. Each is a trigger, in either case.
pub const KEYWORDS: &[&str] = &["passw", "passphrase", "secret", "token", "credential", "key", "auth", "_pwd"];

/// More of them, in this case only and with what follows, since `pass` and `pwd` alone are in every other line of a build.
pub const SHORT_KEYWORDS: &[&str] = &[
    "_pass",
    "_PASS",
    "pass=",
    "PASS=",
    "Pass=",
    "pass:",
    "Pass:",
    "PASS:",
    "pass\"",
    "Pass\"",
    "PASS\"",
    "pwd=",
    "Pwd=",
    ";PWD=",
    "pwd:",
    "Pwd:",
    "pwd\"",
    "&sig=",
    "?sig=",
    "psk=",
    "requirepass ",
];

/// The longest part of a name that is looked at, to each side of the keyword.
const NAME: usize = 64;

/// How much of a value without quotes tells whether it is a secret, in bytes. Only one that is one is followed to its end, so that
/// each byte of a line is gone through a few times at most.
const JUDGED: usize = 256;

/// What the rules for values are called in replacements.
const ASSIGNMENT: &str = "assignment";

/// How sure a name is about its value.
#[derive(Clone, Copy, PartialEq)]
enum Name {
    /// Such as `db_password`.
    Secret,
    /// Such as `token`, which is a number or a symbol as often.
    Token,
    /// Such as `signing_key`: the value must look like a secret too.
    Maybe,
    /// `Authorization`, whose value has a scheme in front.
    Authorization,
}

/// How name and value are joined.
#[derive(Clone, Copy, PartialEq)]
enum Joint {
    /// `name=value`.
    Tight,
    /// `name: value`, `name = value`.
    Loose,
    /// `--name value`.
    Option,
    /// `<name>value<`.
    Element,
    /// `name value`, where lines, tables or statements are so, or `("name", "value")`.
    Apart,
    /// `name || "value"`, `.name("value")`, `name = ("value")`.
    String,
    /// `<td>name</td><td>value<`.
    Cell,
}

/// A value and how it stands there.
pub struct Value {
    pub start: usize,
    pub end: usize,
    quoted: bool,
}

/// The value of the name that has one of [`KEYWORDS`] at `at`. `netrc`: in a line of a netrc file, where a blank joins.
pub fn assignment(text: Text, at: usize, netrc: bool) -> Option<Found<'static>> {
    assigned(text, at, netrc, Words::Changed)
}

/// Whether words may stand there as changed ones.
#[derive(Clone, Copy, PartialEq)]
enum Words {
    Changed,
    /// In the line of one of them by itself, where another would be looked at once more for each that it stands in.
    AsTheyAre,
}

fn assigned(text: Text, at: usize, netrc: bool, words: Words) -> Option<Found<'static>> {
    let at = text.run_within(at, 1, |byte| b"_;&?".contains(&byte));
    let (start, end) = name_at(text, at);
    let written = text.between(start, end);
    let is_code = text.from(text.blanks(end)).starts_with(b"= ");
    if written == b"password" && !is_code && (netrc || is_netrc_line(text, start, end)) {
        return netrc_password(text, end);
    }
    let numbered = numbered_key(text, start, end);
    let (joint, at) = joint(text, start, numbered.unwrap_or(end))?;
    let name = numbered.map_or_else(|| judge(written), |_| Some(Name::Secret))?;
    if name == Name::Authorization && joint != Joint::String {
        return authorization(text, at);
    }
    let is_found = |text: Text, at| assigned(text, at, netrc, Words::AsTheyAre).is_some();
    if words == Words::Changed
        && let found @ Some(_) = joints::changed(text, start, at, is_found)
    {
        return found;
    }
    let item = flow_item(text, joint, at);
    let mut value = item.map_or_else(|| retyped(text, joint, value(text, joint, at)), |at| word(text.until(at + JUDGED), at));
    if value.quoted {
        value.end = joints::until_renamed(text, start, value.start, value.end);
    }
    if is_behind_string(text, joint, end, &value) || keys::may_begin(text.from(value.start)) {
        return None;
    }
    let shape = Shape { text, name, joint, start, written };
    let bytes = text.between(value.start, value.end);
    if !is_literal(bytes, text.from(value.start)) || !shape.fits(&value, bytes) {
        return None;
    }
    if item.is_some() && !(matches!(name, Name::Secret | Name::Token) && is_listed(bytes)) {
        return None;
    }
    let end = if value.quoted { value.end } else { word(text, value.start).end };
    let end = joints::beside(text, value.start, end, value.quoted);
    value.end = if item.is_some() { flow_end(text, end) } else { list_end(text, at, end) };
    if shape.takes_the_line(&value) {
        value.end = text.run(value.end, |byte| !b"\r\n".contains(&byte));
    }
    Some(Found { start: value.start, end: value.end, rule: ASSIGNMENT })
}

/// Whether a quote closed the string in which the name stands that ends at `end`, rather than opened the value.
fn is_behind_string(text: Text, joint: Joint, end: usize, value: &Value) -> bool {
    let is_open = text.byte(end).is_none_or(|byte| !b"\\\"'`".contains(&byte));
    let is_text = matches!(joint, Joint::Element | Joint::Cell);
    value.quoted && !is_text && is_open && code::is_behind_string(text.between(value.start, value.end))
}

/// Where the number of `Unseal Key 1` ends, as the vault prints its keys.
fn numbered_key(text: Text, start: usize, end: usize) -> Option<usize> {
    let number = text.blanks(end);
    let behind = text.run(number, |byte| byte.is_ascii_digit());
    let is_key = [&b"Unseal "[..], b"Recovery "].iter().any(|kind| text.before(start).ends_with(kind));
    (is_key && behind > number).then_some(behind)
}

/// From where to where the name reaches that `at` is in.
fn name_at(text: Text, at: usize) -> (usize, usize) {
    let start = text.run_back_within(at, NAME, is_name);
    let end = text.run_within(at, NAME, |byte| is_name(byte) && byte != b'.');
    // A terminal's sequence ends in a digit or two and a letter, which are no part of the name.
    let letter = text.run(start, |byte| byte.is_ascii_digit());
    if letter < at && is_open_sequence(text.before(letter)) { (letter + 1, end) } else { (start, end) }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)
}

/// A name that goes on with one of these says something about a secret and does not hold it.
const ABOUT: &[&str] = &[
    "file",
    "path",
    "dir",
    "url",
    "uri",
    "name",
    "names",
    "type",
    "types",
    "ttl",
    "expiry",
    "expires",
    "expiration",
    "expire",
    "length",
    "len",
    "count",
    "limit",
    "max",
    "min",
    "num",
    "size",
    "policy",
    "format",
    "prompt",
    "hint",
    "label",
    "field",
    "regex",
    "pattern",
    "index",
    "kind",
    "class",
    "reset",
    "manager",
    "provider",
    "primary",
    "foreign",
    "sort",
    "cache",
    "partition",
    "group",
    "row",
    "arn",
    "ref",
    "version",
    "algorithm",
    "alg",
    "endpoint",
    "scope",
    "scopes",
    "usage",
    "budget",
    "next",
    "cancellation",
    "cancel",
    "oldpwd",
    "enabled",
    "required",
    "method",
    "mode",
    "fingerprint",
    "range",
];

/// A token or key behind one of these is a count, a place in a list or half of a pair.
const NO_SECRET: &[&str] = &[
    "public",
    "pub",
    "foreign",
    "sort",
    "cache",
    "partition",
    "group",
    "row",
    "index",
    "max",
    "min",
    "num",
    "cancellation",
    "cancel",
    "eq",
];

fn judge(name: &[u8]) -> Option<Name> {
    let segments = segments(name);
    let about = segments.iter().rposition(|segment| ABOUT.contains(&segment.as_str())).unwrap_or(0);
    let judged = |at: usize| judge_segment(&segments[at], &segments[..at], &segments[at + 1..]);
    (about..segments.len()).find_map(judged)
}

fn judge_segment(segment: &str, before: &[String], after: &[String]) -> Option<Name> {
    const SECRET: &[&str] = &[
        "password",
        "passwd",
        "passwort",
        "passphrase",
        "secret",
        "credential",
        "apikey",
        "accesskey",
        "privatekey",
        "authkey",
        "accountkey",
        "secretkey",
        "dbpass",
        "mypass",
        "userpass",
        "rootpass",
        "adminpass",
        "smtppass",
        "requirepass",
        "psk",
    ];
    const OF_A_SECRET_KEY: &[&str] = &[
        "api",
        "access",
        "private",
        "secret",
        "encryption",
        "signing",
        "master",
        "service",
        "account",
        "auth",
        "client",
        "license",
        "app",
        "shared",
        "admin",
        "deploy",
    ];
    let stem = segment.trim_end_matches(|c: char| c == 's' || c.is_ascii_digit());
    let known = |stems: &[&str]| stems.iter().any(|known| segment.ends_with(known) || stem.ends_with(known));
    let before_it = before.last().map(String::as_str);
    let is_id = after.first().is_some_and(|next| next == "id" || next == "ids");
    let is_paired = before.iter().any(|word| word == "public" || word == "pub");
    let is_counted = before_it.is_some_and(|word| NO_SECRET.contains(&word) || (word == "next" && before.len() == 1));
    match segment {
        "authorization" => Some(Name::Authorization),
        _ if is_id && segment != "secret" => None,
        // The name of an object that holds it.
        _ if before.iter().any(|word| word == "existing") => None,
        "pass" | "pwd" | "passw" => Some(Name::Secret),
        "sig" if before_it.is_none() => Some(Name::Token),
        _ if known(SECRET) => Some(Name::Secret),
        "key" if is_paired => None,
        _ if is_counted => None,
        _ if known(&["token"]) => Some(Name::Token),
        "key" if before_it.is_some_and(|word| OF_A_SECRET_KEY.contains(&word)) => Some(Name::Secret),
        "key" if before_it.is_some() => Some(Name::Maybe),
        "auth" if after.is_empty() => Some(Name::Maybe),
        _ => None,
    }
}

/// How the name between `start` and `end` is joined to a value, and where that begins.
fn joint(text: Text, start: usize, end: usize) -> Option<(Joint, usize)> {
    if text.byte(end) == Some(b'>') && text.before(start).ends_with(b"<") {
        return Some((Joint::Element, end + 1));
    }
    if text.from(end).starts_with(b":</")
        && let Some(value) = joints::next_element(text, start, end)
    {
        return Some((Joint::Cell, value));
    }
    let closed = text.run(joints::array(text, start, end), |byte| b"\\\"'`]".contains(&byte));
    let emphasis = joints::emphasis(text, closed);
    // `name?: v` and `name!: v` of TypeScript.
    let marked = text.run_within(emphasis, 1, |byte| b"?!".contains(&byte));
    let closed = if marked > emphasis && text.byte(marked) == Some(b':') { marked } else { emphasis };
    let sign = text.blanks(closed);
    let behind = match text.from(sign) {
        [b'=', b'=' | b'~', ..] | [b':', b':', ..] => return None,
        [b'=', b'>', ..] | [b':' | b'?', b'=', ..] => sign + 2,
        [b'=' | b':', ..] => sign + 1,
        [b'%', b'3', b'D' | b'd', ..] => return Some((Joint::Tight, sign + b"%3D".len())),
        _ => return option(text, start, end, sign).or_else(|| apart(text, start, end)).or_else(|| strange(text, start, end)),
    };
    let shown = joints::emphasis(text, behind);
    let value = text.blanks(shown);
    if emphasis > end && text.byte(emphasis - 1) == Some(b'*') || shown > behind && value > shown {
        return Some((Joint::Apart, value));
    }
    let is_joined = |from, to| !text.between(from, to).iter().any(u8::is_ascii_whitespace);
    let tight = text.byte(sign) == Some(b'=') && is_joined(closed, sign) && is_joined(behind, value);
    let bracketed = || joints::bracketed(text, value).map(|value| (Joint::String, value));
    Some(if tight { (Joint::Tight, value) } else { bracketed().unwrap_or((Joint::Loose, value)) })
}

/// Where a value begins whose name is in a call, an expression or an element of its own.
fn strange(text: Text, start: usize, end: usize) -> Option<(Joint, usize)> {
    let string = || joints::fallback(text, end).or_else(|| joints::argument(text, start, end)).map(|at| (Joint::String, at));
    let cell = || joints::next_element(text, start, end).or_else(|| joints::keyed_element(text, start, end));
    let lisp = || joints::lisp(text, start, end).map(|at| (Joint::Loose, at));
    let field = || joints::field(text, start, end).map(|at| (Joint::Apart, at));
    string().or_else(|| cell().map(|at| (Joint::Cell, at))).or_else(lisp).or_else(field)
}

fn option(text: Text, start: usize, end: usize, value: usize) -> Option<(Joint, usize)> {
    let named = text.between(start, end).starts_with(b"-") && text.byte(start) == Some(b'-');
    (named && value > end && !matches!(text.byte(value), Some(b'-' | b','))).then_some((Joint::Option, value))
}

/// Where a value begins that no sign joins to its name: the attribute of the next name, the second argument of a call, the next
/// cell of a table, a string of a statement, or the rest of a line.
fn apart(text: Text, start: usize, end: usize) -> Option<(Joint, usize)> {
    let closed = text.run_within(end, 1, |byte| b"\"'".contains(&byte));
    let next = text.blanks(closed);
    let quoted = |at: usize| matches!(text.byte(at), Some(b'"' | b'\'')).then_some(at);
    let is_name = closed > end && text.before(start).last() == text.byte(end).as_ref();
    if let Some(value) = declared(text, end) {
        return Some((Joint::Loose, value));
    }
    let before = text.before(start).trim_ascii_end();
    let written = text.between(start, end);
    let is_set = is_set(before);
    let at = match text.from(next) {
        [b'v', b'a', b'l', b'u', b'e', b'=', ..] if is_name => quoted(next + b"value=".len()),
        [b',', ..] if is_name && written.starts_with(b"--") => quoted(text.blanks(next + 1)),
        [b',', ..] if is_name && begins(text.from(text.blanks(next + 1)), VALUE) => {
            let value = quoted(text.blanks(text.blanks(next + 1) + VALUE.len()))?;
            return Some((Joint::Loose, value));
        }
        [b',', ..] if is_name && !written.iter().any(u8::is_ascii_lowercase) => quoted(text.blanks(next + 1)),
        [b'|', ..] if before.ends_with(b"|") => Some(text.blanks(next + 1)).filter(|at| ends_cell(text, *at)),
        [b'B', b'Y', b' ', ..] | [b'b', b'y', b' ', ..] if written.ends_with(b"password") => quoted(text.blanks(next + 2)),
        [b'\'', ..] if next > end && written == b"PASSWORD" => Some(next),
        _ if is_announced(before) => told(text, end),
        _ if next > end && written == b"_authToken" && before.ends_with(b":") => Some(next),
        _ if next > end && closed == end && (is_set || before.is_empty() || is_listing(text.opening(start))) => {
            Some(next).filter(|at| is_set || ends_line(text, *at))
        }
        _ => None,
    };
    at.map(|at| (Joint::Apart, at))
}

/// What a variable has behind its name, as objects in JSON say it.
const VALUE: &[u8] = b"\"value\":";

/// Whether a text begins with this, in either case.
fn begins(text: &[u8], with: &[u8]) -> bool {
    text.get(..with.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(with))
}

/// Where the string begins that a variable is declared with whose name ends at `end`: `password string = "value"`. With blanks,
/// unlike the attribute that follows a word.
fn declared(text: Text, end: usize) -> Option<usize> {
    let kind = text.blanks(end);
    let behind = text.run_within(kind, NAME, |byte| byte.is_ascii_alphanumeric() || b"_.*[]&".contains(&byte));
    let sign = text.blanks(behind);
    let value = text.blanks(sign + 1);
    let is_one = kind > end && behind > kind && sign > behind && text.byte(sign) == Some(b'=');
    (is_one && value > sign + 1 && matches!(text.byte(value), Some(b'"' | b'`'))).then_some(value)
}

/// Whether this is how a line begins that gives a value to the name behind it.
fn is_set(before: &[u8]) -> bool {
    const COMMANDS: [&[u8]; 6] = [b"set", b"setx", b"setenv", b"set -x", b"set -gx", b"ENV"];
    let is_word = |rest: &[u8]| rest.last().is_none_or(u8::is_ascii_whitespace) || is_listing(rest);
    COMMANDS.iter().any(|command| before.strip_suffix(*command).is_some_and(is_word))
}

/// The sign of a difference, or file and number, as searches put in front of a line: `+`, `config:10:`, `config-11-`.
fn is_listing(before: &[u8]) -> bool {
    let number = before.strip_suffix(b":").or_else(|| before.strip_suffix(b"-"));
    let is_numbered = number.is_some_and(|rest| {
        let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        digits > 0 && matches!(rest.len().checked_sub(digits + 1).map(|at| rest[at]), None | Some(b':' | b'-'))
    });
    is_numbered || [&b"+"[..], b"-"].contains(&before)
}

/// `Temporary password`, which a program tells once.
fn is_announced(before: &[u8]) -> bool {
    [&b"enerated"[..], b"emporary", b"nitial"].iter().any(|word| before.ends_with(word))
}

/// Where the last word of the line begins, if a colon stands before it.
fn told(text: Text, at: usize) -> Option<usize> {
    const FARTHEST: usize = 64;
    let colon = text.run_within(at, FARTHEST, |byte| !b":\r\n".contains(&byte));
    let value = text.blanks(colon + 1);
    (text.byte(colon) == Some(b':') && value > colon + 1 && ends_line(text, value)).then_some(value)
}

/// Whether one word stands there, and then the cell of a table ends.
fn ends_cell(text: Text, at: usize) -> bool {
    let given = at + replacement(text.from(at));
    let end = text.run(given, |byte| !byte.is_ascii_whitespace() && byte != b'|');
    end > at && text.byte(text.blanks(end)) == Some(b'|')
}

/// Whether one word stands there, and then the line ends.
fn ends_line(text: Text, at: usize) -> bool {
    let end = word_end(text, at);
    end > at && text.is_end(text.blanks(end))
}

fn word_end(text: Text, at: usize) -> usize {
    let given = at + replacement(text.from(at));
    text.run(given, |byte| !byte.is_ascii_whitespace())
}

fn value(text: Text, joint: Joint, at: usize) -> Value {
    let at = behind_prefix(text, at);
    let opened = text.run(at, |byte| byte == b'\\');
    match text.byte(opened) {
        _ if matches!(joint, Joint::Element | Joint::Cell) => element(text, at),
        Some(quote @ (b'"' | b'\'')) if opened == at && text.from(at).starts_with(&[quote; 3]) => tripled(text, at + 3, quote),
        Some(quote @ (b'"' | b'\'' | b'`')) => quoted(text, opened + 1, quote, opened > at),
        _ => word(text.until(at + JUDGED), at),
    }
}

/// Up to three quotes, or to one if there are no three; nothing of a text that goes on in the next line.
fn tripled(text: Text, start: usize, quote: u8) -> Value {
    let mut end = quoted(text, start, quote, false).end;
    if !text.from(end).starts_with(&[quote; 3]) {
        let line = text.run_within(start, CLOSED_WITHIN, |byte| !b"\r\n".contains(&byte));
        let closed = text.between(start, line).windows(3).position(|window| window == [quote; 3]);
        end = closed.map_or(end, |length| start + length);
        if text.is_end(end) && text.between(start, end).contains(&b' ') {
            end = start;
        }
    }
    Value { start, end, quoted: true }
}

/// A word without quotes, but for the one that it was changed into.
fn word(text: Text, at: usize) -> Value {
    let value = unquoted(text, at);
    Value { end: joints::until_changed(text, value.start, value.end), ..value }
}

/// Behind what a value is put into: the letters of `b"…"`, the bracket of `["…"]` and the calls of `Some(String::from("…"))` if a
/// quote follows, the tag of `!!str …`.
fn behind_prefix(text: Text, at: usize) -> usize {
    let tag = text.run_within(at, 2, |byte| byte == b'!');
    let tagged = text.run_within(tag, NAME, |byte| byte.is_ascii_lowercase());
    if tag == at + 2 && text.blanks(tagged) > tagged && tagged > tag {
        return text.blanks(tagged);
    }
    let called = ["Some(", "String::from("]
        .iter()
        .fold(at, |at, call| if text.from(at).starts_with(call.as_bytes()) { at + call.len() } else { at });
    let bracket = text.run_within(called, 1, |byte| byte == b'[');
    let letters = text.run_within(text.blanks(bracket), 2, |byte| b"bBrRfFuU".contains(&byte));
    let quote = text.run(letters, |byte| byte == b'\\');
    if matches!(text.byte(quote), Some(b'"' | b'\'')) { letters } else { at }
}

/// Where the first item begins of a list without quotes, `[a, b]`, that begins at `at`.
fn flow_item(text: Text, joint: Joint, at: usize) -> Option<usize> {
    let is_list = joint == Joint::Loose && text.byte(at) == Some(b'[') && replacement(text.from(at)) == 0;
    (is_list && behind_prefix(text, at) == at).then(|| text.blanks(at + 1))
}

/// Where the last item ends of such a list, the first of which ends at `end`; all of the line if it is cut.
fn flow_end(text: Text, end: usize) -> usize {
    let closed = text.run(end, |byte| !b"]\r\n".contains(&byte));
    text.run_back(closed, |byte| b" \t,".contains(&byte)).max(end)
}

/// Whether an item of such a list is a secret rather than a name, a type or a class of characters.
fn is_listed(item: &[u8]) -> bool {
    looks_random(item) && item.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=_,".contains(byte))
}

/// Where the last string ends of a list that begins at `at` and whose first one ends at `end`; `end` if it is no list. All there is
/// if the list is cut.
fn list_end(text: Text, at: usize, end: usize) -> usize {
    if text.byte(at) != Some(b'[') {
        return end;
    }
    strings_end(text, end)
}

/// Where the last of the strings ends that stand one behind the other, of which the first ends at `end`.
fn strings_end(text: Text, end: usize) -> usize {
    let mut end = end;
    loop {
        let closed = text.run(end, |byte| b"\\\"'".contains(&byte));
        let comma = text.blanks(closed);
        let next = text.blanks(text.run_within(comma, 1, |byte| byte == b','));
        let opened = text.run(next, |byte| byte == b'\\');
        match text.byte(opened) {
            None => return text.0.len(),
            Some(quote @ (b'"' | b'\'')) if next > comma => end = quoted(text, opened + 1, quote, opened > next).end,
            Some(_) => return end,
        }
    }
}

/// Up to the closing tag; nothing if there is none.
fn element(text: Text, start: usize) -> Value {
    let end = text.run(start, |byte| !b"<\r\n".contains(&byte));
    let end = if text.from(end).starts_with(b"</") { end } else { start };
    Value { start, end, quoted: true }
}

/// `escaped`: the quotes themselves are escaped, as in JSON inside a string.
pub fn quoted(text: Text, start: usize, quote: u8, escaped: bool) -> Value {
    let mut end = start;
    while !text.is_end(end) && text.byte(end) != Some(quote) {
        end += if text.byte(end) == Some(b'\\') && !escaped && !text.is_end(end + 1) { 2 } else { 1 };
    }
    if escaped {
        end = text.run_back(end, |byte| byte == b'\\').max(start);
    }
    Value { start, end, quoted: true }
}

/// To the next blank or quote, without the punctuation that may belong to what is around it.
pub fn unquoted(text: Text, start: usize) -> Value {
    let mut end = text.run_within(start, 1, |byte| byte == b'<');
    let mut floor = start;
    loop {
        let marker = replacement(text.from(end));
        if marker > 0 {
            end += marker;
            floor = end;
        }
        end = text.run(end, |byte| !byte.is_ascii_whitespace() && !b"\"'`<[\x1b".contains(&byte));
        match text.byte(end) {
            Some(b'[') if replacement(text.from(end)) > 0 => {}
            Some(b'[') => end += 1,
            _ => break,
        }
    }
    let end = if text.before(end).ends_with(b"):") { end - 1 } else { end };
    let end = text.run_back(end, |byte| b",;)]}\\".contains(&byte)).max(floor);
    Value { start, end, quoted: false }
}

/// In `password: str = "x"` the value stands behind the type.
fn retyped(text: Text, joint: Joint, value: Value) -> Value {
    let sign = text.blanks(value.end);
    let behind = text.blanks(sign + 1);
    let is_type = joint == Joint::Loose
        && !value.quoted
        && text.byte(sign) == Some(b'=')
        && matches!(text.byte(behind), Some(b'"' | b'\''));
    if is_type { self::value(text, joint, behind) } else { value }
}

/// Whether this, which `line` begins with, can be a value itself: no reference to one, no blank to fill in, no word for nothing.
pub fn is_literal(value: &[u8], line: &[u8]) -> bool {
    const WORDS: &[&str] = &[
        "true",
        "false",
        "null",
        "none",
        "nil",
        "undefined",
        "yes",
        "no",
        "required",
        "optional",
        "string",
        "str",
        "bytes",
        "bool",
        "boolean",
        "number",
        "integer",
        "int",
        "any",
        "object",
        "text",
        "option",
        "vec",
        "self",
        "return",
        "void",
        "let",
        "const",
        "var",
        "new",
        "await",
        "inherit",
    ];
    let is_word = WORDS.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()));
    let is_mask = value.iter().all(|byte| b"*.-_".contains(byte));
    !(is_word || is_mask || is_rule(value) || is_reference(value, line) || is_replacement(value))
}

/// `required|min:8`, as forms say what a value must be.
fn is_rule(value: &[u8]) -> bool {
    [&b"required|"[..], b"nullable|", b"sometimes|", b"string|", b"confirmed|"].iter().any(|rule| value.starts_with(rule))
}

/// `${NAME}`, `$NAME`, `$(...)`, `{{ name }}`, `<name>`, `%NAME%`.
fn is_reference(value: &[u8], line: &[u8]) -> bool {
    let closes = |sign: u8| code::closes(line, sign);
    let upper = |bytes: &[u8]| {
        !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
    };
    match value {
        [b'$', b'{', name @ ..] => {
            closes(b'}') && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_}.[]()$?!".contains(byte))
        }
        [b'$', b'(', ..] => closes(b')'),
        [b'{', b'{', ..] => closes(b'}'),
        [b'<', ..] => closes(b'>'),
        [b'%', name @ .., b'%'] => upper(name),
        [b'$', name @ ..] => upper(name),
        _ => false,
    }
}

/// What is around a value, by which words of prose and code are told from secrets.
struct Shape<'a> {
    text: Text<'a>,
    name: Name,
    joint: Joint,
    /// Where the name begins.
    start: usize,
    written: &'a [u8],
}

impl Shape<'_> {
    fn fits(&self, value: &Value, bytes: &[u8]) -> bool {
        let number = bytes.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.' || *byte == b',');
        let environment = self.joint == Joint::Tight && !self.written.iter().any(u8::is_ascii_lowercase);
        let code = is_code(bytes, self.text.from(value.start)) || (!environment && self.is_name(value, bytes));
        match self.joint {
            Joint::Apart => return self.fits_apart(value, bytes),
            Joint::String | Joint::Cell => return self.fits_strange(value, bytes),
            _ => {}
        }
        if !value.quoted && (self.is_working_directory(bytes) || self.is_type(value, bytes)) {
            return false;
        }
        match self.name {
            Name::Token | Name::Maybe if !value.quoted && code => false,
            Name::Token | Name::Maybe if number && bytes.len() < 10 => false,
            Name::Secret if !value.quoted && self.is_test_result() => is_no_test(bytes),
            Name::Maybe if value.quoted && self.written == b"auth" && is_encoded_pair(bytes) => true,
            Name::Maybe if environment => bytes.len() >= 8 && !bytes.starts_with(b"/"),
            Name::Maybe => looks_random(bytes),
            _ if environment => true,
            Name::Token if !value.quoted && bytes.len() < 6 && bytes.iter().all(u8::is_ascii_alphabetic) => false,
            // A label says what it labels.
            _ if value.quoted => bytes.len() >= 3 && !bytes.eq_ignore_ascii_case(self.written),
            _ if code || bytes == self.written => false,
            _ if self.joint == Joint::Tight => bytes.len() >= 3,
            _ if self.joint == Joint::Option => {
                is_mixed(bytes, 6) || (bytes.len() >= 8 && !bytes.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_'))
            }
            _ if !self.is_last(value.end) => is_mixed(bytes, 8) || bytes.len() >= 24,
            _ => is_mixed(bytes, 4) || (self.is_setting() && bytes.len() >= 3 && !bytes[0].is_ascii_uppercase()),
        }
    }

    /// Without a sign between them the value must look like nothing else.
    fn fits_apart(&self, value: &Value, bytes: &[u8]) -> bool {
        let is_word = !bytes.iter().any(u8::is_ascii_whitespace);
        let is_statement = self.written.eq_ignore_ascii_case(b"password") || self.written.ends_with(b"_password");
        match self.name {
            _ if value.quoted && self.is_defined() => bytes.len() >= 3,
            _ if value.quoted && is_statement && self.text.byte(value.start - 1) == Some(b'\'') && is_word => bytes.len() >= 3,
            _ if value.quoted => is_mixed(bytes, 6) && (is_word || bytes.len() >= 32),
            Name::Secret | Name::Token if self.name == Name::Secret || bytes.len() >= 16 => {
                looks_random(bytes) && bytes.iter().any(u8::is_ascii_digit) && !bytes.iter().any(|byte| b".:".contains(byte))
            }
            _ => false,
        }
    }

    /// Where texts for people stand as often, a value must look like a secret, but for one of a variable of the environment.
    fn fits_strange(&self, value: &Value, bytes: &[u8]) -> bool {
        let name = self.written.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
        let is_variable = self.joint == Joint::String && !name.iter().any(u8::is_ascii_lowercase);
        let is_word = value.quoted && !bytes.iter().any(u8::is_ascii_whitespace);
        match self.name {
            Name::Secret if is_variable => is_word && bytes.len() >= 3,
            Name::Secret => is_word && is_mixed(bytes, 6) && bytes.iter().any(u8::is_ascii_digit),
            Name::Token => is_word && looks_random(bytes) && bytes.len() >= 16,
            Name::Maybe | Name::Authorization => false,
        }
    }

    /// `define('NAME', 'value')`, as settings in PHP are.
    fn is_defined(&self) -> bool {
        let opened = self.text.before(self.start.saturating_sub(1)).trim_ascii_end();
        opened.ends_with(b"define(")
    }

    /// Whether the value is a name in source code, or the name of an object in an address of a device.
    fn is_name(&self, value: &Value, bytes: &[u8]) -> bool {
        let before = self.text.before(value.start).trim_ascii_end();
        let is_member = [&b"this."[..], b"self."].iter().any(|object| self.written.starts_with(object));
        let follows = matches!(self.text.byte(value.end), Some(b',' | b';'));
        let is_code = self.joint == Joint::Loose
            && (self.name != Name::Secret || is_member || follows || (before.ends_with(b"=") && segments(bytes).len() > 1));
        let around = if is_code { Around::Code } else { Around::Text };
        let negated = bytes.iter().take_while(|byte| **byte == b'!').count();
        code::is_name(self.written, &bytes[negated..], around) || self.text.before(self.start).ends_with(b"pkcs11:")
    }

    /// In `NAME=value` of a list of variables, a value without quotes may hold blanks and quotes.
    fn takes_the_line(&self, value: &Value) -> bool {
        let environment = self.joint == Joint::Tight && !self.written.iter().any(u8::is_ascii_lowercase);
        let before = self.text.opening(self.start);
        let alone = [&b""[..], b"export", b"declare -x"].contains(&before);
        environment && alone && self.name == Name::Secret && !value.quoted
    }

    /// `PASS: name`, as test runners print it.
    fn is_test_result(&self) -> bool {
        self.written == b"PASS" && self.joint == Joint::Loose
    }

    /// `PWD=/home/user`.
    fn is_working_directory(&self, value: &[u8]) -> bool {
        let listed = self.text.before(self.start).ends_with(b";");
        self.written.eq_ignore_ascii_case(b"pwd") && (value.starts_with(b"/") || (self.written == b"PWD" && !listed))
    }

    /// `NAME: Type = value`.
    fn is_type(&self, value: &Value, bytes: &[u8]) -> bool {
        let word = bytes[0].is_ascii_uppercase() && bytes.iter().all(u8::is_ascii_alphanumeric);
        let sign = self.text.blanks(value.end);
        self.joint == Joint::Loose && word && sign > value.end && self.text.byte(sign) == Some(b'=')
    }

    /// Whether nothing but punctuation or a comment follows in the line.
    fn is_last(&self, end: usize) -> bool {
        let change = if [&b"+}"[..], b"-]"].iter().any(|close| self.text.from(end).starts_with(close)) { 2 } else { 0 };
        let next = self.text.run(end + change, |byte| b" \t,;)]}\\\"'".contains(&byte));
        self.text.is_end(next) || (next > end && self.text.byte(next) == Some(b'#'))
    }

    /// Whether the line begins with the name, as in a file of settings.
    fn is_setting(&self) -> bool {
        let before = self.text.opening(self.start);
        [&b""[..], b"-", b"export", b"set", b"{", b"+", b"\"", b"'", b"{+", b"[-"].contains(&before)
    }
}

/// Letters and something else, of at least this length.
fn is_mixed(value: &[u8], min: usize) -> bool {
    let others = value.iter().any(|byte| byte.is_ascii_digit() || b"!@#$%^&*+/=~?".contains(byte));
    value.len() >= min && others
}

/// Long and without the signs that join words, or letters and digits.
pub fn looks_random(value: &[u8]) -> bool {
    let digits = value.iter().any(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_alphabetic);
    let one_word = value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte)) && !value.starts_with(b"/");
    (digits && value.len() >= 8 && !value.iter().any(|byte| b" /".contains(byte))) || (one_word && value.len() >= 20)
}

/// Letters and digits that are no test's name.
fn is_no_test(value: &[u8]) -> bool {
    let begins = value.get(..4).unwrap_or_default();
    looks_random(value) && value.iter().all(|byte| !b"-_./:".contains(byte)) && !begins.eq_ignore_ascii_case(b"test")
}

/// `user:password` in base64, as Docker keeps it.
fn is_encoded_pair(value: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    let decoded = decoded(value);
    let is_pair = decoded.contains(&b':') && decoded.iter().all(u8::is_ascii_graphic);
    value.len().is_multiple_of(4) && value.iter().all(is_base64) && is_pair
}

fn netrc_password(text: Text, name_end: usize) -> Option<Found<'static>> {
    let start = Some(text.blanks(name_end)).filter(|start| *start > name_end)?;
    let given = start + replacement(text.from(start));
    let end = text.run(given, |byte| !byte.is_ascii_whitespace());
    is_literal(text.between(start, end), text.from(start)).then_some(Found { start, end, rule: "netrc" })
}

/// The value of an `Authorization` header that begins at `at`: a scheme and what proves it.
fn authorization(text: Text, at: usize) -> Option<Found<'static>> {
    let at = text.run(at, |byte| b"\\\"' ".contains(&byte));
    let scheme = text.run(at, |byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let proof = text.blanks(scheme);
    let (start, is_line) = match text.between(at, scheme).to_ascii_lowercase().as_slice() {
        b"digest" | b"aws4-hmac-sha256" | b"hawk" | b"oauth" => (proof, true),
        b"bearer" | b"basic" | b"token" | b"negotiate" | b"ntlm" | b"apikey" | b"key" | b"bot" if proof > scheme => {
            (proof, false)
        }
        _ => (at, false),
    };
    let end = |text: Text| match is_line {
        true => text.run(start, |byte| !b"'\r\n".contains(&byte)),
        false => unquoted(text, start).end,
    };
    let bytes = text.between(start, end(text.until(start + JUDGED)));
    let proven = start > at && bytes.len() >= 6 || is_mixed(bytes, 8) || bytes.len() >= 20;
    (proven && is_literal(bytes, text.from(start))).then(|| Found { start, end: end(text), rule: "authorization" })
}

/// What follows `Bearer` at `at`, wherever it stands.
pub fn bearer(text: Text, at: usize) -> Option<Found<'static>> {
    let word = at + b"bearer".len();
    let start = Some(text.blanks(word)).filter(|start| *start > word)?;
    let value = unquoted(text, start);
    let bytes = text.between(value.start, value.end);
    let found = is_mixed(bytes, 12) || bytes.len() >= 20;
    (found && is_literal(bytes, text.from(value.start))).then_some(Found {
        start: value.start,
        end: value.end,
        rule: "bearer-token",
    })
}

/// The password or token in an address whose host, or what stands before it, begins at `authority`.
pub fn address(text: Text, authority: usize) -> Option<Found<'static>> {
    let user = text.run(authority, |byte| is_user(byte) && byte != b':');
    let start = user + 1;
    let given = start + replacement(text.from(start));
    let end = text.run(given, |byte| is_user(byte) || b"?#".contains(&byte));
    // A password may itself hold an `@`; the last one before the host counts.
    let last_at = |start, end| text.between(start, end).iter().rposition(|byte| *byte == b'@').map(|at| start + at);
    let at = if text.byte(user) == Some(b':') { last_at(start, end) } else { last_at(authority, user) };
    if let Some(at) = at.filter(|at| is_token(text.between(authority, user.min(*at)))) {
        return Some(Found { start: authority, end: at, rule: "url-token" });
    }
    let end = last_at(start, end).or((end - start >= REACH - NAME).then_some(end))?;
    // `[user[:password]@]host`, as manuals write what may be left out.
    let is_syntax = text.between(authority, user).contains(&b'[') && text.between(start, end).ends_with(b"]");
    let is_password =
        text.byte(user) == Some(b':') && end > start && !is_syntax && is_literal(text.between(start, end), text.from(start));
    is_password.then_some(Found { start, end, rule: "url-password" })
}

/// Letters and digits, too many for the name of a person or a company; with `-` and `_` between them, too mixed for one.
fn is_token(user: &[u8]) -> bool {
    const CHANGES: usize = 4;
    let has = |is: fn(&u8) -> bool| user.iter().any(is);
    let is_mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    if user.len() < 16 || !is_mixed || !user.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)) {
        return false;
    }
    let digits: Vec<bool> = user.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::is_ascii_digit).collect();
    digits.len() == user.len() || digits.windows(2).filter(|pair| pair[0] != pair[1]).count() >= CHANGES
}

fn is_user(byte: u8) -> bool {
    !byte.is_ascii_whitespace() && !b"/\"'`<>\\".contains(&byte)
}

/// The password of an option `-u user:password` or `--user` that stands at `at`, in a line that calls curl.
pub fn curl_user(text: Text, at: usize) -> Option<Found<'static>> {
    let word = text.run(at, |byte| !byte.is_ascii_whitespace() && !b"=\"'".contains(&byte));
    let name = text.between(at, word);
    let long = [&b"--user"[..], b"--proxy-user"].contains(&name);
    let short = name.starts_with(b"-") && !name.starts_with(b"--");
    let bundle = short.then(|| name.iter().position(|byte| *byte == b'u' || *byte == b'U')).flatten();
    if !long && bundle.is_none() {
        return None;
    }
    let attached = bundle.map_or(word, |at_flag| at + at_flag + 1);
    let value = if attached < word { attached } else { text.run(word, |byte| b"= \t".contains(&byte)) };
    password_of_pair(text, value)
}

/// The part behind the first colon of a word of the shell.
fn password_of_pair(text: Text, at: usize) -> Option<Found<'static>> {
    let mut quote = None;
    let mut start = None;
    let mut end = at;
    while !text.is_end(end) {
        let byte = text.0[end];
        let is_blank = byte == b' ' || byte == b'\t';
        let closes = quote == Some(byte) && start.is_some_and(|(_, opened)| opened == quote);
        // Blanks of a replacement are no end of the word.
        let skipped = replacement(text.from(end));
        match byte {
            _ if closes || (quote.is_none() && is_blank) => break,
            b'[' if skipped > 0 => end += skipped - 1,
            b'"' | b'\'' if quote.is_none() => quote = Some(byte),
            _ if quote == Some(byte) => quote = None,
            b':' if start.is_none() => start = Some((end + 1, quote)),
            _ => {}
        }
        end += 1;
    }
    let (start, _) = start?;
    let bytes = text.between(start, end);
    let unquoted = bytes.trim_ascii_start();
    (!bytes.is_empty() && !unquoted.starts_with(b"//") && is_literal(bytes, text.from(start))).then_some(Found {
        start,
        end,
        rule: "curl-user",
    })
}

/// Whether `machine` at `at` begins an entry of a netrc file.
pub fn is_netrc(text: Text, at: usize) -> bool {
    let mut words = words(text, at);
    let _machine = words.next();
    let host = words.next();
    is_word(text, at) && host.is_some() && words.next().is_none_or(is_netrc_word)
}

/// Whether `login` at `at` is one of a netrc file: behind `default` or at the beginning of its line, with a name and no more prose.
pub fn is_netrc_login(text: Text, at: usize) -> bool {
    let before = text.opening(at);
    let is_default =
        before.strip_suffix(b"default").is_some_and(|rest| rest.last().is_none_or(|byte| !byte.is_ascii_alphanumeric()));
    let begins = before.is_empty() || before == b"+" || is_default;
    let is_name = |word: &[u8]| !word.ends_with(b"=");
    begins && words(text, at).nth(1).is_some_and(is_name) && words(text, at).nth(2).is_none_or(is_netrc_word)
}

/// Whether a line is `password` and one word that is more than a word.
fn is_netrc_line(text: Text, start: usize, end: usize) -> bool {
    let word = text.blanks(end);
    if word == end || ![&b""[..], b"+"].contains(&text.opening(start)) {
        return false;
    }
    let behind = text.run(word, |byte| !byte.is_ascii_whitespace());
    text.is_end(text.blanks(behind)) && is_mixed(text.between(word, behind), 6)
}

/// What stands in lines of its own behind a name that says secret.
#[derive(Clone, Copy, PartialEq)]
pub enum Below {
    /// Strings, or the items of a list.
    Items,
    /// Text that is indented.
    Block,
    /// The value of a variable whose name stood alone: `value: v`.
    Value,
    /// A word without quotes, or what [`Below::Items`] are.
    Plain,
    /// The word that a line goes on with: `NAME=\` and `v`.
    Continued,
    /// An element of its own: `<string>v</string>`.
    Element,
    /// What a variable of Terraform is without another value: `default = "v"`, among other lines.
    Default,
    /// What the value was changed into that the line ends with: `{+v+}`, behind other lines that were taken away.
    Added,
}

/// What is in the lines below, if the line ends behind the name that has one of [`KEYWORDS`] at `at`, and the sign that joins.
pub fn below(text: Text, at: usize) -> Option<Below> {
    let (start, end) = name_at(text, text.run_within(at, 1, |byte| byte == b'_'));
    let closed = text.run(end, |byte| b"\\\"'`]".contains(&byte));
    let sign = text.blanks(closed);
    let joined = text.run_within(sign, 1, |byte| b":=".contains(&byte));
    let value = text.blanks(joined);
    let some = if text.from(value).starts_with(b"Some(") { value + b"Some".len() } else { value };
    let opened = text.blanks(text.run(some, |byte| b"[(|>-".contains(&byte)));
    let is_named = is_name_of_variable(text, start) && text.is_end(text.blanks(text.run_within(closed, 1, |byte| byte == b',')));
    let is_opened = joined > sign && text.is_end(opened);
    let is_joined = (joined > closed && value == joined && sign == closed) || (value > closed && text.byte(start) == Some(b'-'));
    let is_continued = is_joined && text.byte(value) == Some(b'\\') && text.is_end(value + 1);
    let is_element = joints::behind_element(text, start, end).is_some_and(|at| text.is_end(at));
    let is_default =
        text.byte(sign) == Some(b'{') && text.is_end(text.blanks(sign + 1)) && text.opening(start).ends_with(b"variable \"");
    if !(is_named || is_opened || is_continued || is_element || is_default)
        || !matches!(judge(text.between(start, end)), Some(Name::Secret | Name::Token))
    {
        return None;
    }
    if is_named {
        return Some(Below::Value);
    }
    let before = text.opening(start);
    let is_block = text.between(joined, opened).iter().any(|byte| b"|>".contains(byte));
    Some(match () {
        () if is_continued => Below::Continued,
        () if is_element => Below::Element,
        () if is_default => Below::Default,
        () if is_block => Below::Block,
        () if opened == value && ([&b""[..], b"-", b"#"].contains(&before) || is_listing(before)) => Below::Plain,
        () => Below::Items,
    })
}

/// `- name: `, `"name": "`.
fn is_name_of_variable(text: Text, start: usize) -> bool {
    let before = text.opening(start);
    let before = before.strip_suffix(b"\"").unwrap_or(before).trim_ascii_end();
    [&b"name:"[..], b"\"name\":", b"\"Name\":"].iter().any(|name| before.ends_with(name))
}

/// Behind what listings put in front of each line: a number, the sign of a difference or a comment.
pub fn behind_listing(text: Text, at: usize) -> usize {
    let number = text.blanks(at);
    let behind = text.run(number, |byte| byte.is_ascii_digit());
    match text.byte(behind) {
        Some(b'\t' | b':' | b'-') if behind > number => behind + 1,
        Some(b' ') if behind > number && number > at => behind + 1,
        Some(b'+' | b'#') if behind == at => at + 1,
        Some(b'-') if behind == at && text.from(at).starts_with(b"-  ") => at + 1,
        _ => at,
    }
}

/// What the line at `at` holds of it, if it does.
pub fn below_item(text: Text, at: usize, below: Below) -> Option<Found<'static>> {
    let indented = text.blanks(at);
    let line = text.run(indented, |byte| !b"\r\n".contains(&byte));
    match below {
        Below::Block => below_found(text, indented, line),
        Below::Value => below_value(text, indented, line),
        Below::Continued => below_continued(text, indented),
        Below::Element => below_element(text, indented),
        Below::Default => below_default(text, indented),
        Below::Added => below_found(text, indented, joints::added(text, indented, line)?),
        Below::Items | Below::Plain => below_listed(text, at, below),
    }
}

fn below_found(text: Text, start: usize, end: usize) -> Option<Found<'static>> {
    let bytes = text.between(start, end);
    let found = bytes.len() >= 3 && is_literal(bytes, text.from(start)) && !keys::may_begin(bytes);
    found.then_some(Found { start, end, rule: ASSIGNMENT })
}

/// `value: v`.
fn below_value(text: Text, indented: usize, line: usize) -> Option<Found<'static>> {
    let name = text.run_within(indented, 1, |byte| byte == b'"');
    let value = begins(text.from(name), b"value").then_some(name + b"value".len())?;
    let sign = text.run_within(value, name - indented, |byte| byte == b'"');
    let start = (text.byte(sign) == Some(b':')).then(|| text.blanks(sign + 1))?;
    match text.byte(start) {
        Some(quote @ (b'"' | b'\'')) => below_found(text, start + 1, quoted(text, start + 1, quote, false).end),
        _ => below_found(text, start, line),
    }
}

/// The first word, if it is no option and no code.
fn below_continued(text: Text, indented: usize) -> Option<Found<'static>> {
    let value = value(text, Joint::Tight, indented);
    let is_code = !value.quoted && is_code(text.between(value.start, value.end), text.from(value.start));
    let is_option = text.byte(indented) == Some(b'-');
    below_found(text, value.start, value.end).filter(|_| !is_code && !is_option)
}

/// `<string>v</string>`.
fn below_element(text: Text, indented: usize) -> Option<Found<'static>> {
    let value = element(text, joints::value_element(text, indented)?);
    let bytes = text.between(value.start, value.end);
    let is_secret = is_mixed(bytes, 6) && bytes.iter().any(u8::is_ascii_digit) && !bytes.contains(&b' ');
    below_found(text, value.start, value.end).filter(|_| is_secret)
}

/// `default = "v"`.
fn below_default(text: Text, indented: usize) -> Option<Found<'static>> {
    let sign = text.from(indented).starts_with(b"default").then(|| text.blanks(indented + b"default".len()))?;
    let start = (text.byte(sign) == Some(b'=')).then(|| text.blanks(sign + 1))?;
    let value = (text.byte(start) == Some(b'"')).then(|| quoted(text, start + 1, b'"', false))?;
    below_found(text, value.start, value.end)
}

/// A string or the item of a list in the line at `at`, or a word.
fn below_listed(text: Text, at: usize, below: Below) -> Option<Found<'static>> {
    let indented = text.blanks(at);
    let line = text.run(indented, |byte| !b"\r\n".contains(&byte));
    let found = |start: usize, end: usize| below_found(text, start, end);
    let item = if text.from(indented).starts_with(b"- ") { text.blanks(indented + 2) } else { indented };
    match text.byte(item) {
        Some(quote @ (b'"' | b'\'')) => {
            let value = quoted(text, item + 1, quote, false);
            // Else it is a name.
            let is_item = text.byte(text.blanks(value.end + 1)) != Some(b':');
            found(value.start, value.end).filter(|_| is_item).map(|found| Found { end: strings_end(text, value.end), ..found })
        }
        _ if below == Below::Plain && item == indented && indented > at => {
            let bytes = text.between(item, line);
            let is_word = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=_!@#$%^&*-".contains(byte));
            found(item, line).filter(|_| is_word && looks_random(bytes))
        }
        _ if item > indented => {
            let bytes = text.between(item, line);
            found(item, line).filter(|_| is_mixed(bytes, 4) && !bytes.iter().any(|byte| b" :/".contains(byte)))
        }
        _ => None,
    }
}

fn words<'a>(text: Text<'a>, at: usize) -> impl Iterator<Item = &'a [u8]> {
    text.from(at).split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn is_word(text: Text, at: usize) -> bool {
    text.before(at).last().is_none_or(|byte| !byte.is_ascii_alphanumeric())
}

/// Whether this is one of the words that name what follows them in a netrc file.
pub fn is_netrc_word(word: &[u8]) -> bool {
    [&b"login"[..], b"password", b"account", b"machine"].contains(&word)
}
