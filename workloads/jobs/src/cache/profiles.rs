//! Profiles as the source last gave them, for the time in which it is away. All tenants share them: they are public.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::AsyncCommands as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Cache;

/// How long a profile is worth standing in for a fresh one.
const WORTH: Duration = Duration::from_secs(24 * 3600);

#[derive(Serialize, Deserialize)]
struct Entry<T> {
    /// Seconds since 1970.
    at: u64,
    profile: T,
}

impl Cache {
    /// The profile that was last kept, and its age, a day at most. Waits up to 2 s: who asks has nowhere else to go.
    pub async fn profile(&self, username: &str) -> Option<(Value, Duration)> {
        let mut connection = self.connection.clone();
        let bytes = self.tell(connection.get::<_, Option<Vec<u8>>>(key(username))).await.ok()??;
        // An entry of another version's making is none.
        let entry: Entry<Value> = serde_json::from_slice(&bytes).ok()?;
        Some((entry.profile, Duration::from_secs(now().saturating_sub(entry.at))))
    }

    /// Keeps a profile for a day. Failing to is only counted.
    pub async fn put_profile(&self, username: &str, profile: &Value) {
        let Ok(bytes) = serde_json::to_vec(&Entry { at: now(), profile }) else { return };
        let mut connection = self.connection.clone();
        let put = connection.set_ex::<_, _, ()>(key(username), bytes, WORTH.as_secs());
        if self.tell(put).await.is_err() {
            tracing::debug!("a profile was not kept");
        }
    }
}

fn key(username: &str) -> String {
    format!("switchyard:profile:{username}")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
