//! The JSON Schema that a component carries of its settings, and whether settings are as it says.
//!
//! It stands in a custom section of the component, so it is read and settings are judged before anything of the policy runs.
//! Whoever made the component wrote the schema, so it is bounded like all that a policy does: its size, and the steps it may take.
//!
//! Not by a library: those there are set no bound to their work (`jsonschema` takes twice the time for each definition that names
//! the next one twice, so that 3 KB of schema hold it for days) and bring forty packages.

use std::{cell::Cell, collections::BTreeSet};

use regex::RegexBuilder;
use serde_json::{Map, Value};
use wasmparser::{Parser, Payload};

use super::bindings::settings::SettingsError;
use crate::config::{join, suggestion};

/// The custom section, at the top level of the component: JSON in UTF-8.
const SECTION: &str = "portcullis:settings-schema";
/// Longest schema, in bytes.
const MOST_BYTES: usize = 256 * 1024;
/// Most schemas that settings are held against: a flood would be one that names two others that each name two others.
const MOST_STEPS: u32 = 1_000_000;
/// Deepest nesting, of settings and schemas together: a schema may be made of itself.
const MOST_DEPTH: u32 = 128;
/// Steps that a pattern counts for, which has to be compiled.
const STEPS_OF_A_PATTERN: u32 = 1000;
/// Most memory of one compiled pattern, in bytes.
const MOST_PATTERN_BYTES: usize = 64 * 1024;
/// Most mistakes that are told at once.
const MOST_MISTAKES: usize = 64;

/// The schema of a policy's settings.
pub(super) struct Schema(Value);

/// Why a schema is of no use. Not its settings' fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the schema that it carries of its settings {0}")]
pub struct SchemaError(String);

type Result<T> = std::result::Result<T, SchemaError>;
type Found = Result<Vec<SettingsError>>;

impl Schema {
    /// The schema in a component; none if it carries none, or is no component.
    pub(super) fn of(component: &[u8]) -> Result<Option<Self>> {
        let mut sections = sections(component);
        let Some(section) = sections.pop() else { return Ok(None) };
        if !sections.is_empty() {
            return Err(unusable("is there more than once"));
        }
        if section.len() > MOST_BYTES {
            return Err(unusable(format!("has more than {} KiB", MOST_BYTES >> 10)));
        }
        let value = serde_json::from_slice(section).map_err(|error| unusable(format!("is no JSON: {error}")))?;
        Ok(Some(Self(value)))
    }

    /// The schema itself.
    pub(super) fn value(&self) -> &Value {
        &self.0
    }

    /// All that is wrong with settings by this schema, each with its place as it would be written in the file. Values are not
    /// shown: they may be secrets.
    pub(super) fn mistakes(&self, settings: &Value) -> Found {
        let steps = Cell::new(MOST_STEPS);
        let mut mistakes = Checker { root: &self.0, steps: &steps }.check(&self.0, settings, "", 0)?;
        mistakes.truncate(MOST_MISTAKES);
        Ok(mistakes)
    }

    /// The places in settings that the schema marks as rules: what stands in a table or a list whose schema says `"x-rules": true`.
    /// In one that says `false` nothing is looked for.
    pub(super) fn rules(&self, settings: &Value) -> Result<Vec<String>> {
        let (steps, mut rules) = (Cell::new(MOST_STEPS), BTreeSet::new());
        Checker { root: &self.0, steps: &steps }.rules(&self.0, settings, "", 0, &mut rules)?;
        Ok(rules.into_iter().collect())
    }
}

/// The sections of that name at the component's own level, not in what it is composed of.
fn sections(component: &[u8]) -> Vec<&[u8]> {
    let (mut found, mut depth) = (Vec::new(), 0);
    for payload in Parser::new(0).parse_all(component) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth -= 1,
            Ok(Payload::CustomSection(section)) if depth == 0 && section.name() == SECTION => found.push(section.data()),
            Ok(_) => {}
            // Whoever compiles it says what is wrong with it.
            Err(_) => break,
        }
    }
    found
}

fn unusable(what: impl Into<String>) -> SchemaError {
    SchemaError(what.into())
}

/// Holds values against schemas.
struct Checker<'a> {
    root: &'a Value,
    steps: &'a Cell<u32>,
}

/// One value before one schema.
struct Subject<'s> {
    schema: &'s Map<String, Value>,
    value: &'s Value,
    at: &'s str,
    depth: u32,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, at: &str, depth: u32) -> Found {
        self.count(1)?;
        if depth > MOST_DEPTH {
            return Err(unusable("is nested too deeply, or made of itself"));
        }
        match schema {
            Value::Bool(true) => Ok(Vec::new()),
            Value::Bool(false) => Ok(wrong(at, "nothing may stand here")),
            Value::Object(schema) => self.check_all(&Subject { schema, value, at, depth }),
            _ => Err(unusable("has something in the place of a schema that is none")),
        }
    }

    fn check_all(&self, subject: &Subject) -> Found {
        // Where the kind is wrong, nothing else says more.
        if let Some(kinds) = subject.schema.get("type") {
            let kinds = kinds_of(kinds)?;
            if !kinds.iter().any(|kind| is_kind(subject.value, kind)) {
                return Ok(wrong(subject.at, format!("must be {}, and is {}", kinds_in_words(&kinds), found(subject.value))));
            }
        }
        let mut mistakes = Vec::new();
        for (keyword, given) in subject.schema {
            mistakes.extend(self.keyword(subject, keyword, given)?);
            if mistakes.len() > MOST_MISTAKES {
                break;
            }
        }
        Ok(mistakes)
    }

    fn keyword(&self, subject: &Subject, keyword: &str, given: &Value) -> Found {
        let Subject { value, at, depth, .. } = *subject;
        match keyword {
            "type" | "$schema" | "$id" | "$comment" | "$defs" | "definitions" | "title" | "description" | "default"
            | "examples" | "format" | "deprecated" | "readOnly" | "writeOnly" | "discriminator" | "then" | "else" => {
                Ok(Vec::new())
            }
            _ if keyword.starts_with("x-") => Ok(Vec::new()),
            "$ref" => self.check(self.named(given)?, value, at, depth + 1),
            "const" if value == given => Ok(Vec::new()),
            "const" => Ok(wrong(at, format!("must be {given}"))),
            "enum" => Ok(one_of(list(keyword, given)?, value, at)),
            "allOf" | "anyOf" | "oneOf" | "not" | "if" => self.combined(subject, keyword, given),
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => number(subject, keyword, given),
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
                length(subject, keyword, given)
            }
            "pattern" => self.pattern(subject, given),
            "items" | "prefixItems" | "uniqueItems" => self.elements(subject, keyword, given),
            "properties" | "patternProperties" | "additionalProperties" | "required" | "propertyNames" => {
                self.members(subject, keyword, given)
            }
            other => Err(unusable(format!("uses the keyword `{other}`, which portcullis does not know"))),
        }
    }

    fn rules(&self, schema: &Value, value: &Value, at: &str, depth: u32, rules: &mut BTreeSet<String>) -> Result<()> {
        self.count(1)?;
        if depth > MOST_DEPTH {
            return Err(unusable("is nested too deeply, or made of itself"));
        }
        let mark = schema.get("x-rules").and_then(Value::as_bool);
        if mark == Some(false) {
            return Ok(());
        }
        if let Some(reference) = schema.get("$ref") {
            self.rules(self.named(reference)?, value, at, depth + 1, rules)?;
        }
        for alternative in ["allOf", "anyOf", "oneOf"].iter().filter_map(|key| schema.get(key)?.as_array()).flatten() {
            self.rules(alternative, value, at, depth + 1, rules)?;
        }
        for (at, schema, value) in parts(schema, value, at) {
            if mark == Some(true) {
                rules.insert(at.clone());
            }
            self.rules(schema, value, &at, depth + 1, rules)?;
        }
        Ok(())
    }

    /// Some of this program's time.
    fn count(&self, steps: u32) -> Result<()> {
        let left = self.steps.get().checked_sub(steps).ok_or_else(|| unusable("takes too long to be held against settings"))?;
        self.steps.set(left);
        Ok(())
    }

    fn named(&self, reference: &Value) -> Result<&Value> {
        let pointer = reference.as_str().and_then(|text| text.strip_prefix('#'));
        let schema = pointer.and_then(|pointer| self.root.pointer(pointer));
        schema.ok_or_else(|| unusable(format!("refers to {reference}, which is not in it")))
    }

    fn combined(&self, subject: &Subject, keyword: &str, given: &Value) -> Found {
        let Subject { schema, value, at, depth } = *subject;
        let check = |schema: &Value| self.check(schema, value, at, depth + 1);
        match keyword {
            "allOf" => Ok(list(keyword, given)?.iter().map(check).collect::<Result<Vec<_>>>()?.concat()),
            "not" if check(given)?.is_empty() => Ok(wrong(at, "is one of the forms that the policy excludes")),
            "not" => Ok(Vec::new()),
            "if" => {
                let branch = if check(given)?.is_empty() { "then" } else { "else" };
                schema.get(branch).map_or(Ok(Vec::new()), check)
            }
            _ => self.alternatives(subject, keyword, list(keyword, given)?),
        }
    }

    /// Where none fits, the mistakes of the one that came furthest; if several did, what would fit.
    fn alternatives(&self, subject: &Subject, keyword: &str, schemas: &[Value]) -> Found {
        let Subject { value, at, depth, .. } = *subject;
        let tried = schemas.iter().map(|schema| self.check(schema, value, at, depth + 1)).collect::<Result<Vec<_>>>()?;
        let fitting = tried.iter().filter(|mistakes| mistakes.is_empty()).count();
        if fitting == 1 || fitting > 1 && keyword == "anyOf" {
            return Ok(Vec::new());
        }
        if fitting > 1 {
            return Ok(wrong(at, "fits several of the forms that it may have, and must fit one"));
        }
        let reach = |mistakes: &Vec<SettingsError>| mistakes.iter().map(|mistake| mistake.path.len()).max();
        let furthest = tried.iter().filter_map(reach).max();
        let mut nearest = tried.into_iter().filter(|mistakes| reach(mistakes) == furthest);
        match (nearest.next(), nearest.next()) {
            (Some(mistakes), None) => Ok(mistakes),
            _ => {
                let forms = schemas.iter().map(|schema| self.form(schema, 0)).collect::<Result<Vec<_>>>()?;
                Ok(wrong(at, format!("must be {}", in_words(&forms))))
            }
        }
    }

    /// What a schema describes, for a person.
    fn form(&self, schema: &Value, depth: u32) -> Result<String> {
        self.count(1)?;
        if let Some(reference) = schema.get("$ref").filter(|_| depth < MOST_DEPTH) {
            return self.form(self.named(reference)?, depth + 1);
        }
        if let Some(value) = schema.get("const") {
            return Ok(value.to_string());
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return Ok(in_words(&values.iter().map(Value::to_string).collect::<Vec<_>>()));
        }
        let kinds = schema.get("type").map_or(Ok(Vec::new()), kinds_of)?;
        match schema.get("required").and_then(Value::as_array) {
            Some(keys) if kinds == ["object"] => {
                let keys: Vec<_> = keys.iter().filter_map(Value::as_str).map(|key| format!("`{key}`")).collect();
                Ok(format!("a table with {}", keys.join(", ")))
            }
            _ if kinds.is_empty() => Ok("another form".to_owned()),
            _ => Ok(kinds_in_words(&kinds)),
        }
    }

    fn pattern(&self, subject: &Subject, given: &Value) -> Found {
        let Value::String(text) = subject.value else { return Ok(Vec::new()) };
        let pattern = self.compiled(given)?;
        Ok(if pattern.is_match(text) { Vec::new() } else { wrong(subject.at, format!("must match {given}")) })
    }

    fn compiled(&self, given: &Value) -> Result<regex::Regex> {
        self.count(STEPS_OF_A_PATTERN)?;
        let source = given.as_str().ok_or_else(|| misused("pattern"))?;
        let regex = RegexBuilder::new(source).size_limit(MOST_PATTERN_BYTES).build();
        regex.map_err(|_| unusable(format!("has the pattern {given}, which portcullis can not read")))
    }

    fn elements(&self, subject: &Subject, keyword: &str, given: &Value) -> Found {
        let Subject { schema, value, at, depth } = *subject;
        let Value::Array(values) = value else { return Ok(Vec::new()) };
        let first = schema.get("prefixItems").map_or(Ok(&[][..]), |first| list("prefixItems", first))?;
        let one =
            |(index, schema, value): (usize, &Value, &Value)| self.check(schema, value, &format!("{at}[{index}]"), depth + 1);
        let found: Vec<_> = match keyword {
            "uniqueItems" => {
                let mut seen = BTreeSet::new();
                let again =
                    values.iter().position(|value| !seen.insert(value.to_string())).filter(|_| *given == Value::Bool(true));
                return Ok(again.map_or_else(Vec::new, |index| wrong(&format!("{at}[{index}]"), "stands there twice")));
            }
            "items" => {
                let rest = values.iter().enumerate().skip(first.len());
                rest.map(|(index, value)| one((index, given, value))).collect::<Result<_>>()?
            }
            _ => values
                .iter()
                .enumerate()
                .zip(first)
                .map(|((index, value), schema)| one((index, schema, value)))
                .collect::<Result<_>>()?,
        };
        Ok(found.concat())
    }

    fn members(&self, subject: &Subject, keyword: &str, given: &Value) -> Found {
        let Subject { value, at, depth, .. } = *subject;
        let Value::Object(members) = value else { return Ok(Vec::new()) };
        let mut mistakes = Vec::new();
        match keyword {
            "properties" => {
                let known = given.as_object().ok_or_else(|| misused(keyword))?;
                for (key, value) in members {
                    if let Some(schema) = known.get(key) {
                        mistakes.extend(self.check(schema, value, &join(at, key), depth + 1)?);
                    }
                }
            }
            "required" => {
                let missing = list(keyword, given)?.iter().filter_map(Value::as_str).filter(|key| !members.contains_key(*key));
                mistakes.extend(missing.flat_map(|key| wrong(&join(at, key), "is missing")));
            }
            "propertyNames" => {
                for key in members.keys() {
                    mistakes.extend(self.check(given, &Value::from(key.as_str()), &join(at, key), depth + 1)?);
                }
            }
            "patternProperties" => {
                for (pattern, schema) in given.as_object().ok_or_else(|| misused(keyword))? {
                    let pattern = self.compiled(&Value::from(pattern.as_str()))?;
                    for (key, value) in members.iter().filter(|(key, _)| pattern.is_match(key)) {
                        mistakes.extend(self.check(schema, value, &join(at, key), depth + 1)?);
                    }
                }
            }
            _ => mistakes = self.additional(subject, members, given)?,
        }
        Ok(mistakes)
    }

    fn additional(&self, subject: &Subject, members: &Map<String, Value>, given: &Value) -> Found {
        let Subject { schema, at, depth, .. } = *subject;
        let object = |keyword| schema.get(keyword).and_then(Value::as_object);
        let known: Vec<&str> = object("properties").into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        let patterns = object("patternProperties").into_iter().flatten();
        let patterns = patterns.map(|(key, _)| self.compiled(&Value::from(key.as_str()))).collect::<Result<Vec<_>>>()?;
        let is_known = |key: &str| known.contains(&key) || patterns.iter().any(|pattern| pattern.is_match(key));
        let mut mistakes = Vec::new();
        for (key, value) in members.iter().filter(|(key, _)| !is_known(key)) {
            let at = join(at, key);
            mistakes.extend(match given {
                Value::Bool(false) => wrong(&at, format!("unknown key; {}", suggestion(key, &known))),
                schema => self.check(schema, value, &at, depth + 1)?,
            });
        }
        Ok(mistakes)
    }
}

/// What stands in a table or a list, each with its place and its schema.
fn parts<'v>(schema: &'v Value, value: &'v Value, at: &str) -> Vec<(String, &'v Value, &'v Value)> {
    let own =
        |key: &str| schema.get("properties").and_then(|known| known.get(key)).or_else(|| schema.get("additionalProperties"));
    match value {
        Value::Object(members) => {
            let part = |(key, value): (&String, &'v Value)| Some((join(at, key), own(key)?, value));
            members.iter().filter_map(part).collect()
        }
        Value::Array(values) => {
            let items = schema.get("items").into_iter();
            items
                .flat_map(|items| values.iter().enumerate().map(move |(index, value)| (index, items, value)))
                .map(|(index, items, value)| (format!("{at}[{index}]"), items, value))
                .collect()
        }
        _ => Vec::new(),
    }
}

fn wrong(at: &str, message: impl Into<String>) -> Vec<SettingsError> {
    vec![SettingsError { path: at.to_owned(), message: message.into() }]
}

fn misused(keyword: &str) -> SchemaError {
    unusable(format!("says of `{keyword}` what can not be said of it"))
}

fn list<'v>(keyword: &str, given: &'v Value) -> Result<&'v [Value]> {
    given.as_array().map(Vec::as_slice).ok_or_else(|| misused(keyword))
}

fn one_of(known: &[Value], value: &Value, at: &str) -> Vec<SettingsError> {
    if known.contains(value) {
        return Vec::new();
    }
    wrong(at, format!("must be {}", in_words(&known.iter().map(Value::to_string).collect::<Vec<_>>())))
}

fn number(subject: &Subject, keyword: &str, given: &Value) -> Found {
    let bound = given.as_f64().ok_or_else(|| misused(keyword))?;
    let Some(number) = subject.value.as_f64() else { return Ok(Vec::new()) };
    let (is_fine, wanted) = match keyword {
        "minimum" => (number >= bound, "at least"),
        "maximum" => (number <= bound, "at most"),
        "exclusiveMinimum" => (number > bound, "more than"),
        "exclusiveMaximum" => (number < bound, "less than"),
        _ => (bound > 0.0 && (number / bound).fract() == 0.0, "a multiple of"),
    };
    Ok(if is_fine { Vec::new() } else { wrong(subject.at, format!("must be {wanted} {given}")) })
}

fn length(subject: &Subject, keyword: &str, given: &Value) -> Found {
    let bound = given.as_u64().ok_or_else(|| misused(keyword))?;
    let (length, what) = match (subject.value, keyword) {
        (Value::String(text), "minLength" | "maxLength") => (text.chars().count(), "characters"),
        (Value::Array(values), "minItems" | "maxItems") => (values.len(), "elements"),
        (Value::Object(members), "minProperties" | "maxProperties") => (members.len(), "keys"),
        _ => return Ok(Vec::new()),
    };
    let (is_fine, wanted) =
        if keyword.starts_with("min") { (length as u64 >= bound, "at least") } else { (length as u64 <= bound, "at most") };
    Ok(if is_fine { Vec::new() } else { wrong(subject.at, format!("must have {wanted} {bound} {what}")) })
}

fn kinds_of(given: &Value) -> Result<Vec<&str>> {
    match given {
        Value::String(kind) => Ok(vec![kind]),
        Value::Array(kinds) => Ok(kinds.iter().filter_map(Value::as_str).collect()),
        _ => Err(misused("type")),
    }
}

fn is_kind(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

/// Kinds by the names of TOML, which has no null.
fn kinds_in_words(kinds: &[&str]) -> String {
    let name = |kind: &&str| match *kind {
        "boolean" => Some("true or false"),
        "string" => Some("a string"),
        "number" => Some("a number"),
        "integer" => Some("a whole number"),
        "array" => Some("a list"),
        "object" => Some("a table"),
        _ => None,
    };
    in_words(&kinds.iter().filter_map(name).collect::<Vec<_>>())
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::String(_) => "a string",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a whole number",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

fn in_words(forms: &[impl AsRef<str>]) -> String {
    match forms {
        [] => "nothing".to_owned(),
        [one] => one.as_ref().to_owned(),
        [rest @ .., last] => {
            let rest: Vec<_> = rest.iter().map(AsRef::as_ref).collect();
            format!("{} or {}", rest.join(", "), last.as_ref())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn mistakes(schema: Value, settings: Value) -> Vec<String> {
        let found = Schema(schema).mistakes(&settings).expect("the schema is of use");
        found.into_iter().map(|one| format!("{}: {}", one.path, one.message)).collect()
    }

    #[rstest]
    #[case(json!({"type": "string"}), json!("x"), &[])]
    #[case(json!({"type": "string"}), json!(3), &[": must be a string, and is a whole number"])]
    #[case(json!({"type": ["boolean", "null"]}), json!("x"), &[": must be true or false, and is a string"])]
    #[case(json!({"type": "integer", "minimum": 0}), json!(-1), &[": must be at least 0"])]
    #[case(json!({"properties": {"a": {"items": {"type": "string"}}}}), json!({"a": ["x", 1]}), &["a[1]: must be a string, and is a whole number"])]
    #[case(json!({"properties": {"alow": {}, "allow": {}}, "additionalProperties": false}), json!({"allwo": 1}), &["allwo: unknown key; did you mean `allow`?"])]
    #[case(json!({"required": ["a"]}), json!({"b.c": 1}), &["a: is missing"])]
    #[case(json!({"additionalProperties": {"type": "string"}}), json!({"b.c": 1}), &["\"b.c\": must be a string, and is a whole number"])]
    #[case(json!({"enum": ["a", "b"]}), json!("c"), &[r#": must be "a" or "b""#])]
    #[case(json!({"uniqueItems": true}), json!(["a", "a"]), &["[1]: stands there twice"])]
    #[case(json!({"pattern": "^a+$"}), json!("secret"), &[r#": must match "^a+$""#])]
    #[case(json!({"oneOf": [{"const": "a"}, {"type": "object", "required": ["b"]}]}), json!("c"), &[r#": must be "a" or a table with `b`"#])]
    #[case(json!({"anyOf": [{"type": "string"}, {"type": "object", "properties": {"r": {"type": "string"}}}]}), json!({"r": 1}), &["r: must be a string, and is a whole number"])]
    #[case(json!({"if": {"type": "string"}, "then": {"minLength": 2}}), json!("c"), &[": must have at least 2 characters"])]
    #[case(json!({"$ref": "#/$defs/n", "$defs": {"n": {"properties": {"n": {"$ref": "#/$defs/n"}}, "additionalProperties": false}}}), json!({"n": {"n": {"m": 1}}}), &["n.n.m: unknown key; did you mean `n`?"])]
    fn settings_are_held_against_the_schema(#[case] schema: Value, #[case] settings: Value, #[case] expected: &[&str]) {
        assert_eq!(mistakes(schema, settings), expected);
    }

    #[rstest]
    #[case(json!({"$ref": "#"}), "nested too deeply")]
    #[case(json!({"$ref": "https://h.invalid/x"}), "refers to")]
    #[case(json!({"unevaluatedProperties": false}), "does not know")]
    #[case(json!({"pattern": "("}), "can not read")]
    #[case(json!({"allOf": 3}), "what can not be said of it")]
    #[case(json!([]), "is none")]
    fn a_schema_of_no_use_is_refused(#[case] schema: Value, #[case] why: &str) {
        let refused = Schema(schema).mistakes(&json!("x")).expect_err("it is of no use");
        assert!(refused.to_string().contains(why), "{refused}");
    }

    #[test]
    fn the_example_configuration_is_as_its_schema_says() {
        let schema = Schema(crate::config::schema(crate::policy::builtin_schemas()));
        let example: toml::Table = crate::config::EMBEDDED.parse().expect("the example is TOML");
        let mut example = serde_json::to_value(example).expect("and JSON");
        assert_eq!(schema.mistakes(&example), Ok(Vec::new()));
        example["policies"][0]["settings"] = json!({ "programs": { "sh": { "operands": "any" } } });
        let found = schema.mistakes(&example).expect("it is of use");
        assert_eq!(found[0].path, "policies[0].settings.programs.sh.operands");
    }

    #[test]
    fn rules_are_what_stands_where_the_schema_says_so() {
        let rule = json!({"properties": {"sub": {"x-rules": true, "additionalProperties": {"$ref": "#/$defs/rule"}}}});
        let schema = Schema(json!({
            "$defs": {"rule": rule},
            "properties": {
                "rules": {"x-rules": true, "additionalProperties": {"$ref": "#/$defs/rule"}},
                "parts": {"x-rules": false, "additionalProperties": {"$ref": "#/$defs/rule"}},
                "list": {"x-rules": true, "items": {"type": "string"}},
            },
        }));
        let settings = json!({"rules": {"a": {"sub": {"b c": {}}}}, "parts": {"p": {"sub": {"q": {}}}}, "list": ["x"]});
        assert_eq!(schema.rules(&settings).expect("it is of use"), ["list[0]", "rules.a", "rules.a.sub.\"b c\""]);
    }

    #[test]
    fn a_schema_that_doubles_at_each_level_ends() {
        let mut defs = Map::new();
        for level in 0..100 {
            let next = json!({"$ref": format!("#/$defs/l{}", level + 1)});
            defs.insert(format!("l{level}"), json!({"allOf": [next, next]}));
        }
        defs.insert("l100".to_owned(), json!(true));
        let refused = Schema(json!({"$defs": defs, "$ref": "#/$defs/l0"})).mistakes(&json!(1));
        assert!(refused.expect_err("it takes too long").to_string().contains("too"), "it ends");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            _ = Schema::of(&[b"\0asm\x0d\0\x01\0".as_slice(), &bytes].concat());
        }
    }
}
