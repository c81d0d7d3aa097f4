//! The OpenAPI document, and the paths that it lists.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;
use switchyard_api::router;

use crate::fixture::TestApi;

/// The public operations, all of which the document must list.
const PUBLIC: &[&str] = &[
    "POST /v1/analyses",
    "GET /v1/jobs",
    "GET /v1/jobs/{id}",
    "GET /v1/jobs/{id}/result",
    "POST /v1/jobs/{id}/cancel",
    "GET /v1/jobs/{id}/events",
    "GET /v1/profiles/{username}",
    "GET /v1/usage",
    "GET /v1/ledger",
    "GET /admin/v1/health",
    "GET /admin/v1/workers",
    "GET /admin/v1/connections",
    "GET /admin/v1/tenants",
    "GET /admin/v1/tenants/{id}/ledger",
    "GET /admin/v1/jobs/{id}",
    "GET /admin/v1/jobs/{id}/result",
    "POST /admin/v1/jobs/{id}/cancel",
    "POST /admin/v1/tenants",
    "GET /admin/v1/tenants/{id}",
    "GET /admin/v1/tenants/{id}/keys",
    "POST /admin/v1/tenants/{id}/keys",
    "DELETE /admin/v1/tenants/{id}/keys/{key_id}",
    "POST /admin/v1/tenants/{id}/credits",
    "GET /admin/v1/dead",
    "POST /admin/v1/dead/{job_id}/replay",
    "POST /admin/v1/dead/{job_id}/discard",
    "GET /admin/v1/lanes",
    "POST /admin/v1/lanes/{kind}/{lane}/pause",
    "POST /admin/v1/lanes/{kind}/{lane}/resume",
    "GET /admin/v1/jobs",
    "GET /openapi.json",
    "GET /",
];

fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        item.as_object()
            .unwrap()
            .iter()
            .map(move |(method, op)| (format!("{} {path}", method.to_uppercase()), op.clone()))
    });
    all.collect()
}

#[test]
fn document_lists_exactly_the_public_operations() {
    let document = serde_json::to_value(router::document()).unwrap();
    let listed: BTreeSet<_> = operations(&document).into_iter().map(|(name, _)| name).collect();
    let public: BTreeSet<_> = PUBLIC.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(listed, public);
}

#[test]
fn references_resolve_and_operations_are_described() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                if let Some(name) = members.get("$ref").and_then(Value::as_str) {
                    found.push(name.to_owned());
                }
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    let document = serde_json::to_value(router::document()).unwrap();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for name in found {
        assert!(document.pointer(name.trim_start_matches('#')).is_some(), "{name} is not defined");
    }
    for (name, operation) in operations(&document) {
        assert!(operation["summary"].is_string(), "{name} has no summary");
        if name.contains(" /v1/") || name.contains(" /admin/") {
            assert!(operation["responses"]["401"].is_object(), "{name} does not document 401");
            assert!(operation["responses"]["503"].is_object(), "{name} does not document 503");
            assert!(!operation["security"].as_array().unwrap().is_empty(), "{name} needs no key");
        }
    }
}

#[tokio::test]
async fn every_documented_route_exists() {
    let api = TestApi::start().await;
    let document = api.anonymous().get("/openapi.json").await.expect(200);
    assert_eq!(document, serde_json::to_value(router::document()).unwrap());
    for (name, _) in operations(&document) {
        let (method, template) = name.split_once(' ').unwrap();
        let path = template.replace("{id}", "0198c2b0-0000-7000-8000-000000000000").replace(['{', '}'], "");
        let answer = api.anonymous().raw(method.parse().unwrap(), &path, "application/json", "{}").await;
        assert!(![404, 405, 500].contains(&answer.status), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_answer_problems() {
    let api = TestApi::start().await;
    let unknown_path = api.anonymous().stray(Method::GET, "/v2/nothing").await;
    unknown_path.refusal(404, "not-found");
    let unknown_method = api.anonymous().stray(Method::DELETE, "/v1/analyses").await;
    unknown_method.refusal(405, "method-not-allowed");
    assert_eq!(unknown_method.header("allow"), "POST");
    assert!(!unknown_method.header("x-request-id").is_empty());
}
