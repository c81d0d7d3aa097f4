//! The base of the OpenAPI document. Routes register their own operations; this file adds what
//! operations share.

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

/// The parts of the document that no route registers.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Switchyard",
        description = "Request the analysis of a profile, follow its job, and read the result. The API accepts a request \
                       within milliseconds; workers run its job by priority lane. Every error response is a problem \
                       document (RFC 9457) with a stable `type`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ProblemDocument)),
    tags(
        (name = "analyses", description = "Request an analysis"),
        (name = "jobs", description = "Follow the job of an analysis"),
        (name = "profiles", description = "Read the latest analysis of a profile"),
        (name = "usage", description = "Read limits, credits and the ledger"),
        (name = "admin", description = "Health, tenants, dead letters, lanes, and the jobs of every tenant; requires the admin key"),
        (name = "document", description = "This document"),
    )
)]
pub struct Base;

const BEARER: &str = "api_key";
const ADMIN_BEARER: &str = "admin_key";

/// The problem types of an operation beyond those of every operation with the same kind of key.
fn own_problems(operation: &str) -> &'static [ProblemType] {
    use ProblemType::{
        AlreadyFinished, ConcurrentLimit, DailyLimit, IdempotencyConflict, InsufficientCredits, LaneFull, NoResult,
        NotDead, NotFinished, NotFound,
    };
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
    use ProblemType::{Internal, InvalidRequest, RateLimited, Unauthenticated, Unavailable};
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
    components.add_security_scheme(BEARER, scheme("An API key of a tenant"));
    components.add_security_scheme(ADMIN_BEARER, scheme("The admin key of the platform"));
    for (path, item) in &mut document.paths.paths {
        if let Some(operation) = &mut item.get {
            complete_operation(path, operation);
            add_stale_header(path, operation);
        }
        for operation in [&mut item.post, &mut item.delete, &mut item.put, &mut item.patch].into_iter().flatten() {
            complete_operation(path, operation);
        }
    }
}

/// The kind of key that a path requires.
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
        .description(Some("Seconds within which the caller expects the response, at most 15; after them the response is `unavailable`"))
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

/// A replica answers the reads of tenants while the database is unavailable.
fn add_stale_header(path: &str, operation: &mut Operation) {
    if path.starts_with("/v1/")
        && let Some(RefOr::T(response)) = operation.responses.responses.get_mut("200")
    {
        let what = "`replica` if a replica answered, which may lag behind, because the database is unavailable";
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        response
            .headers
            .insert("X-Stale".to_owned(), HeaderBuilder::new().schema(text).description(Some(what)).build());
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
