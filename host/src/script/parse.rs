//! Shell text to words, by `brush-parser`'s grammar and our quote removal.
//!
//! The tokens are looked at before the parser is: it is recursive, and on some nestings (subshells, `case`) its time doubles with
//! every level. What reaches it here is a flat list of words.

use std::thread;

use brush_parser::{
    ParserOptions, Token, TokenizerOptions,
    ast::{self, CommandPrefixOrSuffixItem as Item},
    word::{WordPiece, WordPieceWithSource},
};

use super::{Refusal, Words, empty};

/// Most openings of anything in one text: tokenizer and word parser recurse into them, with up to 20 KiB of stack each in a debug
/// build, and take time that grows with their square.
const MOST_OPENINGS: usize = 1000;
/// Up to this many openings the stack of any thread will do, and none is started.
const FEW_OPENINGS: usize = 8;
/// Stack for the tokenizer where there are more. Address space: only what is used is ever backed by memory.
const STACK_BYTES: usize = 64 << 20;
/// Words that begin something other than a simple command.
const RESERVED: [&str; 21] = [
    "!", "[[", "{", "}", "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in", "select",
    "then", "time", "until", "while",
];

/// Takes a text apart that is one simple command with literal words.
pub(super) fn parse(text: &str) -> Result<Words, Refusal> {
    let openings = text.bytes().filter(|byte| b"([{`".contains(byte)).count();
    if openings > MOST_OPENINGS {
        return Err(Refusal::new(
            "too-deep",
            format!("the command has {openings} opening brackets and backticks; at most {MOST_OPENINGS} are looked at"),
        ));
    }
    // The tokenizer never ends on some here-documents inside or before a substitution that is not closed; neither is supported yet.
    if text.contains("<<") && text.contains(['$', '`']) {
        return Err(not_yet("a here-document"));
    }
    if openings <= FEW_OPENINGS {
        return parse_on_this_stack(text);
    }
    thread::scope(|scope| {
        let parsing = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || parse_on_this_stack(text));
        match parsing.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(parsed)) => parsed,
            Ok(Err(_)) => Err(syntax_error("the parser gave up on it")),
            Err(error) => {
                Err(Refusal::new("no-thread", format!("could not start a thread to parse the command: {error}; try again")))
            }
        }
    })
}

fn parse_on_this_stack(text: &str) -> Result<Words, Refusal> {
    let options = ParserOptions::default();
    let tokens = brush_parser::uncached_tokenize_str(text, &TokenizerOptions::default())
        .map_err(|error| syntax_error(&error.to_string()))?;
    refuse_constructs(&tokens)?;
    let program = brush_parser::parse_tokens(&tokens, &options).map_err(|error| syntax_error(&error.to_string()))?;
    words(simple_command(program)?, &options)
}

fn syntax_error(what: &str) -> Refusal {
    Refusal::new("syntax-error", format!("this is not a command that bash could parse: {what}"))
}

fn not_yet(what: &str) -> Refusal {
    Refusal::new(
        "construct-not-supported",
        format!(
            "{what} can not be judged yet; send one program with its arguments, every word literal, and one command at a time"
        ),
    )
}

fn refuse_constructs(tokens: &[Token]) -> Result<(), Refusal> {
    let mut is_separated = false;
    let mut has_words = false;
    for token in tokens {
        match token {
            Token::Operator(operator, _) if operator == "\n" || operator == ";" => is_separated |= has_words,
            Token::Operator(operator, _) => return Err(not_yet(construct(operator))),
            Token::Word(..) if is_separated => return Err(not_yet("a sequence of commands")),
            Token::Word(word, _) if !has_words && RESERVED.contains(&word.as_str()) => {
                return Err(not_yet(&format!("the shell's `{word}`")));
            }
            Token::Word(..) => has_words = true,
        }
    }
    Ok(())
}

fn construct(operator: &str) -> &'static str {
    match operator {
        "|" | "|&" => "a pipeline",
        "&&" | "||" => "a list joined by && or ||",
        "&" => "a command in the background",
        "(" | ")" => "a subshell or function",
        "<<" | "<<-" | "<<<" => "a here-document",
        operator if operator.contains('<') || operator.contains('>') => "a redirection",
        _ => "this construct of the shell",
    }
}

fn simple_command(program: ast::Program) -> Result<ast::SimpleCommand, Refusal> {
    let mut lists = program.complete_commands.into_iter();
    let (Some(list), None) = (lists.next(), lists.next()) else { return Err(empty()) };
    let mut items = list.0.into_iter();
    let (Some(ast::CompoundListItem(list, ast::SeparatorOperator::Sequence)), None) = (items.next(), items.next()) else {
        return Err(not_yet("a sequence of commands"));
    };
    let mut commands = list.first.seq.into_iter();
    match (commands.next(), commands.next()) {
        (Some(ast::Command::Simple(command)), None)
            if list.additional.is_empty() && !list.first.bang && list.first.timed.is_none() =>
        {
            Ok(command)
        }
        _ => Err(not_yet("anything but one simple command")),
    }
}

fn words(command: ast::SimpleCommand, options: &ParserOptions) -> Result<Words, Refusal> {
    let prefix = command.prefix.map(|prefix| prefix.0).unwrap_or_default();
    let suffix = command.suffix.map(|suffix| suffix.0).unwrap_or_default();
    let program = command.word_or_name.ok_or_else(|| not_yet("a command that only assigns or redirects"))?;
    Ok(Words {
        assignments: prefix.into_iter().map(|item| assignment(item, options)).collect::<Result<_, _>>()?,
        program: literal(&program.value, options)?,
        args: suffix.into_iter().map(|item| operand(item, options)).collect::<Result<_, _>>()?,
    })
}

fn assignment(item: Item, options: &ParserOptions) -> Result<(String, String), Refusal> {
    match item {
        Item::AssignmentWord(
            ast::Assignment {
                name: ast::AssignmentName::VariableName(name),
                value: ast::AssignmentValue::Scalar(value),
                append: false,
                ..
            },
            _,
        ) => Ok((name, literal(&value.value, options)?)),
        _ => Err(not_yet("an assignment to an array or to a part of a variable")),
    }
}

fn operand(item: Item, options: &ParserOptions) -> Result<String, Refusal> {
    match item {
        Item::Word(word) | Item::AssignmentWord(_, word) => literal(&word.value, options),
        Item::IoRedirect(_) => Err(not_yet("a redirection")),
        Item::ProcessSubstitution(..) => Err(not_yet("a process substitution")),
    }
}

/// Removes the quotes of a word that nothing in the shell would expand.
fn literal(source: &str, options: &ParserOptions) -> Result<String, Refusal> {
    let pieces = brush_parser::word::parse(source, options).map_err(|error| syntax_error(&error.to_string()))?;
    let mut text = String::new();
    let mut bare = String::new();
    for WordPieceWithSource { piece, .. } in pieces {
        match piece {
            WordPiece::Text(piece) => {
                text.push_str(&piece);
                bare.push_str(&piece);
            }
            WordPiece::SingleQuotedText(piece) => text.push_str(&piece),
            WordPiece::EscapeSequence(piece) => text.push_str(unescaped(&piece)),
            WordPiece::DoubleQuotedSequence(pieces) => double_quoted(pieces, &mut text)?,
            WordPiece::AnsiCQuotedText(_) => return Err(not_yet("a word in $'…'")),
            _ => return Err(not_yet(&format!("the word {source}, which the shell would expand,"))),
        }
    }
    if is_pattern(&bare) {
        return Err(not_yet(&format!("the pattern {source}")));
    }
    Ok(text)
}

fn double_quoted(pieces: Vec<WordPieceWithSource>, text: &mut String) -> Result<(), Refusal> {
    for WordPieceWithSource { piece, .. } in pieces {
        match piece {
            // What the word parser takes for text though it looks like an expansion is one that bash has an error for.
            WordPiece::Text(piece) if !piece.contains("${") => text.push_str(&piece),
            WordPiece::EscapeSequence(piece) => text.push_str(unescaped(&piece)),
            _ => return Err(not_yet("an expansion in double quotes")),
        }
    }
    Ok(())
}

/// The character behind the backslash; an escaped newline is nothing.
fn unescaped(sequence: &str) -> &str {
    match sequence.strip_prefix('\\') {
        Some("\n") => "",
        Some(rest) => rest,
        None => sequence,
    }
}

/// Whether the unquoted part of a word holds what the shell would expand into file names, other words or a home directory. Says yes
/// when in doubt: a literal is refused at worst.
fn is_pattern(bare: &str) -> bool {
    let has_tilde = bare.starts_with('~') || bare.contains("=~") || bare.contains(":~");
    let has_glob = bare.contains(['*', '?']) || bare.contains('[');
    let has_extended_glob = ["@(", "+(", "!(", "?(", "*("].iter().any(|opening| bare.contains(opening));
    let has_brace = bare.contains('{') && (bare.contains(',') || bare.contains(".."));
    let has_substitution = bare.contains("${") || bare.contains("<(") || bare.contains(">(") || bare.contains('`');
    has_tilde || has_glob || has_extended_glob || has_brace || has_substitution
}
