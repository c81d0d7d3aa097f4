//! Dead letters: analyses that failed for good.

use std::time::Duration;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use switchyard_contract::Kind;
use switchyard_jobs::{
    model::JobId,
    store::{DeadJob, ReplayOutcome},
};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    auth::caller::Admin,
    http::{
        input::{Path, Query},
        problem::{Problem, ProblemType},
    },
    state::App,
    views::{Accepted, Credits, FailureView, JobView},
};

/// Dead analyses in one response at most.
const MAX_LISTED: u32 = 1000;

/// The number of dead analyses to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeadListing {
    /// Dead analyses at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// Dead analyses, the latest failure first.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadList {
    pub dead: Vec<DeadView>,
}

/// A dead analysis with its failures.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadJob)]
pub struct DeadView {
    pub job: JobView,
    /// Failed attempts of the analysis itself, oldest first.
    pub failures: Vec<FailureView>,
    /// Failed parts.
    pub children: Vec<DeadChildView>,
}

/// A dead part of an analysis.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadChild)]
pub struct DeadChildView {
    pub id: Uuid,
    #[schema(schema_with = crate::views::kind_schema)]
    pub kind: Kind,
    /// Failed attempts, oldest first.
    pub failures: Vec<FailureView>,
}

impl From<DeadJob> for DeadView {
    fn from(dead: DeadJob) -> Self {
        let history = |failures: Vec<_>| failures.into_iter().map(FailureView::from).collect();
        Self {
            job: JobView::for_admin(dead.job),
            failures: history(dead.failures),
            children: dead
                .children
                .into_iter()
                .map(|child| DeadChildView { id: child.id.0, kind: child.kind, failures: history(child.failures) })
                .collect(),
        }
    }
}

/// List dead letters with their error history.
#[utoipa::path(
    get,
    path = "/admin/v1/dead",
    operation_id = "admin_list_dead",
    tag = "admin",
    params(DeadListing),
    responses((status = 200, description = "Dead analyses, the latest failure first", body = DeadList)),
)]
pub async fn admin_list_dead(
    State(app): State<App>,
    _: Admin,
    Query(listing): Query<DeadListing>,
) -> Result<Json<DeadList>, Problem> {
    let limit = listing.limit.unwrap_or(100);
    if !(1..=MAX_LISTED).contains(&limit) {
        return Err(Problem::invalid("limit", format!("must be between 1 and {MAX_LISTED}")));
    }
    let dead = app.store.dead(limit).await?;
    Ok(Json(DeadList { dead: dead.into_iter().map(DeadView::from).collect() }))
}

/// Replay a dead analysis.
///
/// It runs again from the beginning, with new attempts. Its price was refunded when it died, and is
/// charged again.
#[utoipa::path(
    post,
    path = "/admin/v1/dead/{job_id}/replay",
    operation_id = "admin_replay_dead",
    tag = "admin",
    params(("job_id" = Uuid, Path, description = "The dead analysis")),
    responses((status = 200, description = "The analysis is queued again", body = Accepted)),
)]
pub async fn admin_replay_dead(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<Uuid>,
) -> Result<Json<Accepted>, Problem> {
    match app.store.replay(JobId(id)).await? {
        ReplayOutcome::Replayed { job, charged, balance, effects } => {
            app.announce(effects);
            Ok(Json(Accepted { job: JobView::for_admin(job), credits: Credits { charged, balance } }))
        }
        ReplayOutcome::NotFound => Err(Problem::not_found("job")),
        ReplayOutcome::NotDead { job } => {
            let detail = format!("The job is {}; only a dead job can be replayed.", job.state.public());
            Err(Problem::new(ProblemType::NotDead, detail).with("state", job.state.public()))
        }
        ReplayOutcome::ConcurrentLimit { limit, retry_after } => Err(Problem::new(
            ProblemType::ConcurrentLimit,
            format!("The tier allows {limit} unfinished analyses, and the tenant has as many. Wait for one."),
        )
        .with("limit", limit)
        .retry_after(Duration::from_secs(retry_after))),
        ReplayOutcome::InsufficientCredits { balance, price } => Err(Problem::new(
            ProblemType::InsufficientCredits,
            format!("A replay costs {price} credits; the balance of the tenant is {balance}."),
        )
        .with("balance", balance)
        .with("price", price)),
    }
}

/// A discarded dead letter.
#[derive(Debug, Serialize, ToSchema)]
pub struct Discarded {
    pub id: Uuid,
    /// Always true.
    pub discarded: bool,
}

/// Remove a dead analysis from the list for good.
#[utoipa::path(
    post,
    path = "/admin/v1/dead/{job_id}/discard",
    operation_id = "admin_discard_dead",
    tag = "admin",
    params(("job_id" = Uuid, Path, description = "The dead analysis")),
    responses((status = 200, description = "The analysis is off the list", body = Discarded)),
)]
pub async fn admin_discard_dead(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<Uuid>,
) -> Result<Json<Discarded>, Problem> {
    if app.store.discard(JobId(id)).await? {
        Ok(Json(Discarded { id, discarded: true }))
    } else {
        Err(Problem::not_found("dead job"))
    }
}
