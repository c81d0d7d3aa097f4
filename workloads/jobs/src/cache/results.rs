//! Recent results, and the epoch within which a validated API key stays valid.

use std::{
    sync::atomic::Ordering,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use redis::{AsyncCommands as _, RedisResult};
use serde_json::Value;
use uuid::Uuid;

use super::client::{Cache, CacheUnavailable};

/// Key of the epoch. Every lookup reads it, so an LRU eviction policy keeps it.
const EPOCH_KEY: &str = "switchyard:epoch";

/// The period between two revocations of API keys, of any tenant.
///
/// A key that was found valid after an epoch was read stays valid while the same epoch is read. A
/// revocation ends the epoch; so does a loss of Redis' data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(Uuid);

/// A stored result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedResult {
    /// The whole entry, see [`CachedResult::parse`]; not split, because the document may be large.
    entry: Vec<u8>,
    body: usize,
    /// Time since the analysis completed.
    pub age: Duration,
}

impl CachedResult {
    /// Parses an entry: seconds since the Unix epoch in decimal, a line feed, and the JSON
    /// document. Anything else was written by another version and is a miss.
    fn parse(entry: Vec<u8>) -> Option<Self> {
        let end = entry.iter().take(21).position(|byte| *byte == b'\n')?;
        let at: u64 = std::str::from_utf8(&entry[..end]).ok()?.parse().ok()?;
        Some(Self { entry, body: end + 1, age: Duration::from_secs(now().saturating_sub(at)) })
    }

    fn entry(result: &Value) -> Option<Vec<u8>> {
        let mut entry = format!("{}\n", now()).into_bytes();
        serde_json::to_writer(&mut entry, result).ok()?;
        Some(entry)
    }

    /// The result as JSON text.
    pub fn json(&self) -> &[u8] {
        &self.entry[self.body..]
    }
}

/// The result of [`Cache::lookup`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The newest result of the profile.
    pub result: Option<CachedResult>,
    /// `None` only if no epoch could be started.
    pub epoch: Option<Epoch>,
}

impl Cache {
    /// Reads the newest result of a profile and the epoch, in one round trip of at most 50 ms.
    ///
    /// # Errors
    /// [`CacheUnavailable`] if Redis did not answer in time.
    pub async fn lookup(&self, username: &str) -> Result<Lookup, CacheUnavailable> {
        let mut connection = self.connection.clone();
        let keys = (key(username), EPOCH_KEY);
        let (entry, epoch) = self.call_guarded(connection.mget::<_, (Option<Vec<u8>>, Option<String>)>(keys)).await?;
        let result = entry.and_then(CachedResult::parse);
        let count = if result.is_some() { &self.counts.hits } else { &self.counts.misses };
        count.fetch_add(1, Ordering::Relaxed);
        let epoch = match epoch.and_then(|text| Uuid::try_parse(&text).ok()) {
            Some(epoch) => Some(Epoch(epoch)),
            None => self.start_epoch().await,
        };
        Ok(Lookup { result, epoch })
    }

    /// The newest result of a profile and its age.
    pub async fn result(&self, username: &str) -> Option<(Value, Duration)> {
        let found = self.lookup(username).await.ok()?.result?;
        Some((serde_json::from_slice(found.json()).ok()?, found.age))
    }

    /// Stores a result for the cache's TTL. A failure is only counted.
    pub async fn put_result(&self, username: &str, result: &Value) {
        if self.ttl.is_zero() {
            return;
        }
        let Some(entry) = CachedResult::entry(result) else { return };
        let mut connection = self.connection.clone();
        let put = connection.set_ex::<_, _, ()>(key(username), entry, self.ttl.as_secs().max(1));
        if self.call_unguarded(put).await.is_err() {
            tracing::debug!("could not cache result");
        }
    }

    /// Deletes the result of a profile that has been corrected.
    pub async fn invalidate_result(&self, username: &str) {
        let mut connection = self.connection.clone();
        if self.call_unguarded(connection.del::<_, ()>(key(username))).await.is_err() {
            tracing::warn!("could not invalidate cached result; it may be served until its TTL ends");
        }
    }

    /// Ends the epoch: every process validates keys against the database again.
    ///
    /// Call it after a key was revoked in the database and before the revocation is confirmed.
    ///
    /// # Errors
    /// [`CacheUnavailable`] if Redis did not answer within 2 s; repeat the call.
    pub async fn end_epoch(&self) -> Result<(), CacheUnavailable> {
        let mut connection = self.connection.clone();
        self.call_unguarded(connection.set::<_, _, ()>(EPOCH_KEY, Uuid::new_v4().to_string())).await
    }

    /// Starts an epoch unless there is one, and returns the one in force.
    async fn start_epoch(&self) -> Option<Epoch> {
        let mut connection = self.connection.clone();
        let start = async {
            let _: bool = connection.set_nx(EPOCH_KEY, Uuid::new_v4().to_string()).await?;
            let epoch: RedisResult<String> = connection.get(EPOCH_KEY).await;
            epoch
        };
        let text = self.call_guarded(start).await.ok()?;
        Uuid::try_parse(&text).ok().map(Epoch)
    }
}

fn key(username: &str) -> String {
    format!("switchyard:result:{username}")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entry_round_trips() {
        let entry = CachedResult::entry(&json!({"a": "b\nc"})).unwrap();
        let read = CachedResult::parse(entry).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(read.json()).unwrap(), json!({"a": "b\nc"}));
        assert!(read.age < Duration::from_secs(5));
    }

    #[test]
    fn foreign_entry_is_a_miss() {
        for entry in
            [&b"{\"at\":1,\"result\":{}}"[..], b"", b"\n{}", b"x1\n{}", b"123", b"123456789012345678901234\n{}"]
        {
            assert_eq!(CachedResult::parse(entry.to_vec()), None, "{}", String::from_utf8_lossy(entry));
        }
    }
}
