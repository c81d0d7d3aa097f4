//! Serves the metric of the pods that a pool should have.

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
            reviewer::{Asker, Reviewer},
        },
    },
    spec::names::{DESIRED_REPLICAS_METRIC as METRIC, DESIRED_REPLICAS_POOL_LABEL as POOL},
};

/// What answers.
#[derive(Clone)]
struct Serving {
    desired: DesiredReplicas,
    reviewer: Arc<Reviewer>,
}

/// Serves until `shutdown`. While the certificate is not there yet, it waits for it.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    client: Client,
    desired: DesiredReplicas,
    options: &Options,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let serving = Serving { desired, reviewer: Arc::new(Reviewer::new(client.clone())) };
    listener::listen(client, options, router(serving), shutdown).await
}

fn router(serving: Serving) -> Router {
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
        .route(&format!("/apis/{GROUP}"), with_kind("APIGroup", group.clone()))
        .route(&format!("/apis/{GROUP}/{VERSION}"), with_kind("APIResourceList", resources))
        .route(&format!("/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/{{metric}}"), get(values))
        .fallback(async || refused(StatusCode::NOT_FOUND, "NotFound", "there is no such path"))
        .with_state(serving)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    label_selector: Option<String>,
}

async fn values(
    State(serving): State<Serving>,
    Path((namespace, metric)): Path<(String, String)>,
    Query(asked): Query<Asked>,
    Extension(asker): Extension<Asker>,
) -> Response {
    match serving.reviewer.may_read(&asker, &namespace, &metric).await {
        Ok(true) => {}
        Ok(false) => {
            let words = format!("{} may not get {metric}.{GROUP} in namespace {namespace}", asker.user);
            return refused(StatusCode::FORBIDDEN, "Forbidden", &words);
        }
        Err(error) => return refused(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", &error),
    }
    if metric != METRIC {
        return refused(StatusCode::NOT_FOUND, "NotFound", &format!("the one metric here is {METRIC}"));
    }
    let Some(pool) = asked.label_selector.as_deref().and_then(pool_of) else {
        return refused(StatusCode::BAD_REQUEST, "BadRequest", &format!("select one pool, as by {POOL}=NAME"));
    };
    match serving.desired.load(&namespace, pool).await {
        Ok(load) => {
            // Thousandths, as quantities have them; rounded up, so that a little more than n is never n.
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
        // No value, rather than one that would scale a pool down: the autoscaler keeps what there is.
        Err(words) => refused(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", &words),
    }
}

/// The pool that a label selector picks, if it picks one by name and nothing else.
fn pool_of(selector: &str) -> Option<&str> {
    let (key, value) = selector.split_once('=')?;
    let value = value.trim_start_matches('=').trim();
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (key.trim() == POOL && !value.is_empty() && value.chars().all(is_name)).then_some(value)
}

/// A refusal as the API server words them.
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
    fn one_pool_is_selected_by_name() {
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
