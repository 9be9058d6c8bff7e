//! Codex's `.rules` files: `prefix_rule(pattern, decision, match, not_match, justification)`.
//!
//! A pattern fixes the first words, each one text or a list of alternatives; whatever follows them matches. The strictest of all
//! matching rules counts. Lists and pipes of plain commands are judged command by command.

use super::{
    Mistake,
    source::{Effect, MOST_RULES, MOST_WORDS, Rule, Scope, Source, Then},
    starlark::{self, Call, Value},
    words,
};

/// The parameters of `prefix_rule`, in the order in which they may be given without names.
const PARAMETERS: [&str; 5] = ["pattern", "decision", "match", "not_match", "justification"];

/// Reads rules.
///
/// # Errors
///
/// Every mistake, with its line.
pub fn read(file: &str, text: &str) -> Result<Source, Vec<Mistake>> {
    let mut source = Source::new();
    let mut mistakes = Vec::new();
    for call in starlark::read(file, text)? {
        let place = format!("{file}:{}", call.line);
        match call.name.as_str() {
            "prefix_rule" => match prefix_rule(&place, &call) {
                Ok(rule) => source.rules.push(rule),
                Err(what) => mistakes.push(Mistake::new(file, call.line, what)),
            },
            "host_executable" => source.leave_out(
                &place,
                "host_executable",
                "programs are found by `jobs.path` of the configuration, and a rule by name never counts for a file elsewhere",
            ),
            "network_rule" => source.leave_out(&place, "network_rule", "is not about commands"),
            other => mistakes.push(Mistake::new(file, call.line, format!("there is no rule `{other}`"))),
        }
    }
    if mistakes.is_empty() { Ok(source) } else { Err(mistakes) }
}

fn prefix_rule(place: &str, call: &Call) -> Result<Rule, String> {
    let [pattern, decision, matching, not_matching, _] = parameters(call)?;
    let pattern = alternatives(pattern.ok_or("`prefix_rule` needs a `pattern`")?)?;
    let effect = match decision {
        None => Effect::Allow,
        Some(Value::Text(name)) => match name.as_str() {
            "allow" => Effect::Allow,
            "prompt" => Effect::Ask,
            "forbidden" => Effect::Deny,
            other => return Err(format!("`decision` is allow, prompt or forbidden, not `{other}`")),
        },
        Some(Value::List(_)) => return Err("`decision` must be a text".to_owned()),
    };
    let shown = format!("prefix_rule {}", shown(&pattern));
    let scopes = product(&pattern)?.into_iter().map(|words| Scope { words, then: Then::Anything }).collect();
    let rule = Rule {
        examples: examples("match", matching)?,
        counter_examples: examples("not_match", not_matching)?,
        ..Rule::new(place, &shown, effect, scopes)
    };
    // Codex finds the rules of a program that is called by its path by the name of its file.
    let by_name = |command: &[String]| {
        let name = command.first().and_then(|program| program.rsplit('/').next()).unwrap_or_default();
        [&[name.to_owned()], command.get(1..).unwrap_or_default()].concat()
    };
    let is_match = |command: &[String]| rule.scopes.iter().any(|scope| scope.is_match(command));
    let matches = |command: &Vec<String>| is_match(command) || is_match(&by_name(command));
    if let Some(command) = rule.examples.iter().find(|command| !matches(command)) {
        return Err(format!("the example `{}` in `match` does not match", words::join(command)));
    }
    if let Some(command) = rule.counter_examples.iter().find(|command| matches(command)) {
        return Err(format!("the example `{}` in `not_match` matches", words::join(command)));
    }
    Ok(rule)
}

fn parameters(call: &Call) -> Result<[Option<&Value>; 5], String> {
    let mut given = [None; 5];
    for (at, (name, value)) in call.args.iter().enumerate() {
        let at = match name {
            Some(name) => PARAMETERS.iter().position(|known| known == name),
            None => Some(at),
        };
        let slot = at.and_then(|at| given.get_mut(at));
        let Some(slot) = slot else {
            return Err(format!("`prefix_rule` does not take `{}`", name.as_deref().unwrap_or("so many values")));
        };
        if slot.replace(value).is_some() {
            return Err("a value of `prefix_rule` is given twice".to_owned());
        }
    }
    Ok(given)
}

/// The alternatives for each word.
fn alternatives(pattern: &Value) -> Result<Vec<Vec<String>>, String> {
    let wrong = || "`pattern` must be a list of words, each a text or a list of texts, none of them empty".to_owned();
    let Value::List(words) = pattern else { return Err(wrong()) };
    if words.is_empty() {
        return Err(wrong());
    }
    if words.len() > MOST_WORDS {
        return Err(format!("`pattern` has more than {MOST_WORDS} words"));
    }
    let texts = |value: &Value| match value {
        Value::Text(word) => Ok(vec![word.clone()]),
        Value::List(_) => texts(value).filter(|texts| !texts.is_empty()).ok_or_else(wrong),
    };
    words.iter().map(texts).collect()
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let Value::List(values) = value else { return None };
    let text = |value: &Value| if let Value::Text(text) = value { Some(text.clone()) } else { None };
    values.iter().map(text).collect()
}

fn product(pattern: &[Vec<String>]) -> Result<Vec<Vec<String>>, String> {
    let count = pattern.iter().try_fold(1_usize, |count, words| count.checked_mul(words.len()));
    if count.is_none_or(|count| count > MOST_RULES) {
        return Err(format!("`pattern` stands for more than {MOST_RULES} sequences of words"));
    }
    let begin = vec![Vec::new()];
    Ok(pattern.iter().fold(begin, |all, words| {
        let longer = |begin: Vec<String>| words.iter().map(move |word| [begin.as_slice(), std::slice::from_ref(word)].concat());
        all.into_iter().flat_map(longer).collect()
    }))
}

fn shown(pattern: &[Vec<String>]) -> String {
    pattern.iter().map(|words| words.join("|")).collect::<Vec<_>>().join(" ")
}

fn examples(name: &str, value: Option<&Value>) -> Result<Vec<Vec<String>>, String> {
    let wrong = || format!("`{name}` must be a list of commands, each a text or a list of words");
    let Some(value) = value else { return Ok(Vec::new()) };
    let Value::List(commands) = value else { return Err(wrong()) };
    let command = |value: &Value| {
        let words = match value {
            Value::Text(text) => shlex::split(text),
            Value::List(_) => texts(value),
        };
        words.filter(|words| !words.is_empty()).ok_or_else(wrong)
    };
    commands.iter().map(command).collect()
}
