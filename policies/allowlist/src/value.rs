//! What a value or an operand may be.

use portcullis_sdk::{Argument, Expansion, Place, Word};
use regex_lite::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

/// Most memory of one compiled pattern, in bytes.
const MAX_PATTERN_SIZE: usize = 256 * 1024;

/// Longest pattern that is shown in a message, in bytes.
const MOST_SHOWN_PATTERN: usize = 160;

/// What a value or an operand must be.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// Nothing fits.
    #[default]
    Nothing,
    /// Any text in one line that stands in the script itself. Never for what the program may take for a path.
    Any,
    /// Any text, of many lines too, and also what only the shell can tell as long as it is one word: `"$x"`. As an operand such a
    /// word must not be able to look like an option.
    Text,
    /// Like `text`, also what may become none or many words and may look like options. Only where no option does harm.
    Words,
    /// A decimal number with or without sign.
    Integer,
    /// A path inside the roots, links followed.
    Path,
    /// Like `path`, something that exists, and without `:`, which some programs take for the end of a host's name.
    File,
    /// Like `path`, for programs that read more than a path in a word: also a test in a file, `file::test`, and without `@` in front,
    /// which names a file of words.
    Source,
    /// The name of a variable that scripts may give values to.
    Variable,
    /// `NAME=value`, as `env` of the same rule has it.
    Assignment,
    /// One of these.
    OneOf(Vec<String>),
    /// What this regular expression matches from beginning to end.
    Pattern(Pattern),
}

/// A regular expression that matches the whole of a text.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    /// What it matches, for a person.
    wanted: Option<String>,
}

/// A pattern as it is written: a regular expression, or one beside what it matches in words.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Written {
    /// A regular expression that matches the whole of a text.
    Regex(String),
    /// The same, and what it matches in words.
    Told {
        /// The regular expression.
        regex: String,
        /// What it matches, for a person.
        wanted: String,
    },
}

/// What a value is compared with: some text, or what is known of it, and where it leads if it is a path.
#[derive(Clone, Copy)]
pub enum Part<'a> {
    /// What stands in the argument from the offset on.
    Literal {
        /// The text.
        text: &'a str,
        /// Where it leads.
        place: Option<&'a Place>,
        /// Where what stands in front of its first `::` leads.
        front: Option<&'a Place>,
    },
    /// A value that only the shell can tell.
    Dynamic(&'a Expansion),
}

impl Pattern {
    /// Compiles it.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn new(source: &str) -> Result<Self, String> {
        let compile = |source: &str| RegexBuilder::new(source).size_limit(MAX_PATTERN_SIZE).build();
        // By itself first: a stray parenthesis must not close the group that holds it to the whole text.
        let regex = compile(source).and_then(|_| compile(&format!("^(?:{source})$")));
        let regex = regex.map_err(|error| format!("not a regular expression: {error}"))?;
        // What the first match allocates is then part of the image that decisions start from.
        regex.is_match("");
        Ok(Self { regex, wanted: None })
    }

    /// Whether the whole of the text matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    fn wanted(&self) -> String {
        let whole = self.regex.as_str();
        let source = whole.strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$")).unwrap_or(whole);
        match &self.wanted {
            Some(wanted) => wanted.clone(),
            None if source.len() > MOST_SHOWN_PATTERN => "what its pattern matches".to_owned(),
            None => format!("what matches {source}"),
        }
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (regex, wanted) = match Written::deserialize(from)? {
            Written::Regex(regex) => (regex, None),
            Written::Told { regex, wanted } => (regex, Some(wanted)),
        };
        Ok(Self { wanted, ..Self::new(&regex).map_err(serde::de::Error::custom)? })
    }
}

impl JsonSchema for Pattern {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

impl<'a> Part<'a> {
    /// What stands in an argument from this byte on.
    pub fn of(arg: &'a Argument, at: usize) -> Self {
        match &arg.word {
            Word::Literal(text) => {
                let mut places = arg.places.iter().filter(|place| usize::try_from(place.start) == Ok(at));
                Self::Literal { text: text.get(at..).unwrap_or_default(), place: places.next(), front: places.next() }
            }
            Word::Dynamic(expansion) => Self::Dynamic(expansion),
        }
    }

    /// A text that never is a path.
    pub fn text(text: &'a str) -> Self {
        Self::Literal { text, place: None, front: None }
    }

    /// The value of a variable, which never is a path.
    pub fn value(word: &'a Word) -> Self {
        match word {
            Word::Literal(text) => Self::text(text),
            Word::Dynamic(expansion) => Self::Dynamic(expansion),
        }
    }

    /// The text as it stands in the script.
    pub fn shown(self) -> &'a str {
        match self {
            Self::Literal { text, .. } => text,
            Self::Dynamic(expansion) => &expansion.source,
        }
    }
}

impl Value {
    /// Whether this fits. Variables and assignments never do: what they may be stands elsewhere in the rules.
    pub fn fits(&self, part: Part) -> bool {
        let (text, place, front) = match part {
            Part::Literal { text, place, front } => (text, place, front),
            Part::Dynamic(expansion) => return self.takes_dynamic() && expansion.one_word,
        };
        let is_inside = |place: Option<&Place>| place.is_some_and(|place| place.inside_roots);
        match self {
            Self::Nothing | Self::Variable | Self::Assignment => false,
            // It may be what a word that only the shell could tell has become, and that is whatever a file holds.
            Self::Text | Self::Words => true,
            _ if !is_printable(text) => false,
            Self::Any => true,
            Self::Integer => is_digits(text.strip_prefix(['-', '+']).unwrap_or(text)),
            Self::Path => is_inside(place),
            // Before there is a bracket, some take it for the end of the path.
            Self::Source => match text.split_once("::") {
                _ if text.starts_with('@') => false,
                Some((file, _)) => is_inside(place) && is_inside(front) && !file.contains('['),
                None => is_inside(place) && !text.contains('['),
            },
            Self::File => place.is_some_and(|place| place.inside_roots && place.exists) && !text.contains(':'),
            Self::OneOf(texts) => texts.iter().any(|known| known == text),
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }

    /// Whether words fit that only the shell can tell.
    pub fn takes_dynamic(&self) -> bool {
        matches!(self, Self::Text | Self::Words)
    }

    /// Whether it is some path.
    pub fn is_path(&self) -> bool {
        matches!(self, Self::Path | Self::File | Self::Source)
    }

    /// What fits, for a person.
    pub fn wanted(&self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Any => "any text in one line, written out".to_owned(),
            Self::Text => "any text, in one word".to_owned(),
            Self::Words => "any words".to_owned(),
            Self::Integer => "a number".to_owned(),
            Self::Path => "a path inside the working roots".to_owned(),
            Self::File => "an existing path inside the working roots, without `:`".to_owned(),
            Self::Source => {
                "a path inside the working roots, or a test in one: `file::test`; `./@x` for a name with `@`".to_owned()
            }
            Self::Variable => "the name of a variable that scripts may set".to_owned(),
            Self::Assignment => "NAME=value, as `env` of the rule has it".to_owned(),
            Self::OneOf(texts) => format!("one of {}", texts.join(", ")),
            Self::Pattern(pattern) => pattern.wanted(),
        }
    }
}

/// Whether a text holds no control characters.
pub fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Whether a text is a number of at most nine digits.
pub fn is_digits(text: &str) -> bool {
    (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}
