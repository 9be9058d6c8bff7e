//! Claude Code's settings: `permissions` with `allow`, `ask` and `deny`, of which the rules `Bash(…)` are about commands.
//!
//! Denying comes before asking, asking before allowing, however exact the rules are. `Bash(a b)` is that command, `Bash(a b:*)` is
//! it with whatever follows, and `*` elsewhere is any text. Lists and pipes are judged command by command.

use serde_json::Value;

use super::{
    Mistake,
    source::{Effect, MOST_RULES, Rule, Scope, Source, Then, hides_elsewhere},
    words,
};

/// Lists of `permissions`, and what their rules do.
const LISTS: [(&str, Effect); 3] = [("allow", Effect::Allow), ("ask", Effect::Ask), ("deny", Effect::Deny)];
/// Tools whose rules hide files, from commands too.
const FILE_TOOLS: [&str; 6] = ["Read", "Edit", "Write", "MultiEdit", "Glob", "Grep"];

/// Reads settings.
///
/// # Errors
///
/// Every mistake, with its line.
pub fn read(file: &str, text: &str) -> Result<Source, Vec<Mistake>> {
    let settings: Value =
        serde_json::from_str(text).map_err(|error| vec![Mistake::new(file, error.line(), format!("is no JSON: {error}"))])?;
    let lines = Lines::of(text);
    let Some(Value::Object(permissions)) = settings.get("permissions") else {
        return Err(vec![Mistake::new(file, 1, "has no table `permissions`")]);
    };
    let mut source = Source::new();
    let mut mistakes = Vec::new();
    for (key, value) in permissions {
        let at = lines.of_string(key, 0);
        match LISTS.iter().find(|(name, _)| name == key) {
            Some((_, effect)) => match value {
                Value::Array(rules) => list(file, &lines, at, *effect, rules, &mut source, &mut mistakes),
                _ => mistakes.push(Mistake::new(file, at, format!("`{key}` must be a list of rules"))),
            },
            None => source.leave_out(
                &format!("{file}:{at}"),
                key,
                "is no rule on commands; which directories are worked in is `jobs.roots` of the configuration",
            ),
        }
    }
    if mistakes.is_empty() { Ok(source) } else { Err(mistakes) }
}

fn list(
    file: &str,
    lines: &Lines,
    from: usize,
    effect: Effect,
    rules: &[Value],
    source: &mut Source,
    mistakes: &mut Vec<Mistake>,
) {
    if rules.len() > MOST_RULES {
        return mistakes.push(Mistake::new(file, from, format!("there are more than {MOST_RULES} rules")));
    }
    let mut at = from;
    for rule in rules {
        let Value::String(shown) = rule else {
            mistakes.push(Mistake::new(file, at, format!("a rule must be a text, and {rule} is none")));
            continue;
        };
        at = lines.of_string(shown, at);
        let place = format!("{file}:{at}");
        match tool(shown) {
            Some(("Bash", inner)) => bash(&place, shown, effect, inner, source),
            Some((tool, _)) if FILE_TOOLS.contains(&tool) && effect != Effect::Allow => {
                if hides_elsewhere(shown) {
                    source.leave_out(&place, shown, "counts for fixed words only: a job reaches this only if a root lies there");
                }
                source.hidden.push(shown.clone());
            }
            Some(_) => source.leave_out(&place, shown, "is about another tool; only `Bash` runs commands"),
            None => mistakes.push(Mistake::new(file, at, format!("`{shown}` is no rule such as `Bash(npm test)`"))),
        }
    }
}

/// The tool of a rule, and what stands in its parentheses; `*` where there are none.
fn tool(rule: &str) -> Option<(&str, &str)> {
    let Some((tool, rest)) = rule.split_once('(') else {
        let is_name = |c: char| c.is_alphanumeric() || "_-*.:".contains(c);
        return (!rule.is_empty() && rule.chars().all(is_name)).then_some((rule, "*"));
    };
    let inner = rest.strip_suffix(')')?;
    Some((tool, if inner.trim().is_empty() { "*" } else { inner.trim() }))
}

fn bash(place: &str, shown: &str, effect: Effect, inner: &str, source: &mut Source) {
    let scope = if effect == Effect::Allow { allowing(inner) } else { refusing(inner) };
    match scope {
        Ok((scope, changed)) => {
            source.rules.push(Rule { changed, ..Rule::new(place, shown, effect, vec![scope]) });
        }
        Err(why) => source.leave_out(place, shown, why),
    }
}

/// What an allowing rule matches, or less, and how much less.
fn allowing(inner: &str) -> Result<(Scope, Option<String>), String> {
    if inner == "*" || inner == ":*" {
        return Err("allows every command, which is no list".to_owned());
    }
    let (fixed, then, changed) = if let Some(fixed) = inner.strip_suffix(":*") {
        (fixed, Then::Anything, None)
    } else if let Some(fixed) = inner.strip_suffix(" *") {
        (fixed, Then::Something, None)
    } else if let Some(fixed) = inner.strip_suffix('*') {
        (fixed, Then::Anything, Some("`*` behind a word also matched longer words; now only the word itself counts".to_owned()))
    } else {
        (inner, Then::Nothing, None)
    };
    if fixed.contains('*') {
        return Err("has a `*` in front of fixed text, which a list of words and options can not say".to_owned());
    }
    let words = words::split(fixed).map_err(|why| format!("can not be a rule of one program: {why}"))?;
    Ok((Scope { words, then }, changed))
}

/// What an asking or denying rule matches, or more, and how much more.
fn refusing(inner: &str) -> Result<(Scope, Option<String>), String> {
    let inner = inner.strip_suffix(":*").map_or_else(|| inner.to_owned(), |fixed| format!("{fixed} *"));
    let (fixed, rest) = inner.split_once('*').map_or((inner.as_str(), None), |(fixed, rest)| (fixed, Some(rest)));
    if fixed.split_whitespace().next().is_some_and(|word| word.contains('=') && !word.contains('/')) {
        return Err("begins with a variable, and no imported rule allows any in front of a command".to_owned());
    }
    let begins = |what: &str| Some(format!("counts for all that begins with `{what}`"));
    let Ok(mut words) = words::split(fixed) else {
        return Ok(match fixed.split_whitespace().next().map(words::split) {
            Some(Ok(words)) if fixed.contains(char::is_whitespace) => {
                let changed = begins(&words::join(&words));
                (Scope { words, then: Then::Anything }, changed)
            }
            _ if fixed.is_empty() => (Scope { words: Vec::new(), then: Then::Text(inner) }, None),
            _ => (Scope { words: Vec::new(), then: Then::Text("*".to_owned()) }, Some("counts for every command".to_owned())),
        });
    };
    let Some(rest) = rest else { return Ok((Scope { words, then: Then::Nothing }, None)) };
    let changed = if rest.is_empty() { None } else { begins(fixed) };
    if fixed.ends_with(char::is_whitespace) {
        return Ok((Scope { words, then: Then::Anything }, changed));
    }
    let last = words.pop().unwrap_or_default();
    Ok((Scope { words, then: Then::Beginning(last) }, changed))
}

/// Where the texts of a JSON file stand, which `serde_json` does not tell.
struct Lines(Vec<(usize, String)>);

impl Lines {
    fn of(text: &str) -> Self {
        let (mut line, mut begin, mut is_escaped, mut strings) = (1, None, false, Vec::new());
        for (at, c) in text.char_indices() {
            match (c, begin) {
                ('\n', _) => line += 1,
                _ if is_escaped => is_escaped = false,
                ('\\', Some(_)) => is_escaped = true,
                ('"', None) => begin = Some(at),
                ('"', Some(from)) => {
                    begin = None;
                    strings.push((line, serde_json::from_str(&text[from..=at]).unwrap_or_default()));
                }
                _ => {}
            }
        }
        Self(strings)
    }

    /// The line of this text, at or behind a line; that one if it is not found.
    fn of_string(&self, text: &str, from: usize) -> usize {
        let begin = self.0.partition_point(|(line, _)| *line < from);
        self.0[begin..].iter().find(|(_, known)| known == text).map_or(from, |(line, _)| *line)
    }
}
