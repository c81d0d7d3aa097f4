//! Admits analyses and identifies their tenants.

use tokio_postgres::types::Type;

use super::{
    connect::Store,
    error::StoreError,
    reads::Tenant,
    submission::{Admission, Idempotency, KeyHash, SubmitRequest},
};
use crate::{model::TenantId, resilience::deadline};

impl Store {
    /// Admits an analysis. The statement checks API key, idempotency key, limits, lane and credits,
    /// and stores job and charge. It is shared with the submissions made at the same time.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] if too many submissions wait already. After
    /// [`StoreError::Interrupted`] the analysis may have been admitted: repeat the call only with
    /// an idempotency key.
    pub async fn submit(&self, request: SubmitRequest) -> Result<Admission, StoreError> {
        deadline::within(self.submissions.call(request))
            .await
            .unwrap_or_else(|| Err(StoreError::Interrupted("no answer within the request's time".to_owned())))
    }

    /// The tenant that an API key belongs to; `None` if there is no such key or it is revoked.
    ///
    /// # Errors
    /// Any [`StoreError`]; the call may be repeated.
    pub async fn authenticate(&self, key: KeyHash) -> Result<Option<Tenant>, StoreError> {
        self.database
            .fresh()
            .optional(include_str!("../../sql/authenticate.sql"), &[(&key.0.as_slice(), Type::BYTEA)])
            .await
    }

    /// The first answer under an idempotency key: [`Admission::Replayed`] or
    /// [`Admission::IdempotencyConflict`]; `None` if the key is new. For responses that need no
    /// submission, such as cached ones. [`Store::submit`] makes this check itself.
    ///
    /// # Errors
    /// Any [`StoreError`]; the call may be repeated.
    pub async fn answered(&self, tenant: TenantId, idempotency: &Idempotency) -> Result<Option<Admission>, StoreError> {
        self.database
            .fresh()
            .optional(
                include_str!("../../sql/answered.sql"),
                &[
                    (&tenant.0, Type::UUID),
                    (&idempotency.key, Type::TEXT),
                    (&idempotency.request_hash.as_slice(), Type::BYTEA),
                ],
            )
            .await
    }
}
