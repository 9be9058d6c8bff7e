//! Words in pieces: quotes removed, and what only the shell can tell named for what it is.

use brush_parser::{
    ParserOptions,
    word::{
        Parameter, ParameterExpr, ParameterTestType, ParameterTransformOp, SpecialParameter, SubstringMatchKind, TildeExpr,
        WordPiece, WordPieceWithSource,
    },
};

use super::{Builder, MOST_WORDS, arithmetic, braces, commands, options, syntax_error};
use crate::{
    Id, Kind, Operation, Piece, Refusal, Role, Word,
    refuse::{never, unsupported},
};

/// Where a word stands, which decides what the shell makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Among the words of a command or a `for`: split, and patterns become file names.
    Argument,
    /// Where a pattern is wanted.
    Pattern,
    /// A pattern inside `${x…}`, where blanks and operators are text.
    InnerPattern,
    /// Where it stays one word: behind `=`, in a test.
    Value,
    /// The same, behind a redirection, where a pattern would become a file name.
    File,
    /// The text of a here-document.
    Document,
    /// Behind `:-` and the like in a parameter; not in double quotes.
    Default,
}

impl Use {
    fn stays_one(self) -> bool {
        matches!(self, Self::Value | Self::File | Self::Document)
    }
}

/// What a word is made of so far.
struct Pieces {
    list: Vec<Piece>,
    usage: Use,
    /// Whether the word holds `*`, `?` or a bracket that counts.
    has_pattern: bool,
    /// Whether it holds a `$` that stands for itself, unquoted.
    has_lone_dollar: bool,
    /// Whether it goes over an escaped newline.
    has_joined_lines: bool,
    /// Whether the piece before ended with an unescaped `$` that begins nothing.
    is_after_dollar: bool,
}

impl Builder {
    pub(super) fn count_words(&mut self, more: usize) -> Result<(), Refusal> {
        self.words += more;
        if self.words > MOST_WORDS {
            return Err(Refusal::new("too-long", format!("the script has more than {MOST_WORDS} words")));
        }
        Ok(())
    }

    /// One source word among arguments: braces make several of it.
    pub(super) fn words(&mut self, source: &str, id: Id, words: &mut Vec<Word>) -> Result<(), Refusal> {
        if !source.is_empty() && !source.contains('{') {
            words.push(self.word(source, Use::Argument, id)?);
            return Ok(());
        }
        // An empty member of braces is no word, unlike empty quotes.
        for source in braces::expand(source, MOST_WORDS - self.words)?.into_iter().filter(|source| !source.is_empty()) {
            words.push(self.word(&source, Use::Argument, id)?);
        }
        Ok(())
    }

    pub(super) fn word(&mut self, source: &str, usage: Use, id: Id) -> Result<Word, Refusal> {
        self.count_words(1)?;
        if let Some(text) = plain(source, usage) {
            return Ok(Word::literal(text));
        }
        let parsed = match usage {
            Use::Document => brush_parser::word::parse_heredoc(source, &options()),
            _ => brush_parser::word::parse(source, &word_options()),
        };
        let parsed = parsed.map_err(|error| syntax_error(&error.to_string()))?;
        let mut pieces = Pieces {
            list: Vec::new(),
            usage,
            has_pattern: has_pattern(&parsed, usage)?,
            has_lone_dollar: false,
            has_joined_lines: source.contains("\\\n"),
            is_after_dollar: false,
        };
        self.pieces(parsed, usage == Use::Document, id, &mut pieces)?;
        pieces.finish()
    }

    fn pieces(&mut self, parsed: Vec<WordPieceWithSource>, quoted: bool, id: Id, out: &mut Pieces) -> Result<(), Refusal> {
        for WordPieceWithSource { piece, .. } in parsed {
            self.piece(piece, quoted, id, out)?;
        }
        Ok(())
    }

    fn piece(&mut self, piece: WordPiece, quoted: bool, id: Id, out: &mut Pieces) -> Result<(), Refusal> {
        let stays_one = quoted || out.usage.stays_one();
        out.take_dollar(&piece)?;
        match piece {
            WordPiece::Text(text) if quoted => out.literal(&quoted_text(&text)?),
            WordPiece::Text(text) => out.unquoted(&text)?,
            WordPiece::SingleQuotedText(text) => out.literal(&text),
            WordPiece::AnsiCQuotedText(text) => out.literal(&ansi_c(&text)?),
            WordPiece::EscapeSequence(text) => out.literal(unescaped(&text)),
            WordPiece::DoubleQuotedSequence(pieces) => {
                if pieces.is_empty() {
                    out.literal("");
                }
                self.pieces(pieces, true, id, out)?;
            }
            WordPiece::GettextDoubleQuotedSequence(_) => return Err(unsupported("a translated string, `$\"…\"`,")),
            WordPiece::TildeExpansion(tilde) => out.tilde(tilde)?,
            WordPiece::ParameterExpansion(expression) => {
                let (name, operation) = self.parameter(expression, stays_one, id)?;
                out.push(Piece::Parameter { quoted: stays_one, name, operation });
            }
            WordPiece::CommandSubstitution(text) => {
                let node = self.substitution(&text, id)?;
                out.push(Piece::Command { quoted: stays_one, node });
            }
            WordPiece::BackquotedCommandSubstitution(text) => {
                let node = self.substitution(&backquoted(&text, quoted)?, id)?;
                out.push(Piece::Command { quoted: stays_one, node });
            }
            WordPiece::ArithmeticExpression(expression) => {
                out.push(Piece::Arithmetic { quoted: stays_one, expression: arithmetic::canonical(&expression.value)? });
            }
        }
        Ok(())
    }

    fn substitution(&mut self, text: &str, id: Id) -> Result<Id, Refusal> {
        let items = commands::items(text)?;
        if items.is_empty() {
            return Err(unsupported("a substitution without a command"));
        }
        self.add(Some(id), Role::Word, |builder, id| {
            Ok((Kind::CommandSubstitution(builder.list(items, Some(id), Role::Item)?), Vec::new()))
        })
    }

    fn parameter(&mut self, expression: ParameterExpr, quoted: bool, id: Id) -> Result<(String, Operation), Refusal> {
        use ParameterExpr as Expr;
        let (parameter, indirect, operation) = match expression {
            Expr::Parameter { parameter, indirect } => (parameter, indirect, Operation::Value),
            Expr::ParameterLength { parameter, indirect } => (parameter, indirect, Operation::Length),
            Expr::UseDefaultValues { parameter, indirect, test_type, default_value } => {
                (parameter, indirect, self.default(&test_type, "-", default_value, quoted, id)?)
            }
            Expr::UseAlternativeValue { parameter, indirect, test_type, alternative_value } => {
                (parameter, indirect, self.default(&test_type, "+", alternative_value, quoted, id)?)
            }
            Expr::IndicateErrorIfNullOrUnset { parameter, indirect, test_type, error_message } => {
                (parameter, indirect, self.default(&test_type, "?", error_message, quoted, id)?)
            }
            Expr::AssignDefaultValues { .. } => {
                return Err(unsupported("an assignment inside an expansion, `${x:=…}`,"));
            }
            Expr::RemoveSmallestSuffixPattern { parameter, indirect, pattern } => {
                (parameter, indirect, self.trim("%", pattern, id)?)
            }
            Expr::RemoveLargestSuffixPattern { parameter, indirect, pattern } => {
                (parameter, indirect, self.trim("%%", pattern, id)?)
            }
            Expr::RemoveSmallestPrefixPattern { parameter, indirect, pattern } => {
                (parameter, indirect, self.trim("#", pattern, id)?)
            }
            Expr::RemoveLargestPrefixPattern { parameter, indirect, pattern } => {
                (parameter, indirect, self.trim("##", pattern, id)?)
            }
            Expr::ReplaceSubstring { parameter, indirect, pattern, replacement, match_kind } => {
                (parameter, indirect, self.replace(&match_kind, &pattern, replacement, id)?)
            }
            Expr::Substring { parameter, indirect, offset, length } => {
                let length = length.map(|length| number(&length.value)).transpose()?;
                (parameter, indirect, Operation::Substring(number(&offset.value)?, length))
            }
            Expr::UppercaseFirstChar { parameter, indirect, pattern } if is_empty(&pattern) => {
                (parameter, indirect, transform("^"))
            }
            Expr::UppercasePattern { parameter, indirect, pattern } if is_empty(&pattern) => {
                (parameter, indirect, transform("^^"))
            }
            Expr::LowercaseFirstChar { parameter, indirect, pattern } if is_empty(&pattern) => {
                (parameter, indirect, transform(","))
            }
            Expr::LowercasePattern { parameter, indirect, pattern } if is_empty(&pattern) => {
                (parameter, indirect, transform(",,"))
            }
            Expr::Transform { parameter, indirect, op } => (parameter, indirect, transform(transformation(&op)?)),
            Expr::VariableNames { .. } | Expr::MemberKeys { .. } => return Err(never("`${!…}`")),
            _ => return Err(unsupported("this expansion of a parameter")),
        };
        if indirect {
            return Err(never("an indirect expansion, `${!x}`,"));
        }
        Ok((parameter_name(parameter)?, operation))
    }

    fn default(
        &mut self,
        test: &ParameterTestType,
        sign: &str,
        source: Option<String>,
        quoted: bool,
        id: Id,
    ) -> Result<Operation, Refusal> {
        let sign = match test {
            ParameterTestType::UnsetOrNull => format!(":{sign}"),
            ParameterTestType::Unset => sign.to_owned(),
        };
        Ok(Operation::Default(sign, self.operand(&source.unwrap_or_default(), quoted, id)?))
    }

    /// The word behind `:-`. In double quotes it is text of the same kind; outside of them a word that could be split. What may
    /// stand in it is checked with the whole tree.
    fn operand(&mut self, source: &str, quoted: bool, id: Id) -> Result<Word, Refusal> {
        if source.is_empty() {
            // No word at all, where empty quotes would be an empty one.
            return Ok(Word(Vec::new()));
        }
        if !quoted {
            return self.word(source, Use::Default, id);
        }
        if source.contains(['"', '\'', '\\']) {
            return Err(unsupported("a quote or backslash inside `\"${x:-…}\"`"));
        }
        self.word(&format!("\"{source}\""), Use::Value, id)
    }

    fn trim(&mut self, sign: &str, pattern: Option<String>, id: Id) -> Result<Operation, Refusal> {
        Ok(Operation::Trim(sign.to_owned(), self.pattern(&pattern.unwrap_or_default(), id)?))
    }

    fn replace(&mut self, kind: &SubstringMatchKind, pattern: &str, with: Option<String>, id: Id) -> Result<Operation, Refusal> {
        let sign = match kind {
            SubstringMatchKind::Prefix => "/#",
            SubstringMatchKind::Suffix => "/%",
            SubstringMatchKind::FirstOccurrence => "/",
            SubstringMatchKind::Anywhere => "//",
        };
        let with = self.word(&with.unwrap_or_default(), Use::Default, id)?;
        let pattern = self.pattern(pattern, id)?;
        if pattern.text() == Some("") {
            return Err(unsupported("`${x/…}` with nothing to look for"));
        }
        if pattern.0.iter().any(|piece| matches!(piece, Piece::Pattern(text) if text.contains('/'))) {
            return Err(unsupported("a slash behind `*`, `?` or `[` in `${x/…}`"));
        }
        Ok(Operation::Replace(sign.to_owned(), pattern, with))
    }

    /// A pattern inside `${x…}`.
    fn pattern(&mut self, source: &str, id: Id) -> Result<Word, Refusal> {
        self.word(source, Use::InnerPattern, id)
    }
}

impl Pieces {
    fn finish(mut self) -> Result<Word, Refusal> {
        if let [Piece::Tilde(_), next, ..] = self.list.as_slice()
            && !matches!(next, Piece::Literal(text) if text.starts_with('/'))
        {
            return Err(unsupported("a tilde that no slash follows"));
        }
        let is_dynamic = self.list.iter().any(|piece| !matches!(piece, Piece::Literal(_)));
        // bash itself does not split such words as its manual says.
        if self.has_lone_dollar && is_dynamic {
            return Err(unsupported("an unquoted `$` beside an expansion"));
        }
        // bash joins the lines first, so that the name of a variable could go on in the next.
        if self.has_joined_lines && (is_dynamic || self.has_lone_dollar) {
            return Err(unsupported("an escaped newline in a word with `$`"));
        }
        if self.list.is_empty() {
            self.list.push(Piece::Literal(String::new()));
        }
        Ok(Word(self.list))
    }

    /// A `$` that begins nothing is text, but not in front of a bracket: there it begins something the parser did not understand.
    fn take_dollar(&mut self, piece: &WordPiece) -> Result<(), Refusal> {
        let follows = std::mem::take(&mut self.is_after_dollar);
        if let WordPiece::Text(text) = piece {
            if follows && text.starts_with(['{', '(', '[']) {
                return Err(syntax_error("an expansion that begins with `$` can not be understood"));
            }
            self.is_after_dollar = text.ends_with('$');
        }
        Ok(())
    }

    fn push(&mut self, piece: Piece) {
        // The empty text of opened quotes means nothing beside something else.
        if matches!(self.list.last(), Some(Piece::Literal(text)) if text.is_empty()) && piece.is_kept() {
            self.list.pop();
        }
        self.list.push(piece);
    }

    fn literal(&mut self, text: &str) {
        match self.list.last_mut() {
            Some(Piece::Literal(before)) => before.push_str(text),
            Some(last) if text.is_empty() && last.is_kept() => {}
            _ => self.list.push(Piece::Literal(text.to_owned())),
        }
    }

    fn unquoted(&mut self, text: &str) -> Result<(), Refusal> {
        let is_meta = |c: char| matches!(c, ' ' | '\t' | '\n' | '|' | '&' | ';' | '(' | ')' | '<' | '>' | '`');
        let splits = self.usage == Use::Default;
        let is_inner = splits || self.usage == Use::InnerPattern;
        if (text.contains(is_meta) && !is_inner) || text.contains("${") {
            return Err(syntax_error(&format!("`{text}` can not stand there unquoted")));
        }
        if text.starts_with('~') && self.list.is_empty() || text.contains("=~") || text.contains(":~") {
            return Err(unsupported("an unquoted tilde there"));
        }
        if splits && (text.contains(is_meta) || text.contains(['*', '?', '['])) {
            return Err(unsupported("an unquoted default, `${x:-…}`, with blanks or patterns"));
        }
        self.has_lone_dollar |= text.contains('$');
        if !self.has_pattern {
            self.literal(text);
            return Ok(());
        }
        for run in runs(text) {
            match run.find(['*', '?', '[', ']']).filter(|_| run.starts_with(is_pattern_text)) {
                None => self.literal(run),
                Some(at) => {
                    if at > 0 {
                        self.literal(&run[..at]);
                    }
                    self.pattern(&run[at..]);
                }
            }
        }
        Ok(())
    }

    fn pattern(&mut self, text: &str) {
        match self.list.last_mut() {
            Some(Piece::Pattern(before)) => before.push_str(text),
            _ => self.push(Piece::Pattern(text.to_owned())),
        }
    }

    fn tilde(&mut self, tilde: TildeExpr) -> Result<(), Refusal> {
        if matches!(self.usage, Use::Default | Use::Pattern | Use::InnerPattern) {
            return Err(unsupported("a tilde there"));
        }
        match tilde {
            TildeExpr::Home => self.list.push(Piece::Tilde(String::new())),
            TildeExpr::UserHome(user) => self.list.push(Piece::Tilde(user)),
            _ => return Err(unsupported("`~+`, `~-` or `~N`")),
        }
        Ok(())
    }
}

/// The text of a word that means nothing but itself, as most do: the word parser takes microseconds for each. Nothing in it means
/// anything to the shell, or it is one pair of quotes and nothing in them does.
fn plain(source: &str, usage: Use) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+:,./-".contains(&byte);
    if !source.is_empty() && source.bytes().all(is_plain) {
        return Some(source);
    }
    let within = |quote: char| source.strip_prefix(quote)?.strip_suffix(quote).filter(|_| usage != Use::Document);
    let single = within('\'').filter(|text| !text.contains('\''));
    single.or_else(|| within('"').filter(|text| !text.contains(['"', '$', '`', '\\'])))
}

fn word_options() -> ParserOptions {
    ParserOptions { tilde_expansion_at_word_start: true, tilde_expansion_after_colon: false, ..options() }
}

/// Whether unquoted text of the word would be matched with file names, or with a text.
fn has_pattern(pieces: &[WordPieceWithSource], usage: Use) -> Result<bool, Refusal> {
    let bare: String = pieces
        .iter()
        .map(|piece| match &piece.piece {
            WordPiece::Text(text) => text.as_str(),
            _ => "",
        })
        .collect();
    let has_bracket = bare.find('[').is_some_and(|at| bare[at..].contains(']'));
    let found = has_bracket || bare.contains(['*', '?']);
    match usage {
        Use::Argument | Use::Pattern | Use::InnerPattern => Ok(found),
        Use::File if found => Err(unsupported("a pattern behind a redirection")),
        _ => Ok(false),
    }
}

/// What can stand unquoted in a pattern.
fn is_pattern_text(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_./:@%+,=-!^*?[]".contains(c)
}

/// The text in runs that can and that can not stand unquoted in a pattern.
fn runs(text: &str) -> Vec<&str> {
    let mut runs = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let plain = is_pattern_text(first);
        let end = rest.find(|c| is_pattern_text(c) != plain).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(end);
        runs.push(run);
        rest = behind;
    }
    runs
}

/// Text in double quotes or a here-document: an escaped newline is nothing.
fn quoted_text(text: &str) -> Result<String, Refusal> {
    // What the word parser takes for text though it looks like an expansion is one that bash has an error for.
    if text.contains("${") || text.contains("$(") || text.contains("$[") || text.contains('`') {
        return Err(syntax_error("a substitution in double quotes is not closed"));
    }
    Ok(text.replace("\\\n", ""))
}

/// The character behind the backslash; an escaped newline is nothing.
fn unescaped(sequence: &str) -> &str {
    match sequence.strip_prefix('\\') {
        Some("\n") => "",
        Some(rest) => rest,
        None => sequence,
    }
}

/// Inside backticks a backslash escapes `$`, backtick and itself, and in double quotes the double quote.
fn backquoted(text: &str, quoted: bool) -> Result<String, Refusal> {
    // Which of these the word parser has undone already depends on where they stand.
    if text.contains('\\') || (quoted && text.contains('"')) {
        return Err(unsupported("a backslash or quotes inside backticks (`$(…)` takes them)"));
    }
    Ok(text.to_owned())
}

/// What `$'…'` stands for.
fn ansi_c(text: &str) -> Result<String, Refusal> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = escape(&rest[at + 1..], &mut bytes)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    if bytes.contains(&0) {
        return Err(Refusal::new("nul-byte", "a word in $'…' holds a NUL byte, which no program can be given"));
    }
    String::from_utf8(bytes).map_err(|_| unsupported("a word in $'…' that is not UTF-8"))
}

/// What stands behind a backslash; returns what is left.
fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str, Refusal> {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return Err(syntax_error("a backslash ends $'…'")) };
    let rest = chars.as_str();
    let simple = match first {
        'a' => 7,
        'b' => 8,
        'e' | 'E' => 27,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' | '\'' | '"' | '?' => first as u8,
        'x' => return coded(rest, 16, 2, bytes, |code, bytes| bytes.push(code as u8)),
        'u' => return coded(rest, 16, 4, bytes, push_char),
        'U' => return coded(rest, 16, 8, bytes, push_char),
        '0'..='7' => return coded(text, 8, 3, bytes, |code, bytes| bytes.push(code as u8)),
        _ => return Err(unsupported("this escape in $'…'")),
    };
    bytes.push(simple);
    Ok(rest)
}

fn coded<'a>(
    text: &'a str,
    radix: u32,
    most: usize,
    bytes: &mut Vec<u8>,
    push: impl Fn(u32, &mut Vec<u8>),
) -> Result<&'a str, Refusal> {
    let digits = text.chars().take(most).take_while(|c| c.is_digit(radix)).count();
    let code = u32::from_str_radix(&text[..digits], radix).map_err(|_| unsupported("this escape in $'…'"))?;
    push(code, bytes);
    Ok(&text[digits..])
}

/// No character at all becomes a NUL, which is refused.
fn push_char(code: u32, bytes: &mut Vec<u8>) {
    let c = char::from_u32(code).unwrap_or('\0');
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn parameter_name(parameter: Parameter) -> Result<String, Refusal> {
    Ok(match parameter {
        Parameter::Positional(number) => number.to_string(),
        Parameter::Named(name) => name,
        Parameter::NamedWithAllIndices { name, concatenate } => format!("{name}[{}]", if concatenate { '*' } else { '@' }),
        Parameter::NamedWithIndex { name, index } => {
            let is_number = (1..=9).contains(&index.len()) && index.bytes().all(|byte| byte.is_ascii_digit());
            if !is_number || (index.len() > 1 && index.starts_with('0')) {
                return Err(never("a subscript that is not a number"));
            }
            format!("{name}[{index}]")
        }
        Parameter::Special(special) => match special {
            SpecialParameter::AllPositionalParameters { concatenate: false } => "@",
            SpecialParameter::AllPositionalParameters { concatenate: true } => "*",
            SpecialParameter::PositionalParameterCount => "#",
            SpecialParameter::LastExitStatus => "?",
            SpecialParameter::CurrentOptionFlags => "-",
            SpecialParameter::ProcessId => "$",
            SpecialParameter::LastBackgroundProcessId => "!",
            SpecialParameter::ShellName => "0",
        }
        .to_owned(),
    })
}

fn is_empty(pattern: &Option<String>) -> bool {
    pattern.as_ref().is_none_or(String::is_empty)
}

fn transform(sign: &str) -> Operation {
    Operation::Transform(sign.to_owned())
}

fn transformation(op: &ParameterTransformOp) -> Result<&'static str, Refusal> {
    Ok(match op {
        ParameterTransformOp::Quoted => "@Q",
        ParameterTransformOp::ToUpperCase => "@U",
        ParameterTransformOp::CapitalizeInitial => "@u",
        ParameterTransformOp::ToLowerCase => "@L",
        ParameterTransformOp::PromptExpand => return Err(never("`${x@P}`")),
        _ => return Err(unsupported("this transformation of a parameter")),
    })
}

/// An offset or length. Anything but a number would be arithmetic.
fn number(text: &str) -> Result<i64, Refusal> {
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || (digits.len() > 1 && digits.starts_with('0')) {
        return Err(never("arithmetic in a substring expansion, on anything but numbers,"));
    }
    text.parse().map_err(|_| syntax_error("a number is too large"))
}
