//! Holds an answer against the OpenAPI document: the route, the status, the content type and the body's shape are documented.

use serde_json::Value;

/// What differs between an answer and the document, in words; empty when nothing does.
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
        check(document, &media["schema"], body, &format!("{method} {template} {status}"), &mut found);
    }
    if essence == "application/problem+json" {
        let code = body["code"].as_str().unwrap_or_default();
        if media["examples"].get(code).is_none() {
            found.push(format!("{method} {template} {status}: problem '{code}' is not documented"));
        }
    }
    found
}

/// Whether `path` is an instance of `template`; literal segments win by being compared as they are.
fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(&path).all(|(wanted, given)| wanted == given || wanted.starts_with('{'))
}

/// The subset of JSON Schema that the document uses; a key word outside it is a difference, so that nothing passes unseen.
fn check(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    const KNOWN: &[&str] = &[
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
    let Some(keywords) = schema.as_object() else { return };
    for unknown in keywords.keys().filter(|key| !KNOWN.contains(&key.as_str())) {
        found.push(format!("{at}: the check does not know the key word '{unknown}'"));
    }
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.trim_start_matches('#');
        match document.pointer(pointer) {
            Some(target) => check(document, target, value, at, found),
            None => found.push(format!("{at}: {name} is not defined")),
        }
        return;
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        check(document, part, value, at, found);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices.iter().any(|choice| {
            let mut wrong = Vec::new();
            check(document, choice, value, at, &mut wrong);
            wrong.is_empty()
        });
        if !fits {
            found.push(format!("{at}: {value} fits none of its choices"));
        }
    }
    check_type(schema, value, at, found);
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        found.push(format!("{at}: {value} is none of {allowed:?}"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.is_object() && value.get(name).is_none() {
            found.push(format!("{at}: '{name}' is missing"));
        }
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let inner = format!("{at}.{name}");
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(property), _) => check(document, property, member, &inner, found),
            // Problems carry figures of their own, as RFC 9457 lets them.
            (None, Value::Null) if schema["properties"].is_object() && schema["properties"]["detail"].is_null() => {
                found.push(format!("{inner} is not documented"));
            }
            (None, additional) => check(document, additional, member, &inner, found),
        }
    }
    for (index, member) in value.as_array().into_iter().flatten().enumerate() {
        check(document, &schema["items"], member, &format!("{at}[{index}]"), found);
    }
}

fn check_type(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let fits = |name: &&str| match *name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    };
    if !types.iter().any(fits) {
        found.push(format!("{at}: {value} is not of type {types:?}"));
    }
    for (bound, broken) in [
        ("minimum", value.as_f64() < schema["minimum"].as_f64()),
        ("maximum", value.as_f64() > schema["maximum"].as_f64()),
    ] {
        if value.is_number() && schema[bound].is_number() && broken {
            found.push(format!("{at}: {value} is beyond its {bound}"));
        }
    }
}
