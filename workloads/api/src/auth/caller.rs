//! Extractors of the caller: a presented key, a tenant, or the admin.

use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};
use switchyard_jobs::model::TenantId;

use crate::{
    auth::{
        authenticator::{Authenticator, PresentedKey},
        bearer::{bearer, unauthenticated},
    },
    http::problem::Problem,
};

impl<S: Sync> FromRequestParts<S> for PresentedKey
where
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Arc::<Authenticator>::from_ref(state).present(bearer(&parts.headers)?).await
    }
}

/// A tenant with a valid key.
pub struct Caller {
    pub tenant: TenantId,
}

impl<S: Sync> FromRequestParts<S> for Caller
where
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let authenticator = Arc::<Authenticator>::from_ref(state);
        let key = authenticator.present(bearer(&parts.headers)?).await?;
        Ok(Self { tenant: authenticator.tenant(&key).await? })
    }
}

/// A caller with the admin key.
pub struct Admin;

impl<S: Sync> FromRequestParts<S> for Admin
where
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if Arc::<Authenticator>::from_ref(state).admin_key.matches(bearer(&parts.headers)?) {
            Ok(Self)
        } else {
            Err(unauthenticated("The request requires the admin key of the platform."))
        }
    }
}
