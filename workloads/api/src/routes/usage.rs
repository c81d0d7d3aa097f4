//! The limits and credits of a tenant.

use axum::{Json, extract::State};
use serde::Serialize;
use switchyard_contract::Tier;
use utoipa::ToSchema;

use crate::{
    auth::{bearer::unknown_key, caller::Caller},
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
    /// Unfinished analyses that the tier allows.
    pub running_limit: u32,
    /// Analyses accepted in the current UTC day.
    pub today: u32,
    /// Analyses that the tier allows in a UTC day; null if there is no limit.
    #[schema(required = true)]
    pub daily_limit: Option<u32>,
}

/// Read limits and credits.
#[utoipa::path(
    get,
    path = "/v1/usage",
    operation_id = "get_usage",
    tag = "usage",
    responses((status = 200, description = "The limits and credits of the tenant", body = UsageView)),
)]
pub async fn get_usage(State(app): State<App>, caller: Caller) -> Result<Json<UsageView>, Problem> {
    let usage = app.store.usage(caller.tenant).await?.ok_or_else(unknown_key)?;
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
