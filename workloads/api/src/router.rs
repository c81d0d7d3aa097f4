//! Every route, with its documentation.

use axum::{
    Json, Router,
    extract::State,
    http::{Uri, header},
    middleware,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::layers::{self, Passage},
    http::openapi,
    http::problem::{Problem, ProblemType},
    routes::admin,
    routes::analyses,
    routes::console,
    routes::job_events,
    routes::jobs,
    routes::ledger,
    routes::profiles,
    routes::usage,
    state::App,
};

/// The routes and the document that describes them.
pub fn routes() -> (Router<App>, utoipa::openapi::OpenApi) {
    let router = OpenApiRouter::with_openapi(openapi::Base::openapi())
        .routes(routes!(root))
        .routes(routes!(get_document))
        .routes(routes!(analyses::submit_analysis))
        .routes(routes!(jobs::list_jobs))
        .routes(routes!(jobs::get_job))
        .routes(routes!(jobs::get_job_result))
        .routes(routes!(jobs::cancel_job))
        .routes(routes!(events::watch_job))
        .routes(routes!(profiles::get_profile))
        .routes(routes!(usage::get_usage))
        .routes(routes!(ledger::get_ledger))
        .routes(routes!(admin::diagnostics::admin_get_health))
        .routes(routes!(admin::diagnostics::admin_list_workers))
        .routes(routes!(admin::diagnostics::admin_get_connections))
        .routes(routes!(admin::tenants::admin_list_tenants, admin::tenants::admin_create_tenant))
        .routes(routes!(admin::tenants::admin_get_tenant))
        .routes(routes!(admin::tenants::admin_create_key, admin::tenants::admin_list_keys))
        .routes(routes!(admin::tenants::admin_revoke_key))
        .routes(routes!(admin::tenants::admin_grant_credits))
        .routes(routes!(admin::tenants::admin_get_ledger))
        .routes(routes!(admin::dead::admin_list_dead))
        .routes(routes!(admin::dead::admin_replay_dead))
        .routes(routes!(admin::dead::admin_discard_dead))
        .routes(routes!(admin::lanes::admin_list_lanes))
        .routes(routes!(admin::lanes::admin_pause_lane))
        .routes(routes!(admin::lanes::admin_resume_lane))
        .routes(routes!(admin::jobs::admin_list_jobs))
        .routes(routes!(admin::jobs::admin_get_job))
        .routes(routes!(admin::jobs::admin_get_job_result))
        .routes(routes!(admin::jobs::admin_cancel_job));
    let (router, mut document) = router.split_for_parts();
    openapi::complete(&mut document);
    (router, document)
}

/// The document alone.
pub fn document() -> utoipa::openapi::OpenApi {
    routes().1
}

/// The whole service.
pub fn service(app: App) -> Router {
    with_layers(routes().0.merge(console::router()), app)
}

/// `routes` with what every request passes.
fn with_layers(routes: Router<App>, app: App) -> Router {
    let passage = Passage { gate: app.gate.clone(), metrics: app.metrics.clone() };
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(passage, layers::pass))
        .with_state(app)
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(ProblemType::NotFound, format!("There is nothing at {}; see /openapi.json.", uri.path()))
}

async fn method_not_allowed(uri: Uri) -> Problem {
    Problem::new(
        ProblemType::MethodNotAllowed,
        format!("{} does not offer this method; the header 'Allow' and /openapi.json say which it offers.", uri.path()),
    )
}

/// Where to go on from here.
#[derive(Debug, Serialize, ToSchema)]
pub struct Welcome {
    pub service: &'static str,
    pub version: &'static str,
    /// Path of the OpenAPI document.
    pub document: &'static str,
    /// Where to ask for an analysis.
    pub analyses: &'static str,
    /// Where people look.
    pub console: &'static str,
}

/// See where to go on.
#[utoipa::path(get, path = "/", operation_id = "root", tag = "document", responses((status = 200, description = "Links", body = Welcome)))]
async fn root() -> Json<Welcome> {
    Json(Welcome {
        service: "switchyard",
        version: env!("CARGO_PKG_VERSION"),
        document: "/openapi.json",
        analyses: "/v1/analyses",
        console: "/console/",
    })
}

/// Read this document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "get_document",
    tag = "document",
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json")),
)]
async fn get_document(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], app.document.clone()).into_response()
}
