//! A fake API server, which serves HTTP requests without a network.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body as Answer, Bytes},
    http::{Request, Response, StatusCode},
};
use futures::{StreamExt as _, stream};
use kube::client::Body;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    digest::without_digests,
    fault::{Fault, FaultKind},
    store::{Change, Key, Refusal, Store},
};

/// Longest duration of a watch, unless the client requests less.
const MAX_WATCH_DURATION: Duration = Duration::from_mins(30);

/// A parsed request.
#[derive(Debug, Clone)]
struct Call {
    verb: &'static str,
    /// Plural, namespace and name. The last two may be empty.
    key: Key,
    status: bool,
    query: BTreeMap<String, String>,
    metadata_only: bool,
}

/// A recorded call.
#[derive(Debug, Clone)]
pub struct RecordedCall {
    /// Verb and path, without the random parts of names.
    pub title: String,
    pub at: Instant,
}

#[derive(Default)]
struct State {
    store: Store,
    calls: Vec<RecordedCall>,
    fault: Option<Fault>,
    injected: usize,
}

/// The server. Clones share it.
#[derive(Clone, Default)]
pub struct Server(Arc<Mutex<State>>);

impl Server {
    pub fn with(fault: Option<Fault>) -> Self {
        Self(Arc::new(Mutex::new(State { fault, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Reads or modifies the objects, as another client would.
    pub fn store<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        work(&mut self.state().store)
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<RecordedCall> {
        self.state().calls.clone()
    }

    /// How often the fault was injected.
    pub fn injected(&self) -> usize {
        self.state().injected
    }

    /// Handles a request.
    pub async fn answer(self, request: Request<Body>) -> Result<Response<Answer>, std::io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.map_err(std::io::Error::other)?;
        let call = Call::read(&head);
        let title = call.title();
        let kind = {
            let mut state = self.state();
            state.calls.push(RecordedCall { title: title.clone(), at: Instant::now() });
            let kind = state.fault.as_mut().and_then(|fault| fault.inject(&title));
            state.injected += usize::from(kind.is_some());
            kind
        };
        match kind {
            None => Ok(self.execute(&call, &body, None)),
            Some(FaultKind::Status(code)) => Ok(refused(&fault_status(code))),
            Some(FaultKind::NoResponse { executed }) => {
                if executed {
                    self.execute(&call, &body, None);
                }
                std::future::pending().await
            }
            Some(FaultKind::ConnectionReset { executed }) => {
                if executed {
                    self.execute(&call, &body, None);
                }
                Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
            }
            Some(kind @ (FaultKind::TruncatedWatch | FaultKind::ExpiredWatch)) => {
                Ok(self.execute(&call, &body, Some(kind)))
            }
        }
    }

    fn execute(&self, call: &Call, body: &[u8], kind: Option<FaultKind>) -> Response<Answer> {
        if call.verb == "watch" {
            return self.watch(call, kind);
        }
        let sent = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).expect("JSON is sent") };
        let store = &mut self.state().store;
        let result = match call.verb {
            "get" => store
                .objects
                .get(&call.key)
                .ok_or_else(|| (404, "NotFound", format!("{} not found", call.key.2)))
                .map(|object| call.projected(object)),
            "list" => Ok(json!({
                "apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": store.version().to_string()},
                "items": store.objects.iter().filter(|(key, object)| call.lists(key, object)).map(|(_, object)| call.projected(object)).collect::<Vec<_>>(),
            })),
            "create" => {
                let name = sent["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                store.create(&(call.key.0.clone(), call.key.1.clone(), name), sent)
            }
            "replace" => store.replace(&call.key, sent),
            "apply" => {
                store.apply(&call.key, call.status, call.query.get("fieldManager").expect("a field manager"), sent)
            }
            "patch" => store.merge(&call.key, &sent),
            "delete" => {
                let uid = sent["preconditions"]["uid"].as_str();
                store
                    .delete(&call.key, uid)
                    .map(|()| json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
            }
            other => panic!("unexpected {other}"),
        };
        match result {
            Ok(object) => Response::new(Answer::from(object.to_string())),
            Err(refusal) => refused(&refusal),
        }
    }

    fn watch(&self, call: &Call, kind: Option<FaultKind>) -> Response<Answer> {
        let from: u64 = call.query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        let limit = call
            .query
            .get("timeoutSeconds")
            .and_then(|text| text.parse().ok())
            .map_or(MAX_WATCH_DURATION, Duration::from_secs);
        let end = Instant::now() + limit;
        let receiver = self.state().store.subscribe();
        let events = stream::unfold(
            (self.clone(), call.clone(), from, receiver),
            move |(server, call, seen, mut receiver)| async move {
                loop {
                    receiver.borrow_and_update();
                    let next = server.store(|store| {
                        let start = store.changes.partition_point(|change| change.version <= seen);
                        store.changes[start..].iter().find_map(|change| Some((change.version, call.event(change)?)))
                    });
                    if let Some((version, event)) = next {
                        let line = Bytes::from(format!("{event}\n"));
                        return Some((Ok::<_, Infallible>(line), (server, call, version, receiver)));
                    }
                    tokio::select! {
                        changed = receiver.changed() => changed.expect("the store lives as long as its server"),
                        () = tokio::time::sleep_until(end) => return None,
                    }
                }
            },
        );
        let last = stream::once(async move {
            sleep(Duration::from_secs(3)).await;
            match kind {
                Some(FaultKind::ExpiredWatch) => {
                    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old resource version"});
                    Ok(Bytes::from(format!("{}\n", json!({"type": "ERROR", "object": status}))))
                }
                _ => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
            }
        });
        let body = match kind {
            None => Answer::from_stream(events),
            // The stream ends after a part of an event.
            Some(kind) => {
                let part = (kind == FaultKind::TruncatedWatch).then(|| Ok(Bytes::from_static(b"{\"type\":\"MODI")));
                Answer::from_stream(stream::iter(part).chain(last))
            }
        };
        Response::new(body)
    }
}

impl Call {
    fn read(head: &axum::http::request::Parts) -> Self {
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let parts: Vec<&str> = head.uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let rest = if parts.first() == Some(&"api") { &parts[2..] } else { &parts[3..] };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            rest => ("", rest),
        };
        let plural = rest.first().copied().unwrap_or_default();
        let name = rest.get(1).copied().unwrap_or_default();
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let verb = match head.method.as_str() {
            "GET" if query.get("watch").is_some_and(|watch| watch == "true") => "watch",
            "GET" if name.is_empty() => "list",
            "GET" => "get",
            "POST" => "create",
            "PUT" => "replace",
            "DELETE" => "delete",
            "PATCH" if header("content-type").contains("apply-patch") => "apply",
            "PATCH" => "patch",
            other => panic!("unexpected {other}"),
        };
        Self {
            verb,
            key: (plural.to_owned(), namespace.to_owned(), name.to_owned()),
            status: rest.get(2) == Some(&"status"),
            metadata_only: header("accept").contains("as=PartialObjectMetadata"),
            query,
        }
    }

    fn title(&self) -> String {
        let (plural, _, name) = &self.key;
        let name = if plural == "events" { "*" } else { name };
        let mut title = format!("{} {plural}", self.verb);
        for part in [without_digests(name).as_str(), if self.status { "status" } else { "" }] {
            if !part.is_empty() {
                title += &format!("/{part}");
            }
        }
        if let Some(manager) = self.query.get("fieldManager").filter(|manager| *manager != "switchyard") {
            title += &format!(" as {manager}");
        }
        title
    }

    fn lists(&self, key: &Key, object: &Value) -> bool {
        key.0 == self.key.0 && (self.key.1.is_empty() || key.1 == self.key.1) && self.selects(object)
    }

    fn selects(&self, object: &Value) -> bool {
        let selector = self.query.get("labelSelector").map_or("", String::as_str);
        selector.split(',').filter(|part| !part.is_empty()).all(|part| {
            let (key, value) = part.split_once('=').expect("key=value");
            object["metadata"]["labels"][key] == value
        })
    }

    /// The object in the requested projection.
    fn projected(&self, object: &Value) -> Value {
        if self.metadata_only {
            json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
        } else {
            object.clone()
        }
    }

    /// The watch event of a change.
    fn event(&self, change: &Change) -> Option<Value> {
        let any = change.after.as_ref().or(change.before.as_ref())?;
        if change.plural != self.key.0
            || !(self.key.1.is_empty() || any["metadata"]["namespace"] == self.key.1.as_str())
        {
            return None;
        }
        let before = change.before.as_ref().filter(|object| self.selects(object));
        let after = change.after.as_ref().filter(|object| self.selects(object));
        let (kind, object) = match (before, after) {
            (None, None) => return None,
            (None, Some(after)) => ("ADDED", after),
            (Some(_), Some(after)) => ("MODIFIED", after),
            (Some(before), None) => ("DELETED", before),
        };
        let mut object = object.clone();
        object["metadata"]["resourceVersion"] = json!(change.version.to_string());
        Some(json!({"type": kind, "object": self.projected(&object)}))
    }
}

/// The status of an injected fault.
fn fault_status(code: u16) -> Refusal {
    let reason = match code {
        403 => "Forbidden",
        409 => "Conflict",
        422 => "Invalid",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    (code, reason, format!("injected status {code}"))
}

fn refused((code, reason, message): &Refusal) -> Response<Answer> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    let mut response = Response::new(Answer::from(status.to_string()));
    *response.status_mut() = StatusCode::from_u16(*code).expect("a status code");
    if *code == 429 {
        response.headers_mut().insert("Retry-After", 1.into());
    }
    response
}
