//! API keys, as admins see them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{connect::Store, error::StoreError};
use crate::model::TenantId;

/// An API key. The secret itself is not stored.
///
/// To rotate a key, create another one, distribute it and revoke the old one: a tenant may have any
/// number of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReport {
    pub id: Uuid,
    pub created_at: DateTime<Utc>,
    /// When it was revoked; `None` while it is valid.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl Store {
    /// A tenant's API keys, oldest first, revoked ones included; `None` if there is no such tenant.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn keys(&self, tenant: TenantId) -> Result<Option<Vec<KeyReport>>, StoreError> {
        self.database.fresh().optional(include_str!("../../sql/keys.sql"), &[(&tenant.0, Type::UUID)]).await
    }
}
