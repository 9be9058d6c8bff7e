//! The schema of a policy's settings, as it stands in a file beside the policy.

use std::{env, fs, path::Path};

use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};

/// The JSON Schema of settings, in draft 2020-12. It takes no keys that the type does not know, as the reader of settings does not.
pub fn schema<S: JsonSchema>() -> String {
    let strict = RecursiveTransform(|schema: &mut Schema| {
        if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
            schema.insert("additionalProperties".to_owned(), false.into());
        }
    });
    let settings = SchemaSettings::draft2020_12().with_transform(strict);
    let mut schema = settings.into_generator().into_root_schema_for::<S>();
    // A name of Rust's, which says nothing to those who write settings.
    schema.remove("title");
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    text.push('\n');
    text
}

/// Checks that the file holds the schema of these settings; writes it instead where the variable `BLESS` is set.
///
/// # Panics
///
/// If it holds another, is not there, or can not be written.
#[track_caller]
pub fn check_schema<S: JsonSchema>(file: impl AsRef<Path>) {
    let (file, wanted) = (file.as_ref(), schema::<S>());
    if env::var_os("BLESS").is_some() {
        fs::write(file, wanted).unwrap_or_else(|error| panic!("{} can not be written: {error}", file.display()));
        return;
    }
    let found = fs::read_to_string(file).unwrap_or_default();
    assert_eq!(found, wanted, "{} is not the schema of the settings; BLESS=1 writes it", file.display());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, JsonSchema)]
    #[schemars(rename_all = "kebab-case")]
    #[allow(dead_code, reason = "only its shape matters")]
    struct Settings {
        /// What may run.
        allowed_programs: Vec<String>,
        #[serde(default)]
        by_name: BTreeMap<String, Inner>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "only its shape matters")]
    struct Inner {
        most: Option<u32>,
    }

    #[test]
    fn a_schema_takes_no_keys_that_the_type_does_not_know() {
        let schema: serde_json::Value = serde_json::from_str(&schema::<Settings>()).unwrap();
        assert_eq!(schema["properties"]["allowed-programs"]["description"], "What may run.");
        assert_eq!(schema["required"], serde_json::json!(["allowed-programs"]));
        for object in [&schema, &schema["$defs"]["Inner"]] {
            assert_eq!(object["additionalProperties"], false);
        }
        assert_eq!(schema["properties"]["by-name"]["additionalProperties"]["$ref"], "#/$defs/Inner");
    }
}
