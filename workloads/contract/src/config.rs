//! The configuration document of one workload.

use serde::{Deserialize, Serialize};

use crate::{
    files::{self, FileError, Mount},
    kind::Kind,
    lane::{Lane, Lanes},
    name::names,
    role::Role,
    tier::Tiers,
};

/// The configuration of one workload, without secrets. The operator writes it as JSON, one document
/// for each workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The platform of the workload.
    pub platform: Platform,
    /// The type of the workload.
    pub workload: Workload,
    /// Database role and connections.
    pub database: Database,
    pub lanes: Lanes,
    pub tiers: Tiers,
    pub retry: Retry,
    pub analysis: Analysis,
    /// Bucket for images. Without it images are described and not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_store: Option<ObjectStore>,
    /// Source of profiles. Without it analyses fail permanently, with an error that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_source: Option<ProfileSource>,
    /// Trace collector. Without it no traces are exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
    /// Automatic recovery.
    #[serde(default, skip_serializing_if = "Recovery::is_default")]
    pub recovery: Recovery,
}

/// The trace collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Telemetry {
    /// Base URL of OTLP over HTTP, for instance `http://collector:4318`; spans are sent to
    /// `/v1/traces`.
    pub otlp_endpoint: String,
    /// Percentage of requests that are traced, if the client has not decided.
    pub sample_percent: u8,
}

/// Automatic recovery by the workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Recovery {
    /// Whether a job during which two workers in a row crashed is quarantined: it gets no further
    /// attempt.
    pub quarantine_jobs: bool,
}

impl Recovery {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Recovery {
    fn default() -> Self {
        Self { quarantine_jobs: true }
    }
}

/// Namespace and name of the `AnalyticsPlatform`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    pub namespace: String,
    pub name: String,
}

/// The type of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "type", deny_unknown_fields)]
pub enum Workload {
    /// The Job that prepares database, queues and bucket for the other workloads.
    Setup {
        /// The database roles to create, with their limits.
        roles: Vec<RoleGrant>,
    },
    /// The API.
    Api,
    /// A worker of a pool.
    Pool {
        /// The `WorkerPool`'s name.
        name: String,
        kind: Kind,
        /// The lanes that this pool serves.
        lanes: Vec<Lane>,
        /// Jobs that one worker process runs concurrently.
        concurrency: u32,
    },
}

/// A database role with its limits, which PostgreSQL enforces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleGrant {
    pub role: Role,
    /// `CONNECTION LIMIT` of the role: its allocation of the connection budget.
    pub connections: u32,
    /// `statement_timeout` of the role, in seconds.
    pub statement_timeout_seconds: u64,
}

names! {
    /// The connection pooler in front of PostgreSQL.
    Pooler, "pooler", {
        /// No pooler: each connection is a server connection.
        None = "none",
        /// Session pooling: one server connection for each session.
        Session = "session",
        /// Transaction pooling: one server connection for each transaction. Session state is lost.
        Transaction = "transaction",
    }
}

/// Access of a workload to PostgreSQL. The address comes from the Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Database {
    pub role: Role,
    pub pooler: Pooler,
    /// This process' share of the role's connections.
    pub connections: ConnectionPool,
}

/// The connection pool of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionPool {
    /// Connections that stay open once they are opened; at least 1.
    pub size: u32,
    /// Additional connections that are opened when all others are busy, and closed when idle. The
    /// maximum is `size` + `overflow`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub overflow: u32,
    /// Seconds that a call waits for a free connection before it fails.
    pub wait_timeout_seconds: u64,
    /// Seconds after which PostgreSQL cancels a statement.
    pub statement_timeout_seconds: u64,
}

impl ConnectionPool {
    /// The maximum number of connections, overflow included.
    pub const fn total(&self) -> u32 {
        self.size.saturating_add(self.overflow)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Retries of failed jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retry {
    /// Seconds before the second, third, … attempt. A job is dead after as many failures as there
    /// are delays, and at least one.
    pub delays_seconds: Vec<u64>,
}

impl Retry {
    /// Attempts of a job before it is dead: one for each delay, at least one.
    pub fn attempts(&self) -> u32 {
        u32::try_from(self.delays_seconds.len()).unwrap_or(u32::MAX).max(1)
    }
}

impl Default for Retry {
    /// 60, 120 and 300 s: a job is dead after three failures.
    fn default() -> Self {
        Self { delays_seconds: vec![60, 120, 300] }
    }
}

/// Settings of profile analyses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Analysis {
    /// Posts in one job of the ai pool.
    pub posts_per_chunk: u32,
    /// Seconds for which a result is served from the cache.
    pub result_ttl_seconds: u64,
    /// Related profiles that one analysis may submit, on the low lane.
    pub related_profiles: u32,
}

impl Default for Analysis {
    fn default() -> Self {
        Self { posts_per_chunk: 5, result_ttl_seconds: 3600, related_profiles: 2 }
    }
}

/// An S3-compatible bucket. Its keys come from the Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectStore {
    /// `http://…` or `https://…`.
    pub endpoint: String,
    pub bucket: String,
    pub region: String,
}

/// Apify's API, or a service with the same protocol. Its token comes from the Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProfileSource {
    /// For instance `https://api.apify.com`.
    pub endpoint: String,
    /// For instance `apify~instagram-profile-scraper`.
    pub actor: String,
    /// Rate limits, for all workers together.
    #[serde(default, skip_serializing_if = "SourceLimits::is_default")]
    pub limits: SourceLimits,
}

/// Rate limits for starting runs of the actor, for all workers of the platform together; each at
/// least 1.
///
/// Calls after the start address the run's own resources and need no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SourceLimits {
    /// Runs per minute for all tenants; in any one second at most 1.25 times a sixtieth of it.
    pub runs_per_minute: u32,
    /// Runs per minute for one tenant.
    pub tenant_runs_per_minute: u32,
}

impl SourceLimits {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for SourceLimits {
    /// 20 runs per second, 25 at most, where Apify accepts at least 30 per second for one actor; a
    /// quarter of it for one tenant.
    fn default() -> Self {
        Self { runs_per_minute: 1200, tenant_runs_per_minute: 300 }
    }
}

impl Config {
    /// Reads the document below `mount`. Unknown fields are refused.
    ///
    /// # Errors
    /// [`FileError`] if the file is missing, unreadable or not a valid document.
    pub fn load(mount: &Mount) -> Result<Self, FileError> {
        let path = mount.config_path();
        let text = files::read(&path)?;
        serde_json::from_str(&text).map_err(|error| FileError::Invalid { path, reason: error.to_string() })
    }
}
