//! The contract between the operator and the workloads: names, mounted files, the configuration
//! document and the reports.
//!
//! Both sides compile against this crate. A field that one side lacks is a compile error, rather
//! than a pod that does not start. Only [`Config::load`] and [`Mount`] do I/O.
//!
//! # Example
//! A workload reads the document that the operator mounts:
//! ```
//! use switchyard_contract::{Config, Kind, Lane, Workload};
//!
//! let document = r#"{
//!     "platform": {"namespace": "shop", "name": "main"},
//!     "workload": {"type": "pool", "name": "ai", "kind": "ai", "lanes": ["high", "low"],
//!                  "concurrency": 8},
//!     "database": {
//!         "role": "analytics_ai_workers",
//!         "pooler": "transaction",
//!         "connections": {"size": 4, "waitTimeoutSeconds": 30, "statementTimeoutSeconds": 300}
//!     },
//!     "lanes": {
//!         "critical": {"capacity": 50, "maxRunning": 3, "timeoutSeconds": 30},
//!         "high": {"capacity": 200, "maxRunning": 5, "timeoutSeconds": 120},
//!         "normal": {"capacity": 500, "maxRunning": 8, "timeoutSeconds": 300},
//!         "low": {"capacity": 1000, "maxRunning": 4, "timeoutSeconds": 600}
//!     },
//!     "tiers": {
//!         "free": {"concurrent": 2, "daily": 50, "price": 1, "lane": "low"},
//!         "standard": {"concurrent": 5, "daily": 500, "price": 2, "lane": "normal"},
//!         "premium": {"concurrent": 10, "daily": 2000, "price": 3, "lane": "high"},
//!         "enterprise": {"concurrent": 20, "price": 5, "lane": "critical"}
//!     },
//!     "retry": {"delaysSeconds": [60, 120, 300]},
//!     "analysis": {"postsPerChunk": 5, "resultTtlSeconds": 3600, "relatedProfiles": 2}
//! }"#;
//! let config: Config = serde_json::from_str(document)?;
//!
//! let Workload::Pool { kind, lanes, .. } = &config.workload else { panic!("not a pool") };
//! assert_eq!((*kind, lanes.as_slice()), (Kind::Ai, [Lane::High, Lane::Low].as_slice()));
//! assert_eq!(config.lanes.get(Lane::High).max_running, 5);
//! assert_eq!(config.retry.attempts(), 3);
//! # Ok::<(), serde_json::Error>(())
//! ```

pub mod config;
pub mod files;
mod kind;
mod lane;
mod name;
mod queue_stats;
mod reports;
mod role;
mod tier;

pub use config::{
    Analysis, Config, ConnectionPool, Database, ObjectStore, Platform, Pooler, ProfileSource, Recovery, Retry,
    RoleGrant, SourceLimits, Telemetry, Workload,
};
pub use files::Mount;
pub use kind::Kind;
pub use lane::{Lane, LaneLimits, Lanes};
pub use name::UnknownName;
pub use queue_stats::QueueStats;
pub use reports::{Health, HealthPart, HealthReport, LanesReport, RecoveryRecord};
pub use role::Role;
pub use tier::{Tier, TierLimits, Tiers};

/// Port of a workload's `/livez`, `/readyz` and `/metrics`.
pub const OPERATIONS_PORT: u16 = 8081;

/// Port on which the API serves its clients.
pub const API_PORT: u16 = 8080;
