//! Merges a user's pod template into the operator's.

use serde_json::{Map, Value};

/// Merges `over` into `base`, as a strategic merge patch does.
///
/// Objects are merged by field and known lists by their merge key. `null` removes a field. Anything
/// else is replaced.
pub fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => merge_objects(base, over),
        (base, over) => *base = without_nulls(over),
    }
}

fn merge_objects(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (field, value) in over {
        match (base.get_mut(field), value) {
            (_, Value::Null) => {
                base.remove(field);
            }
            (Some(Value::Array(old)), Value::Array(new)) if key_of(field).is_some() => {
                merge_lists(old, new, key_of(field).unwrap_or("name"));
            }
            (Some(old), new) => merge(old, new),
            (None, new) => {
                base.insert(field.clone(), without_nulls(new));
            }
        }
    }
}

/// Kubernetes' merge keys of the lists in a pod template; see
/// <https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/>.
fn key_of(field: &str) -> Option<&'static str> {
    match field {
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "ports" => Some("containerPort"),
        "topologySpreadConstraints" => Some("topologyKey"),
        _ => None,
    }
}

fn merge_lists(base: &mut Vec<Value>, over: &[Value], key: &str) {
    for item in over {
        let same = |other: &&mut Value| item.get(key).is_some() && other.get(key) == item.get(key);
        match base.iter_mut().find(same) {
            Some(old) => merge(old, item),
            None => base.push(without_nulls(item)),
        }
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn list_items_are_merged_by_key_or_added() {
        let mut base = json!({"spec": {
            "containers": [{"name": "api", "image": "a", "env": [{"name": "A", "value": "1"}], "args": ["serve"]}],
            "terminationGracePeriodSeconds": 30, "securityContext": {"runAsNonRoot": true, "fsGroup": 1}
        }});
        merge(
            &mut base,
            &json!({"spec": {
                "containers": [
                    {"name": "api", "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}], "args": ["other"]},
                    {"name": "sidecar", "image": "s"}
                ],
                "securityContext": {"fsGroup": null}, "priorityClassName": "high"
            }}),
        );
        assert_eq!(
            base,
            json!({"spec": {
                "containers": [
                    {
                        "name": "api", "image": "a", "args": ["other"],
                        "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}]
                    },
                    {"name": "sidecar", "image": "s"}
                ],
                "terminationGracePeriodSeconds": 30, "securityContext": {"runAsNonRoot": true},
                "priorityClassName": "high"
            }})
        );
    }

    #[test]
    fn merge_is_idempotent() {
        let over = json!({"spec": {"containers": [{"name": "api", "env": [{"name": "B", "value": "3"}]}], "tolerations": [{"key": "x"}]}});
        let mut once = json!({"spec": {"containers": [{"name": "api"}], "tolerations": [{"key": "y"}]}});
        merge(&mut once, &over);
        let mut twice = once.clone();
        merge(&mut twice, &over);
        assert_eq!(once, twice);
        assert_eq!(once["spec"]["tolerations"], json!([{"key": "x"}]));
    }
}
