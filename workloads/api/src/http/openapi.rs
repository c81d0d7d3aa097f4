//! The OpenAPI document. Routes and documents come from the same registrations; this file adds what all of them share.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::{
    OpenApi,
    openapi::{
        Components, ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Required, ResponseBuilder,
        example::ExampleBuilder,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn},
        schema::Type,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use crate::http::problem::{Problem, ProblemDocument, ProblemType};

/// What does not come from the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Switchyard",
        description = "Ask for the analysis of a profile, watch it, and read the result. Requests are accepted in milliseconds \
                       and worked off in lanes; every refusal is a problem document (RFC 9457) with a stable `type`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ProblemDocument)),
    tags(
        (name = "analyses", description = "Asking for an analysis"),
        (name = "jobs", description = "Following an analysis"),
        (name = "profiles", description = "What is known about a profile"),
        (name = "usage", description = "Limits, credits and the ledger"),
        (name = "admin", description = "Health, tenants, dead letters, lanes and everyone's jobs; needs the admin key"),
        (name = "document", description = "This document"),
    )
)]
pub struct Base;

const BEARER: &str = "api_key";
const ADMIN_BEARER: &str = "admin_key";

/// Which refusals an operation knows besides those that every one of its kind has.
fn own_problems(operation: &str) -> &'static [ProblemType] {
    use ProblemType::*;
    match operation {
        "submit_analysis" => &[InsufficientCredits, IdempotencyConflict, ConcurrentLimit, DailyLimit, LaneFull],
        "get_job" | "watch_job" | "get_profile" => &[NotFound],
        "get_job_result" | "admin_get_job_result" => &[NotFound, NotFinished, NoResult],
        "cancel_job" | "admin_cancel_job" => &[NotFound, AlreadyFinished],
        "admin_get_job" | "admin_get_tenant" | "admin_create_key" | "admin_list_keys" | "admin_revoke_key" => {
            &[NotFound]
        }
        "admin_grant_credits" => &[NotFound, InsufficientCredits],
        "admin_replay_dead" => &[NotFound, NotDead, InsufficientCredits, ConcurrentLimit],
        "admin_discard_dead" | "admin_pause_lane" | "admin_resume_lane" => &[NotFound],
        _ => &[],
    }
}

fn problems(path: &str, operation: &str) -> Vec<ProblemType> {
    use ProblemType::*;
    let shared: &[ProblemType] = if path.starts_with("/v1/") {
        &[Unauthenticated, InvalidRequest, RateLimited, Internal, Unavailable]
    } else if path.starts_with("/admin/") {
        &[Unauthenticated, InvalidRequest, Internal, Unavailable]
    } else {
        &[]
    };
    let mut all: Vec<_> = shared.iter().chain(own_problems(operation)).copied().collect();
    all.sort_by_key(|kind| kind.status().as_u16());
    all
}

/// Adds security and problems to every operation.
pub fn complete(document: &mut utoipa::openapi::OpenApi) {
    let components = document.components.get_or_insert_with(Components::default);
    let scheme =
        |what| SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(what)).build());
    components.add_security_scheme(BEARER, scheme("A key of a tenant"));
    components.add_security_scheme(ADMIN_BEARER, scheme("The admin key of the platform"));
    for (path, item) in &mut document.paths.paths {
        if let Some(operation) = &mut item.get {
            complete_operation(path, operation);
            tell_of_replicas(path, operation);
        }
        for operation in [&mut item.post, &mut item.delete, &mut item.put, &mut item.patch].into_iter().flatten() {
            complete_operation(path, operation);
        }
    }
}

/// The kind of key that a path opens to.
fn scheme_of(path: &str) -> Option<&'static str> {
    match path {
        path if path.starts_with("/v1/") => Some(BEARER),
        path if path.starts_with("/admin/") => Some(ADMIN_BEARER),
        _ => None,
    }
}

fn request_timeout() -> Parameter {
    let seconds = ObjectBuilder::new().schema_type(Type::Number).default(Some(json!(15))).build();
    ParameterBuilder::new()
        .name("Request-Timeout")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("Seconds that the caller will wait, at most 15; past them the answer is `unavailable`"))
        .schema(Some(seconds))
        .build()
}

fn complete_operation(path: &str, operation: &mut Operation) {
    operation.security = scheme_of(path).map(|scheme| vec![SecurityRequirement::new::<_, _, String>(scheme, [])]);
    let mut by_status: BTreeMap<u16, Vec<ProblemType>> = BTreeMap::new();
    for kind in problems(path, operation.operation_id.as_deref().unwrap_or_default()) {
        by_status.entry(kind.status().as_u16()).or_default().push(kind);
    }
    if scheme_of(path).is_some() {
        operation.parameters.get_or_insert_default().push(request_timeout());
    }
    for (status, kinds) in by_status {
        operation.responses.responses.insert(status.to_string(), problem_response(&kinds).into());
    }
}

/// Reads of tenants are answered by a replica while the database is away.
fn tell_of_replicas(path: &str, operation: &mut Operation) {
    if path.starts_with("/v1/")
        && let Some(RefOr::T(answer)) = operation.responses.responses.get_mut("200")
    {
        let what = "`replica` when the answer may be a little old, because the database is away";
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        answer.headers.insert("X-Stale".to_owned(), HeaderBuilder::new().schema(text).description(Some(what)).build());
    }
}

fn problem_response(kinds: &[ProblemType]) -> utoipa::openapi::Response {
    let names: Vec<_> = kinds.iter().map(|kind| format!("`{}`", kind.slug())).collect();
    let examples = kinds.iter().map(|kind| {
        let document = serde_json::to_value(Problem::new(*kind, "…").document()).unwrap_or_else(|_| json!({}));
        (kind.slug(), ExampleBuilder::new().summary(kind.title()).value(Some(document)).build())
    });
    let content =
        ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).examples_from_iter(examples).build();
    let mut response =
        ResponseBuilder::new().description(names.join(", ")).content("application/problem+json", content);
    if kinds.iter().any(|kind| kind.has_retry_after()) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
        let header = HeaderBuilder::new().schema(seconds).description(Some("Seconds to wait")).build();
        response = response.header("Retry-After", header);
    }
    response.build()
}
