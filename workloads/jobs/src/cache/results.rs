//! Results of the last hour, and the epoch within which a key that was found valid may be taken for valid still.

use std::{
    sync::atomic::Ordering,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use redis::{AsyncCommands as _, RedisResult};
use serde_json::Value;
use uuid::Uuid;

use super::{Cache, CacheAway};

/// Where the epoch stands. It is read with every look-up, so a Redis that makes room by forgetting what is seldom used keeps it.
const EPOCH: &str = "switchyard:epoch";

/// The time between two revocations of keys, whoever's they are. A key that was found valid after an epoch was read is valid as long as the same epoch
/// is read: a revocation ends it, and so does a Redis that has lost its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(Uuid);

/// A result as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedResult {
    /// `AT` and the document, see [`CachedResult::parse`]; not copied apart, because it may be large.
    entry: Vec<u8>,
    body: usize,
    /// Time since the analysis was completed.
    pub age: Duration,
}

impl CachedResult {
    /// An entry is the second since 1970 in decimal figures, a line feed, and the JSON document. Anything else is of another version's making: a miss.
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

/// What one look into the cache showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The newest result of the profile.
    pub result: Option<CachedResult>,
    /// `None` only while nobody has looked yet.
    pub epoch: Option<Epoch>,
}

impl Cache {
    /// Looks for the newest result of a profile, and reads the epoch; one round trip, 50 ms at most.
    pub async fn look(&self, username: &str) -> Result<Look, CacheAway> {
        let mut connection = self.connection.clone();
        let keys = (key(username), EPOCH);
        let (entry, epoch) = self.ask(connection.mget::<_, (Option<Vec<u8>>, Option<String>)>(keys)).await?;
        let result = entry.and_then(CachedResult::parse);
        let count = if result.is_some() { &self.counts.hits } else { &self.counts.misses };
        count.fetch_add(1, Ordering::Relaxed);
        let epoch = match epoch.and_then(|text| Uuid::try_parse(&text).ok()) {
            Some(epoch) => Some(Epoch(epoch)),
            None => self.begin_epoch().await,
        };
        Ok(Look { result, epoch })
    }

    /// The newest result of a profile and its age.
    pub async fn result(&self, username: &str) -> Option<(Value, Duration)> {
        let found = self.look(username).await.ok()?.result?;
        Some((serde_json::from_slice(found.json()).ok()?, found.age))
    }

    /// Keeps a result for the cache's time.
    pub async fn put_result(&self, username: &str, result: &Value) {
        if self.ttl.is_zero() {
            return;
        }
        let Some(entry) = CachedResult::entry(result) else { return };
        let mut connection = self.connection.clone();
        let put = connection.set_ex::<_, _, ()>(key(username), entry, self.ttl.as_secs().max(1));
        if self.tell(put).await.is_err() {
            tracing::debug!("a result was not cached");
        }
    }

    /// Forgets a profile's result, which is not the newest or not right any more.
    pub async fn forget_result(&self, username: &str) {
        let mut connection = self.connection.clone();
        if self.tell(connection.del::<_, ()>(key(username))).await.is_err() {
            tracing::warn!("a result that was corrected may be shown from the cache until it is too old");
        }
    }

    /// Ends the epoch: every process asks the database again before it takes a key for valid. To be called after a key was revoked there, and before
    /// anyone is told so; after an error, again.
    pub async fn end_epoch(&self) -> Result<(), CacheAway> {
        let mut connection = self.connection.clone();
        self.tell(connection.set::<_, _, ()>(EPOCH, Uuid::new_v4().to_string())).await
    }

    /// Begins an epoch where there is none, unless somebody else has.
    async fn begin_epoch(&self) -> Option<Epoch> {
        let mut connection = self.connection.clone();
        let begin = async {
            let _: bool = connection.set_nx(EPOCH, Uuid::new_v4().to_string()).await?;
            let epoch: RedisResult<String> = connection.get(EPOCH).await;
            epoch
        };
        let text = self.ask(begin).await.ok()?;
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
    fn an_entry_is_read_as_it_was_written() {
        let entry = CachedResult::entry(&json!({"a": "b\nc"})).unwrap();
        let read = CachedResult::parse(entry).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(read.json()).unwrap(), json!({"a": "b\nc"}));
        assert!(read.age < Duration::from_secs(5));
    }

    #[test]
    fn an_entry_of_another_making_is_a_miss() {
        for entry in
            [&b"{\"at\":1,\"result\":{}}"[..], b"", b"\n{}", b"x1\n{}", b"123", b"123456789012345678901234\n{}"]
        {
            assert_eq!(CachedResult::parse(entry.to_vec()), None, "{}", String::from_utf8_lossy(entry));
        }
    }
}
