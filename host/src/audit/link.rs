//! What links a line to the one before it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::digest::Digest;

/// The last line of a log: its number and its hash. All lines up to it follow from these two, so whoever keeps them can tell later
/// whether the log still holds what it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its running number, from 1.
    pub number: u64,
    /// SHA-256 of its bytes, without the newline that ends it.
    pub hash: Digest,
}

/// What stands in front of every line, by which it belongs to the chain.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Link {
    /// Its running number, from 1.
    pub number: u64,
    /// The hash of the line before; zeros where there is none.
    #[serde(deserialize_with = "digest")]
    pub previous: Digest,
}

/// Why a text is no head.
#[derive(Debug, thiserror::Error)]
#[error("must be a number, a colon and 64 hexadecimal digits, as `portcullis audit verify` prints it")]
pub struct NoHead;

impl Head {
    /// Of a log without lines.
    pub const START: Self = Self { number: 0, hash: Digest::ZERO };

    /// After one more line, of which only the hash counts: one that was torn has its place in the chain too. None: the number is
    /// nothing that was counted.
    pub fn and(self, line: &[u8]) -> Option<Self> {
        Some(Self { number: self.number.checked_add(1)?, hash: Digest::of(line) })
    }
}

impl Link {
    /// Of a line; none if it is no record.
    pub fn of(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// A record as it is written behind `head`; `fields` is an object with at least one field.
    pub(super) fn line(head: Head, fields: &str) -> String {
        let Head { number, hash } = head;
        let fields = fields.strip_prefix('{').unwrap_or(fields);
        format!("{{\"number\":{},\"previous\":\"{hash}\",{fields}", number.saturating_add(1))
    }
}

fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.hash)
    }
}

impl FromStr for Head {
    type Err = NoHead;

    fn from_str(text: &str) -> Result<Self, NoHead> {
        let (number, hash) = text.split_once(':').ok_or(NoHead)?;
        Ok(Self { number: number.parse().map_err(|_| NoHead)?, hash: hash.parse().map_err(|_| NoHead)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_are_shown() {
        let head = Head::START.and(b"a line").unwrap();
        assert_eq!(head.to_string().parse::<Head>().unwrap(), head);
        for wrong in ["", "1", "1:", "x:00", &format!("{head}0"), &format!("-{head}"), &head.to_string().replace(':', ";")] {
            assert!(wrong.parse::<Head>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_line_belongs_to_the_chain_by_its_first_fields() {
        let line = Link::line(Head { number: 7, ..Head::START }, r#"{"event":"x"}"#);
        assert_eq!(line, format!(r#"{{"number":8,"previous":"{}","event":"x"}}"#, "0".repeat(64)));
        let link = Link::of(line.as_bytes()).unwrap();
        assert_eq!((link.number, link.previous), (8, Head::START.hash));
        for wrong in ["", "{}", "8", "null", &line[1..], &line.replace("8", "-8"), &format!("{line}x")] {
            assert!(Link::of(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
