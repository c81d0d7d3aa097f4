//! Diagnostics of the platform: its health score, its workers, and its sessions at PostgreSQL.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use switchyard_contract::{Health, HealthPart, Kind};
use switchyard_jobs::store;
use utoipa::ToSchema;

use crate::{auth::caller::Admin, http::problem::Problem, state::App};

/// The health score of the platform.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub struct HealthView {
    /// The product of the parts.
    #[schema(minimum = 0, maximum = 100)]
    pub score: u8,
    pub parts: Vec<HealthPartView>,
}

/// A part of the health score.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HealthPart)]
pub struct HealthPartView {
    #[schema(example = "waits")]
    pub name: String,
    /// 1 is healthy.
    #[schema(minimum = 0, maximum = 1)]
    pub value: f64,
    pub detail: String,
}

/// Read the health score of the platform.
#[utoipa::path(
    get,
    path = "/admin/v1/health",
    operation_id = "admin_get_health",
    tag = "admin",
    responses((status = 200, description = "The score with its parts", body = HealthView)),
)]
pub async fn admin_get_health(State(app): State<App>, _: Admin) -> Json<HealthView> {
    // Only a process that has just started has no snapshot. Without the database the score is 0.
    if app.snapshots.last().is_none() {
        let _ = app.snapshots.fresh().await;
    }
    let Health { score, parts } = app.snapshots.health();
    let parts = parts.into_iter().map(|HealthPart { name, value, detail }| HealthPartView { name, value, detail });
    Json(HealthView { score, parts: parts.collect() })
}

/// Worker processes.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkerList {
    pub workers: Vec<WorkerView>,
}

/// A worker process as of its last heartbeat.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Worker)]
pub struct WorkerView {
    pub name: String,
    pub pool: String,
    #[schema(schema_with = crate::views::kind_schema)]
    pub kind: Kind,
    /// Jobs that it may run at once.
    pub concurrency: u32,
    pub running: u32,
    pub memory_bytes: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<i64>,
    pub version: String,
    /// Whether it accepts no more jobs.
    pub draining: bool,
    pub started_at: DateTime<Utc>,
    pub seen_at: DateTime<Utc>,
}

impl From<store::WorkerReport> for WorkerView {
    fn from(report: store::WorkerReport) -> Self {
        Self {
            name: report.name,
            pool: report.pool,
            kind: report.kind,
            concurrency: report.concurrency,
            running: report.running,
            memory_bytes: report.memory_bytes,
            memory_limit_bytes: report.memory_limit_bytes,
            version: report.version,
            draining: report.draining,
            started_at: report.started_at,
            seen_at: report.seen_at,
        }
    }
}

/// List worker processes with a heartbeat within the last hour.
#[utoipa::path(
    get,
    path = "/admin/v1/workers",
    operation_id = "admin_list_workers",
    tag = "admin",
    responses((status = 200, description = "Workers by kind and pool", body = WorkerList)),
)]
pub async fn admin_list_workers(State(app): State<App>, _: Admin) -> Result<Json<WorkerList>, Problem> {
    let workers = app.store.workers().await?;
    Ok(Json(WorkerList { workers: workers.into_iter().map(WorkerView::from).collect() }))
}

/// Sessions at PostgreSQL.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Connections)]
pub struct ConnectionsView {
    /// The server's `max_connections`.
    pub max: u32,
    /// Sessions of all its clients.
    pub in_use: u32,
    pub roles: Vec<RoleConnections>,
}

/// Sessions of a role, which is that of one workload.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoleConnections {
    #[schema(example = "analytics_api")]
    pub role: String,
    /// Sessions that PostgreSQL allows the role: its allocation of the connection budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    pub in_use: u32,
    /// Sessions that run a statement; absent if the platform's owner may not see that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<u32>,
}

/// Read the connection budget and its use.
#[utoipa::path(
    get,
    path = "/admin/v1/connections",
    operation_id = "admin_get_connections",
    tag = "admin",
    responses((status = 200, description = "Sessions by role", body = ConnectionsView)),
)]
pub async fn admin_get_connections(State(app): State<App>, _: Admin) -> Result<Json<ConnectionsView>, Problem> {
    let store::Sessions { max, in_use, rows } = app.store.sessions().await?;
    let role = |row: store::RoleSessions| RoleConnections {
        role: row.role,
        limit: row.limit,
        in_use: row.in_use,
        active: row.active,
    };
    Ok(Json(ConnectionsView { max, in_use, roles: rows.into_iter().map(role).collect() }))
}
