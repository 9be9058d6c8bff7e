//! What may be sent to a program's standard input.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::value::Pattern;

/// Longest beginning of a line that the host tells of; a longer one may be cut.
const MOST_PENDING: usize = 64 * 1024;

/// What may be sent to a program's standard input: by the client, by a pipe, from a file or from the script.
#[derive(Debug, Clone)]
pub enum Input {
    /// Nothing.
    Nothing,
    /// Anything. Never for a program that runs what it reads.
    Anything,
    /// Whole lines that match one of these patterns, without control characters: an editing key could take back what was judged.
    Lines(Vec<Pattern>),
}

/// Why input is refused, for a person.
pub type Objection = &'static str;

/// The table form of [`Input`].
#[derive(Deserialize, JsonSchema)]
struct Lines {
    /// Patterns of whole lines.
    lines: Vec<Pattern>,
}

impl Input {
    /// Judges what would be written, behind what was sent since the last newline.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn judge(&self, pending: &[u8], data: &[u8]) -> Result<(), Objection> {
        match self {
            Self::Nothing => Err("the rule of this program allows no input"),
            Self::Anything => Ok(()),
            Self::Lines(_) if pending.len() >= MOST_PENDING => Err("the line is too long to be judged"),
            Self::Lines(patterns) => lines(patterns, &[pending, data].concat()),
        }
    }
}

fn lines(patterns: &[Pattern], bytes: &[u8]) -> Result<(), Objection> {
    let text = std::str::from_utf8(bytes).map_err(|_| "input that is judged by lines must be UTF-8")?;
    if text.is_empty() {
        return Ok(());
    }
    let text = text.strip_suffix('\n').ok_or("input that is judged by lines must end with a newline")?;
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err("input that is judged by lines must hold no control characters: tab, escape and editing keys are refused");
    }
    if text.split('\n').all(|line| patterns.iter().any(|pattern| pattern.is_match(line))) {
        Ok(())
    } else {
        Err("a line matches none of the patterns in `input.lines` of the program's rule")
    }
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Input;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("true, false or { lines = [PATTERNS] }")
            }

            fn visit_bool<E>(self, all: bool) -> Result<Input, E> {
                Ok(if all { Input::Anything } else { Input::Nothing })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Input, A::Error> {
                Ok(Input::Lines(Lines::deserialize(MapAccessDeserializer::new(map))?.lines))
            }
        }

        from.deserialize_any(Either)
    }
}

impl JsonSchema for Input {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Input".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "anyOf": [{ "type": "boolean" }, Lines::json_schema(generator)] })
    }
}
