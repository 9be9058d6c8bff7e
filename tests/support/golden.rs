//! Texts that are part of the contract with users, kept in `tests/golden`. `BLESS=1` writes them anew.

use std::{fs, path::Path};

use serde_json::Value;

/// Compares a text with the golden file of this name.
#[track_caller]
pub fn assert_golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; if the change is meant, run again with BLESS=1\n--- expected\n{expected}\n--- actual\n{actual}",
        path.display()
    );
}

/// Compares JSON, pretty-printed with sorted keys.
#[track_caller]
pub fn assert_golden_json(name: &str, actual: &Value) {
    assert_golden(name, &format!("{}\n", serde_json::to_string_pretty(&sorted(actual)).unwrap()));
}

/// The same with the keys of every object sorted, whatever map `serde_json` was built with.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
        }
        Value::Array(values) => values.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
