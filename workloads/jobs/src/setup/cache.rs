//! The cache: checks that Redis answers.

use std::time::Duration;

use switchyard_contract::Mount;

use super::{
    error::{Component, SetupError},
    reach::{Attempt, reach},
};
use crate::cache::Cache;

/// Pings Redis.
pub(super) async fn check(mount: &Mount) -> Result<(), SetupError> {
    let failed = |message: String| SetupError::new(Component::Cache, message);
    let cache = Cache::mounted(mount, Duration::ZERO).map_err(|error| failed(error.to_string()))?;
    let cache = &cache;
    reach(Component::Cache, || async move {
        match cache.ping().await {
            Ok(()) => Attempt::Reached(()),
            Err(error)
                if ["NOAUTH", "WRONGPASS", "AuthenticationFailed", "invalid password"]
                    .iter()
                    .any(|code| error.contains(code)) =>
            {
                Attempt::Fatal(
                    "Redis refused the login (wrong or missing password): correct the cache Secret's 'uri'".to_owned(),
                )
            }
            Err(error) if error.contains("certificate") => Attempt::Fatal(format!(
                "no encrypted connection to Redis: {error}; correct the address or the certificates in 'ca.crt' in the cache Secret"
            )),
            Err(error) => Attempt::Retry(format!(
                "Redis cannot be reached: {error}; is it running, and is the address in the cache Secret right?"
            )),
        }
    })
    .await
}
