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
    /// Connections that this process may hold at once, overflow included; at least 1.
    pub size: u32,
    /// Seconds to wait for a free connection before the work is refused.
    pub wait_timeout_seconds: u64,
    /// Seconds after which PostgreSQL ends a statement.
    pub statement_timeout_seconds: u64,
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
}

impl Config {
    /// Reads and checks the document below `mount`.
    pub fn load(mount: &Mount) -> Result<Self, FileError> {
        let path = mount.config_path();
        let text = crate::files::read(&path)?;
        serde_json::from_str(&text).map_err(|error| FileError::Invalid { path, reason: error.to_string() })
    }
}
