//! The connection to Redis, with time limits and a circuit breaker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncCommands as _, Client, IntoConnectionInfo as _, RedisError, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use secrecy::{ExposeSecret, SecretString};
use switchyard_contract::{
    Mount,
    files::{CACHE_CA, CACHE_URI, FileError},
};
use tokio::time::timeout;

use crate::resilience::breaker::{Breaker, Policy};

/// Limit for a call on a request's path; past it the call failed.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(50);
/// Limit for a call in the background.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(2);
/// Opens early and for a short time: an unavailable Redis must not slow requests down.
const BREAKER_POLICY: Policy = Policy { failures: 5, open_for: Duration::from_secs(1) };

/// Why the cache's address cannot be used. Does not contain the address, which may hold a password.
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

/// Redis did not answer in time, or was not asked because its circuit breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cache is unavailable")]
pub struct CacheUnavailable;

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    failures: AtomicU64,
}

/// Counts of cache lookups and failed calls since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheCounts {
    pub hits: u64,
    pub misses: u64,
    /// Calls that Redis did not answer in time, or that an open circuit breaker rejected.
    pub failures: u64,
}

/// The cache. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Cache {
    pub(super) connection: ConnectionManager,
    pub(super) ttl: Duration,
    pub(super) counts: Arc<Counts>,
    breaker: Breaker,
}

impl Cache {
    /// Creates a cache that keeps results for `ttl`. Connects at the first call. Needs a running
    /// tokio runtime.
    ///
    /// # Errors
    /// [`CacheAddressError::Invalid`] if `uri` is not a Redis address.
    pub fn connect(uri: &SecretString, ttl: Duration) -> Result<Self, CacheAddressError> {
        Self::from_client(Client::open(uri.expose_secret()).map_err(invalid)?, ttl)
    }

    /// As [`Cache::connect`], to the address in the mounted Secret.
    ///
    /// For `rediss` addresses the server's certificate is checked against the roots in
    /// `cache/ca.crt` if mounted, else against the web PKI's.
    ///
    /// # Errors
    /// [`CacheAddressError`] if a file cannot be read, or the address or the roots are invalid.
    pub fn mounted(mount: &Mount, ttl: Duration) -> Result<Self, CacheAddressError> {
        let uri = mount.secret(CACHE_URI)?;
        let Some(roots) = mount.optional_secret(CACHE_CA)? else { return Self::connect(&uri, ttl) };
        // The client refuses roots for an address without TLS.
        if !uri.expose_secret().starts_with("rediss:") {
            return Self::connect(&uri, ttl);
        }
        // Parsed here, because the client reports a bad address and bad roots alike.
        let address = uri.expose_secret().into_connection_info().map_err(invalid)?;
        let root_cert = Some(roots.expose_secret().as_bytes().to_vec());
        let client = Client::build_with_tls(address, TlsCertificates { client_tls: None, root_cert })
            .map_err(|error| CacheAddressError::Roots(error.to_string()))?;
        Self::from_client(client, ttl)
    }

    fn from_client(client: Client, ttl: Duration) -> Result<Self, CacheAddressError> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(2)))
            .set_response_timeout(Some(BACKGROUND_TIMEOUT))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_secs(1));
        let connection = ConnectionManager::new_lazy_with_config(client, config).map_err(invalid)?;
        Ok(Self { connection, ttl, counts: Arc::default(), breaker: Breaker::new("cache", BREAKER_POLICY) })
    }

    /// Checks that Redis answers, within 2 s.
    ///
    /// # Errors
    /// What Redis or the connection reported.
    pub async fn ping(&self) -> Result<(), String> {
        let mut connection = self.connection.clone();
        match timeout(BACKGROUND_TIMEOUT, connection.ping::<String>()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", BACKGROUND_TIMEOUT.as_secs())),
        }
    }

    /// The circuit breaker of calls on a request's path.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Lookups and failures since the process started.
    pub fn counts(&self) -> CacheCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CacheCounts {
            hits: read(&self.counts.hits),
            misses: read(&self.counts.misses),
            failures: read(&self.counts.failures),
        }
    }

    /// Makes a call on a request's path: at most 50 ms, and none while the circuit breaker is open.
    pub(super) async fn call_guarded<T>(
        &self,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, CacheUnavailable> {
        let answer = match self.breaker.admit() {
            Err(_) => None,
            Ok(permit) => match timeout(LOOKUP_TIMEOUT, call).await {
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
        self.count_failure(answer)
    }

    /// Makes a call whatever the circuit breaker's state, which the result updates; at most 2 s.
    pub(super) async fn call_unguarded<T>(
        &self,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, CacheUnavailable> {
        let answer = timeout(BACKGROUND_TIMEOUT, call).await.ok().and_then(Result::ok);
        match &answer {
            Some(_) => self.breaker.record_success(),
            None => self.breaker.record_failure(),
        }
        self.count_failure(answer)
    }

    fn count_failure<T>(&self, answer: Option<T>) -> Result<T, CacheUnavailable> {
        answer.ok_or_else(|| {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
            CacheUnavailable
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err requires")]
fn invalid(error: RedisError) -> CacheAddressError {
    CacheAddressError::Invalid(error.to_string())
}
