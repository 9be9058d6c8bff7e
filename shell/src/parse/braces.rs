//! Brace expansion, which the shell does first and on the text alone.

use brush_parser::word::{BraceExpressionMember as Member, BraceExpressionOrText as Part};

use super::{options, syntax_error};
use crate::{Refusal, refuse::unsupported};

/// The source words that a source word becomes; at most `most`.
pub(super) fn expand(source: &str, most: usize) -> Result<Vec<String>, Refusal> {
    let parts = brush_parser::word::parse_brace_expansions(source, &options());
    let parts = parts.map_err(|error| syntax_error(&error.to_string()))?;
    match parts {
        Some(parts) if parts.iter().any(|part| matches!(part, Part::Expr(_))) => {
            if has_padding(source) {
                return Err(unsupported("a sequence of numbers with leading zeros in braces"));
            }
            combined(&parts, most)
        }
        _ => Ok(vec![source.to_owned()]),
    }
}

/// Whether a sequence may want numbers of equal width, which the parsed form does not tell.
fn has_padding(source: &str) -> bool {
    let bytes = source.as_bytes();
    let is_padded = |at: usize| {
        let digits = &bytes[at..];
        let digits = digits.strip_prefix(b"-").or(digits.strip_prefix(b"+")).unwrap_or(digits);
        digits.first() == Some(&b'0') && digits.get(1).is_some_and(u8::is_ascii_digit)
    };
    source.contains("..") && (0..bytes.len()).any(|at| (at == 0 || b"{.".contains(&bytes[at - 1])) && is_padded(at))
}

/// Every part with every other, the last changing fastest.
fn combined(parts: &[Part], most: usize) -> Result<Vec<String>, Refusal> {
    let mut words = vec![String::new()];
    for part in parts {
        let choices = match part {
            Part::Text(text) => vec![text.clone()],
            Part::Expr(members) => chosen(members, most)?,
        };
        if words.len() * choices.len() > most {
            return Err(Refusal::new("too-long", "braces make too many words of one"));
        }
        words = words.iter().flat_map(|word| choices.iter().map(move |choice| format!("{word}{choice}"))).collect();
    }
    Ok(words)
}

fn chosen(members: &[Member], most: usize) -> Result<Vec<String>, Refusal> {
    let mut choices = Vec::new();
    for member in members {
        match member {
            Member::NumberSequence { start, end, increment } => {
                choices.extend(sequence(*start, *end, *increment, most)?.map(|number| number.to_string()));
            }
            Member::CharSequence { start, end, increment } if start.is_ascii_lowercase() == end.is_ascii_lowercase() => {
                let codes = sequence(i64::from(u32::from(*start)), i64::from(u32::from(*end)), *increment, most)?;
                choices.extend(codes.filter_map(|code| u32::try_from(code).ok().and_then(char::from_u32)).map(String::from));
            }
            // Between `Z` and `a` lie characters that mean something to the shell.
            Member::CharSequence { .. } => return Err(unsupported("a sequence from capital to small letters in braces")),
            Member::Child(parts) => choices.extend(combined(parts, most)?),
        }
    }
    Ok(choices)
}

fn sequence(start: i64, end: i64, increment: i64, most: usize) -> Result<impl Iterator<Item = i64>, Refusal> {
    let too_long = || Refusal::new("too-long", "a sequence in braces makes too many words");
    let step = i64::try_from(increment.unsigned_abs().max(1)).map_err(|_| too_long())?;
    let distance = end.checked_sub(start).map(i64::unsigned_abs).ok_or_else(too_long)?;
    let count = usize::try_from(distance / step.unsigned_abs()).map_err(|_| too_long())?.saturating_add(1);
    if count > most {
        return Err(too_long());
    }
    let sign = if end < start { -1 } else { 1 };
    Ok((0..count as i64).map(move |at| start + sign * step * at))
}
