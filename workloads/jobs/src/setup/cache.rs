use std::time::Duration;

use switchyard_contract::{Mount, files::CACHE_URI};

use super::{Attempt, Component, SetupError, reach};
use crate::cache::Cache;

/// Asks Redis for a sign of life.
pub(super) async fn check(mount: &Mount) -> Result<(), SetupError> {
    let failed = |message: String| SetupError::new(Component::Cache, message);
    let uri = mount.secret(CACHE_URI).map_err(|error| failed(error.to_string()))?;
    let cache = Cache::connect(&uri, Duration::ZERO).map_err(|error| failed(error.to_string()))?;
    let cache = &cache;
    reach(Component::Cache, || async move {
        match cache.ping().await {
            Ok(()) => Attempt::Reached(()),
            Err(error)
                if ["NOAUTH", "WRONGPASS", "AuthenticationFailed", "invalid password"]
                    .iter()
                    .any(|sign| error.contains(sign)) =>
            {
                Attempt::Hopeless(
                    "Redis refused the login (wrong or missing password): correct the cache Secret's 'uri'".to_owned(),
                )
            }
            Err(error) => Attempt::NotYet(format!(
                "Redis cannot be reached: {error}; is it running, and is the address in the cache Secret right?"
            )),
        }
    })
    .await
}
