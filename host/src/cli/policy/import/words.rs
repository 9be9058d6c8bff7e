//! The words of a command that stands in a rule as text.

/// Takes a text apart that is one command of literal words.
///
/// # Errors
///
/// Why it is not that.
pub fn split(text: &str) -> Result<Vec<String>, &'static str> {
    plain(text)?;
    let words = shlex::split(text).ok_or("a quote in it is not closed")?;
    let first = words.first().ok_or("it is empty")?;
    match first.split_once('=') {
        Some((name, _)) if !name.contains('/') => Err("a variable is set in front of it"),
        _ => Ok(words),
    }
}

/// Refuses what a shell would read as more than words.
fn plain(text: &str) -> Result<(), &'static str> {
    let (mut quote, mut before, mut is_escaped) = (None, ' ', false);
    for c in text.chars() {
        let is_first = before.is_whitespace();
        match (quote, c) {
            _ if c.is_control() => return Err("it holds control characters"),
            _ if is_escaped => is_escaped = false,
            (Some(open), c) if c == open => quote = None,
            (Some('\''), _) => {}
            (None | Some('"'), '$' | '`') => return Err("it holds an expansion"),
            (None | Some('"'), '\\') => is_escaped = true,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '|' | '&' | ';' | '<' | '>' | '(' | ')') => return Err("it holds shell syntax; a rule is about one program"),
            (None, '*' | '?' | '[' | ']' | '{' | '}') => return Err("it holds a pattern"),
            (None, '~' | '#' | '!') if is_first => return Err("a word in it means something to the shell"),
            (None, _) => {}
        }
        before = c;
    }
    Ok(())
}

/// Words as a shell command, each quoted where it must be.
pub fn join(words: &[String]) -> String {
    words.iter().map(|word| portcullis_shell::quote(word)).collect::<Vec<_>>().join(" ")
}

/// Whether a text matches a pattern in which `*` is any text, also none.
pub fn is_glob_match(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}
