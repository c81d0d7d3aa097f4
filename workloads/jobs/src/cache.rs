//! Redis: results that were just made, and rate limits. Everything in it can be lost; trouble with it is a miss.
//!
//! One platform has one Redis database to itself. Results are of public profiles, so all tenants share them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use redis::{AsyncCommands as _, Client, Script, aio::ConnectionManager, aio::ConnectionManagerConfig};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

/// What a look-up may cost; past it, it is a miss.
const PATIENCE: Duration = Duration::from_millis(50);
/// What a write may cost; nobody waits for it but its own task.
const WRITE_PATIENCE: Duration = Duration::from_secs(2);

/// The cache Secret's `uri` is no address. Never holds the address, which may carry a password.
#[derive(Debug, thiserror::Error)]
#[error("the cache Secret's 'uri' is not a Redis address: {0}; write redis://:password@host:6379/0")]
pub struct CacheAddressError(String);

/// Counts of what the cache did.
#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    failures: AtomicU64,
}

/// How often the cache helped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheCounts {
    pub hits: u64,
    pub misses: u64,
    /// Calls that Redis did not answer, in time or at all.
    pub failures: u64,
}

/// The cache. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    connection: ConnectionManager,
    ttl: Duration,
    counts: Arc<Counts>,
    take: Arc<Script>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    /// Seconds since 1970.
    at: u64,
    result: Value,
}

impl Cache {
    /// A cache that keeps results for `ttl`. Connects when it is needed. Needs a running tokio runtime.
    pub fn connect(uri: &SecretString, ttl: Duration) -> Result<Self, CacheAddressError> {
        let invalid = |error: redis::RedisError| CacheAddressError(error.to_string());
        let client = Client::open(uri.expose_secret()).map_err(invalid)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(2)))
            .set_response_timeout(Some(WRITE_PATIENCE))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_secs(1));
        let connection = ConnectionManager::new_lazy_with_config(client, config).map_err(invalid)?;
        Ok(Self {
            connection,
            ttl,
            counts: Arc::default(),
            take: Arc::new(Script::new(include_str!("../lua/take.lua"))),
        })
    }

    /// The newest result of a profile and its age.
    pub async fn result(&self, username: &str) -> Option<(Value, Duration)> {
        let mut connection = self.connection.clone();
        let found = timeout(PATIENCE, connection.get::<_, Option<Vec<u8>>>(key(username))).await;
        let bytes = match found {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) | Err(_) => {
                self.counts.failures.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        };
        // An entry of another version's making is a miss.
        let entry = bytes.and_then(|bytes| serde_json::from_slice::<Entry>(&bytes).ok());
        let count = if entry.is_some() { &self.counts.hits } else { &self.counts.misses };
        count.fetch_add(1, Ordering::Relaxed);
        entry.map(|entry| (entry.result, Duration::from_secs(now().saturating_sub(entry.at))))
    }

    /// Keeps a result for the cache's time.
    pub async fn put_result(&self, username: &str, result: &Value) {
        if self.ttl.is_zero() {
            return;
        }
        let Ok(bytes) = serde_json::to_vec(&serde_json::json!({ "at": now(), "result": result })) else { return };
        let mut connection = self.connection.clone();
        let put = connection.set_ex::<_, _, ()>(key(username), bytes, self.ttl.as_secs().max(1));
        if !matches!(timeout(WRITE_PATIENCE, put).await, Ok(Ok(()))) {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
            tracing::debug!("a result was not cached");
        }
    }

    /// Takes one token out of a bucket that holds `burst` and gains `rate_per_second`. An error is the time until there is one.
    /// Without Redis there is always one.
    pub async fn take(&self, bucket: &str, rate_per_second: f64, burst: u32) -> Result<(), Duration> {
        let mut connection = self.connection.clone();
        let mut call = self.take.key(format!("switchyard:bucket:{bucket}"));
        call.arg(rate_per_second).arg(burst);
        match timeout(PATIENCE, call.invoke_async::<i64>(&mut connection)).await {
            Ok(Ok(0)) => Ok(()),
            Ok(Ok(wait)) => Err(Duration::from_millis(u64::try_from(wait).unwrap_or(0))),
            Ok(Err(_)) | Err(_) => {
                self.counts.failures.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<(), String> {
        let mut connection = self.connection.clone();
        match timeout(WRITE_PATIENCE, connection.ping::<String>()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", WRITE_PATIENCE.as_secs())),
        }
    }

    /// What the cache did since the process started.
    pub fn counts(&self) -> CacheCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CacheCounts {
            hits: read(&self.counts.hits),
            misses: read(&self.counts.misses),
            failures: read(&self.counts.failures),
        }
    }
}

fn key(username: &str) -> String {
    format!("switchyard:result:{username}")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
