//! Redis: results that were just made, token buckets, and the word that a key was revoked. Everything in it can be lost; trouble with it is a miss.
//!
//! One platform has one Redis database to itself. Results are of public profiles, so all tenants share them.

mod bucket;
mod profiles;
mod results;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncCommands as _, Client, IntoConnectionInfo as _, RedisError, Script, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use secrecy::{ExposeSecret, SecretString};
use switchyard_contract::{
    Mount,
    files::{CACHE_CA, CACHE_URI, FileError},
};
use tokio::time::timeout;

use crate::resilience::{Breaker, Policy};

pub use bucket::Taken;
pub use results::{CachedResult, Epoch, Look};

/// What a look-up may cost; past it, it is a miss.
const PATIENCE: Duration = Duration::from_millis(50);
/// What a write may cost; nobody waits for it but its own task.
const WRITE_PATIENCE: Duration = Duration::from_secs(2);
/// A Redis that is away costs nobody any patience for long.
const LEFT_ALONE: Policy = Policy { failures: 5, open_for: Duration::from_secs(1) };

/// Why the cache's address cannot be used. Never holds the address, which may carry a password.
#[derive(Debug, thiserror::Error)]
pub enum CacheAddressError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the cache Secret's 'uri' is not a Redis address: {0}; write redis://:password@host:6379/0")]
    Invalid(String),
    #[error(
        "the cache Secret's 'ca.crt' cannot be used: {0}; put the certificate in PEM that the server's certificate is signed with"
    )]
    Roots(String),
}

/// Redis did not answer, in time or at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cache does not answer")]
pub struct CacheAway;

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
    /// Calls that Redis did not answer, in time or at all, or that were not made because it had not answered before.
    pub failures: u64,
}

/// The cache. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    connection: ConnectionManager,
    ttl: Duration,
    counts: Arc<Counts>,
    take: Arc<Script>,
    breaker: Breaker,
}

impl Cache {
    /// A cache that keeps results for `ttl`. Connects when it is needed. Needs a running tokio runtime.
    pub fn connect(uri: &SecretString, ttl: Duration) -> Result<Self, CacheAddressError> {
        Self::at(Client::open(uri.expose_secret()).map_err(invalid)?, ttl)
    }

    /// As [`Cache::connect`], to the cache whose address is mounted. To `rediss`, trusting the roots in `cache/ca.crt` where they are mounted, else those
    /// that browsers trust.
    pub fn mounted(mount: &Mount, ttl: Duration) -> Result<Self, CacheAddressError> {
        let uri = mount.secret(CACHE_URI)?;
        let Some(roots) = mount.optional_secret(CACHE_CA)? else { return Self::connect(&uri, ttl) };
        // Without encryption there is nothing to check, and the client would take it for a mistake.
        if !uri.expose_secret().starts_with("rediss:") {
            return Self::connect(&uri, ttl);
        }
        // Told apart here, since what the client says of either is the same.
        let address = uri.expose_secret().into_connection_info().map_err(invalid)?;
        let root_cert = Some(roots.expose_secret().as_bytes().to_vec());
        let client = Client::build_with_tls(address, TlsCertificates { client_tls: None, root_cert })
            .map_err(|error| CacheAddressError::Roots(error.to_string()))?;
        Self::at(client, ttl)
    }

    fn at(client: Client, ttl: Duration) -> Result<Self, CacheAddressError> {
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
            take: Arc::new(bucket::script()),
            breaker: Breaker::new("cache", LEFT_ALONE),
        })
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

    /// Its circuit breaker, which guards what somebody waits for.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
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

    /// Asks Redis something that somebody waits for: 50 ms at most, and no time at all while it is known to be away.
    async fn ask<T>(&self, call: impl Future<Output = Result<T, RedisError>>) -> Result<T, CacheAway> {
        let answer = match self.breaker.admit() {
            Err(_) => None,
            Ok(permit) => match timeout(PATIENCE, call).await {
                Ok(Ok(value)) => {
                    permit.succeeded();
                    Some(value)
                }
                Ok(Err(_)) | Err(_) => {
                    permit.failed();
                    None
                }
            },
        };
        self.counted(answer)
    }

    /// Tells Redis something that is tried whatever came of calls before.
    async fn tell<T>(&self, call: impl Future<Output = Result<T, RedisError>>) -> Result<T, CacheAway> {
        let answer = timeout(WRITE_PATIENCE, call).await.ok().and_then(Result::ok);
        match &answer {
            Some(_) => self.breaker.heard(),
            None => self.breaker.missed(),
        }
        self.counted(answer)
    }

    fn counted<T>(&self, answer: Option<T>) -> Result<T, CacheAway> {
        answer.ok_or_else(|| {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
            CacheAway
        })
    }
}

fn invalid(error: RedisError) -> CacheAddressError {
    CacheAddressError::Invalid(error.to_string())
}
