//! Reading settings so that every mistake names its place.

use serde::de::DeserializeOwned;

use crate::{SettingsError, SettingsErrors};

/// Most errors one `configure` may return.
const MAX_ERRORS: usize = 64;

impl SettingsError {
    /// `path`: keys and indices with dots, empty for the whole; `message`: what is wrong and what would be right.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// Reads the settings of a policy's entry.
///
/// # Errors
///
/// The first value of a wrong shape, with its path, or all keys that `T` does not know.
pub fn read<T: DeserializeOwned>(json: &str) -> Result<T, SettingsErrors> {
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let mut json = serde_json::Deserializer::from_str(json);
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let read = serde_ignored::deserialize(tracked, |path| {
        if unknown.len() < MAX_ERRORS {
            unknown.push(SettingsError::new(path.to_string(), "unknown key; remove it or mend its spelling"));
        }
    });
    match read {
        Err(error) => Err(vec![SettingsError::new(dotted(&track.path()), without_position(&error.to_string()))]),
        Ok(_) if !unknown.is_empty() => Err(unknown),
        Ok(settings) => Ok(settings),
    }
}

fn dotted(path: &serde_path_to_error::Path) -> String {
    let segments: Vec<_> = path.iter().map(|segment| segment.to_string().trim_matches(['[', ']']).to_owned()).collect();
    segments.join(".")
}

/// Settings are written in the operator's file; line and column of the JSON made from it would mislead.
fn without_position(message: &str) -> &str {
    message.rsplit_once(" at line ").map_or(message, |(message, _)| message)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[serde(default)]
        #[allow(dead_code, reason = "only its shape matters")]
        flags: Vec<String>,
    }

    #[derive(Debug, Deserialize)]
    struct Outer {
        #[serde(default)]
        #[allow(dead_code, reason = "only its shape matters")]
        programs: BTreeMap<String, Inner>,
    }

    #[test]
    fn a_wrong_value_is_named_by_its_path() {
        let errors = read::<Outer>(r#"{"programs":{"git":{"flags":["a","b",3]}}}"#).unwrap_err();
        assert_eq!(errors, [SettingsError::new("programs.git.flags.2", "invalid type: integer `3`, expected a string")]);
    }

    #[test]
    fn all_unknown_keys_are_named() {
        let errors = read::<Outer>(r#"{"program":{},"programs":{"git":{"flag":[]}}}"#).unwrap_err();
        let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, ["program", "programs.git.flag"]);
    }

    #[test]
    fn no_settings_are_an_empty_object() {
        assert!(read::<Outer>("{}").is_ok());
        assert!(read::<Outer>("").is_err());
    }
}
