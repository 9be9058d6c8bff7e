//! The JSON Schema of the configuration file, from the types it is read by, so that editors complete it and say what is wrong.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

use super::raw::{Checked, RawConfig, Section};

/// The schema of the whole file, with those of the settings of built-in policies, by name.
pub fn schema(builtins: Vec<(&'static str, Value)>) -> Value {
    let strict = RecursiveTransform(|schema: &mut Schema| {
        if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
            schema.insert("additionalProperties".to_owned(), false.into());
        }
    });
    let settings = SchemaSettings::draft2020_12().with_transform(strict);
    let mut whole = settings.into_generator().into_root_schema_for::<RawConfig>().to_value();
    whole["title"] = "portcullis".into();
    let cases = builtins.into_iter().map(|(name, schema)| case(&mut whole, name, schema)).collect();
    whole["$defs"]["RawPolicy"]["allOf"] = Value::Array(cases);
    whole
}

/// What holds of an entry whose component is this built-in. Its definitions move to those of the whole, under names of their own.
fn case(whole: &mut Value, name: &str, mut settings: Value) -> Value {
    rename(&mut settings, name);
    let own = settings.as_object_mut().expect("the schema of a built-in is an object");
    own.remove("$schema");
    let definitions = own.remove("$defs").and_then(|defs| defs.as_object().cloned()).unwrap_or_default();
    let all = whole["$defs"].as_object_mut().expect("the file has definitions");
    all.extend(definitions.into_iter().map(|(key, schema)| (format!("{name}.{key}"), schema)));
    json!({
        "if": { "properties": { "component": { "const": format!("builtin:{name}") } }, "required": ["component"] },
        "then": { "properties": { "settings": settings } },
    })
}

/// Has references lead to where [`case`] puts what they lead to.
fn rename(schema: &mut Value, name: &str) {
    match schema {
        Value::Object(members) => members.iter_mut().for_each(|(key, value)| match value {
            Value::String(reference) if key == "$ref" => *reference = reference.replace("#/$defs/", &format!("#/$defs/{name}.")),
            value => rename(value, name),
        }),
        Value::Array(values) => values.iter_mut().for_each(|value| rename(value, name)),
        _ => {}
    }
}

/// As what it is when it is right.
macro_rules! as_what_it_holds {
    ($holder:ident) => {
        impl<T: JsonSchema> JsonSchema for $holder<T> {
            fn inline_schema() -> bool {
                T::inline_schema()
            }

            fn schema_name() -> Cow<'static, str> {
                T::schema_name()
            }

            fn schema_id() -> Cow<'static, str> {
                T::schema_id()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                T::json_schema(generator)
            }
        }
    };
}

as_what_it_holds!(Checked);
as_what_it_holds!(Section);

/// Stands for settings in a schema: a table that only the policy knows.
pub(super) type AnyTable = Map<String, Value>;
