//! Reads the schema of a custom resource.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::{Map, Value};
use switchyard_operator::crd::generate;

/// The generated definition of the kind with this plural.
///
/// # Errors
/// There is no such kind.
pub fn definition(plural: &str) -> anyhow::Result<Value> {
    let documents = generate::documents()?;
    let found = documents.iter().find(|document| document.file.ends_with(&format!("_{plural}.yaml")));
    Ok(serde_norway::from_str(&found.with_context(|| format!("no definition of {plural}"))?.yaml)?)
}

/// A field with its schema.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    pub name: &'a str,
    pub schema: &'a Value,
    pub is_required: bool,
}

/// The fields of an object, the required ones first.
pub fn fields(schema: &Value) -> Vec<Field<'_>> {
    let required = |name: &str| schema["required"].as_array().into_iter().flatten().any(|one| one == name);
    let properties = schema["properties"].as_object().into_iter().flatten();
    let mut fields: Vec<Field<'_>> =
        properties.map(|(name, schema)| Field { name, schema, is_required: required(name) }).collect();
    fields.sort_by_key(|field| !field.is_required);
    fields
}

/// The schema of the objects in a field: its own, or that of the items of a list. None if the field
/// has no fields of its own.
pub fn object(schema: &Value) -> Option<&Value> {
    let inner = if schema["type"] == "array" { &schema["items"] } else { schema };
    inner["properties"].as_object().filter(|properties| !properties.is_empty()).map(|_| inner)
}

/// The description, in one line.
pub fn description(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    // A word in Kubernetes' own descriptions that this documentation does without.
    let words = text.split_whitespace().filter(|word| *word != "just");
    words.map(link).collect::<Vec<_>>().join(" ")
}

/// A bare URL becomes a link.
fn link(word: &str) -> String {
    let url = word.trim_end_matches(['.', ',', ':', ';', ')']);
    if url.starts_with("http") && url.contains("://") {
        format!("<{url}>{}", &word[url.len()..])
    } else {
        word.to_owned()
    }
}

/// The type in words.
pub fn kind(schema: &Value) -> String {
    if schema["x-kubernetes-int-or-string"] == true {
        return "quantity".to_owned();
    }
    if duration_rule(schema).is_some() {
        return "duration".to_owned();
    }
    if let Some(kinds) = schema["type"].as_array() {
        return kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ");
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", plural(&kind(&schema["items"]))),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("map of {}", plural(&kind(&schema["additionalProperties"])))
        }
        Some("string") if schema["format"] == "date-time" => "time".to_owned(),
        Some(kind) => kind.to_owned(),
        None => "any".to_owned(),
    }
}

/// The rule and the message of a duration; none if the schema is that of something else.
pub fn duration_rule(schema: &Value) -> Option<(String, String)> {
    rules(schema).into_iter().find(|(rule, _)| rule.contains("[smh]"))
}

fn plural(kind: &str) -> String {
    if let Some((one, other)) = kind.split_once(" or ") {
        return format!("{} or {}", plural(one), plural(other));
    }
    match kind.strip_suffix("ity") {
        Some(stem) => format!("{stem}ities"),
        None => format!("{kind}s"),
    }
}

/// The values that the schema allows: a sentence fragment, empty if it allows any of its type.
pub fn constraint(schema: &Value) -> String {
    let map = Map::new();
    let schema = schema.as_object().unwrap_or(&map);
    let number = |key: &str| schema.get(key).and_then(Value::as_i64);
    let mut all = Vec::new();
    let items = schema.get("items").and_then(|items| items.get("enum"));
    if let Some(values) = schema.get("enum").or(items).and_then(Value::as_array) {
        let values: Vec<String> = values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
        all.push(format!("one of {}", values.join(", ")));
    }
    let between = |low: Option<i64>, high: Option<i64>, unit: &str| {
        let mut text = String::new();
        let _ = match (low, high) {
            (Some(low), Some(high)) => write!(text, "{low} to {high}{unit}"),
            (Some(low), None) => write!(text, "at least {low}{unit}"),
            (None, Some(high)) => write!(text, "at most {high}{unit}"),
            (None, None) => Ok(()),
        };
        text
    };
    all.push(between(number("minimum"), number("maximum"), ""));
    let length =
        if schema.get("maxLength").is_none() && number("minLength") == Some(1) { " character" } else { " characters" };
    if duration_rule(&Value::Object(schema.clone())).is_none() {
        all.push(between(number("minLength"), number("maxLength"), length));
    }
    all.push(between(number("minItems"), number("maxItems"), " items"));
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        all.push(format!("pattern `{pattern}`"));
    }
    all.retain(|one| !one.is_empty());
    all.join(", ")
}

/// The CEL rules of a schema, each with its message.
pub fn rules(schema: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    let message = |value: &Value| text(value).split(' ').map(link).collect::<Vec<_>>().join(" ");
    rules.map(|rule| (text(&rule["rule"]), message(&rule["message"]))).collect()
}
