//! Validates a response against the OpenAPI document: the operation, the status, the content type
//! and the body are documented.

use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// The differences between a response and the document; empty if there are none.
pub fn differences(
    document: &Value,
    method: &str,
    path: &str,
    status: u16,
    content_type: &str,
    body: &Value,
) -> Vec<String> {
    let path = path.split('?').next().unwrap_or_default();
    let Some((template, item)) =
        document["paths"].as_object().into_iter().flatten().find(|(template, _)| matches(template, path))
    else {
        return vec![format!("{path} is not documented")];
    };
    let operation = &item[method.to_ascii_lowercase()];
    if operation.is_null() {
        return vec![format!("{method} {template} is not documented")];
    }
    let response = &operation["responses"][status.to_string()];
    if response.is_null() {
        return vec![format!("{method} {template}: status {status} is not documented")];
    }
    let Some(content) = response["content"].as_object() else { return Vec::new() };
    let essence = content_type.split(';').next().unwrap_or_default();
    let Some(media) = content.get(essence) else {
        return vec![format!("{method} {template} {status}: content type '{content_type}' is not documented")];
    };
    let mut found = Vec::new();
    if essence.ends_with("json") {
        let errors = validator(document, &media["schema"]);
        let errors = errors.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path));
        found.extend(errors.map(|error| format!("{method} {template} {status}: {error}")));
    }
    if essence == "application/problem+json" {
        let code = body["code"].as_str().unwrap_or_default();
        if media["examples"].get(code).is_none() {
            found.push(format!("{method} {template} {status}: problem '{code}' is not documented"));
        }
    }
    found
}

/// Whether `path` is an instance of `template`. Literal segments are compared as they are.
fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(&path).all(|(expected, given)| expected == given || expected.starts_with('{'))
}

/// Keywords that the document uses and the validator checks, or that say nothing about a value. The
/// validator ignores a keyword that it does not know, so another one needs a look first.
const KEYWORDS: &[&str] = &[
    "type",
    "$ref",
    "properties",
    "required",
    "items",
    "enum",
    "oneOf",
    "allOf",
    "description",
    "example",
    "examples",
    "format",
    "minimum",
    "maximum",
    "additionalProperties",
    "default",
    "maxLength",
    "minLength",
    "pattern",
    "propertyNames",
];

/// Fails on a keyword outside of [`KEYWORDS`].
fn check_keywords(schema: &Value) {
    let Some(members) = schema.as_object() else { return };
    for (keyword, value) in members {
        assert!(KEYWORDS.contains(&keyword.as_str()), "the conformance check does not know the keyword '{keyword}'");
        match keyword.as_str() {
            "properties" => value.as_object().into_iter().flat_map(Map::values).for_each(check_keywords),
            "oneOf" | "allOf" => value.as_array().into_iter().flatten().for_each(check_keywords),
            "items" | "additionalProperties" => check_keywords(value),
            _ => {}
        }
    }
}

/// The validator of `schema`, whose references lead into `document`.
fn validator(document: &Value, schema: &Value) -> Validator {
    document["components"]["schemas"].as_object().into_iter().flat_map(Map::values).for_each(check_keywords);
    check_keywords(schema);
    let mut root = json!({"components": {"schemas": document["components"]["schemas"]}, "allOf": [schema]});
    close(&mut root);
    jsonschema::draft202012::options().should_validate_formats(true).build(&root).expect("the schema is valid")
}

/// Forbids members that an object's schema does not document. RFC 9457 allows them in a problem,
/// the one with `detail`.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let open =
                |properties: &Map<String, Value>| properties.contains_key("detail") && properties.contains_key("type");
            if let Some(Value::Object(properties)) = members.get("properties")
                && !open(properties)
            {
                members.entry("additionalProperties").or_insert(Value::Bool(false));
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[test]
fn undocumented_members_and_wrong_types_are_differences() {
    let document = serde_json::to_value(switchyard_api::router::document()).unwrap();
    let check = |body: &Value| differences(&document, "GET", "/v1/usage", 200, "application/json", body);
    let usage =
        json!({"tier": "free", "credits": 1, "running": 0, "running_limit": 2, "today": 0, "daily_limit": null});
    assert_eq!(check(&usage), Vec::<String>::new());
    for (name, value) in [("colour", json!("red")), ("credits", json!("1")), ("tier", json!("gold"))] {
        let mut changed = usage.clone();
        changed[name] = value;
        assert!(!check(&changed).is_empty(), "{changed}");
    }
    let mut incomplete = usage;
    incomplete.as_object_mut().unwrap().remove("daily_limit");
    assert!(!check(&incomplete).is_empty());
}
