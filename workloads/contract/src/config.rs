//! The configuration document of one workload.

use serde::{Deserialize, Serialize};

use crate::{Kind, Lane, Lanes, Mount, Role, Tiers, files::FileError, names};

/// Everything but secrets that one workload needs to know. Written by the operator as JSON, one document a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The platform that the workload belongs to.
    pub platform: Platform,
    /// What the workload is.
    pub workload: Workload,
    /// How it reaches PostgreSQL.
    pub database: Database,
    pub lanes: Lanes,
    pub tiers: Tiers,
    pub retry: Retry,
    pub analysis: Analysis,
    /// Where images go; without it images are described but not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_store: Option<ObjectStore>,
    /// Where profiles come from; without it an analysis fails for good and says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_source: Option<ProfileSource>,
    /// Where traces go; without it none are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
    /// What is healed without anybody asking.
    #[serde(default, skip_serializing_if = "Recovery::is_default")]
    pub recovery: Recovery,
}

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Telemetry {
    /// A collector that takes OTLP over HTTP, for instance `http://collector:4318`; spans go to `/v1/traces` below it.
    pub otlp_endpoint: String,
    /// How many of a hundred requests are traced that come without a decision of their caller's.
    pub sample_percent: u8,
}

/// What the workloads heal on their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Recovery {
    /// Jobs in the middle of which two workers ended, one after the other, are dead at once.
    pub quarantine_jobs: bool,
}

impl Recovery {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Recovery {
    fn default() -> Self {
        Self { quarantine_jobs: true }
    }
}

/// Which `AnalyticsPlatform` this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    pub namespace: String,
    pub name: String,
}

/// What a workload is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "type", deny_unknown_fields)]
pub enum Workload {
    /// The Job that brings database, queues and bucket to the state that the others expect.
    Setup {
        /// The roles to make, with what each may use.
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
        /// Jobs that one worker process runs at once.
        concurrency: u32,
    },
}

/// What one database role may use, as PostgreSQL enforces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleGrant {
    pub role: Role,
    /// `CONNECTION LIMIT` of the role: its row of the budget.
    pub connections: u32,
    /// `statement_timeout` of the role, in seconds.
    pub statement_timeout_seconds: u64,
}

names! {
    /// What stands between the workloads and PostgreSQL.
    Pooler, "pooler", {
        /// Nothing: each connection is a server connection.
        None = "none",
        /// A pooler that hands a server connection to a session.
        Session = "session",
        /// A pooler that hands a server connection to a transaction: no session state survives.
        Transaction = "transaction",
    }
}

/// How a workload reaches PostgreSQL. The address comes from the Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Database {
    pub role: Role,
    pub pooler: Pooler,
    /// This process' share of the role's connections.
    pub connections: ConnectionPool,
}

/// A process' database connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionPool {
    /// Connections that stay open once they are made; at least 1.
    pub size: u32,
    /// Connections beyond them that are made when all are busy and closed when they are not needed any more. The most at once is `size` + `overflow`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub overflow: u32,
    /// Seconds to wait for a free connection before the work is refused.
    pub wait_timeout_seconds: u64,
    /// Seconds after which PostgreSQL ends a statement.
    pub statement_timeout_seconds: u64,
}

impl ConnectionPool {
    /// The most connections at once, overflow included.
    pub const fn total(&self) -> u32 {
        self.size.saturating_add(self.overflow)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What happens to a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retry {
    /// Seconds before the second, third, … attempt. A job is dead after as many failures as there are delays, and never before the first.
    pub delays_seconds: Vec<u64>,
}

impl Retry {
    /// Attempts that a job has before it is dead: one for each delay, at least one.
    pub fn attempts(&self) -> u32 {
        u32::try_from(self.delays_seconds.len()).unwrap_or(u32::MAX).max(1)
    }
}

impl Default for Retry {
    /// 60, 120, 300 s; dead after three failures.
    fn default() -> Self {
        Self { delays_seconds: vec![60, 120, 300] }
    }
}

/// How a profile is analysed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Analysis {
    /// Posts in one job for the ai pool.
    pub posts_per_chunk: u32,
    /// Seconds for which a result is answered from the cache.
    pub result_ttl_seconds: u64,
    /// Related profiles that one analysis may queue on the low lane.
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

/// Apify's API, or what speaks its protocol. Its token comes from the Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProfileSource {
    /// For instance `https://api.apify.com`.
    pub endpoint: String,
    /// For instance `apify~instagram-profile-scraper`.
    pub actor: String,
    /// How fast it may be asked, by all workers together.
    #[serde(default, skip_serializing_if = "SourceLimits::is_default")]
    pub limits: SourceLimits,
}

/// How many runs of the actor may be started, by all workers of the platform together; each is at least 1.
///
/// What follows a start has resources of its own (the run, its data set), so that it needs no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SourceLimits {
    /// In a minute, for all tenants; never more than 1.25 times a second's part of it in any one second.
    pub runs_per_minute: u32,
    /// In a minute, for one tenant.
    pub tenant_runs_per_minute: u32,
}

impl SourceLimits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for SourceLimits {
    /// 20 a second, 25 in the worst second, where Apify takes at least 30 calls a second for one actor; a quarter of it for one tenant.
    fn default() -> Self {
        Self { runs_per_minute: 1200, tenant_runs_per_minute: 300 }
    }
}

impl Config {
    /// Reads and checks the document below `mount`.
    pub fn load(mount: &Mount) -> Result<Self, FileError> {
        let path = mount.config_path();
        let text = crate::files::read(&path)?;
        serde_json::from_str(&text).map_err(|error| FileError::Invalid { path, reason: error.to_string() })
    }
}
