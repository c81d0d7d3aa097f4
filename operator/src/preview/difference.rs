//! The difference between two versions of an object, field by field. Pure. Contains no value of a
//! Secret.

use std::fmt;

use serde_json::{Map, Value};

/// The change of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `Kind/name`.
    pub title: String,
    pub verb: Verb,
    /// The changed fields, one a line.
    pub fields: Vec<String>,
    /// Whether its pods are recreated.
    pub rolls: bool,
}

/// The kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Create,
    Change,
    Delete,
    Keep,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "+",
            Self::Change => "~",
            Self::Delete => "-",
            Self::Keep => "=",
        })
    }
}

impl Change {
    /// The creation of an object.
    pub fn created(title: String) -> Self {
        Self { title, verb: Verb::Create, fields: Vec::new(), rolls: false }
    }

    /// The deletion of an object.
    pub fn deleted(title: String) -> Self {
        Self { title, verb: Verb::Delete, fields: Vec::new(), rolls: false }
    }

    /// The change from the live object to the one after applying.
    pub fn between(title: String, live: &Value, after: &Value) -> Self {
        let mut fields = Vec::new();
        let secret = live["kind"] == "Secret";
        compare(&stripped(live), &stripped(after), "", secret, &mut fields);
        let template = |object: &Value| object["spec"]["template"].clone();
        let rolls = !template(live).is_null() && template(live) != template(after);
        let verb = if fields.is_empty() { Verb::Keep } else { Verb::Change };
        Self { title, verb, fields, rolls }
    }

    /// Whether the object changes.
    pub fn is_one(&self) -> bool {
        self.verb != Verb::Keep
    }
}

/// The object without the fields that the API server maintains.
fn stripped(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            for key in ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"] {
                metadata.remove(key);
            }
        }
    }
    object
}

fn compare(old: &Value, new: &Value, path: &str, secret: bool, out: &mut Vec<String>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let dotted = key.contains(['.', '/']);
                let below = match (path, dotted) {
                    (path, true) => format!("{path}[{key}]"),
                    ("", false) => key.clone(),
                    (path, false) => format!("{path}.{key}"),
                };
                let value = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                compare(&value(old), &value(new), &below, secret, out);
            }
        }
        (Value::Array(olds), Value::Array(news)) => match (named(olds), named(news)) {
            (Some(olds), Some(news)) => compare(&Value::Object(olds), &Value::Object(news), path, secret, out),
            _ => {
                for at in 0..olds.len().max(news.len()) {
                    let value = |list: &[Value]| list.get(at).cloned().unwrap_or_default();
                    compare(&value(olds), &value(news), &format!("{path}[{at}]"), secret, out);
                }
            }
        },
        (Value::String(old), Value::String(new)) => match (document(old), document(new)) {
            // Compares a file in a ConfigMap by its fields.
            (Some(old), Some(new)) => compare(&old, &new, path, secret, out),
            _ => out.push(line(path, Some(&Value::String(old.clone())), Some(&Value::String(new.clone())), secret)),
        },
        (old, new) => out.push(line(path, some(old), some(new), secret)),
    }
}

/// A list of named items as a map by name.
fn named(list: &[Value]) -> Option<Map<String, Value>> {
    list.iter().map(|item| Some((item.get("name")?.as_str()?.to_owned(), item.clone()))).collect()
}

fn document(text: &str) -> Option<Value> {
    if !text.contains('\n') {
        return None;
    }
    serde_norway::from_str::<Value>(text).ok().filter(Value::is_object)
}

fn some(value: &Value) -> Option<&Value> {
    (!value.is_null()).then_some(value)
}

fn line(path: &str, old: Option<&Value>, new: Option<&Value>, secret: bool) -> String {
    let printed = |value: &Value| match value {
        _ if secret => "…".to_owned(),
        Value::String(text) => shortened(text),
        other => shortened(&other.to_string()),
    };
    match (old, new) {
        (Some(old), Some(new)) => format!("{path}: {} -> {}", printed(old), printed(new)),
        (None, Some(new)) => format!("{path}: {} (new)", printed(new)),
        (Some(old), None) => format!("{path}: {} (removed)", printed(old)),
        (None, None) => path.to_owned(),
    }
}

fn shortened(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    match first.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &first[..end]),
        None if first.len() < text.len() => format!("{first}…"),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(old: &Value, new: &Value) -> Vec<String> {
        Change::between("x".into(), old, new).fields
    }

    #[test]
    fn named_items_are_compared_by_name() {
        let old =
            json!({"spec": {"template": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}}});
        let new =
            json!({"spec": {"template": {"containers": [{"name": "b", "image": "1"}, {"name": "a", "image": "2"}]}}});
        assert_eq!(fields(&old, &new), ["spec.template.containers.a.image: 1 -> 2"]);
        assert!(Change::between("x".into(), &old, &new).rolls);
    }

    #[test]
    fn fields_of_the_api_server_are_ignored() {
        let old = json!({"metadata": {"resourceVersion": "1", "generation": 1, "managedFields": []}, "status": {"a": 1}, "spec": {"a": 1}});
        let new = json!({"metadata": {"resourceVersion": "2", "generation": 2}, "spec": {"a": 1}});
        assert_eq!(Change::between("x".into(), &old, &new).verb, Verb::Keep);
    }

    #[test]
    fn files_are_compared_by_field_and_secrets_are_hidden() {
        let map =
            |capacity: u32| json!({"data": {"config.yaml": format!("lanes:\n  low:\n    capacity: {capacity}\n")}});
        assert_eq!(fields(&map(1), &map(2)), ["data[config.yaml].lanes.low.capacity: 1 -> 2"]);
        let secret = |value: &str| json!({"kind": "Secret", "data": {"key": value}});
        assert_eq!(fields(&secret("old"), &secret("new")), ["data.key: … -> …"]);
    }

    #[test]
    fn long_texts_are_cut_at_a_character_boundary() {
        assert_eq!(shortened(&"ü".repeat(100)).chars().count(), 81);
        assert_eq!(shortened("one\ntwo"), "one…");
    }
}
