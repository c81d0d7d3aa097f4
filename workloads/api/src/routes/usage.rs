//! Where a tenant stands.

use axum::{Json, extract::State};
use serde::Serialize;
use switchyard_contract::Tier;
use utoipa::ToSchema;

use crate::{
    auth::caller::{Caller, unknown_key},
    http::problem::Problem,
    state::App,
};

/// Limits and credits.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageView {
    #[schema(schema_with = crate::views::tier_schema)]
    pub tier: Tier,
    /// Whole credits left.
    pub credits: i64,
    /// Unfinished analyses.
    pub running: u32,
    /// How many may be unfinished at once.
    pub running_limit: u32,
    /// Analyses accepted in this UTC day.
    pub today: u32,
    /// How many may be accepted in a UTC day; null where there is no limit.
    #[schema(required = true)]
    pub daily_limit: Option<u32>,
}

/// See limits and credits.
#[utoipa::path(
    get,
    path = "/v1/usage",
    operation_id = "get_usage",
    tag = "usage",
    responses((status = 200, description = "Where the tenant stands", body = UsageView)),
)]
pub async fn get_usage(State(app): State<App>, caller: Caller) -> Result<Json<UsageView>, Problem> {
    let usage =
        app.store.usage(caller.tenant).await.map_err(|error| app.store_problem(error))?.ok_or_else(unknown_key)?;
    let limits = app.store.policy().tiers.get(usage.tier);
    Ok(Json(UsageView {
        tier: usage.tier,
        credits: usage.credits,
        running: usage.running,
        running_limit: limits.concurrent,
        today: usage.today,
        daily_limit: limits.daily,
    }))
}
