//! The root of the API and its OpenAPI document.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::state::App;

/// Links to the parts of the API.
#[derive(Debug, Serialize, ToSchema)]
pub struct Welcome {
    pub service: &'static str,
    pub version: &'static str,
    /// Path of the OpenAPI document.
    pub document: &'static str,
    /// Path for requests of an analysis.
    pub analyses: &'static str,
    /// Path of the web console.
    pub console: &'static str,
}

/// List the parts of the API.
#[utoipa::path(get, path = "/", operation_id = "root", tag = "document", responses((status = 200, description = "Links", body = Welcome)))]
pub async fn root() -> Json<Welcome> {
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
pub async fn get_document(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], app.document.clone()).into_response()
}
