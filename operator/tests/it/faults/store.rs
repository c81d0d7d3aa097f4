//! The objects of the fake API server, and the controllers of the cluster, as far as the operator
//! needs them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tokio::sync::watch;

/// Plural, namespace and name.
pub type Key = (String, String, String);

/// A refused request: status code, reason and message.
pub type Refusal = (u16, &'static str, String);

/// A change of one object. `after` is `None` for a deletion.
#[derive(Debug, Clone)]
pub struct Change {
    pub version: u64,
    pub plural: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

#[derive(Debug)]
pub struct Store {
    pub objects: BTreeMap<Key, Value>,
    /// All changes, oldest first.
    pub changes: Vec<Change>,
    /// What each field manager last applied, to the object or to its status.
    applied: BTreeMap<(Key, bool, String), Value>,
    version: watch::Sender<u64>,
}

impl Default for Store {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), changes: Vec::new(), applied: BTreeMap::new(), version: watch::Sender::new(1) }
    }
}

impl Store {
    /// The resourceVersion of the newest change.
    pub fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// Notifies of changes.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub fn create(&mut self, key: &Key, mut object: Value) -> Result<Value, Refusal> {
        if self.objects.contains_key(key) {
            return Err((409, "AlreadyExists", format!("{} \"{}\" already exists", key.0, key.2)));
        }
        let meta = &mut object["metadata"];
        meta["name"] = json!(key.2);
        meta["namespace"] = json!(key.1);
        meta["uid"] = json!(format!("uid-{}-{}", key.0, self.version() + 1));
        meta["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        if !matches!(
            key.0.as_str(),
            "configmaps" | "services" | "secrets" | "limitranges" | "resourcequotas" | "horizontalpodautoscalers"
        ) {
            meta["generation"] = json!(1);
        }
        Ok(self.put(key, object))
    }

    /// A compare-and-set by resourceVersion.
    pub fn replace(&mut self, key: &Key, object: Value) -> Result<Value, Refusal> {
        let live = self.live(key)?;
        if object["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"] {
            return Err((409, "Conflict", "the object has been modified".into()));
        }
        Ok(self.put(key, object))
    }

    /// Server-side apply with force. Maps are merged, any other value is replaced as a whole.
    pub fn apply(&mut self, key: &Key, status: bool, manager: &str, mut object: Value) -> Result<Value, Refusal> {
        strip(&mut object, status);
        let entry = (key.clone(), status, manager.to_owned());
        let old = self.applied.get(&entry).cloned().unwrap_or(Value::Null);
        let others: Vec<Value> = self
            .applied
            .iter()
            .filter(|(other, _)| other.0 == *key && **other != entry)
            .map(|(_, value)| value.clone())
            .collect();
        let mut live = match self.live(key) {
            Ok(live) => live.clone(),
            Err(refusal) if status => return Err(refusal),
            Err(_) => self.create(key, json!({"apiVersion": object["apiVersion"], "kind": object["kind"]}))?,
        };
        release_fields(&mut live, &old, &object, &others.iter().collect::<Vec<_>>());
        merge(&mut live, &object);
        if old != object {
            self.applied.insert(entry, object);
            live["metadata"]["managedFields"] = self.managed_fields(key);
        }
        Ok(self.put(key, live))
    }

    /// A JSON merge patch.
    pub fn merge(&mut self, key: &Key, patch: &Value) -> Result<Value, Refusal> {
        let mut live = self.live(key)?.clone();
        merge(&mut live, patch);
        Ok(self.put(key, live))
    }

    /// Deletes an object and its dependents.
    pub fn delete(&mut self, key: &Key, uid: Option<&str>) -> Result<(), Refusal> {
        let live = self.live(key)?.clone();
        let ours = live["metadata"]["uid"].clone();
        if uid.is_some_and(|uid| ours != uid) {
            return Err((409, "Conflict", "the UID in the precondition does not match".into()));
        }
        self.objects.remove(key);
        self.applied.retain(|entry, _| entry.0 != *key);
        self.record_change(&key.0, Some(live), None);
        let belongs = |object: &Value| {
            object["metadata"]["ownerReferences"].as_array().is_some_and(|all| all.iter().any(|one| one["uid"] == ours))
        };
        let dependents: Vec<Key> =
            self.objects.iter().filter(|(_, object)| belongs(object)).map(|(key, _)| key.clone()).collect();
        for key in dependents {
            // It may have been deleted with another dependent.
            let _ = self.delete(&key, None);
        }
        Ok(())
    }

    fn live(&self, key: &Key) -> Result<&Value, Refusal> {
        self.objects.get(key).ok_or_else(|| (404, "NotFound", format!("{} \"{}\" not found", key.0, key.2)))
    }

    /// Stores an object, unless it is unchanged.
    fn put(&mut self, key: &Key, mut object: Value) -> Value {
        let before = self.objects.get(key).cloned();
        if let Some(before) = &before {
            object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            if *before == object {
                return object;
            }
            if before["spec"] != object["spec"] && before["metadata"]["generation"].is_number() {
                object["metadata"]["generation"] = json!(before["metadata"]["generation"].as_i64().unwrap_or(1) + 1);
            }
        }
        object["metadata"]["resourceVersion"] = json!((self.version() + 1).to_string());
        self.objects.insert(key.clone(), object.clone());
        self.record_change(&key.0, before, Some(object.clone()));
        let progress = progressed(&key.0, &object);
        if progress == object { object } else { self.put(key, progress) }
    }

    fn record_change(&mut self, plural: &str, before: Option<Value>, mut after: Option<Value>) {
        let version = self.version() + 1;
        if let Some(after) = &mut after {
            after["metadata"]["resourceVersion"] = json!(version.to_string());
        }
        self.changes.push(Change { version, plural: plural.to_owned(), before, after });
        self.version.send_replace(version);
    }

    fn managed_fields(&self, key: &Key) -> Value {
        let of = self.applied.iter().filter(|(entry, _)| entry.0 == *key);
        let entries = of.map(|((_, status, manager), object)| {
            let mut entry =
                json!({"manager": manager, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields(object)});
            if *status {
                entry["subresource"] = json!("status");
            }
            entry
        });
        entries.collect::<Vec<_>>().into()
    }
}

/// Plays the controller of an object: Jobs succeed, and pods become ready, at once.
fn progressed(plural: &str, object: &Value) -> Value {
    let mut object = object.clone();
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let generation = object["metadata"]["generation"].clone();
    match plural {
        "jobs" => {
            object["status"] = json!({"succeeded": 1, "conditions": [
                {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        }
        "deployments" => {
            object["spec"]["replicas"] = json!(replicas);
            object["status"] = json!({"observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas});
        }
        "statefulsets" => {
            object["status"] = json!({"observedGeneration": generation, "replicas": replicas, "readyReplicas": replicas,
                "updatedReplicas": replicas, "currentRevision": "1", "updateRevision": "1"});
        }
        _ => {}
    }
    object
}

/// Keeps the part that an apply is about: the status, or all but the status. Of the metadata it
/// keeps labels, annotations and owners.
fn strip(object: &mut Value, status: bool) {
    let Value::Object(fields) = object else { return };
    if status {
        fields.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "status"));
    } else {
        fields.remove("status");
        if let Some(Value::Object(meta)) = fields.get_mut("metadata") {
            meta.retain(|key, _| matches!(key.as_str(), "labels" | "annotations" | "ownerReferences"));
        }
    }
}

/// Removes the fields that a manager no longer applies, unless another manager applies them.
fn release_fields(live: &mut Value, old: &Value, new: &Value, others: &[&Value]) {
    let (Value::Object(live), Value::Object(old)) = (live, old) else { return };
    for (key, before) in old {
        let others: Vec<&Value> = others.iter().filter_map(|other| other.get(key)).collect();
        match new.get(key) {
            None if others.is_empty() => {
                live.remove(key);
            }
            None => {}
            Some(new) => {
                if let Some(live) = live.get_mut(key) {
                    release_fields(live, before, new, &others);
                }
            }
        }
    }
}

fn merge(live: &mut Value, over: &Value) {
    match (live, over) {
        (Value::Object(live), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    live.remove(key);
                } else {
                    merge(live.entry(key).or_insert(Value::Object(Map::new())), value);
                }
            }
        }
        (live, over) => *live = over.clone(),
    }
}

fn fields(object: &Value) -> Value {
    match object {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (format!("f:{key}"), fields(value))).collect::<Map<_, _>>().into()
        }
        _ => json!({}),
    }
}
