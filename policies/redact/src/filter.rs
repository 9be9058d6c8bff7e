//! One stream on its way through the rules.

use std::ops::Range;

use portcullis_sdk::{Action, Boundary, Emission, Filter, Finding};

use crate::colours::{self, Line};
use crate::keys::{self, Key, Step};
use crate::named::Below;
use crate::text::{Found, Run, Text};
use crate::tokens::Parts;
use crate::values::Stand;
use crate::{Beginning, Redact, Rule, joints, named, places, tokens};

/// How far behind its beginning a secret may be recognised, in bytes without what sets colours: as much is held back where a line
/// is cut. A value that is longer takes the rest of its line with it.
pub const REACH: usize = 8 * 1024;

/// Most bytes that the host holds, with what sets colours.
const MAX_HELD: usize = 64 * 1024;

/// How much of a line is held back of which nothing is shown, in bytes: the first line of a private key may be cut.
const FIRST_LINE: usize = 160;

/// Most first lines of private keys in one line that no key follows. Each costs a look at the rest of the line; behind so many
/// nothing more of it is shown.
const MAX_HOLLOW: u8 = 32;

/// Most bytes that are put in the place of a piece before the rest of its line is left out: the host takes no more than 256 KiB,
/// and a line that is all secrets grows.
const MAX_OUT: usize = 128 * 1024;

/// How much of what was passed on is remembered inside a line, in bytes without what sets colours.
const CONTEXT: usize = 64;

/// Where in the stream the filter is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    Key(Key),
    /// The rest of the line belongs to a secret.
    Swallowing,
}

/// The filter of one stream.
pub struct Redaction {
    policy: &'static Redact,
    state: State,
    /// A private key that may go on in the next line.
    paused: Option<Key>,
    /// Inside a line whose beginning was given before.
    mid_line: bool,
    /// The end of what was passed on of the line, without what sets colours.
    context: Vec<u8>,
    /// Something sets a colour behind it.
    is_parted: bool,
    /// The line calls curl.
    curl: bool,
    /// Inside an entry of a netrc file.
    netrc: bool,
    /// In lines that hold what the name above them says.
    listed: Option<Listed>,
    /// First lines of private keys in this line that no key followed.
    hollow: u8,
    looked: Looked,
}

/// What was looked through in this piece without a find, so that no second trigger looks through it again.
#[derive(Default)]
struct Looked {
    parts: Parts,
    /// Up to where there are no cookies.
    cookies: usize,
}

/// Most lines below a name that hold its secrets; a list of hundreds is none of passwords.
const MAX_LISTED: u8 = 64;

/// Lines below a name that says secret.
#[derive(Clone, Copy)]
struct Listed {
    below: Below,
    left: u8,
    /// How far the first of them is indented.
    indent: Option<usize>,
}

/// What the values of variables are to a secret.
struct Values {
    /// Where the last one that begins in it ends; at least its own end.
    end: usize,
    /// One is in it, which no exception excuses.
    within: bool,
    /// One may go on behind a cut.
    cut: bool,
}

/// What the rules say of one position.
enum Look<'r> {
    Nothing,
    Secret(Found<'r>),
    /// A private key whose first line ends here.
    Key {
        end: usize,
    },
}

/// A piece on its way: what is left of it and what has come out.
struct Piece<'a> {
    given: &'a [u8],
    line: &'a Line,
    /// What stands before the piece, and the piece without what sets colours: this is judged.
    text: Text<'a>,
    /// The titles and links in it that hold a secret and were not come to, the last first.
    links: Vec<Link>,
    /// What comes next, in the text.
    at: usize,
    /// Whether the line goes on in the next piece.
    goes_on: bool,
    out: Vec<u8>,
    findings: Vec<Finding>,
    logical: Run,
}

/// A title or a link of which something is taken out.
struct Link {
    /// Where it stands in what was given.
    place: Range<usize>,
    /// What is left of it.
    shown: Vec<u8>,
    findings: Vec<Finding>,
}

impl Redaction {
    /// A filter at the beginning of a stream.
    pub fn new(policy: &'static Redact) -> Self {
        let (state, context) = (State::Text, Vec::new());
        let (paused, listed, looked) = (None, None, Looked::default());
        let (is_parted, curl, netrc) = (false, false, false);
        Self { policy, state, paused, mid_line: false, context, is_parted, curl, netrc, listed, hollow: 0, looked }
    }

    fn begin_line(&mut self, bytes: &[u8]) {
        self.curl = false;
        self.hollow = 0;
        if let Some(key) = self.paused.take() {
            self.state = State::Key(key);
        }
        // What is inside a key is not shown, so it does not count.
        if self.state == State::Text {
            self.goes_on_as_netrc(bytes);
        }
    }

    fn goes_on_as_netrc(&mut self, line: &[u8]) {
        let first = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty());
        self.netrc &= first.is_some_and(named::is_netrc_word);
    }

    /// Takes out what a line holds of the secrets of the name above.
    fn list(&mut self, piece: &mut Piece) {
        if self.state != State::Text {
            return;
        }
        let Some(mut listed) = self.listed.take() else { return };
        let begins = named::behind_listing(piece.text, piece.at);
        let indent = piece.text.blanks(begins) - begins;
        let is_outside = listed.indent.is_some_and(|first| listed.below == Below::Block && indent < first);
        let found = named::below_item(piece.text, begins, listed.below);
        let is_among = match listed.below {
            Below::Default => piece.text.byte(begins + indent) != Some(b'}'),
            Below::Added => piece.text.from(begins + indent).starts_with(b"[-"),
            _ => false,
        };
        if found.is_none() && is_among && listed.left > 0 {
            self.listed = Some(Listed { left: listed.left - 1, ..listed });
        }
        if let Some(found) = found.filter(|_| !is_outside && listed.left > 0) {
            listed.left -= 1;
            listed.indent = listed.indent.or(Some(indent));
            self.listed = match listed.below {
                Below::Items | Below::Block => Some(listed),
                Below::Plain => Some(Listed { below: Below::Items, ..listed }),
                Below::Value | Below::Continued | Below::Element | Below::Default | Below::Added => None,
            };
            let values = self.values(piece.at, &found, piece.text);
            self.replace(found, values, piece);
        }
    }

    /// Works through the piece; stops where the rest is to be held.
    fn run(&mut self, piece: &mut Piece) {
        while piece.at < piece.text.0.len() {
            let went_on = match self.state {
                State::Text => self.look(piece),
                State::Key(key) => self.step(key, piece),
                State::Swallowing => self.swallow(piece),
            };
            if !went_on {
                return;
            }
            let is_enough = self.hollow >= MAX_HOLLOW || piece.out.len() > MAX_OUT;
            if is_enough && self.state == State::Text && piece.at < piece.text.0.len() {
                self.state = State::Swallowing;
            }
        }
    }

    fn look(&mut self, piece: &mut Piece) -> bool {
        let (text, at, near_cut) = (piece.text, piece.at, piece.is_near_cut());
        let (look, begun) = self.at(text, at);
        match look {
            Look::Nothing | Look::Key { .. } if near_cut && begun => return false,
            Look::Nothing => piece.pass(at + 1),
            Look::Secret(found) => {
                let mut values = self.values(at, &found, text);
                if near_cut && (values.cut || may_go_on(text, values.end)) {
                    return false;
                }
                if values.cut && piece.goes_on {
                    values.end = text.0.len();
                }
                self.replace(found, values, piece);
            }
            Look::Key { end } => self.open_key(end, piece),
        }
        true
    }

    /// The values of variables that begin behind `from` and before the end of a secret: one that goes on there must not be shown in
    /// part.
    fn values(&self, from: usize, found: &Found, text: Text) -> Values {
        let mut values = Values { end: found.end, within: false, cut: false };
        let mut at = if self.policy.values.is_empty() { found.end } else { from };
        while at < values.end.min(text.0.len()) {
            for form in self.policy.values_at(text, at) {
                match form.stand(text, at) {
                    Stand::All(end) => (values.end, values.within) = (values.end.max(end), values.within || end > found.start),
                    Stand::Beginning => values.cut = true,
                    Stand::Nothing => {}
                }
            }
            at += 1;
        }
        values
    }

    /// What stands at this position, and whether a trigger or the beginning of one does.
    fn at(&mut self, text: Text, at: usize) -> (Look<'static>, bool) {
        let policy = self.policy;
        let rest = text.from(at);
        let mut begun = self.curl && rest[0] == b'-';
        if begun && let Some(found) = self.curl_option(text, at) {
            return (Look::Secret(found), true);
        }
        let mut longest = policy.value_at(text, at);
        begun |= longest.is_some();
        for index in &policy.by_byte[usize::from(rest[0])] {
            let beginning = &policy.beginnings[usize::from(*index)];
            if beginning.is_prefix_of(rest) {
                begun = true;
                match self.apply(beginning, text, at) {
                    Look::Nothing => {}
                    Look::Secret(found) if longest.is_none_or(|known| found.start <= known.start && found.end > known.end) => {
                        longest = Some(found);
                    }
                    Look::Secret(_) => {}
                    key @ Look::Key { .. } => return (key, true),
                }
            }
            begun |= rest.len() < beginning.text.len() && beginning.may_begin(rest);
        }
        (longest.map_or(Look::Nothing, Look::Secret), begun)
    }

    fn curl_option(&self, text: Text, at: usize) -> Option<Found<'static>> {
        let stands_alone = text.before(at).last().is_none_or(|byte| byte.is_ascii_whitespace() || b"\"'".contains(byte));
        stands_alone.then(|| named::curl_user(text, at)).flatten()
    }

    fn apply(&mut self, beginning: &'static Beginning, text: Text, at: usize) -> Look<'static> {
        let found = match beginning.rule {
            Rule::Token(token) => token.find(text, at),
            Rule::JsonWebToken => tokens::json_web_token(text, at, &mut self.looked.parts),
            Rule::Keyword => named::assignment(text, at, self.netrc)
                .inspect(|found| {
                    let moved =
                        joints::is_moved(text, found).then_some(Listed { below: Below::Added, left: MAX_LISTED, indent: None });
                    self.listed = moved.or(self.listed);
                })
                .or_else(|| {
                    let below = named::below(text, at);
                    self.listed = below.map(|below| Listed { below, left: MAX_LISTED, indent: None }).or(self.listed);
                    None
                }),
            Rule::Bearer => named::bearer(text, at),
            Rule::Address => named::address(text, at + beginning.text.len()),
            Rule::Cookie => self.cookie(text, at + beginning.text.len()),
            Rule::Statement => places::statement(text, at + beginning.text.len()),
            Rule::Argument(program) => places::argument(text, at + beginning.text.len(), program),
            Rule::Own(pattern) => self.policy.own(pattern, text, at),
            Rule::PrivateKey => {
                return keys::begins(text, at).map_or(Look::Nothing, |end| Look::Key { end });
            }
            Rule::Putty => {
                let end = text.run(at + beginning.text.len(), |byte| byte.is_ascii_digit());
                return Look::Key { end };
            }
            Rule::Curl => {
                self.curl = true;
                None
            }
            Rule::Machine => {
                self.netrc |= named::is_netrc(text, at);
                None
            }
            Rule::Login => {
                self.netrc |= named::is_netrc_login(text, at);
                text.before(at).ends_with(b"docker ").then(|| places::argument(text, at, &places::DOCKER)).flatten()
            }
            // Looked for before all others, and beside all others.
            Rule::Value(_) => None,
            Rule::EncodedKey => {
                let found = tokens::encoded_key(text, at);
                if let Some((_, true)) = found {
                    self.paused = Some(Key::wrapped());
                }
                found.map(|(end, _)| Found { start: at, end, rule: "private-key" })
            }
        };
        found.map_or(Look::Nothing, Look::Secret)
    }

    fn cookie(&mut self, text: Text, at: usize) -> Option<Found<'static>> {
        if at < self.looked.cookies {
            return None;
        }
        places::cookie(text, at).map_err(|end| self.looked.cookies = end).ok()
    }

    fn replace(&mut self, found: Found, values: Values, piece: &mut Piece) {
        let overlong = piece.goes_on && values.end == piece.text.0.len();
        self.pass_to(found.start, piece);
        let value = piece.text.between(found.start, found.end);
        if !overlong && !values.within && self.policy.is_allowed(value) {
            return piece.pass(found.end);
        }
        self.hide(found.rule, values.end, piece);
        if overlong {
            self.state = State::Swallowing;
        }
    }

    /// Passes on what stands before `end`, but for values of variables.
    fn pass_to(&mut self, end: usize, piece: &mut Piece) {
        while piece.at < end {
            match self.policy.value_at(piece.text, piece.at) {
                Some(value) => self.hide(value.rule, value.end, piece),
                None => piece.pass(piece.at + 1),
            }
        }
    }

    /// Puts a marker in the place of what stands before `end`. A private key that begins in it may go on in the next line.
    fn hide(&mut self, rule: &str, end: usize, piece: &mut Piece) {
        if end > piece.at {
            self.leave_open(piece.text.until(end), piece.at);
            piece.mark(rule, end);
        }
    }

    fn leave_open(&mut self, hidden: Text, from: usize) {
        if keys::is_left_open(hidden, from) {
            self.paused = Some(Key::in_next_line());
        }
    }

    fn open_key(&mut self, end: usize, piece: &mut Piece) {
        piece.mark("private-key", end);
        let next = piece.logical_end();
        match Key::open(piece.text, end, next) {
            Ok((body, key)) => {
                piece.at = body;
                if key.passes_newline() {
                    piece.pass(piece.text.0.len());
                }
                self.paused = None;
                self.state = State::Key(key);
            }
            Err(key) => {
                self.paused = Some(key);
                self.hollow = self.hollow.saturating_add(1);
            }
        }
    }

    fn step(&mut self, key: Key, piece: &mut Piece) -> bool {
        let near_cut = piece.is_near_cut();
        let next = piece.logical_end();
        match key.step(piece.text, piece.at, next) {
            Step::Within(end, _) if near_cut && end == piece.text.0.len() => return false,
            Step::Foreign(_) if near_cut => return false,
            // No line of text is this long without an end; nothing of it is shown.
            Step::Foreign(key) if piece.goes_on => {
                self.paused = key;
                self.state = State::Swallowing;
            }
            Step::Within(end, key) => {
                piece.at = end;
                self.state = State::Key(key);
            }
            Step::Ends(end) => {
                piece.at = end;
                self.state = State::Text;
                // As if the line began there: what stands before it is not shown.
                self.goes_on_as_netrc(piece.text.from(end));
            }
            Step::Foreign(paused) => self.show(key, paused, piece),
        }
        true
    }

    /// Leaves the key for the rest of the line.
    fn show(&mut self, key: Key, paused: Option<Key>, piece: &mut Piece) {
        if key.owes_newline() {
            piece.out.push(b'\n');
        }
        self.goes_on_as_netrc(piece.text.from(piece.at));
        self.paused = paused;
        self.hollow = self.hollow.saturating_add(1);
        self.state = State::Text;
    }

    fn swallow(&mut self, piece: &mut Piece) -> bool {
        self.leave_open(piece.text, piece.at);
        if piece.goes_on {
            piece.at = piece.at.max(piece.text.0.len().saturating_sub(FIRST_LINE));
            if !piece.can_be_held() {
                piece.at = piece.text.0.len();
            }
            return false;
        }
        piece.at = piece.text.0.len();
        self.state = State::Text;
        if piece.text.0.ends_with(b"\n") {
            piece.out.push(b'\n');
        }
        true
    }
}

impl Piece<'_> {
    /// Where the logical line ends.
    fn logical_end(&mut self) -> usize {
        let (text, at) = (self.text, self.at);
        self.logical.end(at, || keys::logical_end(text, at))
    }

    /// Whether what is left may be held back until more of the line comes.
    fn is_near_cut(&self) -> bool {
        self.goes_on && self.text.0.len() - self.at <= REACH && self.can_be_held()
    }

    /// Whether the host takes that much.
    fn can_be_held(&self) -> bool {
        self.given.len() - self.line.place(self.at) <= MAX_HELD
    }

    /// Passes on what stands before `end`, with what sets colours in front of each byte.
    fn pass(&mut self, end: usize) {
        self.show(self.line.place(self.at)..self.line.place(end));
        self.at = end;
    }

    /// Passes on what sets colours in front of what comes next.
    fn pass_colours(&mut self) {
        self.show(self.line.place(self.at)..self.line.place_of_byte(self.at));
    }

    /// Passes on what was given there, without the secrets in titles and links.
    fn show(&mut self, given: Range<usize>) {
        let mut from = given.start;
        while let Some(Link { place, shown, findings }) = self.links.pop_if(|link| link.place.start < given.end) {
            if place.start >= from {
                self.out.extend_from_slice(&self.given[from..place.start]);
                let is_too_much = self.out.len() > MAX_OUT;
                self.out.extend_from_slice(if is_too_much { b"" } else { &shown });
                findings.iter().for_each(|finding| self.count(&finding.kind, finding.count));
                from = place.end;
            }
        }
        self.out.extend_from_slice(&self.given[from..given.end]);
    }

    /// Puts a marker in the place of what stands before `end`.
    fn mark(&mut self, rule: &str, end: usize) {
        self.pass_colours();
        self.count(rule, 1);
        self.out.extend_from_slice(b"[redacted: ");
        self.out.extend_from_slice(rule.as_bytes());
        self.out.push(b']');
        self.at = end;
    }
}

impl Piece<'_> {
    /// The host takes so many kinds at once; what is beyond them in one piece is counted together.
    fn count(&mut self, rule: &str, count: u32) {
        const MAX_KINDS: usize = 63;
        let is_known = |kind: &str| self.findings.iter().position(|finding| finding.kind == kind);
        let kind = if is_known(rule).is_some() || self.findings.len() < MAX_KINDS { rule } else { "other" };
        match is_known(kind) {
            Some(at) => self.findings[at].count += count,
            None => self.findings.push(Finding { kind: kind.to_owned(), count }),
        }
    }
}

impl Filter for Redaction {
    fn push(&mut self, before: &[u8], bytes: &[u8], boundary: Boundary) -> Action {
        let begins = !self.mid_line;
        if begins {
            (self.context, self.is_parted) = (colours::without(before), false);
        }
        let goes_on = matches!(boundary, Boundary::Cut | Boundary::Silence);
        let line = Line::of(&self.context, self.is_parted, bytes, goes_on);
        let mut piece = Piece {
            given: bytes,
            text: line.text(),
            links: self.links(bytes, &line),
            line: &line,
            at: self.context.len(),
            goes_on,
            out: Vec::with_capacity(bytes.len()),
            findings: Vec::new(),
            logical: Run::default(),
        };
        self.looked = Looked::default();
        if begins {
            self.begin_line(piece.text.from(piece.at));
        }
        if begins && before.is_empty() {
            self.list(&mut piece);
        }
        self.run(&mut piece);
        let kept = self.kept(&mut piece);
        let (out, findings) = (piece.out, piece.findings);
        self.mid_line = goes_on;
        if goes_on {
            self.remember(&out);
        }
        Action { emit: emission(out, &bytes[..kept]), hold: count(bytes.len() - kept), engaged: self.is_engaged(), findings }
    }
}

impl Redaction {
    /// The titles and links in which there are secrets, the last first. Each is judged by itself.
    fn links(&self, given: &[u8], line: &Line) -> Vec<Link> {
        let judged = |place: &Range<usize>| {
            let Action { emit, findings, .. } = Self::new(self.policy).push(b"", &given[place.clone()], Boundary::End);
            match emit {
                Emission::Replace(shown) => Some(Link { place: place.clone(), shown, findings }),
                _ => None,
            }
        };
        line.named.iter().rev().filter_map(judged).collect()
    }

    /// How much of what was given needs not be given again. What sets colours at its end is passed on, unless nothing is shown
    /// there.
    fn kept(&self, piece: &mut Piece) -> usize {
        if piece.at < piece.text.0.len() {
            return piece.line.place(piece.at);
        }
        if self.state == State::Text {
            piece.pass_colours();
        }
        piece.line.place_of_byte(piece.at)
    }

    /// Keeps the end of what was passed on of the line.
    fn remember(&mut self, out: &[u8]) {
        let shown = Line::of(&self.context, self.is_parted, out, false);
        self.is_parted = shown.ends_parted();
        self.context = shown.bytes[shown.bytes.len().saturating_sub(CONTEXT)..].to_vec();
    }

    fn is_engaged(&self) -> bool {
        self.netrc || self.listed.is_some() || self.paused.is_some() || matches!(self.state, State::Key(_))
    }
}

/// Whether nothing stands behind `end` but what would be left out at the end of a value, and may be in the midst of it.
fn may_go_on(text: Text, end: usize) -> bool {
    text.from(end).iter().all(|byte| b" \t,;:)]}\\\"'`-{+".contains(byte))
}

fn emission(out: Vec<u8>, given: &[u8]) -> Emission {
    match out {
        out if out == given => Emission::Pass,
        out if out.is_empty() => Emission::Drop,
        out => Emission::Replace(out),
    }
}

/// Never more than [`MAX_HELD`].
fn count(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
