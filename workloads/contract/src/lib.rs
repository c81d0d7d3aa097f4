//! What the operator writes and the workloads read: names, files, and the configuration document.
//!
//! Both sides compile against this crate, so that a field that one side forgets is a compile error rather than a
//! pod that will not start. Nothing here does I/O except [`Config::load`] and [`files::Mount`].

pub mod config;
pub mod files;
mod kind;
mod lane;
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
pub use queue_stats::QueueStats;
pub use reports::{Health, HealthPart, HealthReport, LanesReport, RecoveryRecord};
pub use role::Role;
pub use tier::{Tier, TierLimits, Tiers};

/// Port of a workload's `/livez`, `/readyz` and `/metrics`.
pub const OPERATIONS_PORT: u16 = 8081;

/// Port on which the API answers its callers.
pub const API_PORT: u16 = 8080;

/// A name that is not one of a closed set; the message lists the set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} '{given}'; use one of: {known}")]
pub struct UnknownName {
    /// What kind of name was looked for, for instance `lane`.
    pub what: &'static str,
    /// The name that was given.
    pub given: String,
    /// The names that exist, comma separated.
    pub known: String,
}

/// A closed set of names: the lower-case name of each variant is its JSON form, its `Display` and its `FromStr`.
macro_rules! names {
    ($(#[$meta:meta])* $type:ident, $what:literal, { $($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        pub enum $type {
            $($(#[$doc])* #[serde(rename = $name)] $variant),+
        }

        impl $type {
            /// Every value, in its declared order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable name, as used in JSON, SQL, queue names and labels.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = crate::UnknownName;

            fn from_str(given: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|v| v.as_str() == given).ok_or_else(|| crate::UnknownName {
                    what: $what,
                    given: given.to_owned(),
                    known: Self::ALL.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}
pub(crate) use names;
