use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::model::TenantId;

/// An API key as an admin sees it. What the key reads is stored nowhere.
///
/// A key is rotated by making another one, handing it out and revoking the old one: a tenant may have any number of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReport {
    pub id: Uuid,
    pub created_at: DateTime<Utc>,
    /// Since when it opens nothing any more.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl Store {
    /// A tenant's API keys, oldest first, revoked ones as well; `None` for an unknown tenant.
    pub async fn keys(&self, tenant: TenantId) -> Result<Option<Vec<KeyReport>>, StoreError> {
        self.fresh().optional(include_str!("../../sql/keys.sql"), &[(&tenant.0, Type::UUID)]).await
    }
}
