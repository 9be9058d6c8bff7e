//! Secrets that are known by where they stand: cookies in headers, strings in statements, options of programs.

use crate::named::{is_literal, looks_random, quoted, unquoted};
use crate::text::{Found, Text, replacement};

/// A program that takes a password as an option.
pub struct Program {
    /// How its call begins.
    pub begins: &'static str,
    option: &'static str,
    /// The password may be the next word.
    is_apart: bool,
}

/// All of them but Docker.
pub const PROGRAMS: &[Program] = &[
    Program { begins: "sshpass -", option: "-p", is_apart: true },
    Program { begins: "redis-cli -", option: "-a", is_apart: true },
    Program { begins: "ldapsearch -", option: "-w", is_apart: true },
    Program { begins: "mysql -", option: "-p", is_apart: false },
];

/// `docker login`, which another trigger finds.
pub const DOCKER: Program = Program { begins: "login ", option: "-p", is_apart: true };

/// The values of a `Cookie` header, which begin at `at`: from the first to the last that looks like the proof of a session, or all
/// there is if the line is cut. Of a `Set-Cookie` header only the first value is a cookie. If there is none, how far it was looked
/// for.
pub fn cookie(text: Text, at: usize) -> Result<Found<'static>, usize> {
    const SET: &[u8] = b"set-cookie: ";
    let is_set = text.between(at.saturating_sub(SET.len()), at).eq_ignore_ascii_case(SET);
    let (mut pair, mut found) = (at, None);
    loop {
        let name = text.run(pair, |byte| byte.is_ascii_graphic() && !b"=;\"'".contains(&byte));
        let start = text.run_within(name, 1, |byte| byte == b'=');
        let end = text.run(start + replacement(text.from(start)), |byte| byte.is_ascii_graphic() && !b";\"'".contains(&byte));
        if is_session(text.between(start, end)) {
            let first = found.map_or(start, |found: Found| found.start);
            found = Some(Found { start: first, end, rule: "cookie" });
        }
        let next = text.blanks(text.run_within(end, 1, |byte| byte == b';'));
        if is_set || start == name || next == end {
            let is_cut = !is_set && text.is_end(next) && text.byte(next).is_none();
            return found.map(|found| Found { end: if is_cut { next } else { found.end }, ..found }).ok_or(pair);
        }
        pair = next;
    }
}

fn is_session(value: &[u8]) -> bool {
    value.len() >= 16 && looks_random(value)
}

/// The string that a statement has at `at`.
pub fn statement(text: Text, at: usize) -> Option<Found<'static>> {
    let opened = text.blanks(at);
    let quote = text.byte(opened).filter(|byte| b"\"'".contains(byte))?;
    let value = quoted(text, opened + 1, quote, false);
    found(text, value.start, value.end, "assignment")
}

/// The password that an option gives to the program whose arguments begin at `at`: as the next word, or with it in one.
pub fn argument(text: Text, at: usize, program: &Program) -> Option<Found<'static>> {
    const MOST: usize = 16;
    let mut word = text.run_back_within(at, 1, |byte| byte == b'-');
    for _ in 0..MOST {
        let end = text.run(word, |byte| !byte.is_ascii_whitespace());
        let next = text.blanks(end);
        let written = text.between(word, end);
        match written.strip_prefix(program.option.as_bytes()) {
            Some(b"") if program.is_apart => return argument_at(text, next),
            Some(attached) if !attached.is_empty() => return argument_at(text, end - attached.len()),
            _ => {}
        }
        if next == end || [&b"|"[..], b";", b"&&", b"||"].contains(&written) {
            return None;
        }
        word = next;
    }
    None
}

fn argument_at(text: Text, at: usize) -> Option<Found<'static>> {
    let value = match text.byte(at) {
        Some(quote @ (b'"' | b'\'')) => quoted(text, at + 1, quote, false),
        _ => unquoted(text, at),
    };
    let is_option = text.byte(value.start) == Some(b'-');
    found(text, value.start, value.end, "argument").filter(|_| !is_option)
}

fn found(text: Text, start: usize, end: usize, rule: &'static str) -> Option<Found<'static>> {
    let bytes = text.between(start, end);
    (bytes.len() >= 3 && is_literal(bytes, text.from(start))).then_some(Found { start, end, rule })
}
