//! Tenants with their keys, credits and ledgers.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use switchyard_contract::Tier;
use switchyard_jobs::{
    model::TenantId,
    store::{self, KeyReport, NewTenant, TenantReport},
};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    auth::caller::Admin,
    http::{
        input::{JsonBody, Path, Query, page_limit},
        problem::{Problem, ProblemType},
    },
    routes::ledger::{LedgerListing, LedgerView},
    state::App,
};

/// Characters that the name of a tenant and the reason of a grant may have.
const MAX_TEXT_LENGTH: usize = 200;
/// Credits of one grant at most, so that sums stay far below the range of the type.
const MAX_CREDITS: i64 = 1_000_000_000_000;

/// A request for a new tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantRequest {
    /// The name for people; 1 to 200 characters.
    #[schema(example = "Acme")]
    name: String,
    #[schema(schema_with = crate::views::tier_schema)]
    tier: Tier,
    /// The first balance in whole credits.
    #[serde(default)]
    #[schema(minimum = 0, default = 0)]
    credits: i64,
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tenant {
    pub id: Uuid,
    pub name: String,
    #[schema(schema_with = crate::views::tier_schema)]
    pub tier: Tier,
    /// Whole credits left.
    pub credits: i64,
    /// The sum of the tenant's ledger, which equals `credits`.
    pub ledger_sum: i64,
    /// Unfinished analyses.
    pub running: u32,
    /// Analyses accepted in the current UTC day.
    pub today: u32,
    pub created_at: DateTime<Utc>,
}

impl From<TenantReport> for Tenant {
    fn from(report: TenantReport) -> Self {
        let TenantReport { id, name, tier, credits, ledger_sum, running, today, created_at } = report;
        Self { id: id.0, name, tier, credits, ledger_sum, running, today, created_at }
    }
}

/// Filters of a list of tenants.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TenantListing {
    /// The id of a tenant, or the prefix of its name, whatever its case.
    #[param(max_length = 200)]
    search: Option<String>,
    /// `next_cursor` of the previous page.
    cursor: Option<Uuid>,
    /// Tenants on the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
}

/// Tenants, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct TenantPage {
    pub tenants: Vec<TenantSummary>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Uuid>,
}

/// A tenant with its limits.
#[derive(Debug, Serialize, ToSchema)]
pub struct TenantSummary {
    pub id: Uuid,
    pub name: String,
    #[schema(schema_with = crate::views::tier_schema)]
    pub tier: Tier,
    pub credits: i64,
    /// Unfinished analyses.
    pub running: u32,
    pub running_limit: u32,
    /// Analyses accepted in the current UTC day.
    pub today: u32,
    /// Absent if there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_limit: Option<u32>,
    pub created_at: DateTime<Utc>,
}

/// List tenants, newest first.
#[utoipa::path(
    get,
    path = "/admin/v1/tenants",
    operation_id = "admin_list_tenants",
    tag = "admin",
    params(TenantListing),
    responses((status = 200, description = "A page of tenants", body = TenantPage)),
)]
pub async fn admin_list_tenants(
    State(app): State<App>,
    _: Admin,
    Query(listing): Query<TenantListing>,
) -> Result<Json<TenantPage>, Problem> {
    let TenantListing { search, cursor, limit } = listing;
    if let Some(search) = &search {
        validate_text("search", search)?;
    }
    let search = search.as_deref().map(str::trim);
    let page = app.store.tenants(search, cursor.map(TenantId), page_limit(limit)?).await;
    let store::TenantPage { tenants, next } = page?;
    let summary = |tenant: store::TenantRow| {
        let limits = app.store.policy().tiers.get(tenant.tier);
        let store::TenantRow { id, name, tier, credits, running, today, created_at } = tenant;
        let (running_limit, daily_limit) = (limits.concurrent, limits.daily);
        TenantSummary { id: id.0, name, tier, credits, running, running_limit, today, daily_limit, created_at }
    };
    Ok(Json(TenantPage { tenants: tenants.into_iter().map(summary).collect(), next_cursor: next.map(|id| id.0) }))
}

/// List the grants, charges and refunds of a tenant, newest first.
#[utoipa::path(
    get,
    path = "/admin/v1/tenants/{id}/ledger",
    operation_id = "admin_get_ledger",
    tag = "admin",
    params(("id" = Uuid, Path, description = "The tenant"), LedgerListing),
    responses((status = 200, description = "A page of the ledger", body = LedgerView)),
)]
pub async fn admin_get_ledger(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<Uuid>,
    Query(listing): Query<LedgerListing>,
) -> Result<Json<LedgerView>, Problem> {
    let (cursor, limit) = listing.checked()?;
    let page = app.store.any_ledger(TenantId(id), cursor, limit).await?;
    Ok(Json(page.into()))
}

fn validate_text(field: &str, text: &str) -> Result<(), Problem> {
    let length = text.trim().chars().count();
    if !(1..=MAX_TEXT_LENGTH).contains(&length) || text.chars().any(char::is_control) {
        return Err(Problem::invalid(field, format!("must be 1 to {MAX_TEXT_LENGTH} printable characters")));
    }
    Ok(())
}

fn unknown_tenant() -> Problem {
    Problem::not_found("tenant")
}

/// Create a tenant.
#[utoipa::path(
    post,
    path = "/admin/v1/tenants",
    operation_id = "admin_create_tenant",
    tag = "admin",
    request_body = TenantRequest,
    responses((status = 201, description = "The tenant", body = Tenant, headers(("Location" = String, description = "The tenant")))),
)]
pub async fn admin_create_tenant(
    State(app): State<App>,
    _: Admin,
    JsonBody(request): JsonBody<TenantRequest>,
) -> Result<Response, Problem> {
    validate_text("name", &request.name)?;
    if !(0..=MAX_CREDITS).contains(&request.credits) {
        return Err(Problem::invalid("credits", format!("must be between 0 and {MAX_CREDITS}")));
    }
    let tenant = NewTenant { name: request.name.trim(), tier: request.tier, credits: request.credits };
    let report = app.store.create_tenant(&tenant).await?;
    let location = format!("/admin/v1/tenants/{}", report.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(Tenant::from(report))).into_response())
}

/// Read a tenant.
#[utoipa::path(
    get,
    path = "/admin/v1/tenants/{id}",
    operation_id = "admin_get_tenant",
    tag = "admin",
    params(("id" = Uuid, Path, description = "The tenant")),
    responses((status = 200, description = "The tenant", body = Tenant)),
)]
pub async fn admin_get_tenant(State(app): State<App>, _: Admin, Path(id): Path<Uuid>) -> Result<Json<Tenant>, Problem> {
    let report = app.store.tenant(TenantId(id)).await?.ok_or_else(unknown_tenant)?;
    Ok(Json(report.into()))
}

/// A new key, which is shown only once.
#[derive(Serialize, ToSchema)]
pub struct NewKey {
    pub id: Uuid,
    /// The bearer key. The database has only its hash.
    pub key: String,
}

/// Create a key for a tenant.
#[utoipa::path(
    post,
    path = "/admin/v1/tenants/{id}/keys",
    operation_id = "admin_create_key",
    tag = "admin",
    params(("id" = Uuid, Path, description = "The tenant")),
    responses((status = 201, description = "The key, which is shown only once", body = NewKey)),
)]
pub async fn admin_create_key(State(app): State<App>, _: Admin, Path(id): Path<Uuid>) -> Result<Response, Problem> {
    let key = app.store.create_key(TenantId(id)).await?.ok_or_else(unknown_tenant)?;
    let body = NewKey { id: key.id, key: key.secret.expose_secret().to_owned() };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// A key without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyView {
    pub id: Uuid,
    pub created_at: DateTime<Utc>,
    /// When it was revoked; absent while it is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A tenant's keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct Keys {
    pub keys: Vec<KeyView>,
}

/// List a tenant's keys, with the revoked ones.
///
/// To rotate a key, create another one, distribute it, and revoke the old one.
#[utoipa::path(
    get,
    path = "/admin/v1/tenants/{id}/keys",
    operation_id = "admin_list_keys",
    tag = "admin",
    params(("id" = Uuid, Path, description = "The tenant")),
    responses((status = 200, description = "The keys without their secrets", body = Keys)),
)]
pub async fn admin_list_keys(State(app): State<App>, _: Admin, Path(id): Path<Uuid>) -> Result<Json<Keys>, Problem> {
    let keys = app.store.keys(TenantId(id)).await?.ok_or_else(unknown_tenant)?;
    let keys = keys.into_iter().map(|KeyReport { id, created_at, revoked_at }| KeyView { id, created_at, revoked_at });
    Ok(Json(Keys { keys: keys.collect() }))
}

/// Revoke a key at once.
///
/// Safe to repeat. After a 503 the database refuses the key, but the API may still answer it from
/// the cache for some minutes.
#[utoipa::path(
    delete,
    path = "/admin/v1/tenants/{id}/keys/{key_id}",
    operation_id = "admin_revoke_key",
    tag = "admin",
    params(("id" = Uuid, Path, description = "The tenant"), ("key_id" = Uuid, Path, description = "The key")),
    responses((status = 204, description = "The key is revoked")),
)]
pub async fn admin_revoke_key(
    State(app): State<App>,
    _: Admin,
    Path((id, key)): Path<(Uuid, Uuid)>,
) -> Result<StatusCode, Problem> {
    if app.store.revoke_key(TenantId(id), key).await? {
        // Ends the trust of every process in the key before the caller has the response.
        match app.cache.end_epoch().await {
            Ok(()) => Ok(StatusCode::NO_CONTENT),
            Err(_) => Err(Problem::unavailable(
                "The key is revoked, but the cache is unavailable: the key may still read cached results for some \
                 minutes. Try again.",
            )),
        }
    } else {
        Err(Problem::not_found("key"))
    }
}

/// A grant of credits, or their removal if negative.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Whole credits; not 0.
    #[schema(example = 100)]
    amount: i64,
    /// The reason in the ledger; 1 to 200 characters.
    #[schema(example = "invoice 42")]
    reason: String,
}

/// A balance.
#[derive(Debug, Serialize, ToSchema)]
pub struct Balance {
    /// The balance in whole credits.
    pub credits: i64,
}

/// Grant credits, or remove some. The balance never falls below 0.
#[utoipa::path(
    post,
    path = "/admin/v1/tenants/{id}/credits",
    operation_id = "admin_grant_credits",
    tag = "admin",
    params(("id" = Uuid, Path, description = "The tenant")),
    request_body = Grant,
    responses((status = 200, description = "The new balance", body = Balance)),
)]
pub async fn admin_grant_credits(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<Uuid>,
    JsonBody(grant): JsonBody<Grant>,
) -> Result<Json<Balance>, Problem> {
    validate_text("reason", &grant.reason)?;
    if grant.amount == 0 || !(-MAX_CREDITS..=MAX_CREDITS).contains(&grant.amount) {
        return Err(Problem::invalid("amount", format!("must be between -{MAX_CREDITS} and {MAX_CREDITS}, and not 0")));
    }
    let granted = app.store.grant_credits(TenantId(id), grant.amount, grant.reason.trim()).await;
    match granted?.ok_or_else(unknown_tenant)? {
        Ok(credits) => Ok(Json(Balance { credits })),
        Err(balance) => Err(Problem::new(
            ProblemType::InsufficientCredits,
            format!("The balance is {balance}; it cannot fall by {}.", grant.amount.unsigned_abs()),
        )
        .with("balance", balance)),
    }
}
