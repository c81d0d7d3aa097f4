//! The ledger: the changes of a tenant's balance.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use switchyard_jobs::store;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    auth::caller::Caller,
    http::{
        input::{Query, page_limit},
        problem::Problem,
    },
    state::App,
};

/// The page of the ledger to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LedgerListing {
    /// `next_cursor` of the previous page.
    cursor: Option<i64>,
    /// Entries on the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
}

impl LedgerListing {
    /// The cursor and the limit.
    ///
    /// # Errors
    /// `invalid-request` for an invalid limit.
    pub fn checked(&self) -> Result<(Option<i64>, u32), Problem> {
        Ok((self.cursor, page_limit(self.limit)?))
    }
}

/// Ledger entries, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct LedgerView {
    pub entries: Vec<EntryView>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<i64>,
}

/// One change of a balance.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LedgerEntry)]
pub struct EntryView {
    pub id: i64,
    /// `grant`, `charge` or `refund`.
    #[schema(example = "charge")]
    pub kind: String,
    /// Change of the balance in whole credits; negative for a charge.
    pub amount: i64,
    pub reason: String,
    /// The analysis of the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<Uuid>,
    pub at: DateTime<Utc>,
}

impl From<store::LedgerEntry> for EntryView {
    fn from(entry: store::LedgerEntry) -> Self {
        let store::LedgerEntry { id, kind, amount, reason, job, at } = entry;
        Self { id, kind, amount, reason, job: job.map(|job| job.0), at }
    }
}

impl From<store::LedgerPage> for LedgerView {
    fn from(page: store::LedgerPage) -> Self {
        Self { entries: page.entries.into_iter().map(EntryView::from).collect(), next_cursor: page.next }
    }
}

/// List grants, charges and refunds, newest first.
#[utoipa::path(
    get,
    path = "/v1/ledger",
    operation_id = "get_ledger",
    tag = "usage",
    params(LedgerListing),
    responses((status = 200, description = "A page of the ledger", body = LedgerView)),
)]
pub async fn get_ledger(
    State(app): State<App>,
    caller: Caller,
    Query(listing): Query<LedgerListing>,
) -> Result<Json<LedgerView>, Problem> {
    let (cursor, limit) = listing.checked()?;
    let page = app.store.ledger(caller.tenant, cursor, limit).await?;
    Ok(Json(page.into()))
}
