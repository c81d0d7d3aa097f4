//! Routes and handlers of the external metrics API.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    autoscaling::{
        desired_replicas::DesiredReplicas,
        external_metrics::{
            listener,
            options::{GROUP, Options, VERSION},
            reviewer::{Requester, Reviewer},
        },
    },
    spec::names::{DESIRED_REPLICAS_METRIC as METRIC, DESIRED_REPLICAS_POOL_LABEL as POOL},
};

/// State of the handlers.
#[derive(Clone)]
struct Handlers {
    desired: DesiredReplicas,
    reviewer: Arc<Reviewer>,
}

/// Serves until `shutdown`. Refuses connections until the certificate exists.
///
/// # Errors
/// If the address cannot be bound.
pub async fn serve(
    client: Client,
    desired: DesiredReplicas,
    options: &Options,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let handlers = Handlers { desired, reviewer: Arc::new(Reviewer::new(client.clone())) };
    listener::listen(client, options, router(handlers), shutdown).await
}

fn router(handlers: Handlers) -> Router {
    let versions = json!([{"groupVersion": format!("{GROUP}/{VERSION}"), "version": VERSION}]);
    let group = json!({"name": GROUP, "versions": versions, "preferredVersion": versions[0]});
    let with_kind = |kind: &str, mut body: Value| {
        body["kind"] = json!(kind);
        body["apiVersion"] = json!("v1");
        get(move || async move { Json(body) })
    };
    let resources = json!({"groupVersion": format!("{GROUP}/{VERSION}"), "resources": [
        {"name": METRIC, "singularName": "", "namespaced": true, "kind": "ExternalMetricValueList", "verbs": ["get"]}
    ]});
    Router::new()
        .route("/apis", with_kind("APIGroupList", json!({"groups": [group]})))
        .route(&format!("/apis/{GROUP}"), with_kind("APIGroup", group))
        .route(&format!("/apis/{GROUP}/{VERSION}"), with_kind("APIResourceList", resources))
        .route(&format!("/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/{{metric}}"), get(values))
        .fallback(async || refused(StatusCode::NOT_FOUND, "NotFound", "no such path"))
        .with_state(handlers)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    label_selector: Option<String>,
}

async fn values(
    State(handlers): State<Handlers>,
    Path((namespace, metric)): Path<(String, String)>,
    Query(parameters): Query<Parameters>,
    Extension(requester): Extension<Requester>,
) -> Response {
    match handlers.reviewer.may_read(&requester, &namespace, &metric).await {
        Ok(true) => {}
        Ok(false) => {
            let message = format!("{} may not get {metric}.{GROUP} in namespace {namespace}", requester.user);
            return refused(StatusCode::FORBIDDEN, "Forbidden", &message);
        }
        Err(error) => return refused(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", &error),
    }
    if metric != METRIC {
        return refused(StatusCode::NOT_FOUND, "NotFound", &format!("the only metric is {METRIC}"));
    }
    let Some(pool) = parameters.label_selector.as_deref().and_then(pool_of) else {
        return refused(
            StatusCode::BAD_REQUEST,
            "BadRequest",
            &format!("select one pool, for instance with {POOL}=NAME"),
        );
    };
    match handlers.desired.load(&namespace, pool).await {
        Ok(load) => {
            // In thousandths, rounded up, so that slightly more than n pods stays more than n.
            let thousandths = (load.desired.pods.max(0.0) * 1000.0).ceil().min(1e9);
            Json(json!({
                "kind": "ExternalMetricValueList", "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": {},
                "items": [{
                    "metricName": METRIC, "metricLabels": {POOL: pool},
                    "timestamp": Timestamp::now().to_string(), "value": format!("{thousandths:.0}m"),
                }],
            }))
            .into_response()
        }
        // Without a value, the autoscaler keeps the replicas, where a value of 0 would remove them.
        Err(message) => refused(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", &message),
    }
}

/// The pool that a label selector selects, if it selects exactly one by name.
fn pool_of(selector: &str) -> Option<&str> {
    let (key, value) = selector.split_once('=')?;
    let value = value.trim_start_matches('=').trim();
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (key.trim() == POOL && !value.is_empty() && value.chars().all(is_name)).then_some(value)
}

/// A `Status` object, as the API server returns it.
fn refused(status: StatusCode, reason: &str, message: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": status.as_u16(),
    });
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selector_must_name_one_pool() {
        for (selector, expected) in [
            ("pool=main-ai", Some("main-ai")),
            ("pool==main-ai", Some("main-ai")),
            ("pool = main-ai", Some("main-ai")),
            ("pool=a,pool=b", None),
            ("pool!=a", None),
            ("pool in (a,b)", None),
            ("pool=", None),
            ("other=a", None),
            ("", None),
        ] {
            assert_eq!(pool_of(selector), expected, "{selector}");
        }
    }
}
