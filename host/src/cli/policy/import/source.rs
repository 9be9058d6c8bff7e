//! What the three kinds of files say, in one form: rules on the words of a command.

use super::words;

/// Most words that a rule may fix; more would nest the settings deeper than they may be.
pub const MOST_WORDS: usize = 24;
/// Most rules of all files, each alternative counted.
pub const MOST_RULES: usize = 4096;

/// What files say.
#[derive(Debug)]
pub struct Source {
    /// Their rules, in their order.
    pub rules: Vec<Rule>,
    /// What was found that is no rule on commands, or could not become one.
    pub notes: Vec<Note>,
    /// Rules that hide files from other tools, as the source has them: no path may be imported that could name such a file.
    pub hidden: Vec<String>,
    /// Whether lists and pipes are judged command by command, in all files, so that they may be imported.
    pub has_lists: bool,
}

/// Whether a rule hides only what lies in a hidden directory of a home, where no root is.
pub fn hides_elsewhere(rule: &str) -> bool {
    rule.split_once("(~/.").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

/// A rule on commands.
#[derive(Debug)]
pub struct Rule {
    /// Where it stands: `file:line`.
    pub place: String,
    /// As its source has it.
    pub shown: String,
    /// What it does.
    pub effect: Effect,
    /// The commands it is about.
    pub scopes: Vec<Scope>,
    /// Commands that the source says it matches.
    pub examples: Vec<Vec<String>>,
    /// Commands that the source says it does not match.
    pub counter_examples: Vec<Vec<String>>,
    /// How its scopes differ from what the source says, if they do.
    pub changed: Option<String>,
}

/// What a rule does with its commands. The gravest of all that match counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// They run.
    Allow,
    /// A person is asked.
    Ask,
    /// They do not run.
    Deny,
}

/// The commands a rule is about: these words, and what follows. Of rules that allow no more than the source, of others no less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The words it begins with; the program is the first.
    pub words: Vec<String>,
    /// What follows.
    pub then: Then,
}

/// What follows the fixed words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// Any words, or none.
    Anything,
    /// At least one word.
    Something,
    /// A word that begins so, and any others. Only of rules that do not allow.
    Beginning(String),
    /// What makes the whole text match this pattern, in which `*` is any text. Only without words, and of rules that do not allow.
    Text(String),
}

/// Something the person who imports must know.
#[derive(Debug, Clone)]
pub struct Note {
    /// Where the rule stands.
    pub place: String,
    /// As its source has it.
    pub shown: String,
    /// What became of it.
    pub fate: Fate,
    /// Why.
    pub why: String,
}

/// What became of a rule that could not be imported as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It allows less than before.
    Narrowed,
    /// It allows nothing.
    LeftOut,
}

impl Source {
    /// What no file says yet.
    pub fn new() -> Self {
        Self { rules: Vec::new(), notes: Vec::new(), hidden: Vec::new(), has_lists: true }
    }

    /// Adds what another file says.
    pub fn add(&mut self, other: Self) {
        self.rules.extend(other.rules);
        self.notes.extend(other.notes);
        self.hidden.extend(other.hidden);
        self.has_lists &= other.has_lists;
    }

    /// Takes note that a rule is not imported.
    pub fn leave_out(&mut self, place: &str, shown: &str, why: impl Into<String>) {
        self.notes.push(Note::new(place, shown, Fate::LeftOut, why));
    }

    /// What the source itself says to a command; none of its rules: `Deny`.
    pub fn judge(&self, command: &[String]) -> Effect {
        let matching = self.rules.iter().filter(|rule| rule.scopes.iter().any(|scope| scope.is_match(command)));
        matching.map(|rule| rule.effect).max().unwrap_or(Effect::Deny)
    }
}

impl Rule {
    /// A rule without examples.
    pub fn new(place: &str, shown: &str, effect: Effect, scopes: Vec<Scope>) -> Self {
        Self {
            place: place.to_owned(),
            shown: shown.to_owned(),
            effect,
            scopes,
            examples: Vec::new(),
            counter_examples: Vec::new(),
            changed: None,
        }
    }
}

impl Scope {
    /// Whether a command is among them.
    pub fn is_match(&self, command: &[String]) -> bool {
        if let Then::Text(pattern) = &self.then {
            return words::is_glob_match(pattern, &command.join(" "));
        }
        let Some(rest) = command.strip_prefix(self.words.as_slice()) else { return false };
        match &self.then {
            Then::Nothing => rest.is_empty(),
            Then::Anything => true,
            Then::Something => !rest.is_empty(),
            Then::Beginning(text) => rest.first().is_some_and(|word| word.starts_with(text.as_str())),
            Then::Text(_) => false,
        }
    }
}

impl Note {
    /// One.
    pub fn new(place: &str, shown: &str, fate: Fate, why: impl Into<String>) -> Self {
        Self { place: place.to_owned(), shown: shown.to_owned(), fate, why: why.into() }
    }
}
