//! Every route, the layers around them, and the OpenAPI document.

use axum::{Router, http::Uri};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        layers, openapi,
        problem::{Problem, ProblemType},
    },
    routes::{admin, analyses, console, document, job_events, jobs, ledger, profiles, usage},
    state::App,
};

/// The documented routes, and their document.
pub fn routes() -> (Router<App>, utoipa::openapi::OpenApi) {
    let router = OpenApiRouter::with_openapi(openapi::Base::openapi())
        .routes(routes!(document::root))
        .routes(routes!(document::get_document))
        .routes(routes!(analyses::submit_analysis))
        .routes(routes!(jobs::list_jobs))
        .routes(routes!(jobs::get_job))
        .routes(routes!(jobs::get_job_result))
        .routes(routes!(jobs::cancel_job))
        .routes(routes!(job_events::watch_job))
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

/// The OpenAPI document.
pub fn document() -> utoipa::openapi::OpenApi {
    routes().1
}

/// The service of the public port.
pub fn service(app: App) -> Router {
    with_layers(routes().0.merge(console::router()), app)
}

/// `routes` with the layers that every request passes.
fn with_layers(routes: Router<App>, app: App) -> Router {
    let routes = routes.fallback(not_found).method_not_allowed_fallback(method_not_allowed);
    layers::add(routes, app.requests.clone()).with_state(app)
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(ProblemType::NotFound, format!("{} does not exist. /openapi.json lists all paths.", uri.path()))
}

async fn method_not_allowed(uri: Uri) -> Problem {
    Problem::new(
        ProblemType::MethodNotAllowed,
        format!("{} does not support this method. The header 'Allow' lists the methods that it supports.", uri.path()),
    )
}
