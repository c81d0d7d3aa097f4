//! Profiles as last fetched, served while the profile source is unavailable. They are public, so
//! all tenants share them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::AsyncCommands as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::Cache;

/// How long a profile may replace a fresh one.
const PROFILE_TTL: Duration = Duration::from_hours(24);

#[derive(Serialize, Deserialize)]
struct Entry<T> {
    /// Seconds since the Unix epoch.
    at: u64,
    profile: T,
}

impl Cache {
    /// The last stored profile and its age, at most a day. Waits up to 2 s: the caller has no other
    /// source.
    pub async fn profile(&self, username: &str) -> Option<(Value, Duration)> {
        let mut connection = self.connection.clone();
        let bytes = self.call_unguarded(connection.get::<_, Option<Vec<u8>>>(key(username))).await.ok()??;
        // Another version may have written an entry that this one cannot read: a miss.
        let entry: Entry<Value> = serde_json::from_slice(&bytes).ok()?;
        Some((entry.profile, Duration::from_secs(now().saturating_sub(entry.at))))
    }

    /// Stores a profile for a day. A failure is only counted.
    pub async fn put_profile(&self, username: &str, profile: &Value) {
        let Ok(bytes) = serde_json::to_vec(&Entry { at: now(), profile }) else { return };
        let mut connection = self.connection.clone();
        let put = connection.set_ex::<_, _, ()>(key(username), bytes, PROFILE_TTL.as_secs());
        if self.call_unguarded(put).await.is_err() {
            tracing::debug!("could not cache profile");
        }
    }
}

fn key(username: &str) -> String {
    format!("switchyard:profile:{username}")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
