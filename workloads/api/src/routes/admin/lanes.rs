//! Lanes: their queues, and pausing them.

use axum::{Json, extract::State};
use serde::Serialize;
use switchyard_contract::{Kind, Lane, QueueStats};
use switchyard_jobs::model::Effects;
use utoipa::ToSchema;

use crate::{
    auth::caller::Admin,
    http::{input::Path, problem::Problem},
    state::App,
};

/// Every lane of every worker kind.
#[derive(Debug, Serialize, ToSchema)]
pub struct LaneList {
    pub lanes: Vec<LaneView>,
}

/// One worker kind's queue in one lane.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Lane)]
pub struct LaneView {
    #[schema(schema_with = crate::views::kind_schema)]
    pub kind: Kind,
    #[schema(schema_with = crate::views::lane_schema)]
    pub lane: Lane,
    /// Whether claims are paused.
    pub paused: bool,
    /// Jobs that a worker can claim now.
    pub depth: i64,
    /// Age of the oldest such job in seconds; 0 if there is none.
    pub oldest_age_seconds: f64,
    pub running: i64,
    /// Failed jobs whose next attempt is not due yet.
    pub retrying: i64,
    /// Failed jobs whose next attempt is due within a minute.
    pub due_soon: i64,
    /// Jobs that wait for their parts.
    pub waiting: i64,
    /// Jobs created per second, over the last five minutes.
    pub arrival_rate: f64,
    /// Jobs finished per second, over the last five minutes.
    pub completion_rate: f64,
    /// Mean seconds that a job occupies a worker's slot, over the last finished jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_seconds: Option<f64>,
}

impl From<QueueStats> for LaneView {
    fn from(queue: QueueStats) -> Self {
        Self {
            kind: queue.kind,
            lane: queue.lane,
            paused: queue.paused,
            depth: queue.depth,
            oldest_age_seconds: queue.oldest_age_seconds,
            running: queue.running,
            retrying: queue.retrying,
            due_soon: queue.due_soon,
            waiting: queue.waiting,
            arrival_rate: queue.arrival_rate,
            completion_rate: queue.completion_rate,
            service_seconds: queue.service_seconds,
        }
    }
}

/// See depths, ages and rates of all lanes.
#[utoipa::path(
    get,
    path = "/admin/v1/lanes",
    operation_id = "admin_list_lanes",
    tag = "admin",
    responses((status = 200, description = "Every lane of every worker kind", body = LaneList)),
)]
pub async fn admin_list_lanes(State(app): State<App>, _: Admin) -> Result<Json<LaneList>, Problem> {
    let lanes = app.store.lanes().await?;
    Ok(Json(LaneList { lanes: lanes.into_iter().map(LaneView::from).collect() }))
}

/// Whether a lane is paused.
#[derive(Debug, Serialize, ToSchema)]
pub struct LanePause {
    #[schema(schema_with = crate::views::kind_schema)]
    pub kind: Kind,
    #[schema(schema_with = crate::views::lane_schema)]
    pub lane: Lane,
    pub paused: bool,
}

/// Pause claims from a lane. Running jobs continue, and the API still accepts requests.
#[utoipa::path(
    post,
    path = "/admin/v1/lanes/{kind}/{lane}/pause",
    operation_id = "admin_pause_lane",
    tag = "admin",
    params(("kind" = String, Path, description = "The worker kind"), ("lane" = String, Path, description = "The lane")),
    responses((status = 200, description = "The lane is paused", body = LanePause)),
)]
pub async fn admin_pause_lane(
    State(app): State<App>,
    _: Admin,
    Path((kind, lane)): Path<(String, String)>,
) -> Result<Json<LanePause>, Problem> {
    set_paused(&app, &kind, &lane, true).await
}

/// Resume claims from a lane.
#[utoipa::path(
    post,
    path = "/admin/v1/lanes/{kind}/{lane}/resume",
    operation_id = "admin_resume_lane",
    tag = "admin",
    params(("kind" = String, Path, description = "The worker kind"), ("lane" = String, Path, description = "The lane")),
    responses((status = 200, description = "The lane is not paused", body = LanePause)),
)]
pub async fn admin_resume_lane(
    State(app): State<App>,
    _: Admin,
    Path((kind, lane)): Path<(String, String)>,
) -> Result<Json<LanePause>, Problem> {
    set_paused(&app, &kind, &lane, false).await
}

async fn set_paused(app: &App, kind: &str, lane: &str, paused: bool) -> Result<Json<LanePause>, Problem> {
    let kind: Kind = kind.parse().map_err(|_| Problem::not_found("worker kind"))?;
    let lane: Lane = lane.parse().map_err(|_| Problem::not_found("lane"))?;
    let ready = app.store.pause(kind, lane, paused).await?;
    app.announce(Effects { ready, events: Vec::new() });
    Ok(Json(LanePause { kind, lane, paused }))
}
