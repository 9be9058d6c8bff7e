//! Pins: the digests of components written into the configuration file, whose comments and layout stay.

use std::{collections::BTreeMap, io, path::Path};

use toml_edit::{DocumentMut, Item, TableLike, Value};

use crate::{digest::Digest, files};

/// Why no pins were written; the file is as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum PinError {
    /// The file can not be read or replaced.
    #[error("could not write pins into the configuration")]
    Io(#[from] io::Error),
    /// It has become something else since it was loaded.
    #[error("the configuration has changed meanwhile, and no pins were written; try again")]
    Changed,
}

/// Pins each policy of these names to its digest.
pub(super) fn write(file: &Path, pins: &BTreeMap<&str, Digest>) -> Result<(), PinError> {
    let text = std::fs::read_to_string(file)?;
    let pinned = pinned(&text, pins).ok_or(PinError::Changed)?;
    if pinned != text {
        files::replace(file, pinned.as_bytes())?;
    }
    Ok(())
}

/// The text with the pins in it; none if it is no configuration with all these policies.
fn pinned(text: &str, pins: &BTreeMap<&str, Digest>) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    let mut found = 0;
    for entry in entries(document.get_mut("policies")?) {
        let name = entry.get("name").and_then(Item::as_str).map(str::to_owned);
        if let Some(digest) = name.and_then(|name| pins.get(name.as_str())) {
            pin(entry, &digest.to_string());
            found += 1;
        }
    }
    (found == pins.len()).then(|| document.to_string())
}

/// The entries, be they written as `[[policies]]` or as a list of tables on a line.
fn entries(policies: &mut Item) -> Vec<&mut dyn TableLike> {
    match policies {
        Item::ArrayOfTables(tables) => tables.iter_mut().map(|table| table as &mut dyn TableLike).collect(),
        Item::Value(Value::Array(list)) => {
            list.iter_mut().filter_map(Value::as_inline_table_mut).map(|table| table as &mut dyn TableLike).collect()
        }
        _ => Vec::new(),
    }
}

fn pin(entry: &mut dyn TableLike, digest: &str) {
    match entry.get_mut("sha256").and_then(Item::as_value_mut) {
        // What stands around the old pin, such as a comment behind it, stays.
        Some(old) => {
            let decor = old.decor().clone();
            *old = Value::from(digest);
            *old.decor_mut() = decor;
        }
        None => _ = entry.insert("sha256", Item::Value(Value::from(digest))),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[rstest]
    #[case::behind_the_last_key(
        "# mine\n[[policies]]\nname = \"a\" # one\ncomponent   = \"a.wasm\"\n# settings = 1\n\n# the other\n[[policies]]\nname = \"b\"\n",
        "# mine\n[[policies]]\nname = \"a\" # one\ncomponent   = \"a.wasm\"\nsha256 = \"@\"\n# settings = 1\n\n# the other\n[[policies]]\nname = \"b\"\n"
    )]
    #[case::before_a_table_of_its_own(
        "[[policies]]\nname = \"a\"\n[policies.settings]\nx = 1\n",
        "[[policies]]\nname = \"a\"\nsha256 = \"@\"\n[policies.settings]\nx = 1\n"
    )]
    #[case::in_the_place_of_the_old(
        "[[policies]]\nsha256 = 'old'  # since May\nname = \"a\"\n",
        "[[policies]]\nsha256 = \"@\"  # since May\nname = \"a\"\n"
    )]
    #[case::on_a_line("policies = [{ name = \"a\" }]\n", "policies = [{ name = \"a\" , sha256 = \"@\" }]\n")]
    fn a_pin_is_written_and_all_else_stays(#[case] text: &str, #[case] expected: &str) {
        let pins = BTreeMap::from([("a", DIGEST.parse().unwrap())]);
        let written = pinned(text, &pins).unwrap();
        assert_eq!(written, expected.replace('@', DIGEST));
        assert_eq!(pinned(&written, &pins).unwrap(), written);
    }

    #[rstest]
    #[case::no_toml("[[policies")]
    #[case::no_policies("[jobs]\n")]
    #[case::another("[[policies]]\nname = \"b\"\n")]
    fn what_is_no_longer_the_configuration_is_left_alone(#[case] text: &str) {
        assert_eq!(pinned(text, &BTreeMap::from([("a", DIGEST.parse().unwrap())])), None);
    }
}
